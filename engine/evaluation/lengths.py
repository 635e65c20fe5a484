"""How near the automatic length of a gap comes to what a person wrote there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.canvas import Canvas
from engine.denoiser import Denoiser
from engine.evaluation import metrics
from engine.evaluation.cuts import Cut
from engine.evaluation.store import Record, Store
from engine.filling import fill
from engine.lengths import CANDIDATES, DEFAULT, cal, confidence, length_bias

WAYS = {
    "automatic": "what the page does",
    "cal": "calibrated confidence alone (CAL, arXiv 2602.00476)",
    "cal, usual": "CAL weighed against usual lengths",
    "mean": "always the mean of the true lengths",
    "median": "always their median",
}
"""How lengths may be guessed; the last two know the true lengths' distribution, which no writer can."""

GUESSED = ("automatic", "cal", "cal, usual")
"""The ways that look at the gap."""


def measure(model: Denoiser, cuts: Sequence[Cut], store: Store, *, seed: int) -> dict[str, Any]:
    """The mean absolute error in tokens of each way, over all gaps and by kind, with errors by document."""

    def compute(i: int) -> Record:
        frame = next(iter(fill(model, cuts[i].draft(None))))
        return {"true": len(cuts[i].tokens(model, cuts[i].truth)), "automatic": len(frame.cells), **_cal(model, cuts[i])}

    found = store.records("lengths", [cut.id for cut in cuts], compute, "lengths")
    true = np.array([record["true"] for record in found])
    guesses = {way: np.array([record[way] for record in found]) for way in GUESSED}
    guesses["mean"] = np.full(len(true), round(float(true.mean())))
    guesses["median"] = np.full(len(true), round(float(np.median(true))))

    def errors(mine: Sequence[int]) -> dict[str, Any]:
        bootstrap = metrics.Bootstrap([cuts[i].document for i in mine], seed=seed)
        rows: dict[str, Any] = {}
        drawn = {}
        for way, guess in guesses.items():
            off = np.abs(guess - true)[mine]
            drawn[way] = bootstrap.draw(np.stack((off, np.ones(len(off))), -1), metrics.share)
            rows[way] = {"error": metrics.with_error(drawn[way]), "guess": float(guess[mine].mean())}
        for way in guesses:
            rows[way]["against_automatic"] = metrics.with_error(drawn[way] - drawn["automatic"])
        return rows

    kinds = dict.fromkeys(cut.kind for cut in cuts)
    correlation = {way: _correlation(true, guesses[way]) for way in GUESSED}
    return {
        "gaps": len(cuts),
        "true_mean": float(true.mean()),
        "all": errors(list(range(len(cuts)))),
        "by_kind": {kind: errors([i for i, cut in enumerate(cuts) if cut.kind == kind]) for kind in kinds},
        "rank_correlation": correlation,
        "pairs": [[int(a), int(b), int(c)] for a, b, c in zip(true, guesses["automatic"], guesses["cal"], strict=True)],
    }


def _correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    """Spearman's rank correlation; none where one side is always the same."""
    ranks = [np.unique(x, return_inverse=True) for x in (a, b)]
    middles = []
    for _, at in ranks:
        often = np.bincount(at)
        middles.append((often.cumsum() - (often - 1) / 2)[at])
    if any(np.ptp(m) == 0 for m in middles):
        return None
    return float(np.corrcoef(middles[0], middles[1])[0, 1])


def _cal(model: Denoiser, cut: Cut) -> Record:
    """What CAL says, alone and weighed against what is usual."""
    canvas, bias = Canvas(model, cut.draft(None)), length_bias(model)
    sure = dict(zip(CANDIDATES, confidence(model, canvas, [DEFAULT], 0, CANDIDATES), strict=True))
    alone = max(sure, key=lambda size: sure[size] / bias(size))
    return {"cal": alone, "cal, usual": cal(model, canvas, [DEFAULT], 0, CANDIDATES, usual=DEFAULT)}
