"""Exact word counts, paired quotes, known words and clean gap edges (engine.edges), kept while tokens are revealed in any order.

The words of a fill are counted by a small automaton that reads one token after another (see `wordings.Moves`).
Tokens fall into few classes that move it alike. Dynamic programming over a gap's cells, forward and backward,
with the set of reachable counts as the bits of one integer, says which classes a masked cell may take so that the
rest of the gap can still be completed to the count asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from engine.adjoining import Adjoining
from engine.edges import Edges, kind_of
from engine.spelling import Speller
from engine.vocabulary import Vocabulary
from engine.wordings import Moves

NOTHING_LEFT = "Every token of this model would write a banned word here; take some of the banned words out."


class WordCount:
    """How many words the cells of one span may come to, whether its quotes pair, and which token classes keep that reachable."""

    def __init__(self, classes: Sequence[Moves], low: int, high: int | None, quotes: int | None = None) -> None:
        """`low` to `high` words, high None is no limit; `quotes`: their number modulo 2, None is any."""
        self.classes, self._states = classes, len(classes[0])
        self.low, self.high, self.quotes = low, high, quotes
        self._top = low if high is None else high + 1  # counts above are all the same, and kept as this one

    @property
    def free(self) -> bool:
        """Whether everything will do."""
        return self.low == 0 and self.high is None and self.quotes is None

    def permitted(self, cells: Sequence[Iterable[int]]) -> list[set[int]] | None:
        """For each cell the classes, out of those it may take, that leave the goal reachable; None: it is out of reach."""
        ahead = self._backward(cells)
        if not ahead[0][0] & 1:
            return None
        found: list[set[int]] = []
        now = [1, *[0] * (self._states - 1)]
        for options, goals in zip(cells, ahead[1:], strict=True):
            good, after = set(), [0] * self._states
            for c in options:
                for state, (to, added) in enumerate(self.classes[c]):
                    if now[state] and (counts := self._add(now[state], added) & goals[to]):
                        good.add(c)
                        after[to] |= counts
            found.append(good)
            now = after
        return found

    def reachable(self, cells: Sequence[Iterable[int]]) -> bool:
        """Whether the goal can be reached at all."""
        return bool(self._backward(cells)[0][0] & 1)

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

    def _backward(self, cells: Sequence[Iterable[int]]) -> list[list[int]]:
        """For the place before each cell, and each state: the counts so far from which the goal is reachable, as bits."""
        words = 1 << self._top if self.high is None else ((1 << (self.high + 1)) - 1) & ~((1 << self.low) - 1)
        ahead = [[words if self.quotes in (None, state & 1) else 0 for state in range(self._states)]]
        for options in reversed(cells):
            counts, later = [0] * self._states, ahead[-1]
            for c in options:
                for state, (to, added) in enumerate(self.classes[c]):
                    if later[to]:
                        counts[state] |= self._take(later[to], added)
            ahead.append(counts)
        return ahead[::-1]


@dataclass
class SpanRule:
    """One span's rules, with the tokens it holds so far (the mask id where none)."""

    edges: Edges
    count: WordCount
    tokens: list[int]


class Barred(Protocol):
    """What spans may never hold, whatever else they must: banned words (engine.bans)."""

    def forbidden(self, held: Sequence[int], number: int, cell: int) -> Tensor:
        """(k,) the tokens that a masked cell of a span may not hold beside the others; `held`: the span's tokens."""
        ...

    def broken(self, before: Sequence[Sequence[int]], after: Sequence[Sequence[int]], numbers: Iterable[int]) -> bool:
        """Whether some of these spans hold after a step what none may, by the tokens of every span before it and after."""
        ...


