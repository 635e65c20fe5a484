"""The only loop: from masks to tokens, one Move a step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from engine.denoiser import Denoiser
from engine.draws import Noise, SeededNoise, tempered
from engine.forward import subs_log_probs
from engine.samplers import FREE_RUNNING, SAMPLERS, Options, everything
from engine.schedules import SCHEDULES, network_time
from engine.settings import Settings


class Constraint(Protocol):
    """What a canvas must hold beyond the model's taste, such as an exact number of words."""

    def allowed(self, x: Tensor, positions: Tensor) -> Tensor | None:
        """(L,) canvas, (n,) masked places -> (n, V) bool: the tokens that, alone, leave the canvas completable (None: all)."""
        ...

    def settle(self, x: Tensor, positions: Tensor, tokens: Tensor, log_probs: Tensor) -> Tensor:
        """(n,) places revealed together, surest first, with their tokens and (n, V) log-probabilities -> (n,) tokens
        that are completable jointly.
        """
        ...


@dataclass(frozen=True, slots=True)
class Move:
    """One step of the reverse process."""

    x: Tensor
    """(B, L) long, after the step."""
    revealed: Tensor
    """(B, L) bool, masks that became tokens in this step."""
    retaken: Tensor
    """(B, L) bool, tokens that became masks again in this step."""
    probability: Tensor
    """(B, L) float32: of the token when it was revealed; of the best guess while masked; 1 where it was given."""
    positions: Tensor
    """(B, L) bool, what the model was asked for."""
    log_probs: Tensor
    """(N, V) float32, a row for each of these, row-major; -inf where suppressed or forbidden by the constraint."""
    time: float
    """The diffusion time after the step; of several rows, the latest to be done."""


def grid(steps: int) -> Tensor:
    """(steps + 1,) equal times from 1 (all masked) to 0 (done)."""
    return torch.linspace(1, 0, steps + 1, dtype=torch.float64)


def denoise(
    model: Denoiser,
    x: Tensor,
    *,
    writable: Tensor,
    settings: Settings,
    candidate: int = 0,
    first_step: int = 0,
    constraint: Constraint | None = None,
    times: Tensor | None = None,
    noise: Noise | None = None,
) -> Iterator[Move]:
    """Reveal every writable mask of x, yielding after each step; at most one denoiser call a step.

    x: (B, L) long; row b is candidate `candidate + b`, and what happens to it depends on no other row. writable: (B, L)
    bool; nothing else ever changes. times: the falling grid of diffusion times, by default `settings.steps` equal steps
    from 1 to 0, or as many as there are masks if these are fewer and the sampler reveals at least one a step. The last
    step reveals all that is left. To resume a run exactly, give the times that were left of it and the steps done as
    `first_step`. noise: where chance comes from; by default a pure function of (seed, candidate, first_step + k).

    Raises ValueError when the constraint forbids every token of a position.
    """
    masked = (x == model.mask_id) & writable
    plans = [_Plan.of(settings, int(count), times) for count in masked.sum(-1)]
    noise = noise or SeededNoise(settings.seed, candidate)
    ranks = writable.long().cumsum(-1) - 1
    probability = torch.where(masked, 0.0, 1.0)
    reusable = not model.time_conditioned
    raw: Tensor | None = None

    k = 0
    while masked.any():
        if raw is None:
            raw = _predict(model, x, masked, [plan.told(k) for plan in plans])
        log_probs = raw if constraint is None else _constrained(raw, x, masked, constraint)
        best = log_probs.max(-1)
        tokens = best.indices
        drawn = _are_drawn(settings, [plan.time(k) for plan in plans], masked)
        if drawn.any():
            tokens = torch.where(drawn, noise.tokens(first_step + k, masked, tempered(log_probs, settings)), tokens)
        surely = log_probs.gather(-1, tokens[:, None])[:, 0].exp().cpu()
        clocks = noise.clocks(first_step + k, masked)

        x_next, revealed = x.clone(), torch.zeros_like(masked)
        probability = probability.masked_scatter(masked, best.values.exp())
        for b, places, mine in _rows(masked):
            due, stay = plans[b].due(k, len(places))
            options = Options(ranks[b, places].cpu(), surely[mine], log_probs[mine], clocks[mine], due, stay, settings)
            chosen = (everything if plans[b].is_last(k) else SAMPLERS[settings.sampler])(options).to(x.device)
            where, what, rows = places[chosen], tokens[mine][chosen], log_probs[mine][chosen]
            if constraint is not None and len(chosen):
                what = constraint.settle(x[b], where, what, rows)
            x_next[b, where] = what
            revealed[b, where] = True
            probability[b, where] = rows.gather(-1, what[:, None])[:, 0].exp()

        k += 1
        time = max(plan.time(k) for plan in plans)
        yield Move(x_next, revealed, torch.zeros_like(revealed), probability, masked, log_probs, time)
        # The last prediction is used again, exactly, while nothing changed and the network doesn't look at t (MDLM's ddpm_cache).
        if revealed.any() or not reusable:
            raw = None
        x, masked = x_next, masked & ~revealed


