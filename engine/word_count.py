"""How many words the cells of a gap may come to, while they are filled in any order.

The words of a fill are counted by a small automaton that reads one token after another (see `wordings.Moves`).
Tokens fall into few classes that move it alike. Dynamic programming over a gap's cells, forward and backward,
with the set of reachable counts as the bits of one integer, says which classes a masked cell may take so that the
rest of the gap can still be completed to the count asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.wordings import Moves

Counts = tuple[int, ...]
"""For each state of the automaton the set of counts that go with it, as the bits of an integer."""
KEPT = 2**22
"""Bytes, roughly, that the remembered steps of the dynamic programming take, each way."""


class WordCount:
    """How many words the cells of one span may come to, whether its quotes pair, and which token classes keep that reachable."""

    def __init__(self, classes: Sequence[Moves], low: int, high: int | None, quotes: int | None = None) -> None:
        """`low` to `high` words, high None is no limit; `quotes`: their number modulo 2, None is any."""
        self.classes, self._states = classes, len(classes[0])
        self.low, self.high, self.quotes = low, high, quotes
        self._top = low if high is None else high + 1  # counts above are all the same, and kept as this one
        # Masks side by side take the same options, from counts that soon are the same too, step after step.
        self._most_kept = max(64, KEPT // (self._states * (32 + self._top // 8)))
        self._befores: dict[tuple[tuple[int, ...], Counts], Counts] = {}
        self._onwards: dict[tuple[tuple[int, ...], Counts, Counts], tuple[frozenset[int], Counts]] = {}

    @property
    def free(self) -> bool:
        """Whether everything will do."""
        return self.low == 0 and self.high is None and self.quotes is None

    def permitted(self, cells: Sequence[tuple[int, ...]]) -> list[frozenset[int]] | None:
        """For each cell the classes, out of those it may take, that leave the goal reachable; None: it is out of reach."""
        ahead = self._backward(cells)
        if not ahead[0][0] & 1:
            return None
        found: list[frozenset[int]] = []
        now: Counts = (1, *[0] * (self._states - 1))
        for options, goals in zip(cells, ahead[1:], strict=True):
            key = options, now, goals
            if key not in self._onwards:
                if len(self._onwards) >= self._most_kept:
                    self._onwards.clear()
                self._onwards[key] = self._onward(options, now, goals)
            good, now = self._onwards[key]
            found.append(good)
        return found

    def _onward(self, options: tuple[int, ...], now: Counts, goals: Counts) -> tuple[frozenset[int], Counts]:
        """From the counts before a cell and those wanted behind it: the classes that lead from one to the other, and the counts behind."""
        good, after = set(), [0] * self._states
        for c in options:
            for state, (to, added) in enumerate(self.classes[c]):
                if now[state] and (counts := self._add(now[state], added) & goals[to]):
                    good.add(c)
                    after[to] |= counts
        return frozenset(good), tuple(after)

    def _add(self, counts: int, added: int) -> int:
        counts <<= added
        over = counts >> self._top
        return (counts & ((1 << self._top) - 1)) | (1 << self._top) if over else counts

    def _take(self, counts: int, added: int) -> int:
        """The counts from which `added` more make one of these."""
        before = counts >> added
        if added and counts >> self._top & 1:
            least = max(0, self._top - added)
            before |= ((1 << (self._top + 1)) - 1) & ~((1 << least) - 1)
        return before

    def _backward(self, cells: Sequence[tuple[int, ...]]) -> list[Counts]:
        """For the place before each cell, and each state: the counts so far from which the goal is reachable, as bits."""
        words = 1 << self._top if self.high is None else ((1 << (self.high + 1)) - 1) & ~((1 << self.low) - 1)
        ahead: list[Counts] = [tuple(words if self.quotes in (None, state & 1) else 0 for state in range(self._states))]
        for options in reversed(cells):
            key = options, ahead[-1]
            if key not in self._befores:
                if len(self._befores) >= self._most_kept:
                    self._befores.clear()
                self._befores[key] = self._before(options, ahead[-1])
            ahead.append(self._befores[key])
        return ahead[::-1]

    def _before(self, options: tuple[int, ...], later: Counts) -> Counts:
        """From the counts wanted behind a cell: those before it that lead there."""
        counts = [0] * self._states
        for c in options:
            for state, (to, added) in enumerate(self.classes[c]):
                if later[to]:
                    counts[state] |= self._take(later[to], added)
        return tuple(counts)
