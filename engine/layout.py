"""What of a draft is given and what is to be written, in reading order, before a model has seen any of it. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TypeAlias

from engine.casing import HEADLINE, Case, lines_in_capitals
from engine.draft import Draft, Gap, Length, Part, Pin, Rewrite
from engine.spacing import GAP_SIGN
from engine.text import is_wordlike

_CLOSED = re.compile(r"[.,;:!?…]*(?:[\"”»)\]}]|['’](?![^\W_]))+\s*")
"""What a pin is closed with."""
_OPENED = re.compile(r"\s*[\"“„«(\[{'‘]+$")
"""What a pin is opened with."""
_EMPHASIS = re.compile(r"(?<![\w*~])(?:\*{1,3}|_{1,2}|~~)$")
"""Markdown's signs at the end of a text, that open what follows."""

Piece: TypeAlias = str | Length
"""Of a gap with keywords: one of them with the spaces beside it, or how long what is written between them is to be."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """Given text inside a mark: a pin or a keyword, or the spaces and signs around one."""

    gap: int
    text: str


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of cells to be written: a gap, or a piece of a mark between pins or keywords."""

    gap: int
    was: str
    """The words that a rewrite replaces; empty for a gap."""
    length: Length | None


@dataclass(frozen=True, slots=True)
class _Keyword:
    """Where a keyword stands: from which character on in which of the given texts, and how many characters it has."""

    given: int
    start: int
    size: int


class Layout:
    """The parts of a draft in reading order."""

    def __init__(self, draft: Draft, placed: Mapping[int, Sequence[Piece]], case: Case) -> None:
        """`placed`: of gaps by their number, what stands in them (engine.keywords); the others are one stretch. `case`: the draft's."""
        self.items: list[str | Fixed | int] = []
        """Given text, fixed text of a mark, or the number of a stretch."""
        self.given: list[str] = [""]
        """The given text before each stretch, and after the last one."""
        self.stretches: list[Stretch] = []
        self.behind_keywords: set[int] = set()
        """Stretches that go on with a gap behind one of its keywords."""
        self._keywords: list[_Keyword] = []
        self._placed = set(placed)
        marks = 0
        for part, seen in zip(draft.parts, _without_emphasis(draft.parts), strict=True):
            if isinstance(part, str):
                self._give(seen, part)
                continue
            if isinstance(part, Gap):
                self._lay_gap(marks, placed.get(marks, [part.length]), case)
            else:
                self._lay_rewrite(marks, part)
            marks += 1

    def _give(self, seen: str, item: str | Fixed) -> None:
        if item if isinstance(item, str) else item.text:
            self.items.append(item)
            self.given[-1] += seen

    def _write(self, stretch: Stretch) -> None:
        self.items.append(len(self.stretches))
        self.stretches.append(stretch)
        self.given.append("")

    def _lay_gap(self, gap: int, pieces: Sequence[Piece | None], case: Case) -> None:
        for number, piece in enumerate(pieces):
            if isinstance(piece, str):
                self._keywords.append(_Keyword(len(self.stretches), len(self.given[-1]), len(piece)))
                self._give(piece, Fixed(gap, case.alone(piece) if case.capitals else piece))
                continue
            if number:
                self.behind_keywords.add(len(self.stretches))
            self._write(Stretch(gap, "", piece))

    def _lay_rewrite(self, gap: int, rewrite: Rewrite) -> None:
        for number, piece in enumerate(rewrite.pieces):
            if isinstance(piece, Pin):
                self._give(piece.text, Fixed(gap, piece.text))
                continue
            if not any(map(is_wordlike, piece)):  # nothing in it to rewrite
                self._give(piece, Fixed(gap, piece))
                continue
            # Signs that embrace a pin stay with it, as blanks do: what is written anew could put them anywhere.
            start = len(piece) - len(piece.lstrip())
            end = len(piece.rstrip())
            if number and (closed := _CLOSED.match(piece)):
                start = closed.end()
            if number + 1 < len(rewrite.pieces) and (opened := _OPENED.search(piece, start)):
                end = opened.start()
            self._give(piece[:start], Fixed(gap, piece[:start]))
            self._write(Stretch(gap, piece[start:end], None))
            self._give(piece[end:], Fixed(gap, piece[end:]))

    def read_in_sentence_case(self, case: Case, names: Mapping[str, str]) -> None:
        """Put the given texts, and the words that are rewritten, in sentence case. `names`: see `Case.read`."""
        self._put(case.read("".join(self._pieces()), names))

    def read_headlines(self, names: Mapping[str, str], code: AbstractSet[int]) -> set[int]:
        """The same for lines in capitals of a draft that is in ordinary letters; the stretches in them. Those in `code` stay as they are.

        Keywords may be typed in any letters and become capitals there.
        """
        pieces = self._pieces()
        ends = list(accumulate(map(len, pieces)))
        seen = text = "".join(pieces)
        for keyword in self._keywords:
            at = ends[2 * keyword.given] - len(pieces[2 * keyword.given]) + keyword.start
            seen = seen[:at] + GAP_SIGN * keyword.size + seen[at + keyword.size :]
        places = dict(enumerate(ends[1::2]))
        lines = [(a, b) for a, b in lines_in_capitals(seen) if any(a < end <= b for i, end in places.items() if i not in code)]
        inside = {i for i, end in places.items() if any(a < end <= b for a, b in lines)}
        for a, b in lines:
            text = text[:a] + HEADLINE.read(text[a:b], names) + text[b:]
        self._put(text)
        held = {self.stretches[i].gap for i in inside} & self._placed
        self.items = [
            Fixed(item.gap, HEADLINE.alone(item.text)) if isinstance(item, Fixed) and item.gap in held else item for item in self.items
        ]
        return inside

    def _pieces(self) -> list[str]:
        """Given texts and, between them, the words that are rewritten, or a sign for a gap."""
        pieces = [self.given[0]]
        for stretch, text in zip(self.stretches, self.given[1:], strict=True):
            pieces += [stretch.was or GAP_SIGN, text]
        return pieces

    def _put(self, read: str) -> None:
        """Put what is read, of the same length, in the place of the pieces."""
        rest = iter(_cut(read, map(len, self._pieces())))
        self.given[0] = next(rest)
        for i, stretch in enumerate(self.stretches):
            words, self.given[i + 1] = next(rest), next(rest)
            self.stretches[i] = replace(stretch, was=stretch.was and words)


def _without_emphasis(parts: Sequence[Part]) -> list[str]:
    """The given texts of a draft without the signs that emphasise a whole mark (**[[2]]**), which texts to learn from don't hold and the
    words of a mark would lean on; empty for marks.
    """
    texts = [part if isinstance(part, str) else "" for part in parts]
    for i in range(1, len(parts) - 1):
        if isinstance(parts[i], str) or not (opened := _EMPHASIS.search(texts[i - 1])):
            continue
        sign, behind = opened.group(), texts[i + 1]
        if behind.startswith(sign) and not re.match(r"[\w*~]", behind[len(sign) :]):
            texts[i - 1], texts[i + 1] = texts[i - 1][: opened.start()], behind[len(sign) :]
    return texts


def _cut(text: str, sizes: Iterator[int]) -> Iterator[str]:
    """A text in parts of these sizes."""
    start = 0
    for size in sizes:
        yield text[start : start + size]
        start += size