def _predict(model: Denoiser, x: Tensor, masked: Tensor, times: list[float]) -> Tensor:
    """(N, V) SUBS log-probabilities of the masked places; rows that are done don't go through the network."""
    rows = masked.any(-1)
    t = torch.tensor(times, dtype=torch.float32, device=x.device)
    return subs_log_probs(model.logits(x[rows], masked[rows], t=t[rows]).to(x.device), model.suppressed)


@dataclass(frozen=True, slots=True)
class _Plan:
    """The grid of times of one row."""

    times: list[float]
    move_chances: list[float]
    network_times: list[float]

    @classmethod
    def of(cls, settings: Settings, count: int, times: Tensor | None) -> _Plan:
        """A row's grid when it has `count` masks: its own, whatever other rows have."""
        if times is None:
            times = grid(settings.steps if settings.sampler in FREE_RUNNING else max(1, min(settings.steps, count)))
        schedule = SCHEDULES[settings.schedule]
        return cls(times.tolist(), schedule.move_chance(times).tolist(), network_time(schedule, times).tolist())

    def time(self, k: int) -> float:
        """The time before step k."""
        return self.times[min(k, len(self.times) - 1)]

    def told(self, k: int) -> float:
        """The time that a time-conditioned network is told in step k."""
        return self.network_times[min(k, len(self.times) - 1)]

    def is_last(self, k: int) -> bool:
        return k >= len(self.times) - 2

    def due(self, k: int, count: int) -> tuple[int, float]:
        """How many of `count` masks are due in step k, one at least in this and in each later step, and the chance to stay."""
        if self.is_last(k):
            return count, 0.0
        stay = self.move_chances[k + 1] / self.move_chances[k]
        later = len(self.times) - 2 - k
        return max(1, min(count - round(count * stay), count - later)), stay


def _are_drawn(settings: Settings, times: list[float], masked: Tensor) -> Tensor:
    """(N,) bool: whose token is drawn; the others take the likeliest. `hybrid` draws while more than half of the time is left."""
    stochastic = settings.choice == "stochastic"
    hybrid = settings.choice == "hybrid"
    rows = torch.tensor([settings.temperature > 0 and (stochastic or (hybrid and t > 0.5)) for t in times])
    return rows.to(masked.device)[masked.nonzero()[:, 0]]


def _rows(masked: Tensor) -> Iterator[tuple[int, Tensor, slice]]:
    """For each row with masks: its number, the places of its masks, and the slice of the N positions that is its own."""
    end = 0
    for b, row in enumerate(masked):
        places = row.nonzero()[:, 0]
        start, end = end, end + len(places)
        if len(places):
            yield b, places, slice(start, end)


def _constrained(raw: Tensor, x: Tensor, masked: Tensor, constraint: Constraint) -> Tensor:
    """The log-probabilities with what the constraint forbids at -inf. They are not normalised again: a forced token keeps
    the little probability that the model gives it, so that orders of confidence leave it for last.
    """
    log_probs = raw.clone()
    for b, places, mine in _rows(masked):
        allowed = constraint.allowed(x[b], places)
        if allowed is not None:
            log_probs[mine] = log_probs[mine].masked_fill(~allowed.to(raw.device), -torch.inf)
    if bool((log_probs.amax(-1) == -torch.inf).any()):
        raise ValueError("The constraint leaves no token for a masked place of the canvas.")
    return log_probs
