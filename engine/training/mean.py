"""`python -m engine.training.mean --models A B --shares 2 1 --out C`: the mean of the weights of several models that began as one.

Weights that were trained on from the same ones lie in one valley of the loss, each a little up its walls; their mean lies nearer its floor
and costs one model's time (model soups, arXiv 2203.05482; the latest checkpoints of one run, arXiv 2209.14981). Models that did not begin
as one have no mean worth having.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from engine import checkpoint
from engine.checkpoint import STORED, Checkpoint, CheckpointError
from engine.model import DiT
from engine.training.corpus import unusable


def mean(models: Sequence[Checkpoint], shares: Sequence[float]) -> Checkpoint:
    """The first model with the mean of all weights, each counted by its share of their sum; all else is the first one's.

    CheckpointError where the models are of different networks or cut texts differently, or the shares don't fit them.
    """
    first = models[0]
    if len(shares) != len(models) or min(shares) < 0 or not sum(shares) > 0:
        raise CheckpointError(f"{len(models)} models need as many shares, none below 0 and not all 0; {len(shares)} were given.")
    for other in models[1:]:
        if why := unlike(first, other):
            raise CheckpointError(f"{first.name} and {other.name} {why}, so their weights have no mean.")
    parts = [share / sum(shares) for share in shares]
    tensors = [other.model.state_dict() for other in models]
    with torch.device("meta"):
        net = DiT(first.model.config)
    checkpoint.fit(net, {name: _mean([held[name] for held in tensors], parts) for name in tensors[0]})
    told = [[other.trained.get("tokens"), round(part, 4)] for other, part in zip(models, parts, strict=True)]
    return replace(first, model=net, trained=first.trained | {"mean": told})


def unlike(one: Checkpoint, other: Checkpoint) -> str:
    """Why the weights of two models have no mean; empty where they have one. How long rows may be is no weight's concern."""
    if replace(other.model.config, max_length=one.model.config.max_length) != one.model.config:
        return "are different networks"
    return "cut texts differently" if other.tokenizer.proto != one.tokenizer.proto else ""


def _mean(tensors: Sequence[Tensor], parts: Sequence[float]) -> Tensor:
    return torch.stack([part * tensor.float() for tensor, part in zip(tensors, parts, strict=True)]).sum(0)


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="python -m engine.training.mean", description=__doc__)
    add = made.add_argument
    add("--models", nargs="+", type=Path, required=True, help="folders of models; all but the weights is taken from the first")
    add("--shares", nargs="+", type=float, help="how much each counts (all alike)")
    add("--out", type=Path, required=True, help="folder of the mean")
    add("--store", choices=STORED, default="int8", help="numbers that the weights are kept in (%(default)s)")
    return made


def main(argv: list[str]) -> int:
    """Average and write; 2 with a sentence when the models cannot be used."""
    args = parser().parse_args(argv)
    try:
        models = [checkpoint.load(folder, causal=None) for folder in args.models]
        checkpoint.save(mean(models, args.shares or [1.0] * len(models)), args.out, STORED[args.store])
    except CheckpointError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(unusable(error, args.out), file=sys.stderr)
        return 2
    print(f"The mean of {len(args.models)} models is in {args.out}.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
