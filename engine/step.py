"""One step of the loop in its parts: predict, choose a token for each mask, reveal some, take some back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Protocol

import torch
from torch import Tensor

from engine.context import Context, device_of
from engine.denoiser import Denoiser
from engine.draws import Noise, tempered
from engine.forward import subs_log_probs
from engine.growth import NEW, PADDING, Growth, parents
from engine.pace import Step
from engine.rarity import against_echoes, said_by, words_of
from engine.repetition import against_repeats
from engine.reveal_order import RevealOrder, Row
from engine.samplers import SAMPLERS, Options, everything
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
class Places:
    """What the loop knows of each place: (B, L) each, on the CPU."""

    x: Tensor
    masked: Tensor
    writable: Tensor
    attend: Tensor
    blocks: Tensor
    probability: Tensor
    revealed: Tensor
    retaken: Tensor

    def relaid(self, origin: Tensor, mask_id: int) -> Places:
        """The same with its places moved to where `origin` says that they came from."""
        source = parents(origin)
        moved = Places(*(getattr(self, field.name).gather(-1, source) for field in fields(self)))
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


@dataclass(frozen=True, slots=True)
class Chosen:
    """A token for each of the N places asked for, before it is known which of them are revealed."""

    best: Tensor
    """(N,) the highest log-probability of each place; where the model is."""
    known: Tensor
    """(B, L) bool, the places that hold a token."""
    judged: Tensor
    """(N, V) the log-probabilities that orders go by; where the model is."""
    tokens: Tensor
    """(N,) long, on the CPU."""
    probability: Tensor
    """(N,) of the tokens, as judged; on the CPU."""
    clocks: Tensor
    """(N,) float64 uniforms, on the CPU."""


@dataclass(frozen=True, slots=True)
class Loop:
    """What the loop works with, and the parts of its step, in their order."""

    model: Denoiser
    settings: Settings
    noise: Noise
    context: Context
    constraint: Constraint | None
    growth: Growth | None
    order: RevealOrder | None
    suppressed: list[int]
    budgets: list[int]
    """How many masks each row may still add; counted down."""

    def predict(self, step: int, now: Places, asked: Tensor, steps: dict[int, Step]) -> tuple[Tensor, dict[int, int]]:
        """(N, V) log-probabilities of the places asked for, under SUBS; and how many masks each row may add in this step."""
        logits = self._logits(step, now, asked, {b: of.told for b, of in steps.items()})
        room = dict.fromkeys(steps, 0)
        if self.growth is not None:
            widths = now.attend.sum(-1).tolist()
            room = {b: min(self.budgets[b], self.growth.longest - widths[b]) if of.later else 0 for b, of in steps.items()}
            logits = self.growth.barred(logits, torch.tensor([room[b] <= 0 for b, places, _ in rows_of(asked) for _ in places]))
        return subs_log_probs(logits, self.suppressed), room

    def _logits(self, step: int, now: Places, asked: Tensor, told: dict[int, float]) -> Tensor:
        """(N, V) raw logits of the places asked for; rows that are done don't go through the network."""
        rows, guidance, device = list(told), self.settings.guidance, device_of(self.model)
        x, positions, attend = now.x[rows], asked[rows], now.attend[rows]
        t = torch.tensor(list(told.values()), dtype=torch.float32)
        given = ~now.writable[rows]
        halved = guidance > 0 and bool(given.any())
        if halved:  # the second half is what the model would write without the given text
            x = torch.cat([x, x.masked_fill(given, self.model.mask_id)])
            positions, attend, t = positions.repeat(2, 1), attend.repeat(2, 1), t.repeat(2)
            rows = [*rows, *(len(now.x) + b for b in rows)]
        seen = None if attend.all() else attend.to(device)
        strength = guidance if halved else 0.0
        return self.context.logits(step, rows, x.to(device), positions.to(device), t=t.to(device), attend=seen, guidance=strength)

    def choose(self, step: int, now: Places, asked: Tensor, steps: dict[int, Step], log_probs: Tensor) -> Chosen:
        """A token for each place asked for, from (N, V) log-probabilities; ValueError where there is none to choose."""
        settings, best = self.settings, log_probs.amax(-1)
        if self.constraint is not None and bool((best == -torch.inf).any()):
            raise ValueError("The constraint leaves no token for a masked place of the canvas.")
        if bool(best.isnan().any()):
            raise ValueError(
                f"{self.model.name} answers with what is no number: its weights are damaged, or its dtype is too narrow; try float32."
            )
        judged, known = log_probs, (now.x != self.model.mask_id) & now.attend
        wanted = against_repeats(log_probs, now.x, known, asked, settings.repetition)
        if settings.presence:
            wanted = against_echoes(wanted, now.x, known & said_by(now.writable), asked, words_of(self.model), settings.presence)
        drawn = _are_drawn(settings, steps, asked)
        if not drawn.any():
            tokens = wanted.max(-1).indices
        else:
            weights = tempered(wanted, settings)
            tokens = self.noise.tokens(step, asked, weights)
            there = drawn.to(log_probs.device)
            if not drawn.all():
                tokens = torch.where(there, tokens, wanted.max(-1).indices)
            if settings.scores == "tempered":  # what a constraint forbids is missing from these too
                mass = log_probs.logsumexp(-1, keepdim=True)
                judged = torch.where(there[:, None], weights.whole().log_softmax(-1) + mass, log_probs)
        surely = judged.gather(-1, tokens[:, None])[:, 0].exp().cpu()
        return Chosen(best, known, judged, tokens.cpu(), surely, self.noise.clocks(step, asked))

    def reveal(self, now: Places, asked: Tensor, steps: dict[int, Step], room: dict[int, int], log_probs: Tensor, chosen: Chosen) -> Places:
        """The canvas with those of the chosen tokens in it that the sampler reveals, row by row."""
        x, revealed = now.x.clone(), torch.zeros_like(asked)
        probability = now.probability.masked_scatter(asked, chosen.best.exp().cpu())
        for b, places, mine in rows_of(asked):
            step, tokens = steps[b], chosen.tokens[mine]
            row = Row(now.x[b], chosen.known[b], now.writable[b], now.attend[b])
            options = Options(
                probability=chosen.probability[mine],
                log_probs=chosen.judged[mine],
                clocks=chosen.clocks[mine],
                due=step.due,
                stay=step.stay,
                settings=self.settings,
                tokens=tokens,
                places=places,
                row=row,
                reveal_order=self.order,
            )
            first = (SAMPLERS[self.settings.sampler] if step.later else everything)(options)
            where, what, rows = places[first], tokens[first], log_probs[mine][first.to(log_probs.device)]
            if self.constraint is not None and len(first):
                what = self.constraint.settle(now.x[b], where, what, rows).cpu()
            if self.growth is not None:
                kept = self.growth.within(what, room[b])
                where, what, rows = where[kept], what[kept], rows[kept.to(rows.device)]
            x[b, where] = what
            revealed[b, where] = True
            probability[b, where] = rows.gather(-1, what[:, None].to(rows.device))[:, 0].exp().cpu()
        return replace(now, x=x, masked=now.masked & ~revealed, probability=probability, revealed=revealed)

    def take_back(self, step: int, after: Places, written: Tensor, steps: dict[int, Step]) -> Places:
        """The canvas with some of the tokens in `written` (B, L) bool masked again."""
        retaken = _retaken(self.noise, step, written, steps)
        return replace(after, x=after.x.masked_fill(retaken, self.model.mask_id), masked=after.masked | retaken, retaken=retaken)


