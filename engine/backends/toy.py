"""A byte-level bigram model, for tests: tiny, deterministic, and any Unicode text encodes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

TEXT = """\
The lamp in the hall had burned low, and nobody had come to fill it. Anna stood by the window and counted the boats that were
still out on the water. There were four of them, small and dark, and the wind was rising. She had promised to wait until the last
one turned for home, but the tide was late and the stove was cold. "You may go to bed," her brother said from the stairs; he had a
book under his arm and ink on both hands. She shook her head. Out beyond the bar a light moved, went out, and moved again. It was
not a signal that she knew. When the clock struck nine she took her coat, her stick and the old key, and went down to the harbour
to ask what the others had seen.
"""

MASK = 256
VISIBLE = {10, *range(32, 127)}


class Toy:
    """Predicts a masked byte from its two neighbours: p(byte | left) p(right | byte), each counted from one paragraph.

    It writes printable ASCII and newlines only, so that what it writes is valid UTF-8 whatever the given text is.
    """

    name = "toy"
    mask_id = MASK
    vocab_size = 257
    max_length = 512
    suppressed: Sequence[int] = tuple(i for i in range(257) if i not in VISIBLE)
    time_conditioned: bool = False

    def __init__(self) -> None:
        self.calls = 0
        """Denoiser calls so far."""
        self.tokens = 0
        """Tokens that these calls looked at."""
        data = torch.tensor(list(TEXT.encode()))
        counts = torch.full((256, 256), 0.002)
        counts.index_put_((data[:-1], data[1:]), torch.tensor(1.0), accumulate=True)
        pair = (counts / counts.sum(1, keepdim=True)).log()
        # A row for the mask: a neighbour that isn't known says nothing.
        self._from_left = torch.cat([pair, (counts.sum(0) / counts.sum()).log()[None]])
        self._from_right = torch.cat([pair.T, torch.zeros(1, 256)])

    def encode(self, text: str) -> list[int]:
        """The text's bytes in UTF-8."""
        return list(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        """The text of bytes; no mask among them."""
        return bytes(ids).decode("utf-8", errors="replace")

    def frame(self, ids: list[int], *, starts: bool, ends: bool) -> tuple[list[int], int]:
        """The ids alone: this model has no special ends."""
        return list(ids), 0

    def logits(self, ids: Tensor, positions: Tensor, *, t: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
        """Log p(byte | left) p(right | byte) up to a constant, of which a neighbour that is masked or not there drops out."""
        self.calls += 1
        self.tokens += ids.numel()
        seen = ids if attend is None else torch.where(attend, ids, MASK)
        edge = torch.full_like(seen[:, :1], MASK)
        left = torch.cat([edge, seen[:, :-1]], 1)[positions]
        right = torch.cat([seen[:, 1:], edge], 1)[positions]
        known = self._from_left[left] + self._from_right[right]
        return torch.cat([known, torch.zeros(len(known), 1)], 1)
