"""A denoiser that is right: it knows a small joint distribution and answers with its true conditionals."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from engine.backends.toy import Toy


class Exact(Toy):
    """A random joint distribution over `length` tokens of an alphabet of `letters`; the mask is the id after them."""

    name = "exact"
    time_conditioned = False

    def __init__(self, length: int = 3, letters: int = 3, seed: int = 0) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        self.mask_id, self.vocab_size = letters, letters + 1
        self.suppressed: Sequence[int] = (letters,)
        self.joint = torch.softmax(torch.randn([letters] * length, generator=rng, dtype=torch.float64) * 1.5, dim=0)
        self.joint /= self.joint.sum()
        self._known: dict[tuple[tuple[int, ...], int], Tensor] = {}

    def logits(self, ids: Tensor, positions: Tensor, *, t: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
        self.calls += 1
        canvases = ids.tolist()
        return torch.stack([self._conditional(tuple(canvases[row]), place) for row, place in positions.nonzero().tolist()])

    def _conditional(self, canvas: tuple[int, ...], place: int) -> Tensor:
        if (canvas, place) not in self._known:
            table = self.joint
            for axis, token in enumerate(canvas):
                if axis != place:
                    table = table.sum(axis, keepdim=True) if token == self.mask_id else table.narrow(axis, token, 1)
            self._known[canvas, place] = torch.cat([table.flatten().log(), torch.zeros(1, dtype=torch.float64)]).float()
        return self._known[canvas, place]
