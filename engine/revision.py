"""Second thoughts: what was written is read over, and the words that fit least are taken back and written anew; of several fills the
one that reads best is kept.

A confident order settles the easy tokens first, "the" and "," before what they belong to, and keeps them. Here each token is judged
without itself (engine.reading), and those that the model would rather not have written are masked again, as Mask-Predict does at each
of its rounds (arXiv 1904.09324), with the other pieces of their words. Mask-Predict also writes several fills side by side and keeps the
likeliest; so does this, for a first word that was drawn badly is not mended by what follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from engine.context import Context
from engine.denoiser import Denoiser, WritesInBlocks
from engine.growth import Growth
from engine.pace import even_grid, planned_steps
from engine.reading import Reader, Reading, passages
from engine.reverse import Move, Other, denoise
from engine.settings import Settings
from engine.step import Constraint
from engine.vocabulary import vocabulary

SHARE = 0.25
"""Of the tokens written, at most so many are taken back in a round, one word at least."""
SIDE_BY_SIDE = 256
"""Tokens that are written side by side, at most: a long passage takes its time, and has fewer candidates for it."""
DOUBT = 1.0
"""Nats by which another token must fit better, for a word to be taken back."""


def rounds(model: Denoiser, settings: Settings, growth: Growth | None) -> int:
    """How often a window is read over."""
    return settings.revise if _readable(model, growth) else 0


def candidates(model: Denoiser, settings: Settings, growth: Growth | None, masks: int) -> int:
    """How many fills of a window with so many masks are written side by side."""
    return min(settings.candidates, max(1, SIDE_BY_SIDE // max(1, masks))) if _readable(model, growth) else 1


def _readable(model: Denoiser, growth: Growth | None) -> bool:
    """Whether what is written can be judged: not where gaps still change their length, nor where what stands right is never seen."""
    return growth is None and not isinstance(model, WritesInBlocks)


def steps_planned(model: Denoiser, settings: Settings, masks: int, growth: Growth | None) -> int:
    """The steps that a window with so many masks may take, those of its revision and of the choice at its end among them."""
    if not masks:
        return 0
    choice = 2 if candidates(model, settings, growth, masks) > 1 else 0
    first = planned_steps(settings, masks, grows=growth is not None)
    return first + rounds(model, settings, growth) * _round_steps(settings, masks) + choice


def revised(
    model: Denoiser,
    x: Tensor,
    *,
    writable: Tensor,
    settings: Settings,
    first_step: int = 0,
    constraint: Constraint | None = None,
    growth: Growth | None = None,
    had: Callable[[Tensor], Tensor] | None = None,
) -> Iterator[Move]:
    """`denoise` of one row, then `settings.revise` rounds: a step that takes back, and those that write anew. Of several candidates,
    which are written and revised side by side, the first one's moves are told; in the end it is exchanged for the best of each passage.

    Rounds end early when every token is what the model would have there. `Move.more` tells whether steps follow when nothing is masked.
    What becomes of a candidate depends on no other one, where what is kept of all of them has room (engine.context). had: (L,) a canvas
    -> (L,) bool, where it reads as before: such a passage is kept only if all candidates for it do.
    """
    written = (x == model.mask_id) & writable
    count = int(written.sum())
    if not count:
        return
    most, rows = rounds(model, settings, growth), candidates(model, settings, growth, count)
    reader = Reader(model, x, written, rows, refresh=settings.refresh, repetition=settings.repetition, presence=settings.presence)
    x, masks = x.repeat(rows, 1), writable.repeat(rows, 1)
    context = Context(model, settings.refresh, (2 if settings.guidance else 1) * x.numel())
    how, times = settings, None
    readings: list[Reading] = []
    step, ahead = first_step, planned_steps(settings, count, grows=growth is not None)
    for number in range(most + 1):
        last = number == most
        for move in denoise(
            model,
            x,
            writable=masks,
            settings=how,
            first_step=step,
            constraint=constraint,
            times=times,
            growth=growth,
            context=context,
        ):
            x = move.x
            yield replace(move.of(0), more=not last or rows > 1)
        if last and rows == 1:
            return
        unread = [b for b in range(rows) if not readings or masks[b].any()]  # the others are as they were
        fresh = dict(zip(unread, reader.read(x[unread], constraint), strict=True))
        readings = [fresh.get(b) or readings[b] for b in range(rows)]
        if last:
            break
        masks = torch.stack([_doubted(model, row, written, reading) for row, reading in zip(x, readings, strict=True)])
        taken = masks.sum(-1).tolist()
        x = x.masked_fill(masks, model.mask_id)
        yield Move(
            x=x[:1],
            revealed=torch.zeros_like(written),
            retaken=masks[:1],
            probability=_guesses(written, readings[0]),
            positions=written,
            log_probs=readings[0].log_probs,
            time=taken[0] / count,
            more=any(taken) or rows > 1,
        )
        if not any(taken):
            break
        how = _again(settings)
        times = [own / count * even_grid(planned_steps(how, max(1, min(own, _most(count))))) for own in taken]
        step, ahead = step + ahead + 1, _round_steps(settings, count) - 1
    if rows > 1:
        yield from _choice(model, x, written, readings, had)


def _choice(model: Denoiser, x: Tensor, written: Tensor, readings: list[Reading], had: Callable[[Tensor], Tensor] | None) -> Iterator[Move]:
    """The first candidate is exchanged, passage by passage, for the one that reads best, and the others are told, best first, each once."""
    ranked = []
    old = torch.zeros_like(x, dtype=torch.bool) if had is None else torch.stack([had(row) for row in x])
    for passage in passages(written[0]):
        own = passage & written[0]
        kinds: dict[tuple[int, ...], int] = {}
        for b in sorted(range(len(x)), key=lambda b: (bool(old[b, own].any()), -float(readings[b].worth[passage].sum()))):
            kinds.setdefault(tuple(x[b, own].tolist()), b)
        ranked.append((own, list(kinds.values())))

    def of_rank(rank: int) -> Tensor:
        """(L,) long: which candidate is of this rank at each place, the best where there are fewer."""
        return torch.stack([own.long() * rows[rank if rank < len(rows) else 0] for own, rows in ranked]).sum(0)

    places = torch.arange(x.shape[-1])
    chances = torch.stack([torch.ones(places.shape).masked_scatter(written[0], reading.own.exp()) for reading in readings])
    best, *others = map(of_rank, range(max(len(rows) for _, rows in ranked)))
    kept, nowhere = x[best, places][None], torch.zeros_like(written)
    log_probs = torch.stack([readings[b].log_probs[k] for k, b in enumerate(best[written[0]].tolist())])
    if bool((unlike := kept != x[:1]).any()):
        masked, share = x[:1].masked_fill(unlike, model.mask_id), int(unlike.sum()) / int(written.sum())
        yield Move(
            x=masked,
            revealed=nowhere,
            retaken=unlike,
            probability=_guesses(written, readings[0]),
            positions=written,
            log_probs=readings[0].log_probs,
            time=share,
            more=True,
        )
    told = tuple(Other(x[rows, places], chances[rows, places]) for rows in others)
    yield Move(
        x=kept,
        revealed=unlike,
        retaken=nowhere,
        probability=chances[best, places][None],
        positions=written,
        log_probs=log_probs,
        time=0.0,
        others=told,
    )


def _guesses(written: Tensor, reading: Reading) -> Tensor:
    """(1, L) the probability of the best token at each place; 1 where it was given."""
    return torch.ones(written.shape).masked_scatter(written, reading.log_probs.max(-1).values.exp().cpu())


def _again(settings: Settings) -> Settings:
    """Slower than the first writing, since the few that are written see nearly all others: one a step, if there are steps enough."""
    return replace(settings, block_length=0, remasking=0.0)


def _round_steps(settings: Settings, masks: int) -> int:
    """The steps that a round may take: one that takes back, and those that write anew."""
    return 1 + planned_steps(_again(settings), _most(masks))


def _most(written: int) -> int:
    return max(1, round(SHARE * written))


def _doubted(model: Denoiser, x: Tensor, written: Tensor, reading: Reading) -> Tensor:
    """(L,) a canvas -> (L,) bool: the places of the words with the largest doubts, if these are DOUBT at least: so many as may be
    taken back, or one word.
    """
    places = written[0].nonzero()[:, 0].tolist()
    doubt = dict(zip(places, reading.doubts, strict=True))
    words = vocabulary(model).words(x.tolist(), places)
    worst = sorted(((max(doubt[place] for place in word), word) for word in words), key=lambda found: -found[0])
    taken: list[int] = []
    for worst_doubt, word in worst:
        if worst_doubt > DOUBT and (not taken or len(taken) + len(word) <= _most(len(places))):
            taken += word
    doubted = torch.zeros_like(written[0])
    doubted[taken] = True
    return doubted
