"""Exact word counts and clean gap edges, kept while tokens are revealed in any order.

The words of a fill are counted by a small automaton that reads one token after another (see `vocabulary.Moves`).
Tokens fall into few classes that move it alike. Dynamic programming over a gap's cells, forward and backward,
with the set of reachable counts as the bits of one integer, says which classes a masked cell may take so that the
rest of the gap can still be completed to the count asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.spacing import STOPS, opens
from engine.text import is_wordlike
from engine.vocabulary import Moves, Vocabulary

NEWLINE_CELLS = 24
"""A gap this long, without a word count, may hold line ends."""


@dataclass(frozen=True)
class Edges:
    """Which tokens the cells of a span may hold, whatever its neighbours in the span hold: (V,) bool each."""

    only: Tensor
    first: Tensor
    inner: Tensor
    last: Tensor

    @classmethod
    def of(
        cls, vocabulary: Vocabulary, before: str, after: str, *, takes_space: bool, newlines: bool, partial: bool, counted: bool
    ) -> Edges:
        """The rules of engine.spacing as token sets.

        `takes_space`: the model sees the text before without its last space, so the first token must bring it.
        `partial`: tokens that spell a part of a character are allowed. `counted`: the words are counted, so what
        moves with a space that may be stripped or joined is kept away from the edges.
        """
        v = vocabulary
        inner = v.writable.clone()
        if not partial or counted:
            inner &= ~v.partial
        if not newlines:
            inner &= ~v.newline
        first = inner & ~v.blank & ~v.newline
        last = inner & ~v.ends_space & ~v.ends_opening & ~v.newline
        if takes_space:
            first &= v.leads_space & ~v.starts_closing
        elif not before or before[-1].isspace() or opens(before):
            first &= ~v.leads_space & ~v.starts_closing
        elif v.carries_spaces and is_wordlike(before[-1]):
            first &= ~v.starts_word
        if after and after[0] in STOPS:
            last &= ~v.ends_stop
        return cls(first & last, first, inner, last)

    def classes(self, class_of: Tensor, size: int) -> list[list[int]]:
        """For each of `size` cells the word classes of its tokens."""
        found = {kind: class_of[getattr(self, kind)].unique().tolist() for kind in ("only", "first", "inner", "last")}
        return [found[_kind(cell, size)] for cell in range(size)]


class WordCount:
    """How many words the cells of one span may come to, and which token classes keep that reachable."""

    def __init__(self, classes: Sequence[Moves], low: int, high: int | None) -> None:
        """`low` to `high` words; high None is no limit."""
        self.classes = classes
        self.low, self.high = low, high
        self._top = low if high is None else high + 1  # counts above are all the same, and kept as this one

    @property
    def free(self) -> bool:
        """Whether every number of words will do."""
        return self.low == 0 and self.high is None

    def permitted(self, cells: Sequence[Iterable[int]]) -> list[set[int]] | None:
        """For each cell the classes, out of those it may take, that leave the count reachable; None: out of reach."""
        ahead = self._backward(cells)
        state = (1, 0)
        if not state[0] & ahead[0][0]:
            return None
        found: list[set[int]] = []
        for options, (goal0, goal1) in zip(cells, ahead[1:], strict=True):
            good, after = set(), [0, 0]
            for c in options:
                for s in (0, 1):
                    to, added = self.classes[c][s]
                    counts = self._add(state[s], added) & (goal1 if to else goal0)
                    if counts:
                        good.add(c)
                        after[to] |= counts
            found.append(good)
            state = (after[0], after[1])
        return found

    def reachable(self, cells: Sequence[Iterable[int]]) -> bool:
        """Whether the count can be reached at all."""
        return bool(self._backward(cells)[0][0] & 1)

    def _add(self, counts: int, added: int) -> int:
        counts <<= added
        over = counts >> self._top
        return (counts & ((1 << self._top) - 1)) | (1 << self._top) if over else counts

    def _backward(self, cells: Sequence[Iterable[int]]) -> list[tuple[int, int]]:
        """For the place before each cell and state of the run: the counts so far from which the goal is reachable."""
        top = self._top
        goal = 1 << top if self.high is None else ((1 << (self.high + 1)) - 1) & ~((1 << self.low) - 1)
        ahead = [(goal, goal)]
        for options in reversed(cells):
            counts = [0, 0]
            later = ahead[-1]
            for c in options:
                for s in (0, 1):
                    to, added = self.classes[c][s]
                    before = later[to] >> added
                    if added and later[to] >> top & 1:
                        before |= ((1 << added) - 1) << (top - added) if added <= top else (1 << top) - 1
                        before |= 1 << top
                    counts[s] |= before
            ahead.append((counts[0], counts[1]))
        return ahead[::-1]


@dataclass
class SpanRule:
    """One span's rules, with the tokens it holds so far (the mask id where none)."""

    edges: Edges
    count: WordCount
    tokens: list[int]


