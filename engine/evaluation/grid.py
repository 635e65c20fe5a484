"""What infilling is measured under: the default settings, and one factor at a time away from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from engine.samplers import FREE_RUNNING, SAMPLERS
from engine.schedules import SCHEDULES
from engine.settings import PUBLISHED, Rounding, Scores, Settings, Words
from engine.training.gaps import EVEN

Size = Literal["quick", "card", "full"]
DEFAULT = "default"
CURVES = ("confidence", "margin", "entropy", "random", "ancestral")
"""Samplers whose quality is followed over the number of steps."""
FEW_SAMPLERS = ("margin", "random")
"""Samplers in the smaller reports."""
STEPS = (4, 8, 16, 32, 64)
ALL = tuple(EVEN)
LONG = ("sentence",)
"""Steps are compared where there are enough tokens for them to matter."""

TEMPERATURES = (0.0, 0.3, 0.5, 0.7, 0.85, 1.0)
TOP_P = (0.8, 0.9, 0.95, 1.0)
REPETITION = (0.0, 1.0, 2.0, 3.0, 4.0)
PRESENCE = (0.0, 1.5, 3.0, 6.0)
REFRESH = (1, 2, 4, 8, 16)
GUIDANCE = (0.0, 0.5, 1.0, 2.0)
REVISE = (0, 1, 2, 3, 5)
CANDIDATES = (1, 2, 4, 8)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    factor: str
    """What was changed."""
    value: str
    """To what."""
    settings: Settings
    automatic: bool = False
    """Whether the length is left to the model; otherwise the true number of tokens is given."""
    kinds: tuple[str, ...] = ALL

    @property
    def name(self) -> str:
        """Unlike that of any other row."""
        return f"{self.factor} {self.value}".strip()


def rows(size: Size, default: Settings) -> list[Row]:
    """The rows of a report, the default first; the steps' rows last."""
    found = [
        Row(DEFAULT, "", default),
        Row("length", "automatic", default, automatic=True),
        *_varied(default, "sampler", SAMPLERS if size == "full" else FEW_SAMPLERS),
        *_varied(default, "temperature", TEMPERATURES if size == "full" else (0.0, 1.0)),
        *_varied(default, "repetition", REPETITION if size == "full" else (0.0,)),
        *_varied(default, "presence", PRESENCE if size == "full" else (0.0,)),
        *_varied(default, "words", get_args(Words)),
        *_varied(default, "refresh", REFRESH if size == "full" else (1,)),
        *_varied(default, "guidance", GUIDANCE if size == "full" else (0.0,)),
        *_varied(default, "revise", REVISE if size == "full" else (0,)),
        *_varied(default, "candidates", CANDIDATES if size == "full" else (1,)),
    ]
    if size == "full":
        found += _varied(default, "top_p", TOP_P)
        found += _varied(default, "choice", ("hybrid", "deterministic"))
        found += _varied(default, "block_length", (0, 8))
        found += _varied(default, "schedule", SCHEDULES)
        found += _varied(default, "rounding", get_args(Rounding))
        found += _varied(default, "scores", get_args(Scores))
        found += _published(default)
    samplers = (default.sampler,) if size != "full" else tuple(s for s in CURVES if s in SAMPLERS)
    for sampler in samplers:
        for steps in STEPS if size == "full" else (4, 16):
            found.append(Row("steps", f"{sampler}, {steps}", replace(default, sampler=sampler, steps=steps), kinds=LONG))
    return found


def _published(default: Settings) -> Iterator[Row]:
    """Published methods, but for those that take hundreds of steps whatever the gap."""
    for name, told in PUBLISHED.items():
        settings = replace(default, **told)  # type: ignore[arg-type]
        if not (settings.sampler in FREE_RUNNING and settings.steps > max(STEPS)):
            yield Row("published", name, settings)


def _varied(default: Settings, factor: str, values: Any) -> Iterator[Row]:
    """A row for each value of one setting but the default's own."""
    for value in values:
        if value != getattr(default, factor):
            yield Row(factor, str(value), replace(default, **{factor: value}))
