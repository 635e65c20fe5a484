"""`python -m engine.training.schedule`: fit a model's learned schedule, and measure what it is worth.

The NELBO is an integral over the share of masked tokens m of f(m), the expected nats of the masked tokens over m, and no
schedule changes it (MDLM, arXiv 2406.07524). Its estimate from m drawn with density q, f / q, has a variance; what q can
change is least where q follows the spread of the estimate (VDM, arXiv 2107.00630, trains a network for that; a
histogram of the model's losses gives it at once). With levels drawn in strata, as we draw them, the spread that is
left is that within a level, so that is what is measured here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from engine import checkpoint
from engine.backends import LoadError, load
from engine.denoiser import Denoiser
from engine.forward import low_variance_t, nelbo
from engine.training.corpus import CorpusError, files_of, training_documents, unusable
from engine.training.options import whole
from engine.vocabulary import vocabulary

LEVELS = 16
"""Pieces of the fitted schedule; each is measured on its own rows."""
LEAST = 0.15
"""The density is nowhere below this share of the even one, so that no level is left unseen because of a lucky measurement."""


def measure(model: Denoiser, rows: torch.Tensor, *, seed: int = 0, at_once: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """(N, L) ids -> (N,) levels spread evenly over [0, 1], and (N,) the NELBO's integrand in nats a token at each. Shows its progress."""
    generator = torch.Generator().manual_seed(seed)
    levels = low_variance_t(len(rows), shuffle=True, generator=generator).clamp_min(1e-3)
    values = []
    for start in tqdm(range(0, len(rows), at_once), desc="Measuring", unit=" batches", file=sys.stderr, leave=False):
        part = slice(start, start + at_once)
        values.append(nelbo(model, rows[part], t=levels[part], generator=generator).per_sequence / rows.shape[1])
    return levels.numpy(), torch.cat(values).numpy()


def fit(levels: np.ndarray, values: np.ndarray, *, pieces: int = LEVELS) -> tuple[float, ...]:
    """The times of engine.schedules.Learned under which the estimate's variance within levels is least."""
    spread = _spread(levels, values, pieces)
    density = np.maximum(spread, 1e-12) / max(spread.mean(), 1e-12)
    density = np.maximum(density, LEAST)
    times = np.concatenate(([0.0], np.cumsum(density / density.sum())))
    times[-1] = 1.0
    return tuple(round(float(t), 6) for t in times)


def variance(levels: np.ndarray, values: np.ndarray, times: Sequence[float]) -> float:
    """The variance within levels of one row's estimate, when its level is drawn by a schedule with these times (even ones: t uniform)."""
    pieces = len(times) - 1
    density = np.diff(times) * pieces
    return float((_spread(levels, values, pieces) ** 2 / density).mean())


def _spread(levels: np.ndarray, values: np.ndarray, pieces: int) -> np.ndarray:
    """(pieces,) the standard deviation of the values within each piece, around a straight line through them."""
    spread = np.zeros(pieces)
    piece = np.minimum((levels * pieces).astype(int), pieces - 1)
    for p in range(pieces):
        x, y = levels[piece == p], values[piece == p]
        if len(y) > 3:
            spread[p] = np.sqrt(np.square(y - np.polyval(np.polyfit(x, y, 1), x)).sum() / (len(y) - 2))
    return spread


def rows_of(model: Denoiser, files: Sequence[Path], count: int, length: int, seed: int) -> torch.Tensor:
    """(count, length) ids of rows that start anywhere in the texts; CorpusError when these are too short."""
    stream = np.array([i for file in files for text in training_documents(file) for i in model.encode(vocabulary(model).corpus(text))])
    if len(stream) <= length:
        raise CorpusError(f"The texts hold {len(stream)} tokens, fewer than a row of {length}; name more.")
    starts = np.random.default_rng(seed).integers(0, len(stream) - length, count)
    return torch.from_numpy(stream[starts[:, None] + np.arange(length)].astype(np.int64))


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="python -m engine.training.schedule", description=__doc__)
    add = made.add_argument
    add("--model", type=Path, required=True, help="a model folder of ours")
    add("--data", nargs="+", type=Path, required=True, help="texts that the model was trained on: those held out are for measuring")
    add("--rows", type=whole, default=2048, help="rows to measure on (%(default)s)")
    add("--length", type=whole, default=128, help="tokens in a row")
    add("--write", action="store_true", help="put the schedule into the model's config.json")
    return made


def main(argv: list[str]) -> int:
    """Fit on one half of the rows, tell the variance on the other; 2 with a sentence when the model or the texts cannot be used."""
    args = parser().parse_args(argv)
    try:
        model = load(args.model)
        rows = rows_of(model, files_of(args.data), args.rows, args.length, 0)
        half = len(rows) // 2
        seen, new = (measure(model, part, seed=seed) for seed, part in enumerate((rows[:half], rows[half:])))
        times = fit(*seen)
        even = [k / LEVELS for k in range(LEVELS + 1)]
        print("times", *times)
        worth = f"even {variance(*new, even):.4f}, learned {variance(*new, times):.4f}"
        print(f"nats a token {new[1].mean():.4f}; variance of a row's estimate: {worth}")
        if args.write:
            checkpoint.set_schedule(args.model, times)
    except (CorpusError, LoadError, checkpoint.CheckpointError) as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(unusable(error, args.model), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
