"""Noise schedules alpha(t): the share of tokens not yet masked at time t, from about 1 at t = 0 down to about 0 at t = 1.

Formulas and constants are those of MDLM's noise_schedule.py (arXiv 2406.07524), save where a class names another source.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override


class Schedule(ABC):
    """A noise schedule. Every method takes and gives tensors of any shape and keeps their dtype.

    `move_chance` and `weight` are closed forms wherever the obvious expression would cancel or give 0/0 near t = 0.
    """

    @abstractmethod
    def move_chance(self, t: Tensor) -> Tensor:
        """1 - alpha(t): the probability that a token is masked at time t."""

    @abstractmethod
    def slope(self, t: Tensor) -> Tensor:
        """d alpha / dt, never positive."""

    @abstractmethod
    def weight(self, t: Tensor) -> Tensor:
        """-slope / (1 - alpha): the weight of a masked token's loss in the continuous-time NELBO (infinite where alpha = 1)."""

    @abstractmethod
    def time_of_move_chance(self, move_chance: Tensor) -> Tensor:
        """The time at which that share of the tokens is masked."""

    def alpha(self, t: Tensor) -> Tensor:
        """The probability that a token is still itself at time t."""
        return 1 - self.move_chance(t)

    def sigma(self, t: Tensor) -> Tensor:
        """Total noise: -log alpha(t)."""
        return -torch.log1p(-self.move_chance(t))

    def time(self, alpha: Tensor) -> Tensor:
        """The inverse of alpha: the time at which that share of the tokens is left."""
        return self.time_of_move_chance(1 - alpha)

    def importance(self, u: Tensor, *, low: float = 0.0, high: float = 1.0) -> tuple[Tensor, Tensor]:
        """Times drawn in proportion to `weight`, from uniforms u in [0, 1]: (t, density of t over [low, high]).

        The NELBO's integrand divided by this density no longer depends on the weight (MDLM's importance sampling).
        `low` must be a time at which some tokens are masked already, or the density has no finite integral.
        """
        ends = torch.tensor([low, high], dtype=u.dtype, device=u.device)
        first, last = self.move_chance(ends).log()
        if not torch.isfinite(first):
            raise ValueError("Importance sampling of t needs a lower end where alpha is below 1; raise `low`.")
        t = self.time_of_move_chance(torch.exp(first + u * (last - first))).clamp(low, high)
        return t, self.weight(t) / (last - first)


@dataclass(frozen=True, slots=True)
class LogLinear(Schedule):
    """Equal shares: every step masks or reveals the same number of tokens; alpha = 1 - t (LLaDA calls it linear).

    MDLM keeps `eps` of the tokens at t = 1 so that sigma stays finite; eps = 0 is alpha = 1 - t to the end.
    """

    eps: float = 1e-3

    @override
    def move_chance(self, t: Tensor) -> Tensor:
        return (1 - self.eps) * t

    @override
    def slope(self, t: Tensor) -> Tensor:
        return torch.full_like(t, self.eps - 1)

    @override
    def weight(self, t: Tensor) -> Tensor:
        return 1 / t

    @override
    def time_of_move_chance(self, move_chance: Tensor) -> Tensor:
        return move_chance / (1 - self.eps)


@dataclass(frozen=True, slots=True)
class LinearFloor(Schedule):
    """Equal shares down to a floor: the masked share is eps + (1 - eps) t, as LLaDA and Dream mask in training."""

    eps: float = 1e-3

    @override
    def move_chance(self, t: Tensor) -> Tensor:
        return self.eps + (1 - self.eps) * t

    @override
    def slope(self, t: Tensor) -> Tensor:
        return torch.full_like(t, self.eps - 1)

    @override
    def weight(self, t: Tensor) -> Tensor:
        return (1 - self.eps) / self.move_chance(t)

    @override
    def time_of_move_chance(self, move_chance: Tensor) -> Tensor:
        return (move_chance - self.eps) / (1 - self.eps)


