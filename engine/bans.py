"""Banned words: a finished fill holds none of them, not across tokens either, nor across the edge of a gap.

While a fill is written, a cell that is still masked counts as the end of a word: then no token may complete a banned word even for
the moment, and what stands at the end holds none. Which tokens would is told place by place, from the text on both sides (`forbidden`);
whether tokens revealed together get on with each other is read off the text itself (`broken`), which is the rule that binds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from engine.canvas import Canvas
from engine.denoiser import Denoiser
from engine.draft import Draft, Gap
from engine.phrases import BannedSigns, BannedWords, is_spoken, skeleton, spellings, squeezed
from engine.settings import Settings
from engine.spacing import space_after, space_before, stands_apart
from engine.text import BREAKS
from engine.vocabulary import vocabulary

REACH = 32
"""Cells on each side of one from which the tokens that it may not hold are told."""
_MASKED = "\0"
_BREAK = re.compile(rf"[\s{BREAKS}]")

Owner: TypeAlias = tuple[int, int, int]
"""Whose a character is: (span, cell, -1) or, of given text, (-1, which, place in it)."""


class Side(NamedTuple):
    """What stands on one side of a cell, up to the next masked one."""

    text: str
    edge: bool = False
    """It is given text, right beside the cell."""
    apart: str = ""
    """Where decoding puts the spaces: the text of the next token on the right, if a space may part it from the cell."""


class Bans:
    """What may not be written in each span of a draft."""

    def __init__(self, model: Denoiser, canvas: Canvas, phrases: Sequence[Iterable[str]]) -> None:
        """`phrases`: those of each span."""
        self._canvas, self._mask = canvas, model.mask_id
        self._known = vocabulary(model)
        self._spellings = spellings(self._known)
        kept = [tuple(sorted(set(banned))) for banned in phrases]
        lists = sorted(set(kept))
        self._lists = [(BannedWords(filter(is_spoken, banned)), BannedSigns(p for p in banned if not is_spoken(p))) for banned in lists]
        self._of = [lists.index(banned) for banned in kept]
        """Which of the lists binds each span."""
        self._near = 120 + 4 * max((len(phrase) for phrase in chain(*lists)), default=0)
        self._tokens: list[list[int]] = []
        self._numbers: list[int] = []
        self._texts: dict[int, tuple[list[int], list[str]]] = {}
        self._sides: dict[tuple[int, bool, tuple[int, ...]], Side] = {}
        self._found: dict[tuple[int, Side, Side], Tensor] = {}
        self._anywhere = [self._spellings.found_with(banned) for banned in lists]

    @classmethod
    def of(cls, model: Denoiser, canvas: Canvas, draft: Draft, settings: Settings) -> Bans | None:
        """Those of a draft's marks and of the settings; None where there are none."""
        own = [mark.bans if isinstance(mark, Gap) else () for mark in draft.marks]
        phrases = [(*own[span.gap], *settings.bans) for span in canvas.spans]
        return cls(model, canvas, phrases) if any(phrases) else None

    def relay(self, numbers: Sequence[int], tokens: Sequence[Sequence[int]]) -> None:
        """What every span holds, and which spans a window writes in, by the numbers that `forbidden` and `broken` call them."""
        self._numbers, self._tokens = list(numbers), [list(held) for held in tokens]
        self._sides.clear()
        self._found.clear()

    # Which tokens would complete a banned word

    def always(self, i: int) -> Tensor:
        """(k,) the tokens that span i may hold nowhere, because a banned sign is in them: word counts and quotes must do without."""
        return self._signed(i, "", "")

    def _signed(self, i: int, before: str, after: str) -> Tensor:
        found = self._anywhere[self._of[i]]
        if (before, after) not in found:
            _, signs = self._lists[self._of[i]]
            found[before, after] = torch.tensor(sorted(self._written(signs, before, after)), dtype=torch.long)
        return found[before, after]

    def forbidden(self, held: Sequence[int], number: int, cell: int) -> Tensor:
        """(k,) the tokens that a masked cell may not hold, as the text beside it is now; `held`: the tokens of its span."""
        i = self._numbers[number]
        sides = i, self._side(i, held, cell, left=True), self._side(i, held, cell, left=False)
        if sides not in self._found:
            self._found[sides] = self._between(*sides)
        return self._found[sides]

    def _between(self, i: int, left: Side, right: Side) -> Tensor:
        words, signs = self._lists[self._of[i]]
        found = self._anywhere[self._of[i]]
        signed = self._signed(i, signs.before(left.text), signs.after(right.text))
        if left.edge or right.edge:
            left, right = left._replace(text=words.last_of(left.text)), right._replace(text=words.first_of(right.text))
            spoken = torch.tensor(sorted(self._spoken(i, words, left, right)), dtype=torch.long)
            return torch.cat([spoken, signed])
        exact = self._known.glued is not None
        left, right = Side(words.before(left.text, exact=exact)), Side(words.after(right.text, exact=exact), apart=right.apart)
        if (left, right) not in found:
            found[left, right] = torch.tensor(sorted(self._spoken(i, words, left, right)), dtype=torch.long)
        return torch.cat([found[left, right], signed])

    def _spoken(self, i: int, words: BannedWords, left: Side, right: Side) -> Iterator[int]:
        before, after = skeleton(left.text), skeleton(right.text)
        tokens: set[int] = set()
        for bones in words.skeletons:
            tokens.update(self._spellings.silent if bones in before + after else ())
            tokens.update(token for token in self._spellings.parts(bones) if bones in before + self._spellings.skeletons[token] + after)
        for token in tokens:
            text, start, end = self._joined(i, left, token, right)
            if any(at < end and then > start if start < end else at < start < then for _, at, then in words.find(text)):
                yield token

    def _written(self, signs: BannedSigns, before: str, after: str) -> Iterator[int]:
        tokens = set(chain.from_iterable(self._spellings.aligned(sign) for sign in signs.signs))
        if before and after:
            tokens.update(self._spellings.silent)
        return (token for token in tokens if signs.made(before, squeezed(self._known.texts[token]), after))

    def _joined(self, i: int, left: Side, token: int, right: Side) -> tuple[str, int, int]:
        """A token between two texts, and where it begins and ends there: the spaces are those that the canvas puts."""
        span, glued = self._canvas.spans[i], self._known.glued
        text = self._known.texts[token]
        apart = glued is not None and not glued[token] and stands_apart(left.text or "x", text)
        before = left.text + " " * apart
        if left.edge and not span.code:
            body = text.lstrip()
            brought = apart or body != text
            before, text = left.text + " " * (body != "" and space_before(left.text, body[0], brought=brought)), body
        elif left.edge and span.takes_space:
            text = text.removeprefix(" ")
        after = right.text
        if right.edge and not span.code:
            text = text.rstrip()
            after = " " * (text != "" and space_after((before + text)[-2:], after)) + after
        elif right.apart and stands_apart(before + text, right.apart):
            after = " " + after
        return before + text + after, len(before), len(before) + len(text)

    def _side(self, i: int, held: Sequence[int], cell: int, *, left: bool) -> Side:
        """What stands beside a cell of span i."""
        step, stop = (-1, -1) if left else (1, len(held))
        end = cell + step
        while end != stop and held[end] != self._mask and abs(end - cell) <= REACH:
            end += step
        run = tuple(held[end + 1 : cell] if left else held[cell + 1 : end])
        whole = end == stop
        if not run and not whole:
            return Side("")
        key = (i if whole else -1 - i, left, run)
        if key not in self._sides:
            self._sides[key] = self._read_side(i, run, whole=whole, left=left)
        return self._sides[key]

    def _read_side(self, i: int, run: tuple[int, ...], *, whole: bool, left: bool) -> Side:
        given = self._canvas.given[i][-self._near :] if left else self._canvas.given[i + 1][: self._near]
        if not run:
            return Side(given, edge=True)
        tokens = [*([] if whole and left else [self._mask]), *run, *([] if whole and not left else [self._mask])]
        text = "".join(self._canvas.texts(i, tokens))
        if left:
            return Side(given + text if whole else text)
        glued = self._known.glued
        apart = "" if glued is None or glued[run[0]] else self._known.texts[run[0]]
        return Side((text.lstrip() if apart else text) + (given if whole else ""), apart=apart)

    # What the text says

    def broken(self, before: Sequence[Sequence[int]], after: Sequence[Sequence[int]], numbers: Iterable[int]) -> bool:
        """Whether what these spans of the window hold after a step has a ban in it that was not there before.

        One that a mask beside it may yet change counts as another when the mask is gone: of "every" something like "ever" is left when
        its end is taken back, and that end may only be written so that it isn't.
        """
        for i in {self._numbers[number] for number in numbers}:
            if places := dict(self._places(i, after)):
                known = dict(self._places(i, before))
                if any(place not in known or known[place] is not is_open for place, is_open in places.items()):
                    return True
        return False

    def _places(self, i: int, held: Sequence[Sequence[int]]) -> Iterator[tuple[tuple[str, Owner, Owner], bool]]:
        """The bans that are, at least in part, written in span i, by where they are; and whether a mask may yet change them."""
        pieces = self._around(i, dict(zip(self._numbers, held, strict=True)))
        text = "".join(piece for piece, _ in pieces)
        near = {self._of[owner[0]] for _, owner in pieces if owner[0] >= 0}
        owners: list[Owner] = []
        at = 0
        for segment in text.split(_MASKED):
            for banned in near:
                for finder in self._lists[banned]:
                    for phrase, start, end in finder.find(segment):
                        owners = owners or list(_owners(pieces))
                        first, last = at + start, at + end
                        writers = {owner[0] for owner in owners[first:last] if owner[0] >= 0}
                        if i in writers and any(self._of[writer] == banned for writer in writers):
                            spoken = isinstance(finder, BannedWords)
                            opens = spoken and at > 0 and not _BREAK.search(segment, 0, start)
                            ends = spoken and at + len(segment) < len(text) and not _BREAK.search(segment, end)
                            yield (phrase, owners[first], owners[last - 1]), opens or ends
            at += len(segment) + 1

    def _around(self, i: int, held: dict[int, Sequence[int]]) -> list[tuple[str, Owner]]:
        """The text of a span and what stands beside it, across other spans too where little is given between, in pieces."""
        pieces = self._cells(i, held)
        last = len(self._canvas.spans)
        for step in (-1, 1):
            room, j = self._near, i
            while room > 0:
                which = j if step < 0 else j + 1
                given = self._canvas.given[which]
                cut = max(0, len(given) - room)
                found = [(given[cut:] if step < 0 else given[:room], (-1, which, cut if step < 0 else 0))]
                room -= len(given)
                j += step
                if room > 0 and 0 <= j < last:
                    cells = self._cells(j, held)
                    room -= self._near if any(text == _MASKED for text, _ in cells) else sum(len(text) for text, _ in cells)
                    found = [*cells, *found] if step < 0 else [*found, *cells]
                else:
                    room = 0
                pieces = [*found, *pieces] if step < 0 else [*pieces, *found]
        return pieces

    def _cells(self, i: int, held: dict[int, Sequence[int]]) -> list[tuple[str, Owner]]:
        tokens = list(held.get(i, self._tokens[i]))
        if i not in self._texts or self._texts[i][0] != tokens:
            texts = self._canvas.texts(i, tokens)
            self._texts[i] = tokens, [_MASKED if t == self._mask else text for t, text in zip(tokens, texts, strict=True)]
        return [(text, (i, cell, -1)) for cell, text in enumerate(self._texts[i][1])]


def _owners(pieces: Iterable[tuple[str, Owner]]) -> Iterator[Owner]:
    """Whose each character is."""
    for text, (a, b, c) in pieces:
        yield from ((a, b, c) for _ in text) if a >= 0 else ((a, b, c + at) for at in range(len(text)))