class SpanConstraint:
    """The `reverse.Constraint` of one window: every span in it keeps its edges clean and its word count reachable."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        mask_id: int,
        rules: Sequence[SpanRule],
        cells: dict[int, tuple[int, int]],
        barred: Barred | None = None,
        speller: Speller | None = None,
    ) -> None:
        """`cells`: canvas position -> (index into `rules`, cell of that span). A span may reach beyond the window.

        What is `barred` comes before everything else: where no other token is left, a word too few or too many is the lesser evil.
        """
        self._vocabulary, self._barred, self._speller = vocabulary, barred, speller
        self._adjoining = Adjoining(
            vocabulary, mask_id, cells, names=speller is None or speller.names, singly=speller is None or speller.singly
        )
        self._class_of: list[int] = vocabulary.class_of.tolist()
        self._mask_id = mask_id
        self._rules = rules
        self._cells = cells
        self._options: dict[tuple[int, str], list[int]] = {}
        self._rows: dict[tuple[int, str, frozenset[int] | None], Tensor] = {}

    def allowed(self, x: Tensor, positions: Tensor) -> Tensor:
        """(L,) canvas, (n,) positions -> (n, V) bool: tokens that, alone, leave every span completable."""
        ids = x.tolist()
        spans = self.held(ids)
        permitted: dict[int, list[set[int]] | None] = {}
        rows = []
        for position in positions.tolist():
            rule, _ = self._cells[position]
            if rule not in permitted:
                permitted[rule] = self._permitted(rule, spans[rule])
            rows.append(self._row(ids, position, permitted[rule]))
        allowed = torch.stack(rows)
        if self._barred is not None:
            for row, position in zip(allowed, positions.tolist(), strict=True):
                self._bar(spans, position, row)
        return allowed.to(x.device)

    def settle(self, x: Tensor, positions: Tensor, tokens: Tensor, log_probs: Tensor) -> Tensor:
        """Tokens for positions revealed together, in order of preference: a token that an earlier one rules out is picked anew."""
        ids = x.tolist()
        for position, token in zip(positions.tolist(), tokens.tolist(), strict=True):
            ids[position] = token
        before = self.held(x.tolist())
        rules = {self._cells[position][0] for position in positions.tolist()}
        if self._holds(ids, positions.tolist()) and not self._broken(before, self.held(ids), rules):
            return tokens
        ids, settled = x.tolist(), tokens.clone()
        spans = self.held(ids)
        for i, (position, wanted) in enumerate(zip(positions.tolist(), tokens.tolist(), strict=True)):
            rule, cell = self._cells[position]
            row = self._row(ids, position, self._permitted(rule, spans[rule])).clone()
            if self._barred is not None:
                self._bar(spans, position, row)
            for token in self._preferred(wanted, row, log_probs[i]):
                ids[position] = spans[rule][cell] = token
                if not self._broken(before, spans, [rule]):
                    break
            else:
                raise ValueError(NOTHING_LEFT)
            settled[i] = token
        return settled

    def _preferred(self, token: int, row: Tensor, log_probs: Tensor) -> Iterator[int]:
        """Tokens to try: this one if (V,) `row` allows it, then what it allows by probability, then anything that can be written."""
        if row[token]:
            yield token
        log_probs = log_probs.cpu()
        for tokens in (row, self._vocabulary.writable & ~row):
            allowed = tokens.nonzero()[:, 0]
            if len(allowed):
                yield int(allowed[log_probs[allowed].argmax()])
                yield from allowed[log_probs[allowed].argsort(descending=True, stable=True)].tolist()

    def _broken(self, before: Sequence[Sequence[int]], after: Sequence[Sequence[int]], rules: Iterable[int]) -> bool:
        return self._barred is not None and self._barred.broken(before, after, rules)

    def _bar(self, spans: list[list[int]], position: int, row: Tensor) -> None:
        """Take what is barred at a place out of (V,) bool `row`; if nothing is left, the row becomes what else can be written there."""
        assert self._barred is not None
        rule, cell = self._cells[position]
        barred = self._barred.forbidden(spans[rule], rule, cell)
        row[barred] = False
        for tokens in (getattr(self._rules[rule].edges, kind_of(cell, len(spans[rule]))), self._vocabulary.writable):
            if row.any():
                return
            row |= tokens
            row[barred] = False
        if not row.any():
            raise ValueError(NOTHING_LEFT)

    def _holds(self, ids: list[int], positions: Sequence[int]) -> bool:
        """Whether the tokens just put at these positions get on with each other, side by side and in the word counts."""
        fits = self._vocabulary.neighbours.fit
        bound = [p for p in positions if not self._rules[self._cells[p][0]].edges.free]
        pairs = [*((p - 1, p) for p in bound if p), *((p, p + 1) for p in bound if p + 1 < len(ids))]
        if not all(fits(ids[left], ids[right], given=right not in self._cells) for left, right in pairs):
            return False
        if any(bool(wrong[ids[q]]) for p in bound for q in (p - 1, p, p + 1) if (wrong := self._misplaced(ids, q)) is not None):
            return False
        if not all(bool(spelled[ids[p]]) for p in bound if (spelled := self._spelled(ids, p)) is not None):
            return False
        spans = self.held(ids)
        return all(
            self._rules[rule].count.reachable(self._options_of(rule, spans[rule]))
            for rule in {self._cells[p][0] for p in positions}
            if not self._rules[rule].count.free
        )

    def held(self, ids: Sequence[int]) -> list[list[int]]:
        """The tokens of every span, those outside the window too, when the window holds these ids."""
        spans = [list(rule.tokens) for rule in self._rules]
        for position, (rule, cell) in self._cells.items():
            spans[rule][cell] = ids[position]
        return spans

    def _permitted(self, rule: int, tokens: list[int]) -> list[set[int]] | None:
        """The classes for each cell of a span that leave its count reachable; None: it doesn't matter, or it is out of reach."""
        count = self._rules[rule].count
        return None if count.free else count.permitted(self._options_of(rule, tokens))

    def _options_of(self, rule: int, tokens: list[int]) -> list[Iterable[int]]:
        size = len(tokens)
        return [
            self._kind_classes(rule, kind_of(cell, size)) if token == self._mask_id else (self._class_of[token],)
            for cell, token in enumerate(tokens)
        ]

    def _kind_classes(self, rule: int, kind: str) -> list[int]:
        key = (rule, kind)
        if key not in self._options:
            self._options[key] = self._vocabulary.class_of[getattr(self._rules[rule].edges, kind)].unique().tolist()
        return self._options[key]

    def _row(self, ids: list[int], position: int, permitted: list[set[int]] | None) -> Tensor:
        """(V,) bool: what the cell at a position may hold beside its neighbours, given the classes its span permits."""
        rule, cell = self._cells[position]
        kind = kind_of(cell, len(self._rules[rule].tokens))
        classes = None if permitted is None else frozenset(permitted[cell])
        key = (rule, kind, classes)
        if key not in self._rows:
            row: Tensor = getattr(self._rules[rule].edges, kind)
            if classes is not None:
                row = row & torch.isin(self._vocabulary.class_of, torch.tensor(sorted(classes)))
            self._rows[key] = row
        row = self._rows[key]
        if self._rules[rule].edges.free:
            return row
        beside = row
        if position and (clash := self._vocabulary.neighbours.clash_after(ids[position - 1])) is not None:
            beside = beside & ~clash
        if (
            position + 1 < len(ids)
            and (clash := self._vocabulary.neighbours.clash_before(ids[position + 1], given=position + 1 not in self._cells)) is not None
        ):
            beside = beside & ~clash
        if (wrong := self._misplaced(ids, position)) is not None:
            beside = beside & ~wrong
        if (spelled := self._spelled(ids, position)) is not None and bool((known := beside & spelled).any()):
            return known
        return beside if beside is row or bool(beside.any()) else row

    def _misplaced(self, ids: list[int], position: int) -> Tensor | None:
        return self._adjoining.wrong(ids, position, lambda: self._may_wait(ids, self._cells[position][0]))

    def _may_wait(self, ids: list[int], rule: int) -> bool:
        """Whether a space can stand in a span before its figure does: where words are counted, or a quote is open, there may be no room for
        it later.
        """
        count = self._rules[rule].count
        if count.high is not None or count.low > 1:
            return False
        if count.quotes is None:
            return True
        state = 0
        for token in self.held(ids)[rule]:
            state, _ = count.classes[self._class_of[token]][state]
        return state & 1 == count.quotes

    def _spelled(self, ids: list[int], position: int) -> Tensor | None:
        """(V,) bool, the tokens that make known words at a position; None where every word will do."""
        if self._speller is None:
            return None
        return self._speller.fits(self._speller.beside(ids, position, self._cells.__contains__, self._mask_id))
