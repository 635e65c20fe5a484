"""Exact word counts, paired quotes, known words and clean gap edges (engine.edges), kept while tokens are revealed in any order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Protocol

import torch
from torch import Tensor

from engine.adjoining import Adjoining
from engine.edges import Edges, kind_of
from engine.spelling import Beside, Speller
from engine.vocabulary import Vocabulary
from engine.word_count import WordCount

ROWS_KEPT = 2**25
"""Bytes of rows, as wide as the vocabulary, that are remembered: one for each kind of place and what stands around it."""
NOTHING_LEFT = "Every token of this model would write a banned word here; take some of the banned words out."


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
        self._options: dict[tuple[int, str], tuple[int, ...]] = {}
        self._rows: dict[tuple[int, str, frozenset[int] | None], Tensor] = {}
        self._known: dict[tuple[object, ...], Tensor] = {}

    def allowed(self, x: Tensor, positions: Tensor) -> Tensor:
        """(L,) canvas, (n,) positions -> (n, V) bool: tokens that, alone, leave every span completable."""
        ids = x.tolist()
        spans = self.held(ids)
        permitted: dict[int, list[frozenset[int]] | None] = {}
        may_wait = cache(partial(self._may_wait, ids))
        rows = []
        for position in positions.tolist():
            rule, _ = self._cells[position]
            if rule not in permitted:
                permitted[rule] = self._permitted(rule, spans[rule])
            rows.append(self._row(ids, position, permitted[rule], may_wait))
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
            row = self._row(ids, position, self._permitted(rule, spans[rule]), partial(self._may_wait, ids)).clone()
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
        may_wait = cache(partial(self._may_wait, ids))
        beside = {q for p in bound for q in (p - 1, p, p + 1) if q in self._cells}
        if any(bool(wrong[ids[q]]) for q in beside if (wrong := self._misplaced(ids, q, may_wait)) is not None):
            return False
        if not all(bool(spelled[ids[p]]) for p in bound if (spelled := self._spelled(ids, p)) is not None):
            return False
        spans = self.held(ids)
        return all(
            self._permitted(rule, spans[rule]) is not None
            for rule in {self._cells[p][0] for p in positions}
            if not self._rules[rule].count.free
        )

    def held(self, ids: Sequence[int]) -> list[list[int]]:
        """The tokens of every span, those outside the window too, when the window holds these ids."""
        spans = [list(rule.tokens) for rule in self._rules]
        for position, (rule, cell) in self._cells.items():
            spans[rule][cell] = ids[position]
        return spans

    def _permitted(self, rule: int, tokens: list[int]) -> list[frozenset[int]] | None:
        """The classes for each cell of a span that leave its count reachable; None: it doesn't matter, or it is out of reach."""
        count = self._rules[rule].count
        return None if count.free else count.permitted(self._options_of(rule, tokens))

    def _options_of(self, rule: int, tokens: list[int]) -> list[tuple[int, ...]]:
        size = len(tokens)
        return [
            self._kind_classes(rule, kind_of(cell, size)) if token == self._mask_id else (self._class_of[token],)
            for cell, token in enumerate(tokens)
        ]

    def _kind_classes(self, rule: int, kind: str) -> tuple[int, ...]:
        key = (rule, kind)
        if key not in self._options:
            self._options[key] = tuple(self._vocabulary.class_of[getattr(self._rules[rule].edges, kind)].unique().tolist())
        return self._options[key]

    def _row(self, ids: list[int], position: int, permitted: list[frozenset[int]] | None, may_wait: Callable[[int], bool]) -> Tensor:
        """(V,) bool: what the cell at a position may hold beside its neighbours, given the classes its span permits; not to be changed."""
        rule, cell = self._cells[position]
        classes = None if permitted is None else permitted[cell]
        if self._rules[rule].edges.free:
            return self._alone(rule, cell, classes)
        later = position + 1 in self._cells and ids[position + 1] == self._mask_id and may_wait(rule)
        speller = self._speller
        around = None if speller is None else speller.beside(ids, position, self._cells.__contains__, self._mask_id)
        # Many masks have the same around them: side by side, from step to step, and in the other candidates.
        near = tuple(ids[at] if 0 <= at < len(ids) else None for at in (position - 2, position - 1, position + 1, position + 2))
        sides = position - 1 in self._cells, position + 1 in self._cells
        key = rule, kind_of(cell, len(self._rules[rule].tokens)), classes, later, around, near, sides
        if key not in self._known:
            if (len(self._known) + len(self._rows)) * self._vocabulary.class_of.numel() >= ROWS_KEPT:
                self._known.clear()
                self._rows.clear()
            self._known[key] = self._beside(ids, position, self._alone(rule, cell, classes), may_wait, around)
        return self._known[key]

    def _alone(self, rule: int, cell: int, classes: frozenset[int] | None) -> Tensor:
        """(V,) bool: what a cell may hold whatever stands beside it."""
        kind = kind_of(cell, len(self._rules[rule].tokens))
        key = (rule, kind, classes)
        if key not in self._rows:
            row: Tensor = getattr(self._rules[rule].edges, kind)
            if classes is not None:
                row = row & torch.isin(self._vocabulary.class_of, torch.tensor(sorted(classes)))
            self._rows[key] = row
        return self._rows[key]

    def _beside(self, ids: list[int], position: int, row: Tensor, may_wait: Callable[[int], bool], around: Beside | None) -> Tensor:
        """(V,) bool: what of a row may stand at a position beside its neighbours; all of it where nothing of it may."""
        beside = row
        if position and (clash := self._vocabulary.neighbours.clash_after(ids[position - 1])) is not None:
            beside = beside & ~clash
        if (
            position + 1 < len(ids)
            and (clash := self._vocabulary.neighbours.clash_before(ids[position + 1], given=position + 1 not in self._cells)) is not None
        ):
            beside = beside & ~clash
        if (wrong := self._misplaced(ids, position, may_wait)) is not None:
            beside = beside & ~wrong
        if self._speller is not None and around is not None and bool((known := beside & self._speller.fits(around)).any()):
            return known
        return beside if beside is row or bool(beside.any()) else row

    def _misplaced(self, ids: list[int], position: int, may_wait: Callable[[int], bool]) -> Tensor | None:
        return self._adjoining.wrong(ids, position, lambda: may_wait(self._cells[position][0]))

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
