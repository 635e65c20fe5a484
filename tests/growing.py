"""The toy with DreamOn's two tokens: masks that may become two, or none."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tests.wild import Wild

EXPAND, DELETE = 257, 258


class Growing(Wild):
    """Wants to expand and to delete about as much as to write, by chances that hang on the place and its neighbours."""

    vocab_size = 259

    def __init__(self, max_length: int = 512, *, expand: float = 0.0, delete: float = 0.0, tame: bool = True) -> None:
        """`expand`, `delete`: log-odds against the likeliest byte."""
        super().__init__(max_length, tame=tame)
        self.suppressed: Sequence[int] = (*self.suppressed, EXPAND, DELETE)
        self.expand_id, self.delete_id = EXPAND, DELETE
        self.widest = 0
        """Positions of the longest canvas that it was asked about."""
        self._odds = torch.tensor([expand, delete])

    def logits(self, ids: Tensor, positions: Tensor, *, t: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
        """The toy's, and the two tokens beside its best."""
        self.widest = max(self.widest, ids.shape[1])
        seen = ids.masked_fill(ids > self.mask_id, self.mask_id)
        known = super().logits(seen, positions, t=t, attend=attend)
        place = positions.nonzero()[:, 1:].float()
        swing = torch.cat([torch.sin(place * 2.1), torch.cos(place * 1.3)], 1) * 2
        return torch.cat([known, known.amax(-1, keepdim=True) + self._odds + swing], 1)
