"""How near a model's guess of a gap's length comes to what a person wrote there, beside guesses that know less."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from engine.canvas import Canvas
from engine.denoiser import Denoiser, KnowsLengths
from engine.lengths import CANDIDATES, DEFAULT, batch, cal, confidence, length_bias, middle
from engine.training.gaps import SHARES, Cut, true_counts, window_of

WAYS = {
    "head": "the length head: the median of its distribution",
    "CAL": "calibrated confidence alone (arXiv 2602.00476)",
    "CAL and prior": "the same weighed against a usual length: what models without a head do",
    "mean": "always the mean of the true counts",
    "median": "always their median",
}
"""How counts are guessed; the last two know the true counts' distribution, which no writer does."""


def report(model: Denoiser, found: Sequence[tuple[int, Cut]], *, cal_gaps: int, seed: int) -> dict[str, Any]:
    """For every way to guess and every kind of gap: mean absolute error in tokens and in octaves, with errors by document.

    CAL is tried on `cal_gaps` of the gaps only. A model without a head has no row for it.
    """
    rng = np.random.default_rng([seed, 3])
    documents = np.array([document for document, _ in found])
    kinds = np.array([cut.kind for _, cut in found])
    guesses: dict[str, np.ndarray] = {}
    figures: dict[str, Any] = {"model": model.name, "gaps": len(found), "seed": seed}
    if isinstance(model, KnowsLengths):
        counts, log_probs = _distributions(model, [cut for _, cut in found])
        guesses["head"] = np.array([middle(row, 1, None) for row in log_probs], dtype=float)
        figures["head"] = _belief(counts, log_probs.double().numpy(), rng)
    else:
        counts = np.array([_count(model, cut) for _, cut in found])
    tried = rng.permutation(len(found))[:cal_gaps]
    for way in ("CAL", "CAL and prior"):
        guesses[way] = np.full(len(found), np.nan)
    for i in tqdm(tried, desc="CAL", unit=" gaps", file=sys.stderr, leave=False):
        guesses["CAL"][i], guesses["CAL and prior"][i] = _cal(model, found[i][1])
    guesses["mean"] = np.full(len(found), float(round(counts.mean())))
    guesses["median"] = np.full(len(found), float(np.median(counts)))

    def rows(mine: np.ndarray) -> dict[str, Any]:
        told: dict[str, Any] = {"gaps": int(mine.sum()), "mean": float(counts[mine].mean()), "median": float(np.median(counts[mine]))}
        for way, guess in guesses.items():
            known = mine & ~np.isnan(guess)
            if known.any():
                off = np.abs(guess - counts)[known], np.abs(np.log2(guess[known] / counts[known]))
                told[way] = {
                    "gaps": int(known.sum()),
                    "tokens": _mean(off[0], documents[known]),
                    "octaves": _mean(off[1], documents[known]),
                }
        return told

    figures["all"] = rows(np.ones(len(found), dtype=bool))
    figures["by kind"] = {kind: rows(kinds == kind) for kind in SHARES if (kinds == kind).any()}
    on_these = np.zeros(len(found), dtype=bool)
    on_these[tried] = True
    if cal_gaps:
        figures["where CAL was tried"] = rows(on_these)
    return figures


def table(figures: dict[str, Any]) -> str:
    """The figures as a Markdown table for a person."""
    ways = [way for way in WAYS if way in figures["all"]]
    lines = [f"| tokens (octaves) off | gaps | {' | '.join(ways)} |", "| --- " * (2 + len(ways)) + "|"]
    groups = {**figures["by kind"], "all": figures["all"]}
    if "where CAL was tried" in figures:
        groups["where CAL was tried"] = figures["where CAL was tried"]
    for name, row in groups.items():
        cells = (f"{_with_error(row[way]['tokens'])} ({_with_error(row[way]['octaves'])})" if way in row else "" for way in ways)
        lines.append(f"| {name} | {row['gaps']} | {' | '.join(cells)} |")
    if head := figures.get("head"):
        inside = ", ".join(f"{share:.1%} of its {nominal} intervals" for nominal, share in head["inside"].items())
        lines += [
            "",
            f"The head gives the true count {head['nats']:.3f} nats, {head['marginal nats'] - head['nats']:.3f} less than its own "
            f"average distribution does; the truth is in {inside}.",
        ]
    return "\n".join(lines)


def _distributions(model: KnowsLengths, found: Sequence[Cut]) -> tuple[np.ndarray, torch.Tensor]:
    """(N,) true counts and (N, LONGEST) log-probabilities, other gaps in a draft being as unknown as this one."""
    counts: list[int] = []
    rows = []
    for start in tqdm(range(0, len(found), 16), desc="Measuring", unit=" batches", file=sys.stderr, leave=False):
        windows, true = zip(*(window_of(model, cut, known=False) for cut in found[start : start + 16]), strict=True)
        ids, cells, attend = batch(model, windows)
        rows.append(model.gap_lengths(ids, cells, attend=attend))
        counts += true
    return np.array(counts), torch.cat(rows)


def _count(model: Denoiser, cut: Cut) -> int:
    return true_counts(model, Canvas(model, cut.draft), cut)[cut.asked]


def _cal(model: Denoiser, cut: Cut) -> tuple[int, int]:
    """CAL's guess alone, and with its prior."""
    canvas, bias = Canvas(model, cut.draft), length_bias(model)
    sizes = [DEFAULT] * len(canvas.spans)
    sure = confidence(model, canvas, sizes, cut.asked, CANDIDATES)
    alone = max(zip(CANDIDATES, sure, strict=True), key=lambda found: found[1] / bias(found[0]))[0]
    return alone, cal(model, canvas, sizes, cut.asked, CANDIDATES, usual=DEFAULT)


def _belief(counts: np.ndarray, log_probs: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """Nats of the true counts, those of the average distribution, and how often the truth is in intervals that ought to hold it."""
    within = counts <= log_probs.shape[1]
    at, rows = counts[within] - 1, log_probs[within]
    probs = np.exp(rows)
    exact = probs[np.arange(len(at)), at]
    # Where a count is one of few, it lies spread over its own share of the distribution (randomised PIT).
    place = probs.cumsum(1)[np.arange(len(at)), at] - exact * rng.random(len(at))
    return {
        "nats": float(-np.log(exact).mean()),
        "marginal nats": float(-np.log(probs.mean(0)[at]).mean()),
        "too long": int((~within).sum()),
        "inside": {f"{share:.0%}": float((np.abs(place - 0.5) <= share / 2).mean()) for share in (0.5, 0.8, 0.95)},
    }


def _mean(values: np.ndarray, documents: np.ndarray) -> tuple[float, float]:
    """A mean and its standard error when the documents are the independent units."""
    mean = float(values.mean())
    sums = np.array([(values[documents == d] - mean).sum() for d in np.unique(documents)])
    if len(sums) < 2:
        return mean, math.nan
    return mean, float(math.sqrt(len(sums) / (len(sums) - 1) * (sums**2).sum()) / len(values))


def _with_error(value: tuple[float, float]) -> str:
    return f"{value[0]:.2f} ± {value[1]:.2f}"
