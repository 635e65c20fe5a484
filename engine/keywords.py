"""Where a gap's keywords stand: the model says which place each of them fits best, and they are given text from then on.

A keyword's chance at a place is that of its tokens there while all around is still masked, which one reading tells for every place of a
gap. The surest keyword is placed first, and the next reading sees it, as the confident order does with tokens. Of a keyword's several
forms one is drawn before, by its chance at the best place for it, a token.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from engine.canvas import Canvas
from engine.casing import Case
from engine.denoiser import Denoiser
from engine.draft import Draft, Gap, Length, words
from engine.draws import categorical
from engine.forward import subs_log_probs
from engine.layout import Piece
from engine.lengths import tokens_of_words
from engine.marks import LONGEST_GAP, forms
from engine.notation import Broken
from engine.settings import Settings
from engine.spacing import ends_sentence, space_after, space_before
from engine.text import SPACELESS, is_wordlike
from engine.vocabulary import vocabulary

READINGS = 8
"""At most so many for the keywords of a gap; where it has more of them, several are placed by each."""
AROUND = 2
"""Tokens, at least, that a gap whose length is the model's to choose has beside its keywords."""

Run = tuple[int, int]
"""Cells of a gap without a keyword: the first, and the one behind the last."""


def check(draft: Draft) -> None:
    """Raise DraftError for a gap that is to hold fewer words than its keywords are."""
    for number, mark in enumerate(draft.marks):
        if isinstance(mark, Gap) and mark.length and mark.length.unit == "words":
            fewest = sum(min(len(words(form)) for form in choice) for choice in _choices(mark))
            if mark.length.high < fewest:
                raise draft.error(number, _too_short(mark.length, f"are {fewest}"))


def place(
    model: Denoiser, canvas: Canvas, sizes: Sequence[int], draft: Draft, settings: Settings
) -> Generator[None, None, dict[int, list[Piece]]]:
    """What stands in each gap that has keywords, by the gap's number: keywords with the spaces beside them, and how long it is between.

    `canvas`: the draft laid out as if it had none, with `sizes` cells a span. Places are drawn at the settings' temperature, from their
    seed. Yields after each gap, so that a caller can leave off; returns what stands there. Raises DraftError where a gap has fewer tokens
    than its keywords.
    """
    marks = draft.marks  # made anew each time that they are asked for
    asked = {i: mark for i, span in enumerate(canvas.spans) if isinstance(mark := marks[span.gap], Gap) and mark.keywords}
    for i, mark in asked.items():
        choices = _choices(mark)
        if several := any(len(choice) > 1 for choice in choices):
            taken = _forms_taken(model, canvas, i, mark, choices, sizes, settings)
        else:
            taken = [form for (form,) in choices]
        asked[i] = replace(mark, keywords=tuple(taken))
        if several:
            yield
    tokens = [[model.mask_id] * size for size in sizes]
    parts = {i: [_tokens(model, canvas, keyword) for keyword in mark.keywords] for i, mark in asked.items()}
    beside: dict[int, int | None] = {}
    for i, mark in asked.items():
        held = sum(map(len, parts[i]))
        if mark.length and mark.length.unit == "tokens" and mark.length.high < held:
            raise draft.error(canvas.spans[i].gap, _too_short(mark.length, f"take {held}"))
        cells, beside[i] = _room(model, mark, sizes[i], held)
        tokens[i] = [model.mask_id] * cells
    placed: dict[int, list[Piece]] = {}
    for i, mark in asked.items():
        starts = _settled(model, canvas, tokens, i, parts[i], settings)
        order = sorted(range(len(starts)), key=lambda k: starts[k])
        ends = [0, *(starts[k] + len(parts[i][k]) for k in order)]
        between = [start - end for end, start in zip(ends, [*(starts[k] for k in order), len(tokens[i])], strict=True)]
        if mark.length is None and between[-1] == 1 and canvas.spans[i].ends_sentence:
            between[-1] = 2  # a word and the stop that ends the sentence
        lengths = _in_words(beside[i], between)
        in_tokens = mark.length is not None and mark.length.unit == "tokens"
        stop = not in_tokens and 0 < canvas.spans[i].ends_sentence <= len(tokens[i])
        held_words = [mark.keywords[k] for k in order]
        if not lengths[0] and vocabulary(model).evened and _begins_sentence(canvas, i, held_words[0]):
            held_words[0] = held_words[0][0].upper() + held_words[0][1:]
        placed[canvas.spans[i].gap] = _pieces(canvas, i, held_words, lengths, stop=stop)
        yield
    return placed


