"""A model that writes what follows what in a little prose, through any tokenizer: words and pieces of words, in any order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tests.encoders import PROSE


class Bigrams:
    """Predicts a token from its two neighbours: likelier where it stood between such in the prose."""

    name = "bigrams"
    time_conditioned: bool = False

    def __init__(
        self,
        encode: Callable[[str], list[int]],
        decode: Callable[[Sequence[int]], str],
        size: int,
        suppressed: Sequence[int],
        length: int = 512,
    ) -> None:
        """`size`: of the tokenizer's vocabulary; the mask is one more."""
        self.encode, self.decode = encode, decode
        self.mask_id, self.vocab_size, self.max_length = size, size + 1, length
        self.suppressed: Sequence[int] = [*suppressed, size]
        ids = torch.tensor(encode(PROSE[:12_000]))
        self._usual = torch.bincount(ids, minlength=size + 1).float().add(0.05).log()
        self._next: dict[int, list[int]] = {}
        self._last: dict[int, list[int]] = {}
        for left, right in zip(ids.tolist(), ids[1:].tolist(), strict=False):
            self._next.setdefault(left, []).append(right)
            self._last.setdefault(right, []).append(left)

    def frame(self, ids: list[int], *, starts: bool, ends: bool) -> tuple[list[int], int]:
        """The ids alone."""
        return list(ids), 0

    def logits(self, ids: Tensor, positions: Tensor, *, t: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
        """The usual tokens, and those that follow the left neighbour or come before the right one."""
        rows = []
        for row, asked in zip(ids.tolist(), positions.tolist(), strict=True):
            for place, wanted in enumerate(asked):
                if wanted:
                    found = self._usual.clone()
                    found[self._next.get(row[place - 1], []) if place else []] += 5.0
                    found[self._last.get(row[place + 1], []) if place + 1 < len(row) else []] += 5.0
                    rows.append(found)
        return torch.stack(rows) if rows else torch.zeros(0, self.vocab_size)
