"""A model with a small vocabulary of word pieces that carry their leading space, as BPE vocabularies do."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

WORDS = ["the", "a", "old", "house", "was", "quiet", "and", "he", "said", "lamp", "well", "known", "it", "is", "so", "when"]
SIGNS = [",", ".", "?", "!", '"', "'", "(", ")", "—", "-", ";", ":"]
PIECES = [*WORDS, *(" " + w for w in WORDS), *SIGNS, *(" " + s for s in SIGNS), " ", "  ", "\n", "\n\n", "\t", "s", "ing", "3"]


class Pieces:
    """Encodes by the longest piece, what has none as the piece "?"; wishes for a given text at the masks, token by token."""

    name = "pieces"
    mask_id = len(PIECES)
    vocab_size = len(PIECES) + 1
    time_conditioned: bool = False
    suppressed: Sequence[int] = (len(PIECES),)

    def __init__(self, wish: Sequence[str] = (), max_length: int = 64) -> None:
        self.max_length = max_length
        self.wish = [PIECES.index(piece) for piece in wish]
        self.seen: list[str] = []
        """What each row of each call showed, with ░ for a mask."""

    def encode(self, text: str) -> list[int]:
        ids, at = [], 0
        while at < len(text):
            fitting = [p for p in PIECES if text.startswith(p, at)]
            piece = max(fitting, key=len) if fitting else "?"
            ids.append(PIECES.index(piece))
            at += len(piece)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(PIECES[i] for i in ids)

    def frame(self, ids: list[int], *, starts: bool, ends: bool) -> tuple[list[int], int]:
        return list(ids), 0

    def logits(self, ids: Tensor, positions: Tensor, *, t: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
        self.seen += ["".join("░" if i == self.mask_id else PIECES[i] for i in row) for row in ids.tolist()]
        rows = []
        for row, asked in zip(ids, positions, strict=True):
            first = int((row == self.mask_id).int().argmax()) if not self.wish else int(asked.int().argmax())
            for position in asked.nonzero()[:, 0].tolist():
                values = torch.zeros(self.vocab_size)
                if position - first < len(self.wish):
                    values[self.wish[position - first]] = 8.0
                rows.append(values)
        return torch.stack(rows) if rows else torch.zeros(0, self.vocab_size)
