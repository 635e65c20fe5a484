"""Second thoughts: what was written is read over, and the words that fit least are taken back and written anew.

A confident order settles the easy tokens first, "the" and "," before what they belong to, and keeps them. Here each token is judged
with itself left out and all others there (pseudo-log-likelihood, arXiv 1910.14659), and those that the model would rather not have
written are masked again, as Mask-Predict does at each of its rounds (arXiv 1904.09324), with the other pieces of their words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from engine.context import Surroundings
from engine.denoiser import Denoiser, WritesInBlocks
from engine.forward import subs_log_probs
from engine.growth import Growth
from engine.pace import even_grid, planned_steps
from engine.reverse import Constraint, Move, constrained, denoise
from engine.settings import Settings
from engine.vocabulary import vocabulary

ROWS = 8
"""Readings of what was written to judge all its tokens: in each every eighth is left out, or one where there are fewer."""
SHARE = 0.25
"""Of the tokens written, at most so many are taken back in a round, one word at least."""
DOUBT = 1.0
"""Nats by which another token must fit better, for a word to be taken back."""


def rounds(model: Denoiser, settings: Settings, growth: Growth | None) -> int:
    """How often a window is read over: not where gaps still change their length, nor where what stands to the right is never seen."""
    return 0 if growth is not None or isinstance(model, WritesInBlocks) else settings.revise


def steps_planned(model: Denoiser, settings: Settings, masks: int, growth: Growth | None) -> int:
    """The steps that a window with so many masks may take, those of its revision among them."""
    first = planned_steps(settings, masks, grows=growth is not None)
    return first + rounds(model, settings, growth) * (1 + planned_steps(_again(settings), _most(masks))) if masks else 0


def revised(
    model: Denoiser,
    x: Tensor,
    *,
    writable: Tensor,
    settings: Settings,
    first_step: int = 0,
    constraint: Constraint | None = None,
    growth: Growth | None = None,
) -> Iterator[Move]:
    """`denoise` of one row, and then `settings.revise` rounds: a step that takes back, and those that write anew.

    It ends early when every token is what the model would have there. `Move.more` tells whether steps follow when nothing is masked.
    """
    written = (x == model.mask_id) & writable
    left = rounds(model, settings, growth) if written.any() else 0
    masks, pace, times, step = writable, settings, None, first_step
    around = Surroundings(model, settings.refresh, x, written, ROWS)
    while True:
        anew = denoise(model, x, writable=masks, settings=pace, first_step=step, constraint=constraint, times=times, growth=growth)
        for move in anew:
            step += 1
            yield replace(move, more=left > 0)
            x = move.x
        if not left:
            return
        left -= 1
        masks, chances, log_probs = _read_over(model, around, x, written, constraint)
        taken, x, step = int(masks.sum()), x.masked_fill(masks, model.mask_id), step + 1
        share = taken / int(written.sum())
        yield Move(x, torch.zeros_like(masks), masks, chances, written, log_probs, share, more=taken > 0)
        if not taken:
            return
        pace = _again(settings)
        times = share * even_grid(planned_steps(pace, min(taken, _most(int(written.sum())))))


def _again(settings: Settings) -> Settings:
    """Slower than the first writing, since the few that are written see nearly all others: one a step, if there are steps enough."""
    return replace(settings, block_length=0, remasking=0.0)


def _most(written: int) -> int:
    return max(1, round(SHARE * written))


def _read_over(
    model: Denoiser, around: Surroundings, x: Tensor, written: Tensor, constraint: Constraint | None
) -> tuple[Tensor, Tensor, Tensor]:
    """(1, L) a full canvas, (1, L) what was written in it -> (1, L) what to take back, (1, L) the chance of the best token at each
    place, and (n, V) log-probabilities of the places written, each judged without itself.
    """
    places = written[0].nonzero()[:, 0]
    groups = [places[g :: min(ROWS, len(places))] for g in range(min(ROWS, len(places)))]
    rows, masked = x.repeat(len(groups), 1), torch.zeros(len(groups), x.shape[-1], dtype=torch.bool)
    for row, own in enumerate(groups):
        masked[row, own] = True
    rows[masked] = model.mask_id
    log_probs = subs_log_probs(around.logits(rows, masked), model.suppressed)
    log_probs = constrained(log_probs, rows, masked, constraint)[torch.cat(groups).argsort().to(log_probs.device)]
    best = log_probs.max(-1).values.cpu()
    own = log_probs.gather(-1, x[0, places][:, None].to(log_probs.device))[:, 0].cpu()
    doubts = best - own  # what a constraint rules out by now is infinitely doubtful, and where nothing is left nothing is
    doubted = torch.zeros_like(written)
    doubted[0, _most_doubtful(model, x[0], places.tolist(), doubts.nan_to_num(0.0, posinf=torch.inf).tolist())] = True
    chances = torch.ones(x.shape).masked_scatter(written, best.exp())
    return doubted, chances, log_probs


def _most_doubtful(model: Denoiser, x: Tensor, places: list[int], doubts: list[float]) -> list[int]:
    """Of the places written in (L,) x, those of the words with the largest doubts, if these are DOUBT at least: so many as may be
    taken back, or one word.
    """
    words = _words(model, x, places)
    doubt = dict(zip(places, doubts, strict=True))
    worst = sorted(((max(doubt[place] for place in word), word) for word in words), key=lambda found: -found[0])
    taken: list[int] = []
    for worst_doubt, word in worst:
        if worst_doubt > DOUBT and (not taken or len(taken) + len(word) <= _most(len(places))):
            taken += word
    return taken


def _words(model: Denoiser, x: Tensor, places: list[int]) -> list[list[int]]:
    """The places by the words that they spell: pieces that nothing parts are together. A sign is by itself."""
    known, words = vocabulary(model), list[list[int]]()
    for place in places:
        joined = bool(words) and words[-1][-1] == place - 1 and known.joins(int(x[place - 1]), int(x[place]))
        if joined:
            words[-1].append(place)
        else:
            words.append([place])
    return words
