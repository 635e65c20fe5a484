"""The only loop: from masks to tokens, one Move a step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol

import torch
from torch import Tensor

from engine.context import Context
from engine.denoiser import Denoiser, WritesInBlocks
from engine.draws import Noise, SeededNoise, tempered
from engine.forward import subs_log_probs
from engine.growth import NEW, PADDING, Growth, aligned, parents
from engine.pace import Pace, Step, blocks_of, counts_of
from engine.rarity import against_echoes, said_by, words_of
from engine.repetition import against_repeats
from engine.reveal_order import Row, reveal_order_of
from engine.samplers import SAMPLERS, Options, everything
from engine.schedules import schedule_of
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


@dataclass(frozen=True, slots=True)
class _Canvas:
    """What the loop knows of each place: (B, L) each, on the CPU."""

    x: Tensor
    masked: Tensor
    writable: Tensor
    attend: Tensor
    blocks: Tensor
    probability: Tensor
    revealed: Tensor
    retaken: Tensor

    def relaid(self, origin: Tensor, mask_id: int) -> _Canvas:
        """The same with its places moved to where `origin` says that they came from."""
        source = parents(origin)
        moved = _Canvas(*(getattr(self, field.name).gather(-1, source) for field in fields(self)))
        halves = (origin == NEW) | (origin.roll(-1, -1) == NEW)
        beyond = origin == PADDING
        return replace(
            moved,
            x=moved.x.masked_fill(halves | beyond, mask_id),
            masked=(moved.masked | halves) & ~beyond,
            writable=moved.writable & ~beyond,
            attend=moved.attend & ~beyond,
            revealed=moved.revealed & ~halves & ~beyond,
            retaken=moved.retaken & ~beyond,
        )


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

    Raises ValueError when the constraint forbids every token of a position.
    """
    x, writable = x.cpu(), writable.cpu()
    masked = (x == model.mask_id) & writable
    attend = torch.ones_like(masked) if attend is None else attend.cpu()
    own = model.block_size if isinstance(model, WritesInBlocks) else 0
    blocks = blocks_of(writable, settings, size=own) if blocks is None else blocks.cpu()
    nowhere = torch.zeros_like(masked)
    now = _Canvas(x, masked, writable, attend, blocks, torch.where(masked, 0.0, 1.0), nowhere, nowhere)
    schedule, order = schedule_of(settings.schedule, model), reveal_order_of(model)
    grids = [times] * len(x) if times is None or isinstance(times, Tensor) else times
    paces = [Pace(settings, counts_of(blocks[b], masked[b]), grids[b], grows=growth is not None, schedule=schedule) for b in range(len(x))]
    budgets = [growth.budget if growth else 0] * len(x)
    suppressed = sorted(set(model.suppressed) - (growth.tokens if growth else set()))
    noise = noise or SeededNoise(settings.seed, candidate)
    reusable = not model.time_conditioned and growth is None
    if context is None or growth is not None:
        context = Context(model, settings.refresh if growth is None else 1, int(attend.sum()))
    raw: Tensor | None = None

    k = 0
    while now.masked.any():
        first = now.blocks.masked_fill(~now.masked, torch.iinfo(torch.long).max).amin(-1, keepdim=True)
        asked = now.masked & (now.blocks == first)
        steps = {b: paces[b].next(int(first[b]), int(asked[b].sum())) for b, _, _ in _rows(asked)}
        room = dict.fromkeys(steps, 0)
        if raw is None or context.due(first_step + k):
            told = {b: step.told for b, (step, _) in steps.items()}
            logits = _predict(model, context, first_step + k, now, asked, told, settings.guidance)
            if growth is not None:
                widths = now.attend.sum(-1).tolist()
                room = {b: min(budgets[b], growth.longest - widths[b]) if step.later else 0 for b, (step, _) in steps.items()}
                logits = growth.barred(logits, torch.tensor([room[b] <= 0 for b, places, _ in _rows(asked) for _ in places]))
            raw = subs_log_probs(logits, suppressed)
        log_probs = constrained(raw, now.x, asked, constraint)
        best = log_probs.max(-1)
        if constraint is not None and bool((best.values == -torch.inf).any()):
            raise ValueError("The constraint leaves no token for a masked place of the canvas.")
        if bool(best.values.isnan().any()):
            raise ValueError(
                f"{model.name} answers with what is no number: its weights are damaged, or its dtype is too narrow; try float32."
            )
        judged, known = log_probs, (now.x != model.mask_id) & now.attend
        wanted = against_repeats(log_probs, now.x, known, asked, settings.repetition)
        if settings.presence:
            wanted = against_echoes(wanted, now.x, known & said_by(now.writable), asked, words_of(model), settings.presence)
        tokens = best.indices if wanted is log_probs else wanted.argmax(-1)
        drawn = _are_drawn(settings, steps, asked).to(raw.device)
        if drawn.any():
            weights = tempered(wanted, settings)
            tokens = torch.where(drawn, noise.tokens(first_step + k, asked, weights), tokens)
            if settings.scores == "tempered":  # what a constraint forbids is missing from these too
                mass = log_probs.logsumexp(-1, keepdim=True)
                judged = torch.where(drawn[:, None], weights.log_softmax(-1) + mass, log_probs)
        surely = judged.gather(-1, tokens[:, None])[:, 0].exp().cpu()
        tokens = tokens.cpu()
        clocks = noise.clocks(first_step + k, asked)

        x, revealed = now.x.clone(), torch.zeros_like(asked)
        probability = now.probability.masked_scatter(asked, best.values.exp().cpu())
        for b, places, mine in _rows(asked):
            step, due = steps[b]
            row = Row(now.x[b], known[b], now.writable[b], now.attend[b])
            options = Options(surely[mine], judged[mine], clocks[mine], due, step.stay, settings, tokens[mine], places, row, order)
            chosen = (SAMPLERS[settings.sampler] if step.later else everything)(options)
            where, what, rows = places[chosen], tokens[mine][chosen], log_probs[mine][chosen.to(raw.device)]
            if constraint is not None and len(chosen):
                what = constraint.settle(now.x[b], where, what, rows).cpu()
            if growth is not None:
                kept = growth.within(what, room[b])
                where, what, rows = where[kept], what[kept], rows[kept.to(rows.device)]
            x[b, where] = what
            revealed[b, where] = True
            probability[b, where] = rows.gather(-1, what[:, None].to(rows.device))[:, 0].exp().cpu()

        retaken = _retaken(noise, first_step + k, now.writable & ~now.masked & (now.blocks == first), steps)
        x = x.masked_fill(retaken, model.mask_id)
        masked = (now.masked & ~revealed) | retaken
        after = replace(now, x=x, masked=masked, probability=probability, revealed=revealed, retaken=retaken)
        origin = None
        if growth is not None:
            after, origin = _grown(growth, now, after, budgets, model.mask_id)
        k += 1
        yield Move(
            after.x,
            after.revealed,
            after.retaken,
            after.probability,
            asked,
            log_probs,
            max(step.after for step, _ in steps.values()),
            origin,
        )
        # The last prediction is used again, exactly, while nothing changed and the network doesn't look at t (MDLM's ddpm_cache).
        if revealed.any() or retaken.any() or not reusable:
            raw = None
        now = after


