"""The only loop: from masks to tokens, one Move a step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.context import Context
from engine.denoiser import Denoiser, WritesInBlocks
from engine.draws import Noise, SeededNoise
from engine.growth import NEW, Growth, aligned
from engine.pace import Pace, blocks_of, counts_of
from engine.reveal_order import reveal_order_of
from engine.schedules import schedule_of
from engine.settings import Settings
from engine.step import Constraint, Loop, Places, constrained, rows_of


@dataclass(frozen=True, slots=True)
class Move:
    """One step of the reverse process. All tensors but `log_probs`, which stays where the model is, are on the CPU."""

    x: Tensor
    """(B, L) long, after the step."""
    revealed: Tensor
    """(B, L) bool, masks that became tokens in this step."""
    retaken: Tensor
    """(B, L) bool, tokens that became masks again in this step."""
    probability: Tensor
    """(B, L) float32: of the token when it was revealed; of the best guess while masked; 1 where it was given."""
    positions: Tensor
    """(B, L before the step) bool, what the model was asked for: the masks of each row's first block that has any."""
    log_probs: Tensor
    """(N, V) float32, a row for each of these, row-major; -inf where suppressed or forbidden by the constraint."""
    time: float
    """The diffusion time after the step; of several rows, the latest to be done."""
    origin: Tensor | None = None
    """(B, L) long where rows changed their length in this step: the place before it, growth.NEW for the second half of a mask
    that became two, growth.PADDING beyond a row's end. None: every place is where it was."""
    more: bool = False
    """Whether steps follow even if nothing is masked: what was written is to be read over (engine.revision)."""
    others: tuple[Other, ...] = ()
    """What else was written, best first, when the best of several candidates is kept."""

    def of(self, b: int) -> Move:
        """What it did to row b alone."""
        start = int(self.positions[:b].sum())
        rows = slice(start, start + int(self.positions[b].sum()))
        own = {name: getattr(self, name)[b : b + 1] for name in ("x", "revealed", "retaken", "probability", "positions")}
        return replace(self, **own, log_probs=self.log_probs[rows], origin=None if self.origin is None else self.origin[b : b + 1])


@dataclass(frozen=True, slots=True)
class Other:
    """A candidate that is not kept."""

    x: Tensor
    """(L,) the canvas, filled."""
    probability: Tensor
    """(L,) float32 of each token, judged without itself; 1 where it was given."""