@dataclass(frozen=True, slots=True)
class MaskGITCosine(Schedule):
    """Few tokens first: the masked share is sin(pi t / 2), so that the first steps are careful (MaskGIT, arXiv 2202.04200; dllm)."""

    @override
    def move_chance(self, t: Tensor) -> Tensor:
        return torch.sin(t * (math.pi / 2))

    @override
    def alpha(self, t: Tensor) -> Tensor:
        return 2 * torch.sin((1 - t) * (math.pi / 4)) ** 2

    @override
    def slope(self, t: Tensor) -> Tensor:
        return -(math.pi / 2) * torch.cos(t * (math.pi / 2))

    @override
    def weight(self, t: Tensor) -> Tensor:
        return (math.pi / 2) / torch.tan(t * (math.pi / 2))

    @override
    def time_of_move_chance(self, move_chance: Tensor) -> Tensor:
        return torch.asin(move_chance) * (2 / math.pi)


@dataclass(frozen=True, slots=True)
class Cosine(Schedule):
    """Few tokens last: a quarter cosine, alpha = cos(pi t / 2), reveals much at first and little at the end."""

    eps: float = 1e-3

    @override
    def move_chance(self, t: Tensor) -> Tensor:
        return 2 * (1 - self.eps) * torch.sin(t * (math.pi / 4)) ** 2

    @override
    def slope(self, t: Tensor) -> Tensor:
        return -(1 - self.eps) * (math.pi / 2) * torch.sin(t * (math.pi / 2))

    @override
    def weight(self, t: Tensor) -> Tensor:
        return (math.pi / 2) / torch.tan(t * (math.pi / 4))

    @override
    def time_of_move_chance(self, move_chance: Tensor) -> Tensor:
        return torch.asin(torch.sqrt(move_chance / (2 * (1 - self.eps)))) * (4 / math.pi)


@dataclass(frozen=True, slots=True)
class CosineSquared(Schedule):
    """Gentle at both ends: a squared cosine, alpha = cos(pi t / 2)^2, reveals little at first and at the end."""

    eps: float = 1e-3

    @override
    def move_chance(self, t: Tensor) -> Tensor:
        return (1 - self.eps) * torch.sin(t * (math.pi / 2)) ** 2

    @override
    def slope(self, t: Tensor) -> Tensor:
        return -(1 - self.eps) * (math.pi / 2) * torch.sin(t * math.pi)

    @override
    def weight(self, t: Tensor) -> Tensor:
        return math.pi / torch.tan(t * (math.pi / 2))

    @override
    def time_of_move_chance(self, move_chance: Tensor) -> Tensor:
        return torch.asin(torch.sqrt(move_chance / (1 - self.eps))) * (2 / math.pi)


class _SigmaSchedule(Schedule):
    """A schedule given by its total noise sigma(t); alpha = exp(-sigma)."""

    @abstractmethod
    @override
    def sigma(self, t: Tensor) -> Tensor: ...

    @abstractmethod
    def rate(self, t: Tensor) -> Tensor:
        """d sigma / dt."""

    @abstractmethod
    def time_of_sigma(self, sigma: Tensor) -> Tensor:
        """The inverse of sigma."""

    @override
    def alpha(self, t: Tensor) -> Tensor:
        return torch.exp(-self.sigma(t))

    @override
    def move_chance(self, t: Tensor) -> Tensor:
        return -torch.expm1(-self.sigma(t))

    @override
    def slope(self, t: Tensor) -> Tensor:
        return -self.rate(t) * self.alpha(t)

    @override
    def weight(self, t: Tensor) -> Tensor:
        return self.rate(t) / torch.expm1(self.sigma(t))

    @override
    def time(self, alpha: Tensor) -> Tensor:
        return self.time_of_sigma(-alpha.log())

    @override
    def time_of_move_chance(self, move_chance: Tensor) -> Tensor:
        return self.time_of_sigma(-torch.log1p(-move_chance))


@dataclass(frozen=True, slots=True)
class LinearSigma(_SigmaSchedule):
    """Many tokens late: sigma grows evenly with t, so that most tokens are revealed in the last steps."""

    sigma_min: float = 0.0
    sigma_max: float = 10.0

    @override
    def sigma(self, t: Tensor) -> Tensor:
        return self.sigma_min + t * (self.sigma_max - self.sigma_min)

    @override
    def rate(self, t: Tensor) -> Tensor:
        return torch.full_like(t, self.sigma_max - self.sigma_min)

    @override
    def time_of_sigma(self, sigma: Tensor) -> Tensor:
        return (sigma - self.sigma_min) / (self.sigma_max - self.sigma_min)