def _forms_taken(
    model: Denoiser,
    canvas: Canvas,
    i: int,
    mark: Gap,
    choices: Sequence[Sequence[str]],
    sizes: Sequence[int],
    settings: Settings,
) -> list[str]:
    """One form of each keyword of span i, such that the others still have room."""
    parts = {form: _tokens(model, canvas, form) for choice in choices for form in choice}
    by_words = mark.length is not None and mark.length.unit == "words"
    took = {form: len(words(form)) if by_words else len(part) for form, part in parts.items()}
    spare = (mark.length.high if mark.length else LONGEST_GAP) - sum(min(took[form] for form in choice) for choice in choices)
    columns = {token: column for column, token in enumerate(sorted({token for part in parts.values() for token in part}))}
    tokens = [[model.mask_id] * size for size in sizes]
    tokens[i] = [model.mask_id] * max(sizes[i], AROUND + max(map(len, parts.values())))
    log_probs = _read(model, canvas, tokens, i, list(columns))
    whole = [(0, len(tokens[i]))]
    chance = np.random.Generator(np.random.Philox(key=[settings.seed, 0], counter=[0, 0, 1, 1 + canvas.spans[i].gap]))
    taken = []
    for choice in choices:
        least = min(took[form] for form in choice)
        fitting = [form for form in choice if took[form] - least <= max(0, spare)]
        found = [_fits(log_probs, [columns[token] for token in parts[form]], whole).max() / len(parts[form]) for form in fitting]
        at = _one_of(torch.stack(found), settings.temperature, chance)
        taken.append(fitting[at])
        spare -= took[fitting[at]] - least
    return taken


def _tokens(model: Denoiser, canvas: Canvas, keyword: str) -> list[int]:
    read = canvas.as_read(keyword)
    return model.encode(read if SPACELESS.match(keyword) else " " + read)


def _words(mark: Gap) -> int:
    """The words of its keywords, each in the form that was taken."""
    return sum(len(words(keyword)) for keyword in mark.keywords)


def _choices(mark: Gap) -> list[list[str]]:
    """The forms that each keyword of a mark may have: those that it doesn't ban."""
    broken = Broken(mark.bans)
    return [[form for form in forms(keyword) if not broken.by(form)] or forms(keyword) for keyword in mark.keywords]


def _too_short(length: Length, keywords: str) -> str:
    unit = length.unit if length.high > 1 else length.unit[:-1]
    return f"This gap may hold {length.high} {unit} at most, and its keywords {keywords}: make it longer, or take one out."


def _room(model: Denoiser, mark: Gap, guess: int, held: int) -> tuple[int, int | None]:
    """Cells of a gap whose keywords take `held` of them, and the words beside them where its length is in words.

    `guess`: the cells that it would have without keywords.
    """
    length = mark.length
    if length is None:
        return max(guess, held + AROUND), None
    if length.unit == "tokens":
        return max(guess, held), None
    counts = range(max(length.low, _words(mark)), length.high + 1)
    count = min(counts, key=lambda count: abs(tokens_of_words(model, count) - guess)) - _words(mark)
    return held + tokens_of_words(model, count), count


