"""`python launch.py train-lengths`: teach a finished model how long gaps are, and measure what CAL needs of it.

The network stays as it is. Gaps are cut out of texts as writers cut them, each stands in its canvas as one mask, the states around
it are computed once, and a small head on top learns the distribution of the token count. Training a new model ends with this where
there is text enough. `python launch.py evaluate --lengths` measures how near the guesses come.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from engine import checkpoint
from engine.backends import load
from engine.backends.dit import DiTDenoiser
from engine.length_head import LONGEST, PLACES, LengthHead, LengthHeadConfig, around, normal, reading
from engine.lengths import ROWS, batch, fit_length_bias
from engine.training.corpus import CorpusError, files_of, training_documents, unusable
from engine.training.gaps import Cut, beginnings, mixed_cuts
from engine.training.options import seed, whole

BATCH, PASSES, LEAST_STEPS = 256, 10, 300
"""Of learning: gaps a step, times that each is seen, and steps where there are few gaps."""
GAPS, LEAST_GAPS = 16_000, 2_000
"""To learn from: twice as many are worth 0.04 nats at 8,000; a model is not taught lengths of itself from fewer than the second number."""
CHARACTERS_A_GAP, TOKENS_A_GAP = 500, 2_000
"""Text that a gap needs, so that gaps differ, and training that it may follow, so that reading states takes a fiftieth of its time."""


@dataclass(frozen=True)
class Examples:
    """Gaps as the head sees them."""

    states: Tensor
    """(N, PLACES, layers, width) in half precision."""
    counts: Tensor
    """(N,) token counts."""
    documents: Tensor
    """(N,) which document each is from."""


def examples(model: DiTDenoiser, cuts: Sequence[Cut], config: LengthHeadConfig, seed: int) -> Examples:
    """The states around gaps of up to LONGEST tokens; longer ones are left out. Shows its progress."""
    rng = np.random.default_rng([seed, 1])
    rows = []
    for cut in tqdm(cuts, desc="Cutting", unit=" gaps", file=sys.stderr, leave=False):
        window, count = cut.masked(model, known=bool(rng.random() < 0.5))
        if count <= LONGEST:
            rows.append((window, count, cut.document))
    rows.sort(key=lambda row: len(row[0].ids))
    states = torch.empty((len(rows), PLACES, len(config.layers), config.width), dtype=torch.float16)
    for start in tqdm(range(0, len(rows), ROWS), desc="Reading states", unit=" batches", file=sys.stderr, leave=False):
        part = slice(start, start + ROWS)
        ids, cells, attend = batch(model, [window for window, _, _ in rows[part]])
        with reading(model.network, config.layers) as layers, torch.inference_mode():
            model.logits(ids, torch.zeros_like(cells), attend=attend)
            states[part] = around(layers, cells.to(model.device), attend.to(model.device)).half().cpu()
    return Examples(states, torch.tensor([count for _, count, _ in rows]), torch.tensor([d for _, _, d in rows]))


def train(config: LengthHeadConfig, data: Examples, *, seed: int, rate: float = 5e-4, dropout: float = 0.5) -> LengthHead:
    """A head trained by cross-entropy for PASSES over the data, at least LEAST_STEPS steps.

    Of its states after every pass that one is kept which does best on a tenth of the documents; these are not learned from.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 2])
    head = LengthHead(config)
    held_out = torch.from_numpy(rng.random(int(data.documents.max()) + 1) < 0.1)[data.documents]
    if not bool(held_out.any()) or bool(held_out.all()):
        raise CorpusError("There is too little text to learn lengths from; name files with a few dozen documents.")
    learn, check = (~held_out).nonzero()[:, 0], held_out.nonzero()[:, 0]
    a_pass = -(-len(learn) // BATCH)
    passes = max(PASSES, -(-LEAST_STEPS // a_pass))
    optimiser = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=passes * a_pass, pct_start=0.1, anneal_strategy="linear")
    best, weights = math.inf, head.state_dict()
    for _ in (bar := tqdm(range(passes), desc="Learning", unit=" passes", file=sys.stderr, leave=False)):
        for chosen in learn[torch.from_numpy(rng.permutation(len(learn)))].split(BATCH):
            seen = F.dropout(normal(data.states[chosen]), dropout)
            loss = F.cross_entropy(head.logits(seen), data.counts[chosen] - 1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        with torch.no_grad():
            nats = float(F.cross_entropy(head.logits(normal(data.states[check])), data.counts[check] - 1))
        bar.set_postfix_str(f"{nats:.3f} nats a gap")
        if nats < best:
            best, weights = nats, {name: value.clone() for name, value in head.state_dict().items()}
    head.load_state_dict(weights)
    return head.eval()


def fit(
    folder: Path, files: Sequence[Path], *, gaps: int = GAPS, seed: int = 0, hidden: int = 128, layers: Sequence[int] | None = None
) -> None:
    """Train a head on the model in a folder and put it there; CorpusError when the files hold too little text."""
    model = load(folder)
    if not isinstance(model, DiTDenoiser):
        raise CorpusError("Only models in our own format can be taught lengths; name a folder that train wrote.")
    depth, width = model.network.config.depth, model.network.config.width
    if layers and max(layers) > depth:
        raise CorpusError(f"The model has {depth} blocks, and --layers counts them from 1; there is no {max(layers)}.")
    if not os.access(folder, os.W_OK):
        raise CorpusError(f"{folder} can't be written to; copy the model to a folder of your own first.")
    config = LengthHeadConfig(width, tuple(layers or sorted({-(-depth // 2), depth})), hidden)
    data = examples(model, mixed_cuts(beginnings(files), gaps, seed), config, seed)
    checkpoint.set_length_head(folder, train(config, data, seed=seed))


def fit_bias(folder: Path, files: Sequence[Path], *, gaps: int = 64) -> None:
    """Measure what CAL needs of the model in a folder and put it there; ValueError when the files hold too little text."""
    each = math.ceil(gaps / 2 / len(files))
    texts = (text[:1500] for file in files for text in itertools.islice(training_documents(file), each))
    checkpoint.set_length_bias(folder, fit_length_bias(load(folder), texts, gaps=gaps))


def gaps_worth(files: Sequence[Path], tokens: int) -> int:
    """How many gaps of these files a model should be taught lengths from after training on so many tokens; 0 for not at all."""
    characters = sum(len(text) for _, text in beginnings(files))
    gaps = min(GAPS, characters // CHARACTERS_A_GAP, tokens // TOKENS_A_GAP)
    return gaps if gaps >= LEAST_GAPS else 0


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="launch.py train-lengths", description=__doc__)
    add = made.add_argument
    add("--model", type=Path, required=True, help="the folder of a finished model; the head is put there")
    add("--data", nargs="+", type=Path, required=True, help="texts in the corpus format, plain or .xz, or folders of them")
    add("--gaps", type=whole, default=GAPS, help="gaps to learn from")
    add("--hidden", type=whole, default=128, help="units inside the head (%(default)s)")
    add("--layers", type=whole, nargs="+", help="blocks whose states are read, counted from 1; the middle one and the last when left out")
    add("--seed", type=seed, default=0, help="what chance begins from (%(default)s)")
    return made


def main(argv: list[str]) -> int:
    """Train; 2 with one sentence when the model or the data cannot be used."""
    args = parser().parse_args(argv)
    try:
        files = files_of(args.data)
        fit(args.model, files, gaps=args.gaps, seed=args.seed, hidden=args.hidden, layers=args.layers)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(unusable(error, args.model), file=sys.stderr)
        return 2
    print(f"The length head is in {args.model / checkpoint.LENGTHS}.", file=sys.stderr)
    try:
        fit_bias(args.model, files, gaps=max(64, args.gaps // 80))
    except ValueError as error:
        print(f"What CAL needs stays as it was: {error}", file=sys.stderr)
    return 0
