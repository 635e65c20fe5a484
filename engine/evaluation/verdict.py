"""Which settings are best, by a rule that was fixed before the figures were seen."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

from engine.evaluation.infilling import Result

RULE = (
    "A row is *better* than the default when one of these figures is better by two standard errors of the paired difference and none "
    "is worse by as much: words found, BLEU-2, stutter, words said again, repeated 2-grams, distinct-2 and, given a twin, its "
    "perplexity ratio; *worse* the other way round, *mixed* when both. Repetition, lack of variety and the ratio count only as far as "
    "they are beyond people's, so likeliness alone wins nothing. A row with a † is beyond people's in stutter, repeated 2-grams or "
    "distinct-2 by two standard errors of the paired difference. So many rows have so many figures that some are better by chance: "
    "the default stands unless a row is better by so many standard errors as one report of twenty would show anywhere if no row "
    "differed (Bonferroni's correction). Of several such rows those within one standard error of the one that finds most words are "
    "taken, and of these the one that repeats fewest 2-grams."
)
UP = ("words", "bleu2")
"""Figures of which more is better."""
BEYOND = {"stutter": 1, "again": 1, "repeat": 1, "distinct2": -1, "twin": 1}
"""Figures that should be as people's, and the direction that is beyond."""
DAGGER = ("stutter", "repeat", "distinct2")
ERRORS = 2.0
CHANCE = 0.05
"""How likely a report may be to exchange a default that nothing is better than."""


def repeats_itself(result: Result) -> bool:
    """Whether a row repeats itself more, or varies less, than the true texts of the same gaps."""
    return any(_gain(BEYOND[name] * result.beyond[name][0], result.beyond[name][1]) > ERRORS for name in DAGGER if name in result.beyond)


def verdict(result: Result, human: Result) -> str:
    """What the rule says of a row: better, worse, mixed or level."""
    gains = _gains(result, human)
    better, worse = any(gain > ERRORS for gain in gains), any(gain < -ERRORS for gain in gains)
    return "mixed" if better and worse else "better" if better else "worse" if worse else "level"


def _gains(result: Result, human: Result) -> list[float]:
    """By how many standard errors each figure of a row is better than the default's."""
    gains = [_gain(result.difference[name][0], result.difference[name][1]) for name in UP if name in result.difference]
    for name, sign in BEYOND.items():
        if name not in result.difference:
            continue
        difference, error = result.difference[name]
        if name not in result.figures or name not in human.figures:
            continue
        value, people = result.figures[name][0], human.figures[name][0]
        before, now = (max(0.0, sign * (x - people)) for x in (value - difference, value))
        gains.append(_gain(before - now, error))
    return gains


def best(results: Sequence[Result], verdicts: Sequence[str], default: Result, human: Result) -> Result:
    """The row whose settings should be the page's, of those with true lengths and gaps of every kind."""
    fair = [r for r in results if r.row.kinds == default.row.kinds and not r.row.automatic]
    asked = needed(sum(len(_gains(result, human)) for result in fair if result is not default))
    said = dict(zip(map(id, results), verdicts, strict=True))
    better = [result for result in fair if said[id(result)] == "better" and max(_gains(result, human)) > asked]
    if not better:
        return default
    most, error = max(result.figures["words"] for result in better)
    return min((r for r in better if r.figures["words"][0] >= most - error), key=lambda r: r.figures["repeat"][0])


def needed(figures: int) -> float:
    """Standard errors by which one of so many figures must be better for the default to be exchanged: Bonferroni's correction."""
    return max(ERRORS, NormalDist().inv_cdf(1 - CHANCE / max(1, figures)))


def _gain(difference: float, error: float) -> float:
    """A difference in standard errors; of no difference none, however sure."""
    return 0.0 if abs(difference) < 1e-12 else difference / max(error, 1e-12)
