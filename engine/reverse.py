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
from engine.samplers import FREE_RUNNING, SAMPLERS, Options
from engine.schedules import SCHEDULES, Schedule
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
    """The diffusion time after the step."""


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
    schedule = SCHEDULES[settings.schedule]
    masked = (x == model.mask_id) & writable
    if times is None:
        most = int(masked.sum(-1).max()) if masked.numel() else 0
        times = grid(settings.steps if settings.sampler in FREE_RUNNING else min(settings.steps, most))
    noise = noise or SeededNoise(settings.seed, candidate)
    ranks = writable.long().cumsum(-1) - 1
    probability = torch.where(masked, 0.0, 1.0)
    reusable = not getattr(model, "time_conditioned", True)
    raw: Tensor | None = None

    for k in range(len(times) - 1):
        if not masked.any():
            return
        if raw is None:
            rows = masked.any(-1)
            t = torch.full((int(rows.sum()),), float(times[k]), dtype=torch.float32, device=x.device)
            raw = subs_log_probs(model.logits(x[rows], masked[rows], t=t), model.suppressed)
        log_probs = raw if constraint is None else _constrained(raw, x, masked, constraint)

        drawn = _is_drawn(settings, float(times[k]))
        tokens, clocks = noise.draw(first_step + k, masked, tempered(log_probs, settings, drawn=drawn))
        surely = log_probs.gather(-1, tokens[:, None])[:, 0].exp().cpu()

        left = len(times) - 1 - k
        x_next, revealed = x.clone(), torch.zeros_like(masked)
        probability = probability.masked_scatter(masked, log_probs.amax(-1).exp().to(x.device))
        offset = 0
        for b in range(len(x)):
            places = masked[b].nonzero()[:, 0]
            mine = slice(offset, offset := offset + len(places))
            if not len(places):
                continue
            stay, due = _due(schedule, times, k, len(places))
            options = Options(places.cpu(), ranks[b, places].cpu(), surely[mine], log_probs[mine], clocks[mine].cpu(), due, stay, settings)
            chosen = _all(options) if left == 1 else SAMPLERS[settings.sampler](options)
            if not len(chosen):
                continue
            where = places[chosen.to(x.device)]
            rows_of = log_probs[mine][chosen.to(log_probs.device)]
            what = tokens[mine][chosen.to(tokens.device)]
            if constraint is not None:
                what = constraint.settle(x[b], where, what.to(x.device), rows_of)
            x_next[b, where] = what.to(x.device)
            revealed[b, where] = True
            probability[b, where] = rows_of.gather(-1, what.to(rows_of.device)[:, None])[:, 0].exp().to(x.device)

        yield Move(x_next, revealed, torch.zeros_like(revealed), probability, masked, log_probs, float(times[k + 1]))
        # The last prediction may be used again, exactly, while nothing changed and the network doesn't look at t (MDLM).
        if revealed.any() or not reusable:
            raw = None
        x, masked = x_next, masked & ~revealed


def _is_drawn(settings: Settings, time: float) -> bool:
    """Whether tokens are drawn at this time, or the likeliest taken; hybrid draws in the first half of the way."""
    return settings.choice == "stochastic" or (settings.choice == "hybrid" and time > 0.5)


def _due(schedule: Schedule, times: Tensor, k: int, count: int) -> tuple[float, int]:
    """The chance to stay masked in step k, and how many of `count` masks are due: at least one in this and each later step."""
    left = len(times) - 1 - k
    t, s = schedule.move_chance(times[k : k + 2]).tolist()
    stay = s / t
    return stay, max(1, min(count - round(count * stay), count - (left - 1)))


def _all(options: Options) -> Tensor:
    """Everything, the surest first: what the last step reveals."""
    return torch.argsort(options.probability, descending=True, stable=True)


def _constrained(raw: Tensor, x: Tensor, masked: Tensor, constraint: Constraint) -> Tensor:
    """The log-probabilities with what the constraint forbids at -inf. They are not normalised again: a forced token keeps
    the little probability that the model gives it, so that orders of confidence leave it for last.
    """
    log_probs, offset = raw.clone(), 0
    for b in range(len(x)):
        places = masked[b].nonzero()[:, 0]
        mine = slice(offset, offset := offset + len(places))
        allowed = constraint.allowed(x[b], places) if len(places) else None
        if allowed is not None:
            log_probs[mine] = log_probs[mine].masked_fill(~allowed.to(raw.device), -torch.inf)
    if len(log_probs) and bool((log_probs.amax(-1) == -torch.inf).any()):
        raise ValueError("The constraint leaves no token for a masked place of the canvas.")
    return log_probs
