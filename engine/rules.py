"""What the cells of a window may hold: clean edges, counted words, and how far a gap may change its length."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import torch
from torch import Tensor

from engine.bans import Bans
from engine.canvas import Canvas, Window
from engine.constraints import SpanConstraint, SpanRule
from engine.denoiser import Denoiser
from engine.edges import NEWLINE_CELLS, QUOTED_CELLS, Edges
from engine.growth import Growth
from engine.spacing import GAP_SIGN
from engine.spans import Span
from engine.spelling import Speller
from engine.vocabulary import vocabulary
from engine.word_count import WordCount

GROWTH = 64
"""How many cells the gaps of a window may get, all together, beyond those that they begin with."""


def edges(model: Denoiser, canvas: Canvas, i: int, size: int) -> tuple[Edges, WordCount]:
    """The rules for span i when it has `size` cells."""
    span, known = canvas.spans[i], vocabulary(model)
    counted = span.length is not None and span.length.unit == "words"
    near = known.read((span.before + span.was + span.after).replace(GAP_SIGN, ""))
    partial = any(known.partial[token] for token in model.encode(near))
    found = Edges.of(
        known,
        span.before,
        span.after,
        size,
        takes_space=span.brings_space,
        newlines=not counted and not span.was and _may_hold_lines(span, size),
        partial=partial,
        counted=counted,
        # An aside takes two brackets, for which a short gap has little room: one of them would be left alone.
        brackets=size >= QUOTED_CELLS or span.bracketed,
        sentence=0 < span.ends_sentence <= size,
        closes=span.brings_quote,
        code=span.code,
    )
    if span.length is not None and counted:
        return found, WordCount(known.classes, span.length.low, span.length.high, span.quotes)
    return found, WordCount(known.classes, 0 if size == 1 or partial or span.code else 1, None, span.quotes)


def _may_hold_lines(span: Span, size: int) -> bool:
    """Whether a span may hold line ends: a long one that begins or ends a line; in code any that does or that opens a block."""
    before, after = span.before, span.after
    if span.code:
        line = before[max(before.rfind("\n"), before.rfind("\r")) + 1 :].strip()
        return size > 1 and (not line or line[-1] in ":{" or not after or after[0] in "\r\n")
    return size >= NEWLINE_CELLS and (not before or before[-1] in "\r\n" or not after or after[0] in "\r\n")


def elastic(canvas: Canvas, group: Sequence[tuple[int, int, int]], sizes: Sequence[int]) -> set[int]:
    """The spans of a window whose length is the engine's to choose, and so may change on the way: gaps that it holds whole."""
    spans = canvas.spans
    return {i for i, start, end in group if spans[i].length is None and not spans[i].was and (start, end) == (0, sizes[i])}


def growth_of(model: Denoiser, spans: set[int]) -> Growth | None:
    """How far a window with these elastic spans may change its length: None where there are none, or the model can't do it."""
    expand_id: int | None = getattr(model, "expand_id", None)
    delete_id: int | None = getattr(model, "delete_id", None)
    if not spans or (expand_id is None and delete_id is None):
        return None
    return Growth(expand_id, delete_id, longest=model.max_length, budget=GROWTH)


