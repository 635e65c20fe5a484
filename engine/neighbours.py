"""Which tokens may stand side by side: what each ends with and starts with, and which of these clash."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from engine.spacing import NO_NAMES, STOPS

_CLASHES = {
    *(("stop", "stop"), ("comma", "stop"), ("dash", "stop"), ("quote", "quote")),
    *(
        ("stop", "name"),
        ("stop", "word"),
        ("comma", "name"),
        ("comma", "word"),
        ("small", "name"),
        ("small", "initial"),
        ("small", "figure"),
    ),
    *(("small", "beginner"), ("comma", "beginner"), ("mask", "beginner")),  # "Then" waits for the stop before it, which may find no room
    # Words are written from their beginning: an end that is there first gets a beginning that is none. And a quote without a space waits
    # for what it closes: one that opens a line would find no line end before it, where none may stand.
    *(("mask", "word"), ("mask", "name"), ("mask", "quote")),
}
"""What doesn't stand side by side: (what a token ends with, what the next one starts with)."""
_AFTER = {end: {start for e, start in _CLASHES if e == end} for end, _ in _CLASHES}
_BEFORE = {start: {end for end, s in _CLASHES if s == start} for _, start in _CLASHES}
_ENDS_OF_CLAUSES = ",.;:!?"
_JOINED = {"Mc", "Mac"}
"""What a name goes on after without a space."""


class Neighbours:
    """The rules for two tokens of one vocabulary that stand side by side, whatever is around them. Tensors are (V,) bool, on the CPU."""

    def __init__(self, texts: Sequence[str], mask_id: int, *, words: bool, once: Collection[int]) -> None:
        """`words`: whether words bring their own space; `once`: the tokens of which none stands twice in a row."""
        self._starts = [_start(text, words=words) for text in texts]
        self._ends = [_end(text, words=words) for text in texts]
        if words:
            self._ends[mask_id] = "mask"
        self._once = once
        self._sets: dict[tuple[str, str], Tensor] = {}

    def fit(self, left: int, right: int, *, given: bool = False) -> bool:
        """Whether two tokens may stand side by side: not the same word twice, nor two stops or two quotes, nor a word or a figure run into
        what is before it ("end.he", "theYes", "June1"), nor the beginning of a sentence in its middle ("as Then"), where words bring their
        own space. `given`: the right one is the writer's, who knows what it is for.
        """
        return not (left == right and left in self._once) and (self._ends[left], self._start_of(right, given)) not in _CLASHES

    def clash_after(self, token: int) -> Tensor | None:
        """The tokens that don't fit after this one; None when all do."""
        end = self._ends[token]
        return self._clash(token, ("after", end), _AFTER.get(end), self._starts)

    def clash_before(self, token: int, *, given: bool = False) -> Tensor | None:
        """The tokens that don't fit before this one, which may be `given`; None when all do."""
        start = self._start_of(token, given)
        return self._clash(token, ("before", start), _BEFORE.get(start), self._ends)

    def _start_of(self, token: int, given: bool) -> str:
        start = self._starts[token]
        return "" if given and start == "beginner" else start

    def _clash(self, token: int, side: tuple[str, str], unfit: set[str] | None, kinds: Sequence[str]) -> Tensor | None:
        clash = None
        if unfit:
            if side not in self._sets:
                self._sets[side] = torch.tensor([kind in unfit for kind in kinds])
            clash = self._sets[side]
        if token not in self._once:
            return clash
        own = torch.zeros(len(kinds), dtype=torch.bool) if clash is None else clash.clone()
        own[token] = True
        return own


def _start(text: str, *, words: bool) -> str:
    """What a token starts with; `words`: whether words bring their space with them, so that one without goes on with what is before."""
    if found := _sign(text[:1]):
        return found
    if words and text[:1].isdecimal():
        return "figure"
    if words and text[:1] == " " and text[1:] in NO_NAMES:
        return "beginner"
    if not words or not text[:1].isalpha():
        return ""
    if text[0].isupper():
        return "name" if len(text) > 1 else "initial"
    # A letter alone may go on with "a." to "a.m"; scripts without case bring no spaces.
    return "word" if len(text) > 1 and text[0].islower() else ""


def _end(text: str, *, words: bool) -> str:
    """What a token ends with."""
    if found := _sign(text[-1:]):
        return "comma" if text[-1] == "," else "dash" if found == "stop" and text[-1] not in _ENDS_OF_CLAUSES else found
    return "small" if words and text[-1:].islower() and text.strip() not in _JOINED else ""


def _sign(char: str) -> str:
    """What a sign is of which no two stand side by side: a stop or a quote; empty for any other character."""
    return "stop" if char and char in STOPS else "quote" if char == '"' else ""