def constrained(raw: Tensor, x: Tensor, masked: Tensor, constraint: Constraint | None) -> Tensor:
    """(N, V) log-probabilities of the masked places of (B, L) x, with what the constraint forbids at -inf. They are not normalised
    again: a forced token keeps the little probability that the model gives it, so that orders of confidence leave it for last.
    """
    if constraint is None:
        return raw
    found = [constraint.allowed(x[b], places) for b, places, _ in rows_of(masked)]
    if all(rows is None for rows in found):
        return raw
    free = torch.ones(1, raw.shape[-1], dtype=torch.bool)
    counts = [n for n in masked.sum(-1).tolist() if n]
    allowed = [free.expand(n, -1) if rows is None else rows for rows, n in zip(found, counts, strict=True)]
    return torch.where(torch.cat(allowed).to(raw.device), raw, -torch.inf)


def rows_of(masked: Tensor) -> Iterator[tuple[int, Tensor, slice]]:
    """For each row with masks: its number, the places of its masks, and the slice of the N positions that is its own."""
    end = 0
    for b, row in enumerate(masked):
        places = row.nonzero()[:, 0]
        start, end = end, end + len(places)
        if len(places):
            yield b, places, slice(start, end)


def _retaken(noise: Noise, step: int, written: Tensor, steps: dict[int, Step]) -> Tensor:
    """(B, L) bool: which of the tokens written in the current blocks are masked again."""
    chances = torch.zeros(len(written), dtype=torch.float64)
    for b, at in steps.items():
        chances[b] = at.retake
    written = written & (chances > 0)[:, None]
    if not written.any():
        return written
    return written.masked_scatter(written, noise.clocks(step, written) < chances[written.nonzero()[:, 0]])


def _are_drawn(settings: Settings, steps: dict[int, Step], asked: Tensor) -> Tensor:
    """(N,) bool: whose token is drawn; the others take the likeliest. `hybrid` draws while more than half of the time is left."""
    stochastic = settings.choice == "stochastic"
    hybrid = settings.choice == "hybrid"
    rows = torch.zeros(len(asked), dtype=torch.bool)
    for b, step in steps.items():
        rows[b] = settings.temperature > 0 and (stochastic or (hybrid and step.time > 0.5))
    return rows[asked.nonzero()[:, 0]]
