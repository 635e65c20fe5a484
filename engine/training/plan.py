"""The plan of a run: its budget, and which batch comes when. A pure function of where the run is, so that a run resumes exactly."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from engine.training.corpus import CorpusError

Shape = tuple[int, int]
"""(rows, tokens in a row) of a batch."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Stages of batch shapes over a budget of tokens, or of minutes, whichever ends first."""

    stages: tuple[tuple[float, tuple[Shape, ...]], ...]
    """(from which share of the run, the shapes that its steps draw from), in order; the first from 0."""
    tokens: float
    """Infinite where the minutes alone end the run."""
    minutes: float | None = None
    seed: int = 0

    @classmethod
    def of(cls, text: str, tokens: float, minutes: float | None = None, seed: int = 0) -> Plan:
        """A plan with stages as written on the command line, 0:24x128,0.5:24x256+96x64; CorpusError for what is none."""
        stages = []
        for part in text.split(","):
            found = re.fullmatch(r"(0|0?\.\d+|1):(\d+x\d+(?:\+\d+x\d+)*)", part.strip())
            if not found:
                raise CorpusError(f"The stage {part!r} is not of the form SHARE:ROWSxLENGTH; write for example 0:24x128,0.5:24x256+96x64.")
            shapes = tuple((int(rows), int(length)) for rows, length in re.findall(r"(\d+)x(\d+)", found[2]))
            if any(rows < 1 or length < 2 for rows, length in shapes):
                raise CorpusError(f"The stage {part!r} has a batch without rows, or rows of less than two tokens.")
            stages.append((float(found[1]), shapes))
        if min(stages)[0] > 0:
            raise CorpusError("No stage begins at the start of the run; let the first one be 0:ROWSxLENGTH.")
        return cls(tuple(sorted(stages)), tokens, minutes, seed)

    @property
    def budget(self) -> str:
        """What ends the run, for people."""
        ends = [f"{self.tokens:,.0f} tokens"] if math.isfinite(self.tokens) else []
        return " or ".join([*ends, *([f"{self.minutes:g} minutes"] if self.minutes else [])])

    @property
    def longest(self) -> int:
        """Tokens in the longest row."""
        return max(length for _, shapes in self.stages for _, length in shapes)

    @property
    def largest(self) -> Shape:
        """The batch with the most tokens."""
        return max((shape for _, shapes in self.stages for shape in shapes), key=lambda shape: shape[0] * shape[1])

    def done(self, tokens: int, seconds: float) -> float:
        """How far a run is, from 0; over at 1."""
        by_time = seconds / (60 * self.minutes) if self.minutes else 0.0
        return max(tokens / self.tokens, by_time)

    def shape(self, done: float, tokens: int) -> Shape:
        """The batch of the step that begins after so many tokens."""
        shapes = [stage for stage in self.stages if stage[0] <= done][-1][1]
        return shapes[np.random.default_rng([self.seed, tokens]).integers(len(shapes))]