class SpanConstraint:
    """The `reverse.Constraint` of one window: every span in it keeps its edges clean and its word count reachable."""

    def __init__(self, vocabulary: Vocabulary, mask_id: int, rules: Sequence[SpanRule], cells: dict[int, tuple[int, int]]) -> None:
        """`cells`: canvas position -> (index into `rules`, cell of that span). A span may reach beyond the window."""
        self._class_of = vocabulary.class_of
        self._classes_of_id: list[int] = vocabulary.class_of.tolist()
        self._mask_id = mask_id
        self._rules = rules
        self._cells = cells
        self._options: dict[tuple[int, str], list[int]] = {}
        self._rows: dict[tuple[int, str, frozenset[int] | None], Tensor] = {}

    def allowed(self, x: Tensor, positions: Tensor) -> Tensor:
        """(L,) canvas, (n,) positions -> (n, V) bool: tokens that, alone, leave every span completable."""
        spans = self._read(x)
        permitted: dict[int, list[set[int]] | None] = {}
        rows = []
        for position in positions.tolist():
            rule, cell = self._cells[position]
            if rule not in permitted:
                permitted[rule] = None if self._rules[rule].count.free else self._permitted(rule, spans[rule])
            found = permitted[rule]
            rows.append(self._row(rule, cell, None if found is None else frozenset(found[cell])))
        return torch.stack(rows).to(x.device)

    def settle(self, x: Tensor, positions: Tensor, tokens: Tensor, log_probs: Tensor) -> Tensor:
        """Tokens for positions revealed together, in order of preference: a token that an earlier one rules out is picked anew."""
        spans = self._read(x)
        wanted = [(position, *self._cells[position]) for position in positions.tolist()]
        for (_, rule, cell), token in zip(wanted, tokens.tolist(), strict=True):
            spans[rule][cell] = token
        clashing = {
            rule
            for rule in {rule for _, rule, _ in wanted}
            if not self._rules[rule].count.free and not self._rules[rule].count.reachable(self._options_of(rule, spans[rule]))
        }
        if not clashing:
            return tokens
        for rule in clashing:
            spans[rule] = self._read(x)[rule]
        settled = tokens.clone()
        for i, (_, rule, cell) in enumerate(wanted):
            if rule not in clashing:
                continue
            token = int(tokens[i])
            permitted = self._permitted(rule, spans[rule])
            if permitted is not None and self._classes_of_id[token] not in permitted[cell]:
                row = self._row(rule, cell, frozenset(permitted[cell])).to(log_probs.device)
                token = int(log_probs[i].masked_fill(~row, -torch.inf).argmax())
                if not row[token]:  # the model gives none of them any probability
                    token = int(row.int().argmax())
                settled[i] = token
            spans[rule][cell] = token
        return settled

    def _read(self, x: Tensor) -> list[list[int]]:
        spans = [list(rule.tokens) for rule in self._rules]
        ids = x.tolist()
        for position, (rule, cell) in self._cells.items():
            spans[rule][cell] = ids[position]
        return spans

    def _permitted(self, rule: int, tokens: list[int]) -> list[set[int]] | None:
        return self._rules[rule].count.permitted(self._options_of(rule, tokens))

    def _options_of(self, rule: int, tokens: list[int]) -> list[Iterable[int]]:
        size = len(tokens)
        return [
            self._kind_classes(rule, _kind(cell, size)) if token == self._mask_id else (self._classes_of_id[token],)
            for cell, token in enumerate(tokens)
        ]

    def _kind_classes(self, rule: int, kind: str) -> list[int]:
        key = (rule, kind)
        if key not in self._options:
            self._options[key] = self._class_of[getattr(self._rules[rule].edges, kind)].unique().tolist()
        return self._options[key]

    def _row(self, rule: int, cell: int, classes: frozenset[int] | None) -> Tensor:
        kind = _kind(cell, len(self._rules[rule].tokens))
        key = (rule, kind, classes)
        if key not in self._rows:
            row: Tensor = getattr(self._rules[rule].edges, kind)
            if classes is not None:
                row = row & torch.isin(self._class_of, torch.tensor(sorted(classes), dtype=self._class_of.dtype))
            self._rows[key] = row
        return self._rows[key]


def _kind(cell: int, size: int) -> str:
    if size == 1:
        return "only"
    return "first" if cell == 0 else "last" if cell == size - 1 else "inner"
