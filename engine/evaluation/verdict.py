"""Which settings are best, by a rule that was fixed before the figures were seen."""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.evaluation.infilling import Result

RULE = (
    "A row is *better* than the default when its words found, BLEU-2 or (given a twin) its passage's perplexity is better by two "
    "standard errors of the paired difference and none of these is worse by as much, and *worse* the other way round. One that repeats "
    "itself more than people do, or has less variety, by two standard errors, *repeats itself* and can't be best, however likely its "
    "words are. The default stays unless a row is better, or it repeats itself."
)
UP = {"words": 1, "bleu2": 1, "twin": -1}
"""The figures that decide, and the direction that is better."""
LIKE_PEOPLE = {"stutter": 1, "repeat": 1, "distinct2": -1}
"""The figures in which a row may not go beyond people, and the direction that is beyond."""
ERRORS = 2.0


def repeats_itself(result: Result, human: Result) -> bool:
    """Whether a row repeats itself more, or varies less, than the true texts of the same gaps."""
    for name, sign in LIKE_PEOPLE.items():
        (ours, error), (theirs, other) = result.figures[name], human.figures[name]
        if sign * (ours - theirs) > ERRORS * math.hypot(error, other):
            return True
    return False


def verdict(result: Result, human: Result) -> str:
    """What the rule says of a row."""
    if repeats_itself(result, human):
        return "repeats itself"
    gains = [sign * result.difference[n][0] / max(result.difference[n][1], 1e-12) for n, sign in UP.items() if n in result.difference]
    better, worse = any(gain > ERRORS for gain in gains), any(gain < -ERRORS for gain in gains)
    return "better" if better and not worse else "worse" if worse and not better else "mixed" if better else "level"


def best(results: Sequence[Result], verdicts: Sequence[str], default: Result) -> Result:
    """The row whose settings should be the page's: the default, unless a better one finds more words or it repeats itself."""
    said = {id(result): words for result, words in zip(results, verdicts, strict=True)}
    rows = [r for r in results if r.row.kinds == default.row.kinds and not r.row.automatic]
    better = [r for r in rows if said[id(r)] == "better"]
    if not better and said[id(default)] == "repeats itself":
        better = [r for r in rows if said[id(r)] in ("level", "mixed")]
    return max(better, key=lambda r: r.figures["words"][0], default=default)