def _predict(model: Denoiser, context: Context, step: int, now: _Canvas, asked: Tensor, told: dict[int, float], guidance: float) -> Tensor:
    """(N, V) raw logits of the places asked for; rows that are done don't go through the network."""
    rows = list(told)
    device = torch.device(getattr(model, "device", "cpu"))
    x, positions, attend = now.x[rows], asked[rows], now.attend[rows]
    t = torch.tensor(list(told.values()), dtype=torch.float32)
    given = ~now.writable[rows]
    guided = guidance > 0 and bool(given.any())
    if guided:  # the second half is what the model would write without the given text
        x = torch.cat([x, x.masked_fill(given, model.mask_id)])
        positions, attend, t = positions.repeat(2, 1), attend.repeat(2, 1), t.repeat(2)
        rows = [*rows, *(len(now.x) + b for b in rows)]
    seen = None if attend.all() else attend.to(device)
    logits = context.logits(step, rows, x.to(device), positions.to(device), t=t.to(device), attend=seen)
    if guided:
        conditioned, free = logits.chunk(2)
        logits = free + (1 + guidance) * (conditioned - free)  # LLaDA's scale: 0 is the conditioned prediction alone
    return logits


def _retaken(noise: Noise, step: int, written: Tensor, steps: dict[int, tuple[Step, int]]) -> Tensor:
    """(B, L) bool: which of the tokens written in the current blocks are masked again."""
    chances = torch.zeros(len(written), dtype=torch.float64)
    for b, (at, _) in steps.items():
        chances[b] = at.retake
    written = written & (chances > 0)[:, None]
    if not written.any():
        return written
    return written.masked_scatter(written, noise.clocks(step, written) < chances[written.nonzero()[:, 0]])


def _grown(growth: Growth, now: _Canvas, after: _Canvas, budgets: list[int], mask_id: int) -> tuple[_Canvas, Tensor | None]:
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


def _are_drawn(settings: Settings, steps: dict[int, tuple[Step, int]], asked: Tensor) -> Tensor:
    """(N,) bool: whose token is drawn; the others take the likeliest. `hybrid` draws while more than half of the time is left."""
    stochastic = settings.choice == "stochastic"
    hybrid = settings.choice == "hybrid"
    rows = torch.zeros(len(asked), dtype=torch.bool)
    for b, (step, _) in steps.items():
        rows[b] = settings.temperature > 0 and (stochastic or (hybrid and step.time > 0.5))
    return rows[asked.nonzero()[:, 0]]


def _rows(masked: Tensor) -> Iterator[tuple[int, Tensor, slice]]:
    """For each row with masks: its number, the places of its masks, and the slice of the N positions that is its own."""
    end = 0
    for b, row in enumerate(masked):
        places = row.nonzero()[:, 0]
        start, end = end, end + len(places)
        if len(places):
            yield b, places, slice(start, end)


def constrained(raw: Tensor, x: Tensor, masked: Tensor, constraint: Constraint | None) -> Tensor:
    """(N, V) log-probabilities of the masked places of (B, L) x, with what the constraint forbids at -inf. They are not normalised
    again: a forced token keeps the little probability that the model gives it, so that orders of confidence leave it for last.
    """
    if constraint is None:
        return raw
    found = []
    for b, places, mine in _rows(masked):
        allowed = constraint.allowed(x[b], places)
        found.append(raw[mine] if allowed is None else torch.where(allowed.to(raw.device), raw[mine], -torch.inf))
    return torch.cat(found)