def denoise(
    model: Denoiser,
    x: Tensor,
    *,
    writable: Tensor,
    settings: Settings,
    candidate: int = 0,
    first_step: int = 0,
    constraint: Constraint | None = None,
    times: Tensor | Sequence[Tensor] | None = None,
    noise: Noise | None = None,
    blocks: Tensor | None = None,
    attend: Tensor | None = None,
    growth: Growth | None = None,
    context: Context | None = None,
) -> Iterator[Move]:
    """Reveal every writable mask of x, yielding after each step; at most one denoiser call a step, of twice the rows under guidance.

    x: (B, L) long; row b is candidate `candidate + b`, and what happens to it depends on no other row. writable: (B, L)
    bool; nothing else ever changes. attend: (B, L) bool, False = padding at a row's end. times: the falling grid of diffusion times,
    by default `settings.steps` equal steps from 1 to 0, or as many as there are masks if these are fewer and the sampler reveals at
    least one a step; with blocks, an equal part of both for each; a list: each row's own. The last step of a block reveals all that is
    left of it. To resume a run exactly, give the times that were left of it and the steps done as `first_step`, a multiple of
    `settings.refresh`. noise: where chance comes from; by default a pure function of (seed, candidate, first_step + k). blocks: (B, L)
    long, the semi-autoregressive block of each place, by default `pace.blocks_of`. growth: how far rows may change their length; None:
    not at all. context: what is remembered of these canvases from an earlier call.

    Raises ValueError when the constraint forbids every token of a position, or the network's answers are no numbers.
    """
    x, writable = x.cpu(), writable.cpu()
    masked = (x == model.mask_id) & writable
    attend = torch.ones_like(masked) if attend is None else attend.cpu()
    own = model.block_size if isinstance(model, WritesInBlocks) else 0
    blocks = blocks_of(writable, settings, size=own) if blocks is None else blocks.cpu()
    nowhere = torch.zeros_like(masked)
    now = Places(
        x=x,
        masked=masked,
        writable=writable,
        attend=attend,
        blocks=blocks,
        probability=torch.where(masked, 0.0, 1.0),
        revealed=nowhere,
        retaken=nowhere,
    )
    schedule = schedule_of(settings.schedule, model)
    grids = [times] * len(x) if times is None or isinstance(times, Tensor) else times
    paces = [Pace(settings, counts_of(blocks[b], masked[b]), grids[b], grows=growth is not None, schedule=schedule) for b in range(len(x))]
    if context is None or growth is not None:
        context = Context(model, settings.refresh if growth is None else 1, int(attend.sum()))
    loop = Loop(
        model=model,
        settings=settings,
        noise=noise or SeededNoise(settings.seed, candidate),
        context=context,
        constraint=constraint,
        growth=growth,
        order=reveal_order_of(model),
        suppressed=sorted(set(model.suppressed) - (growth.tokens if growth else set())),
        budgets=[growth.budget if growth else 0] * len(x),
    )
    reusable = not model.time_conditioned and growth is None
    raw: Tensor | None = None
    room: dict[int, int] = {}
    step = first_step
    while now.masked.any():
        first = now.blocks.masked_fill(~now.masked, torch.iinfo(torch.long).max).amin(-1, keepdim=True)
        asked = now.masked & (now.blocks == first)
        steps = {b: paces[b].next(int(first[b]), int(asked[b].sum())) for b, _, _ in rows_of(asked)}
        if raw is None or context.due(step):
            raw, room = loop.predict(step, now, asked, steps)
        log_probs = constrained(raw, now.x, asked, constraint)
        chosen = loop.choose(step, now, asked, steps, log_probs)
        after = loop.reveal(now, asked, steps, room, log_probs, chosen)
        after = loop.take_back(step, after, now.writable & ~now.masked & (now.blocks == first), steps)
        origin = None
        if growth is not None:
            after, origin = _grown(growth, now, after, loop.budgets, model.mask_id)
        step += 1
        yield Move(
            x=after.x,
            revealed=after.revealed,
            retaken=after.retaken,
            probability=after.probability,
            positions=asked,
            log_probs=log_probs,
            time=max(of.after for of in steps.values()),
            origin=origin,
        )
        # The last prediction is used again, exactly, while nothing changed and the network doesn't look at t (MDLM's ddpm_cache).
        if after.revealed.any() or after.retaken.any() or not reusable:
            raw = None
        now = after


def _grown(growth: Growth, now: Places, after: Places, budgets: list[int], mask_id: int) -> tuple[Places, Tensor | None]:
    """The canvas after a step with the tokens that change its length carried out, and where its places come from."""
    ended = torch.stack([growth.end(*row) for row in zip(after.x, now.masked, after.revealed, strict=True)])
    if growth.end_id is not None:
        after = replace(after, x=after.x.masked_fill(ended, growth.end_id), revealed=after.revealed | ended, masked=after.masked & ~ended)
    found = [growth.origins(*row) for row in zip(after.x, after.revealed, strict=True)]
    if all(row is None for row in found):
        return after, None
    for b, row in enumerate(found):
        budgets[b] -= 0 if row is None else row.count(NEW)
    widths = after.attend.sum(-1).tolist()
    origin = aligned(
        [
            list(range(width)) if row is None else row[: len(row) - (after.x.shape[-1] - width)]
            for width, row in zip(widths, found, strict=True)
        ]
    )
    return after.relaid(origin, mask_id), origin
