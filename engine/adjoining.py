"""Tokens that stand wrong beside their neighbours though each may stand there alone: quotes, and the space before a figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from engine.vocabulary import Vocabulary


class Adjoining:
    """The rules of one window. What the writer has put side by side is the writer's: only cells are bound."""

    def __init__(self, vocabulary: Vocabulary, mask_id: int, cells: Mapping[int, tuple[int, int]], *, names: bool, singly: bool) -> None:
        """`cells`: canvas position -> (span, cell of that span). `names`: whether a capital may stand behind a single quote ("O'Brien").
        `singly`: whether the draft quotes with single ones.
        """
        self._vocabulary, self._mask_id, self._cells = vocabulary, mask_id, cells
        self._quotes = vocabulary.quotes[: 1 if names else 2]
        self._apostrophes = None if singly else vocabulary.quotes[1].alone
        self._has_spacer = bool(vocabulary.spacer.any())

    def wrong(self, ids: list[int], position: int, may_wait: Callable[[], bool]) -> Tensor | None:
        """(V,) bool: the tokens that would leave a quote with no space on either side (`asked"Yes`, `O'Then`), or a space alone where no
        figure follows; None where none would, and for given text. `may_wait`: whether there is room for a figure later.
        """
        if position not in self._cells:
            return None
        before, left, right, after = (ids[i] if 0 <= i < len(ids) else self._mask_id for i in (position + d for d in (-2, -1, 1, 2)))
        found = self._unspaced(position, left, right, may_wait) if self._has_spacer else []
        for quote in self._quotes:
            alone, ends, starts = quote.rows
            if quote.alone[left] and quote.ends[before]:
                found.append(starts)
            if quote.alone[right] and quote.starts[after]:
                found.append(ends)
            if quote.ends[left] and quote.starts[right]:
                found.append(alone)
        if self._apostrophes is not None:
            found += self._closing_nothing(left, right, self._apostrophes)
        return torch.stack(found).any(0) if found else None

    def _closing_nothing(self, left: int, right: int, apostrophes: list[bool]) -> list[Tensor]:
        """(V,) bool each: a single quote beside a stop, and a stop beside one, where it closes what no single quote opened ("you,',")."""
        v = self._vocabulary
        found = [v.quotes[1].rows[0]] if v.ends_stop[left] or v.starts_stop[right] else []
        if apostrophes[left]:
            found.append(v.starts_stop)
        if apostrophes[right]:
            found.append(v.ends_stop)
        return found

    def _unspaced(self, position: int, left: int, right: int, may_wait: Callable[[], bool]) -> list[Tensor]:
        """(V,) bool each: the tokens that don't stand here because of the spaces of figures."""
        v = self._vocabulary
        found = [~v.starts_figure] if position - 1 in self._cells and v.spacer[left] else []
        if position + 1 in self._cells and v.spacer[right]:
            found.append(v.unspaced)
        later = right == self._mask_id and position + 1 in self._cells and may_wait()
        starts = self._cells[position][1] == 0  # a span's first space is the one that the writer has put before it
        if not (later or v.starts_figure[right]) or (not starts and v.unspaced[left]):
            found.append(v.spacer)
        return found