@dataclass(frozen=True, slots=True)
class Geometric(_SigmaSchedule):
    """Many tokens in the middle: sigma grows by equal factors, sigma_min^(1-t) sigma_max^t."""

    sigma_min: float = 1e-4
    sigma_max: float = 20.0

    @override
    def sigma(self, t: Tensor) -> Tensor:
        return self.sigma_min ** (1 - t) * self.sigma_max**t

    @override
    def rate(self, t: Tensor) -> Tensor:
        return self.sigma(t) * math.log(self.sigma_max / self.sigma_min)

    @override
    def time_of_sigma(self, sigma: Tensor) -> Tensor:
        return torch.log(sigma / self.sigma_min) / math.log(self.sigma_max / self.sigma_min)


@dataclass(frozen=True, slots=True)
class Polynomial(Schedule):
    """Most tokens first: alpha = 1 - t^power reveals fast at the start, when power is above 1, and slows down."""

    power: float = 2.0

    @override
    def move_chance(self, t: Tensor) -> Tensor:
        return t**self.power

    @override
    def slope(self, t: Tensor) -> Tensor:
        return -self.power * t ** (self.power - 1)

    @override
    def weight(self, t: Tensor) -> Tensor:
        return self.power / t

    @override
    def time_of_move_chance(self, move_chance: Tensor) -> Tensor:
        return move_chance ** (1 / self.power)


@dataclass(frozen=True, slots=True)
class Learned(Schedule):
    """Where the model is least sure, more steps: straight pieces fitted to its own losses; equal shares for a model without a fit.

    The NELBO is the same under any schedule and the variance of its estimate is not; this one makes it least
    (engine.training.schedule). The idea is that of VDM (arXiv 2107.00630).
    """

    times: tuple[float, ...] = (0.0, 1.0)
    """Item k of K + 1: the time at which k / K of the tokens are masked; from 0 to 1, rising."""

    @property
    def _pieces(self) -> int:
        return len(self.times) - 1

    def _at(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The piece of each time, where it begins and how long it lasts."""
        knots = torch.tensor(self.times, dtype=t.dtype, device=t.device)
        piece = torch.searchsorted(knots[1:-1], t.detach().contiguous(), right=True)
        return piece, knots[piece], knots[piece + 1] - knots[piece]

    @override
    def move_chance(self, t: Tensor) -> Tensor:
        piece, start, lasts = self._at(t)
        return (piece + (t - start) / lasts) / self._pieces

    @override
    def slope(self, t: Tensor) -> Tensor:
        return -1 / (self._pieces * self._at(t)[2])

    @override
    def weight(self, t: Tensor) -> Tensor:
        return -self.slope(t) / self.move_chance(t)

    @override
    def time_of_move_chance(self, move_chance: Tensor) -> Tensor:
        knots = torch.tensor(self.times, dtype=move_chance.dtype, device=move_chance.device)
        piece = (move_chance * self._pieces).floor().long().clamp(0, self._pieces - 1)
        return knots[piece] + (move_chance * self._pieces - piece) * (knots[piece + 1] - knots[piece])


SCHEDULES: dict[str, Schedule] = {
    "loglinear": LogLinear(),
    "linear": LogLinear(0.0),
    "linear_floor": LinearFloor(),
    "linear_sigma": LinearSigma(),
    "cosine": Cosine(),
    "cosinesqr": CosineSquared(),
    "geometric": Geometric(),
    "polynomial": Polynomial(),
    "maskgit_cosine": MaskGITCosine(),
    "learned": Learned(),
}
"""The schedules by name. The first line of a class's docstring is its help on the page."""


def schedule_of(name: str, model: object) -> Schedule:
    """The schedule of this name, `learned` as the model has learned it (its `learned_schedule`, the times of `Learned`)."""
    times: tuple[float, ...] | None = getattr(model, "learned_schedule", None)
    return Learned(times) if name == "learned" and times else SCHEDULES[name]


def network_time(schedule: Schedule, t: Tensor) -> Tensor:
    """What a time-conditioned network is told: the log-linear time at which as many tokens are masked as in the schedule at t.

    Such networks are trained under the log-linear schedule; whatever schedule a run follows, they see the noise level they know.
    """
    return told_of_share(schedule.move_chance(t))


def told_of_share(masked: Tensor) -> Tensor:
    """What a time-conditioned network is told when this share of the tokens is masked."""
    return LogLinear().time_of_move_chance(masked).clamp(0, 1)
