"""How fast a run is, how long it will take, and which share of the machine it uses."""

from __future__ import annotations

from engine.text import amount
from engine.training import machine
from engine.training.crew import Crew
from engine.training.plan import Plan, Shape
from engine.training.run import Progress
from engine.training.trainer import Trainer

ESTIMATED_AFTER = 4
"""Readings of the loss, from which on the time that a run takes can be told."""


class Speed:
    """How fast a run is, and which share of the machine's matrix rate it uses, without the first steps (threads and compilers wake up)."""

    def __init__(self, trainer: Trainer, crew: Crew) -> None:
        self._trainer, self._crew = trainer, crew
        self._tokens = self._flops = self._seconds = 0.0
        self._new, self._reads = [0.0, 0.0], 0

    def count(self, shape: Shape) -> None:
        """A step of this shape was begun."""
        trainer, tokens = self._trainer, self._trainer.tokens(shape)
        predicted = trainer.room(shape) / (shape[0] * shape[1])
        self._new[0] += tokens
        self._new[1] += tokens * machine.flops_per_token(trainer.model.config, shape[1], predicted)

    def read(self, seconds: float) -> bool:
        """The steps counted since the last call took this long; whether enough are in for a first estimate."""
        if self._reads and seconds:
            self._tokens, self._flops, self._seconds = self._tokens + self._new[0], self._flops + self._new[1], self._seconds + seconds
        self._new, self._reads = [0.0, 0.0], self._reads + 1
        return self._reads == ESTIMATED_AFTER and self._seconds > 0

    def estimate(self, plan: Plan, progress: Progress) -> str:
        """How long the rest of a run takes, for people."""
        seconds = (plan.tokens - progress.tokens) * self._seconds / self._tokens
        if plan.minutes:
            seconds = min(seconds, 60 * plan.minutes - progress.seconds)
        return f"{seconds / 60:.0f} minutes" if seconds > 90 else f"{max(1, seconds):.0f} seconds"

    def told(self) -> str:
        """One line for people."""
        peak = machine.peak_memory(self._crew.device)
        memory = f"; {amount(peak)} of memory at most" if peak else ""
        if self._seconds < 0.1:
            return f"Too short to tell the speed{memory}."
        rate, best = self._flops / self._seconds, machine.matrix_rate(self._crew.device) * self._crew.size
        return (
            f"{self._tokens / self._seconds / 1e3:.1f}k tokens a second, {rate / 1e12:.3g} TFLOP/s, {rate / best:.0%} of the "
            f"{best / 1e12:.3g} that matrix products reach here{memory}."
        )
