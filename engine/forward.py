"""The forward process q(x_t | x_0) and the NELBO in continuous time: shared by training and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from engine.denoiser import Denoiser
from engine.schedules import LogLinear, Schedule, network_time

WHOLE = LogLinear(eps=0.0)
"""alpha = 1 - t over all of [0, 1]: a NELBO over this interval is a bound with nothing left out at either end."""


def mask(
    x0: Tensor,
    move_chance: Tensor,
    *,
    mask_id: int,
    allowed: Tensor | None = None,
    uniforms: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw x_t ~ q(x_t | x_0): each token becomes the mask on its own, with its row's probability.

    x0: (B, L) ids. move_chance: (B,) = 1 - alpha(t). allowed: (B, L) bool, False = never masked (given text, padding).
    uniforms: (B, L) in [0, 1) to use in place of drawn ones; a token is masked where they are below move_chance.
    """
    if uniforms is None:
        uniforms = torch.rand(x0.shape, generator=generator, device=x0.device)
    moved = uniforms < move_chance[:, None]
    if allowed is not None:
        moved = moved & allowed
    return torch.where(moved, mask_id, x0)


def low_variance_t(
    batch: int,
    *,
    low: float = 0.0,
    high: float = 1.0,
    shuffle: bool = False,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """(B,) times in [low, high], one in each of B equal parts: (i + u_i) / B, each uniform on its own (MDLM).

    Any mean over the batch keeps its expectation and loses most of the variance that comes from t.
    `shuffle` puts them in random order, for when the order of the rows means something.
    """
    parts = torch.arange(batch, device=device)
    if shuffle:
        parts = torch.randperm(batch, generator=generator, device=device)
    u = (parts + torch.rand(batch, generator=generator, device=device)) / batch
    return low + (high - low) * u


def subs_log_probs(logits: Tensor, suppressed: Sequence[int]) -> Tensor:
    """(N, V) raw logits at masked positions -> float32 log-probabilities with the suppressed ids at -inf.

    This is MDLM's SUBS (arXiv 2406.07524) with the mask among the suppressed; its other half, carrying revealed tokens over,
    holds because only masked positions are ever asked for.
    """
    ids = torch.as_tensor(suppressed, dtype=torch.long, device=logits.device)
    return torch.log_softmax(logits.float().index_fill(-1, ids, -torch.inf), dim=-1)


def guided(logits: Tensor, guidance: float) -> Tensor:
    """(2N, V) raw logits, first those that know the given text, then those that don't -> (N, V), further from the latter (classifier-free
    guidance, arXiv 2207.12598, on LLaDA's scale: at 0 the logits that there are). What a linear head reads may be mixed so as well.
    """
    if not guidance:
        return logits
    conditioned, free = logits.chunk(2)
    return free.lerp(conditioned, 1 + guidance)


def surprisal(log_probs: Tensor) -> Tensor:
    """(n,) on the CPU, in nats: how surprising to the model a token drawn from what is allowed is, in expectation.

    This is the entropy when nothing is forbidden. Where a constraint leaves little of the model's mass it is that mass's
    -log more, so that a forced token never counts as a sure one.
    """
    shares = log_probs.softmax(-1)  # also where the mass is too small to be told from none
    return -(shares * log_probs.masked_fill(log_probs == -torch.inf, 0.0)).sum(-1).cpu().double()


def token_losses(logits: Tensor, targets: Tensor, *, mask_id: int) -> Tensor:
    """(N,) -log p(x_0) in nats, under SUBS: only the mask itself is ruled out, so that any text has a finite loss."""
    column = torch.full((1,), mask_id, device=logits.device)  # made there: a copy from the CPU would be waited for
    return functional.cross_entropy(logits.float().index_fill(-1, column, -torch.inf), targets, reduction="none")


@dataclass(frozen=True, slots=True)
class Nelbo:
    """An unbiased estimate of the negative evidence lower bound, in nats."""

    per_token: Tensor
    """(B, L) float32, weight times -log p where the token was masked, 0 elsewhere."""
    masked: Tensor
    """(B, L) bool, where x_t was masked."""
    valid: Tensor
    """(B, L) bool, the tokens that count."""

    @property
    def per_sequence(self) -> Tensor:
        """(B,) nats of each sequence."""
        return self.per_token.sum(-1)

    @property
    def mean(self) -> Tensor:
        """Nats a token: all the nats over all the tokens that count, masked or not."""
        return self.per_token.sum() / self.valid.sum()


def nelbo(
    model: Denoiser,
    x0: Tensor,
    *,
    t: Tensor,
    schedule: Schedule = WHOLE,
    density: Tensor | None = None,
    valid: Tensor | None = None,
    uniforms: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Nelbo:
    """Estimate E_t [weight(t) * sum over masked of -log p(x_0 | x_t)] with one time a row (MDLM, arXiv 2406.07524).

    x0: (B, L) ids. t: (B,) times; `density`: (B,) their density when they are not uniform over [0, 1], as
    `Schedule.importance` gives it (uniform over [low, high]: 1 / (high - low)). valid: (B, L) bool, False = padding,
    which is neither masked, nor attended to, nor counted. The value does not depend on the schedule, only on the
    interval of alpha that t covers.
    """
    valid = torch.ones_like(x0, dtype=torch.bool) if valid is None else valid
    xt = mask(x0, schedule.move_chance(t), mask_id=model.mask_id, allowed=valid, uniforms=uniforms, generator=generator)
    masked = (xt == model.mask_id) & valid
    weights = schedule.weight(t) if density is None else schedule.weight(t) / density
    logits = model.logits(xt, masked, t=network_time(schedule, t), attend=None if bool(valid.all()) else valid)
    losses = token_losses(logits, x0[masked].to(logits.device), mask_id=model.mask_id).to(x0.device)
    per_token = torch.zeros(x0.shape, dtype=torch.float32, device=x0.device)
    per_token[masked] = losses * weights.float()[:, None].expand(x0.shape)[masked]
    return Nelbo(per_token, masked, valid)