def room_to_grow(model: Denoiser, canvas: Canvas) -> int:
    """Tokens for a window that leaves the network room for what its gaps may get."""
    spare = model.max_length - canvas.longest
    return max(canvas.room // 2, canvas.room - max(0, GROWTH - spare))


class Rules:
    """The `reverse.Constraint` of one window, in which gaps may change their length."""

    def __init__(
        self,
        model: Denoiser,
        canvas: Canvas,
        window: Window,
        tokens: Sequence[list[int]],
        growth: Growth | None = None,
        elastic: AbstractSet[int] = frozenset(),
        bans: Bans | None = None,
        speller: Speller | None = None,
    ) -> None:
        """`tokens`: what every span holds. `elastic`: the spans that may grow, within `growth`."""
        self._model, self._canvas, self._growth, self._elastic, self._bans = model, canvas, growth, elastic, bans
        self._speller = speller
        self._special = torch.tensor(sorted(growth.tokens if growth else ()), dtype=torch.long)
        self.relay(window, tokens)

    def relay(self, window: Window, tokens: Sequence[list[int]]) -> None:
        """The window's cells were laid out anew."""
        spans = window.spans
        self._spans = []
        for i in spans:
            allowed, count = edges(self._model, self._canvas, i, len(tokens[i]))
            if self._bans is not None:
                allowed = allowed.without(self._bans.always(i))
            if self._speller is not None and not allowed.free:
                allowed = allowed.without(self._speller.foreign)
                if not self._canvas.spans[i].figures:
                    allowed = allowed.without(vocabulary(self._model).figure.nonzero()[:, 0])
                if not self._canvas.spans[i].bracketed:  # whoever has to keep to known words closes few brackets, too
                    allowed = allowed.without(vocabulary(self._model).bracket.nonzero()[:, 0])
            self._spans.append(SpanRule(allowed, count, list(tokens[i])))
        self._cells = {position: (spans.index(i), c) for position, (i, c) in window.cells.items()}
        self._numbers = spans
        if self._bans is not None:
            self._bans.relay(spans, tokens)
        self._constraint = SpanConstraint(vocabulary(self._model), self._model.mask_id, self._spans, self._cells, self._bans, self._speller)

    def allowed(self, x: Tensor, positions: Tensor) -> Tensor:
        """(L,) canvas, (n,) masked places -> (n, V) bool."""
        allowed = self._constraint.allowed(x, positions)
        if self._growth is None:
            return allowed
        ids = x.tolist()
        for row, position in enumerate(positions.tolist()):
            if self._numbers[self._cells[position][0]] in self._elastic:
                if self._growth.expand_id is not None:
                    allowed[row, self._growth.expand_id] = True
                if self._growth.delete_id is not None:
                    allowed[row, self._growth.delete_id] = self._may_go(ids, position)
        return allowed

    def settle(self, x: Tensor, positions: Tensor, tokens: Tensor, log_probs: Tensor) -> Tensor:
        """Tokens for places revealed together; those that change a length stay, but the last cell of a gap can't go."""
        if self._growth is None:
            return self._constraint.settle(x, positions, tokens, log_probs)
        left = {k: len(rule.tokens) for k, rule in enumerate(self._spans)}
        plain = ~torch.isin(tokens, self._special)
        tokens = tokens.clone()
        for at, (position, token) in enumerate(zip(positions.tolist(), tokens.tolist(), strict=True)):
            k = self._cells[position][0]
            if token == self._growth.delete_id:
                left[k] -= 1
                if not left[k]:
                    left[k], plain[at] = 1, True
                    tokens[at] = int(log_probs[at].index_fill(0, self._special.to(log_probs.device), -torch.inf).argmax())
        if plain.any():
            rows = log_probs[plain.to(log_probs.device)]
            tokens[plain] = self._constraint.settle(x, positions[plain], tokens[plain], rows).cpu()
        if self._bans is not None and self._growth.delete_id is not None and (going := tokens.eq(self._growth.delete_id)).any():
            x = x.clone()
            x[positions[plain]] = tokens[plain]
            if self._joins(x.tolist(), set(positions[going].tolist())):
                rows = log_probs[going.to(log_probs.device)].index_fill(1, self._special.to(log_probs.device), -torch.inf)
                tokens[going] = self._constraint.settle(x, positions[going], rows.argmax(-1).cpu(), rows).cpu()
        return tokens

    def _joins(self, ids: Sequence[int], going: AbstractSet[int]) -> bool:
        """Whether a banned word stands where the cells at these places are gone."""
        if self._bans is None:
            return False
        before = self._constraint.held(ids)
        after = [list(tokens) for tokens in before]
        for k, cell in sorted((self._cells[position] for position in going), reverse=True):
            del after[k][cell]
        return self._bans.broken(before, after, {self._cells[position][0] for position in going})

    def _may_go(self, ids: list[int], position: int) -> bool:
        """Whether a cell may be deleted: not the only one, and not one at an edge that shields what can't stand there."""
        k, cell = self._cells[position]
        size = len(self._spans[k].tokens)
        if size == 1:
            return False
        mask, rules = self._model.mask_id, self._spans[k].edges
        after, before = ids[position + 1] if cell == 0 else mask, ids[position - 1] if cell == size - 1 else mask
        if not (after == mask or bool(rules.first[after])) or not (before == mask or bool(rules.last[before])):
            return False
        return not self._joins(ids, {position})
