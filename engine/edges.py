"""Which tokens the cells of a span may hold for what stands beside the span: spaces, signs, line ends, the ends of sentences."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from engine.spacing import DOUBLE_QUOTES, QUOTES, STOPS, is_saying, opens
from engine.text import is_wordlike
from engine.vocabulary import Vocabulary

NEWLINE_CELLS = 24
"""A gap this long at the start or end of a line may hold line ends, if its words are not counted."""
QUOTED_CELLS = 32
"""A gap between quotes is one saying, without quotes inside, unless it is this long; nor has a shorter one brackets of its own."""


KINDS = ("only", "first", "inner", "late", "last")
"""The kinds of cells that have rules of their own."""


@dataclass(frozen=True)
class Edges:
    """Which tokens the cells of a span may hold, whatever its neighbours in the span hold: (V,) bool each."""

    only: Tensor
    first: Tensor
    inner: Tensor
    late: Tensor
    """The cell before the last one: no stop, where the last one has to be a stop."""
    last: Tensor
    free: bool = False
    """No rules about tokens side by side."""

    @classmethod
    def of(
        cls,
        vocabulary: Vocabulary,
        before: str,
        after: str,
        size: int,
        *,
        takes_space: bool,
        newlines: bool,
        partial: bool,
        counted: bool,
        brackets: bool = True,
        sentence: bool = False,
        closes: str = "",
        code: bool = False,
    ) -> Edges:
        """The rules of engine.spacing as token sets.

        `takes_space`: the model sees the text before without its last space, and the first token must bring it. `partial`: tokens that
        spell a part of a character are allowed, unless the words are `counted`. `brackets`: whether they may stand here. `sentence`: it
        ends one, for the next one begins behind it, or nothing does. `closes`: the quote behind a saying that it ends, which its last token
        brings; empty where it ends none. `code`: indentation, tabs and brackets may stand anywhere.
        """
        v = vocabulary
        inner = v.writable.clone()
        if not partial or counted:
            inner &= ~v.partial
        if code:
            return cls._in_code(v, before, after, inner if newlines else inner & ~v.newline, takes_space=takes_space)
        inner &= ~v.tab & ~v.adrift
        if not brackets:
            inner &= ~v.bracket
        if v.carries_spaces:
            inner &= ~v.blank | v.newline | v.spacer
        if not newlines:
            inner &= ~v.newline
        first = inner & (~v.blank | v.spacer) & ~v.newline
        if takes_space:
            first &= v.leads_space & ~v.starts_closing
        elif not before or before[-1].isspace() or opens(before):
            first &= ~v.leads_space & ~v.starts_closing & ~v.fragment & ~v.clitic
        elif v.carries_spaces and is_wordlike(before[-1]):
            first &= ~v.starts_word
        if v.glued is not None:
            first &= ~v.glued
        if opens(before) and before[-1] in QUOTES:
            first &= ~v.starts_quote
            if after and after[0] in QUOTES and size < QUOTED_CELLS:
                inner, first = inner & ~v.double_quote, first & ~v.double_quote
        if closes and size > 1:
            if size < QUOTED_CELLS:
                inner, first = inner & ~v.double_quote, first & ~v.double_quote
            last = v.closing[closes] & v.writable
            return cls(first & last, first, inner, inner & ~v.ends_stop, last)
        late = inner
        last = inner & ~v.ends_space & ~v.ends_opening & ~v.newline
        if after and after[0] in STOPS:
            last &= ~v.ends_stop
        if after[:1] == ".":
            last &= ~v.title
        if not after or after[0] in "\r\n":
            last &= ~v.ends_colon
        if size > 2 and is_saying(before, after) and bool((last & v.ends_stop).any()):
            last &= v.ends_stop & ~v.stops_twice
            late = inner & ~v.ends_stop
        if after and after[0] in QUOTES:
            last = last & ~v.ends_quote
        only = first & last
        if sentence and bool((last & v.ends_sentence).any()):
            last = last & v.ends_sentence
        # One cell alone can't bring a space and end the sentence: where words are counted it isn't taken, else it does without the stop.
        if counted or bool((first & last).any()):
            only = first & last
        return cls(only, first, inner, late, last)

    @classmethod
    def _in_code(cls, v: Vocabulary, before: str, after: str, inner: Tensor, *, takes_space: bool) -> Edges:
        first, last = inner, inner
        if takes_space:
            first = first & v.leads_space & ~v.newline
        elif before and (before[-1] in "`>" or opens(before)) and bool((first & ~v.leads_space).any()):
            first = first & ~v.leads_space
        if v.glued is not None:
            first = first & ~v.glued
        if not after or after[0].isspace():
            last = last & ~v.ends_space & ~v.blank
        if before and before[-1] in DOUBLE_QUOTES and after and after[0] in DOUBLE_QUOTES:
            inner, first, last = (tokens & ~v.double_quote & ~v.newline for tokens in (inner, first, last))
        return cls(first & last, first, inner, inner, last, free=True)

    def without(self, tokens: Tensor) -> Edges:
        """The same without these tokens, but where they are all that there is."""
        kinds = {kind: getattr(self, kind).index_fill(0, tokens, False) for kind in KINDS}
        return replace(self, **{kind: left for kind, left in kinds.items() if left.any()})

    def classes(self, class_of: Tensor, size: int) -> list[tuple[int, ...]]:
        """For each of `size` cells the word classes of its tokens."""
        found = {kind: tuple(class_of[getattr(self, kind)].unique().tolist()) for kind in KINDS}
        return [found[kind_of(cell, size)] for cell in range(size)]


def kind_of(cell: int, size: int) -> str:
    """Which of a span's rules hold for one of its `size` cells."""
    if size == 1:
        return "only"
    return "first" if cell == 0 else "last" if cell == size - 1 else "late" if cell == size - 2 else "inner"
