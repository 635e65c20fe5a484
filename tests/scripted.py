"""A model that writes a given text through a real tokenizer, whatever the gap: what comes out is what the engine makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from engine.backends.folder import Folder
from engine.backends.hub_tokenizer import HubTokenizer


class Scripted:
    """Puts the tokens of `says` at the masks of the first gap, in order."""

    name = "scripted"
    time_conditioned: bool = False
    max_length = 512

    def __init__(self, folder: Path, says: str = "") -> None:
        found = HubTokenizer.of(Folder(folder))
        assert found is not None
        self.tokenizer = found
        self.mask_id = found.vocab_size
        self.vocab_size = found.vocab_size + 1
        self.suppressed: Sequence[int] = [*found.without_text, self.mask_id]
        self.wish = self.encode(says)
        self.seen: list[str] = []
        """What each row of each call showed, with ░ for a mask."""

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids)

    def frame(self, ids: list[int], *, starts: bool, ends: bool) -> tuple[list[int], int]:
        return list(ids), 0

    def logits(self, ids: Tensor, positions: Tensor, *, t: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
        found = torch.zeros(int(positions.sum()), self.vocab_size)
        at = 0
        for row, asked in zip(ids.tolist(), positions.tolist(), strict=True):
            self.seen.append("".join("░" if i == self.mask_id else self.decode([i]) for i in row))
            places = [p for p, wanted in enumerate(asked) if wanted]
            masks = [p for p, i in enumerate(row) if i == self.mask_id]
            for p in places:
                done = len(self.wish) - len(masks)
                number = p - min(masks) + max(0, done) if masks else 0
                if number < len(self.wish):
                    found[at, self.wish[number]] = 30.0
                at += 1
        return found