def _settled(
    model: Denoiser, canvas: Canvas, tokens: list[list[int]], i: int, parts: Sequence[Sequence[int]], settings: Settings
) -> list[int]:
    """The first cell of each keyword in span i; `tokens` hold them afterwards."""
    starts = [-1] * len(parts)
    left, runs = list(range(len(parts))), [(0, len(tokens[i]))]
    chance = np.random.Generator(np.random.Philox(key=[settings.seed, 0], counter=[0, 0, 0, 1 + canvas.spans[i].gap]))
    columns = {token: column for column, token in enumerate(sorted({token for part in parts for token in part}))}
    while left:
        log_probs = _read(model, canvas, tokens, i, list(columns))
        for _ in range(-(-len(parts) // READINGS)):
            fits = {k: _fits(log_probs, [columns[token] for token in parts[k]], runs) for k in left}
            k = max(left, key=lambda k: float(fits[k].max()) / len(parts[k]))
            others = [len(parts[other]) for other in left if other != k]
            start = _drawn(fits[k], len(parts[k]), runs, others, settings.temperature, chance)
            if start is None:
                return _in_a_row([len(part) for part in parts], len(tokens[i]))
            starts[k], runs = start, _without(runs, start, len(parts[k]))
            tokens[i][start : start + len(parts[k])] = parts[k]
            left.remove(k)
            if not left:
                break
    return starts


def _read(model: Denoiser, canvas: Canvas, tokens: Sequence[Sequence[int]], i: int, columns: Sequence[int]) -> Tensor:
    """(cells of span i, columns) log-probabilities of these tokens at each masked cell, -inf where one is written, on the CPU."""
    found = torch.full((len(tokens[i]), len(columns)), -torch.inf)
    for group in canvas.windows([len(held) for held in tokens]):
        if all(span != i for span, _, _ in group):
            continue
        window = canvas.window(group, tokens)
        ids = torch.tensor([window.ids])
        here = {position: cell for position, (span, cell) in window.cells.items() if span == i and tokens[i][cell] == model.mask_id}
        if here:
            positions = torch.zeros_like(ids, dtype=torch.bool)
            positions[0, list(here)] = True
            log_probs = subs_log_probs(model.logits(ids, positions), model.suppressed)
            found[list(here.values())] = log_probs[:, list(columns)].float().cpu()
    return found


def _fits(log_probs: Tensor, columns: Sequence[int], runs: Iterable[Run]) -> Tensor:
    """(cells,) the log-probability of a keyword that begins at each cell; -inf where no run has room for it."""
    fits = torch.full((len(log_probs),), -torch.inf)
    for start, end in runs:
        room = end - start - len(columns) + 1
        if room > 0:
            fits[start : start + room] = sum(log_probs[start + j : start + j + room, column] for j, column in enumerate(columns))
    return fits


def _drawn(
    fits: Tensor, size: int, runs: Sequence[Run], others: Sequence[int], temperature: float, chance: np.random.Generator
) -> int | None:
    """The cell where a keyword of `size` tokens begins, so that the others still have room; None where there is none."""
    possible = [start for first, end in runs for start in range(first, end - size + 1)]
    while possible:
        at = _one_of(fits[possible], temperature, chance)
        if _have_room(_without(runs, possible[at], size), others):
            return possible[at]
        del possible[at]
    return None


def _one_of(log_probs: Tensor, temperature: float, chance: np.random.Generator) -> int:
    """Which of these is drawn, or at temperature 0 the likeliest; those that a model gives no chance are as good as each other."""
    weights = log_probs.double().clamp_min(-1e4)
    uniform = torch.tensor([chance.random()], dtype=torch.float64)
    return int(categorical(weights[None] / temperature, uniform)[0]) if temperature > 0 else int(weights.argmax())


def _in_a_row(sizes: Sequence[int], cells: int) -> list[int]:
    """The keywords one after the other, with even distances: where those drawn first have left the others no room."""
    spare = cells - sum(sizes)
    return [sum(sizes[:k]) + spare * (k + 1) // (len(sizes) + 1) for k in range(len(sizes))]


def _without(runs: Iterable[Run], start: int, size: int) -> list[Run]:
    cut = ((part for part in ((a, start), (start + size, b)) if part[0] < part[1]) if a <= start < b else [(a, b)] for a, b in runs)
    return [part for parts in cut for part in parts]


def _have_room(runs: Iterable[Run], sizes: Iterable[int]) -> bool:
    """Whether keywords of these sizes go into the runs, the longest first into the run with the least room to spare."""
    rooms = sorted(end - start for start, end in runs)
    for size in sorted(sizes, reverse=True):
        fitting = next((k for k, room in enumerate(rooms) if room >= size), None)
        if fitting is None:
            return False
        rooms[fitting] -= size
        rooms.sort()
    return True


def _in_words(count: int | None, between: Sequence[int]) -> list[Length | None]:
    """The lengths of the runs between keywords, in tokens, or sharing a count of words as they share the tokens."""
    if count is None:
        return [Length(n, n, "tokens") if n else None for n in between]
    whole = max(1, sum(between))
    shares = [count * n // whole for n in between]
    rest = sorted(range(len(between)), key=lambda k: -(count * between[k] % whole))[: count - sum(shares)]
    return [Length(n, n, "words") if (n := share + (k in rest)) else None for k, share in enumerate(shares)]


def _pieces(canvas: Canvas, i: int, keywords: Sequence[str], lengths: Sequence[Length | None], *, stop: bool) -> list[Piece]:
    """The keywords of span i in their order with the spaces beside them, and what is to be written before, between and after.

    What is written is always apart from a keyword, in scripts that have spaces: "silver-grey" and "silver's" would not hold "silver". So
    it is in any script where words are counted, which only spaces part. `stop`: the gap ends a sentence, be it with a keyword.
    """
    counted = any(length is not None and length.unit == "words" for length in (canvas.spans[i].length, *lengths))
    pieces: list[Piece] = [lengths[0]] if lengths[0] else []
    for keyword, length in zip(keywords, lengths[1:], strict=True):
        before = pieces[-1] if pieces else None
        if before is None:
            apart = space_before(canvas.given[i], keyword, brought=False)
        else:
            apart = counted or not SPACELESS.match(keyword) or (isinstance(before, str) and not SPACELESS.match(before[-1]))
        pieces += [" ", keyword] if apart else [keyword]
        if length:
            pieces += [length] if not counted and SPACELESS.match(keyword[-1]) else [" ", length]
    if pieces[-1] == keywords[-1]:  # nothing is written behind it
        if stop and is_wordlike(keywords[-1][-1]):
            pieces.append(".")
        elif space_after(keywords[-1], canvas.given[i + 1]):
            pieces.append(" ")
    return pieces


def _begins_sentence(canvas: Canvas, i: int, keyword: str) -> bool:
    """Whether a keyword in small letters would begin a sentence of span i, in a draft that begins its sentences with capitals."""
    given, first = canvas.given[i], keyword.split()[0]
    before = given.rstrip()
    parted = not before or (given != before and ends_sentence(before))
    return parted and first.islower() and not canvas.spans[i].code and canvas.style.case == Case()
