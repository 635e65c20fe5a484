"""How near a model's guess of a gap's length comes to what a person wrote there, beside guesses that know less."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from engine.canvas import Canvas
from engine.denoiser import Denoiser, KnowsLengths
from engine.evaluation import metrics
from engine.evaluation.store import Record, Store
from engine.lengths import BELOW, CANDIDATES, DEFAULT, ROWS, batch, cal, confidence, guess, length_bias
from engine.training.gaps import MIX, Cut

HEAD, MEDIAN, CAL, WEIGHED = "head", "head's median", "CAL", "CAL and prior"
WAYS = {
    HEAD: f"the length head: {BELOW:.0%} of its distribution lie below; what the page does, but for the least room that some gaps need",
    MEDIAN: "the median of that distribution, which errs least and reads worse",
    CAL: f"calibrated confidence alone (arXiv 2602.00476), of {CANDIDATES[0]} to {CANDIDATES[-1]} tokens",
    WEIGHED: "the same weighed against a usual length: what the page does with models without a head",
    "mean": "always the mean of the true counts",
    "median": "always their median",
}
"""How counts are guessed; the last two know the true counts' distribution, which no writer does."""


def measure(model: Denoiser, cuts: Sequence[Cut], store: Store, *, cal_gaps: int, seed: int) -> dict[str, Any]:
    """For every way to guess and every kind of gap the mean absolute error in tokens and in octaves, with errors by document.

    CAL, which takes eight times as long as the head, is tried on `cal_gaps` of the gaps only; there the other ways are compared with
    it ("where CAL was tried"). A model without a head has no row for it.
    """
    rng = np.random.default_rng([seed, 3])
    documents = np.array([cut.document for cut in cuts])
    kinds = np.array([cut.kind for cut in cuts])
    found: dict[str, Any] = {"gaps": len(cuts), "seed": seed}
    windows, counted = zip(*(cut.masked(model) for cut in cuts), strict=True)
    counts = np.array(counted)
    guesses: dict[str, np.ndarray] = {}
    if isinstance(model, KnowsLengths):
        log_probs = []
        for start in tqdm(range(0, len(cuts), ROWS), desc="Lengths", unit=" batches", file=sys.stderr, leave=False):
            ids, cells, attend = batch(model, windows[start : start + ROWS])
            log_probs.append(model.gap_lengths(ids, cells, attend=attend))
        told = torch.cat(log_probs)
        for way, below in ((HEAD, BELOW), (MEDIAN, 0.5)):
            guesses[way] = np.array([guess(row, 1, None, below=below) for row in told], dtype=float)
        found["belief"] = _belief(counts, told.double().numpy(), rng)
    tried = rng.permutation(len(cuts))[:cal_gaps].tolist()
    records = store.records(["CAL", len(cuts)], [cuts[i].id for i in tried], lambda i: _cal(model, cuts[tried[i]]), "CAL")
    for way in (CAL, WEIGHED):
        guesses[way] = np.full(len(cuts), np.nan)
        guesses[way][tried] = [record[way] for record in records]
    guesses["mean"] = np.full(len(cuts), float(round(counts.mean())))
    guesses["median"] = np.full(len(cuts), float(np.median(counts)))

    def errors(mine: np.ndarray) -> dict[str, Any]:
        """The errors of each way on some of the gaps, those that it was tried on."""
        row: dict[str, Any] = {"gaps": int(mine.sum()), "true_mean": float(counts[mine].mean())}
        for way, guessed in guesses.items():
            known = mine & ~np.isnan(guessed)
            if known.any():
                off = np.abs(guessed - counts)[known], np.abs(np.log2(guessed[known] / counts[known]))
                tokens, octaves = (metrics.mean_by_document(values, documents[known]) for values in off)
                row[way] = {"gaps": int(known.sum()), "tokens": tokens, "octaves": octaves}
        return row

    found["all"] = errors(np.ones(len(cuts), dtype=bool))
    found["by_kind"] = {kind: errors(kinds == kind) for kind in MIX if (kinds == kind).any()}
    if tried:
        found["where CAL was tried"] = errors(np.isin(np.arange(len(cuts)), tried))
    shown = guesses.get(HEAD, guesses[WEIGHED])
    found["pairs"] = [[int(counts[i]), int(shown[i]), int(guesses[CAL][i])] for i in tried]
    return found


def _cal(model: Denoiser, cut: Cut) -> Record:
    """CAL's guess alone, and weighed against a usual length; another gap of the draft has the default length."""
    canvas, bias = Canvas(model, cut.draft()), length_bias(model)
    sizes = [DEFAULT] * len(canvas.spans)
    sure = dict(zip(CANDIDATES, confidence(model, canvas, sizes, cut.asked, CANDIDATES), strict=True))
    alone = max(sure, key=lambda size: sure[size] / bias(size))
    return {CAL: alone, WEIGHED: cal(model, canvas, sizes, cut.asked, CANDIDATES, usual=DEFAULT)}


def _belief(counts: np.ndarray, log_probs: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """(N,) true counts, (N, LONGEST) log-probabilities of 1, 2, ... tokens -> how good the distributions are.

    "nats": the mean cost of the true count; "marginal_nats": that under the gaps' average distribution; "too_long": gaps of more than
    LONGEST tokens, which are left out; "inside": how often the truth is in the central intervals that ought to hold it so often.
    """
    within = counts <= log_probs.shape[1]
    at, rows = counts[within] - 1, log_probs[within]
    probs = np.exp(rows)
    exact = probs[np.arange(len(at)), at]
    # Where a count is one of few, it lies spread over its own share of the distribution (randomised PIT, Smith 1985).
    place = probs.cumsum(1)[np.arange(len(at)), at] - exact * rng.random(len(at))
    return {
        "nats": float(-np.log(exact).mean()),
        "marginal_nats": float(-np.log(probs.mean(0)[at]).mean()),
        "too_long": int((~within).sum()),
        "inside": {f"{share:.0%}": float((np.abs(place - 0.5) <= share / 2).mean()) for share in (0.5, 0.8, 0.95)},
    }
