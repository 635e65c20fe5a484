"""Masks that become two or none while a canvas is filled: variable-length infilling (DreamOn, arXiv 2602.01326)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

PADDING = -2
NEW = -1


@dataclass(frozen=True, slots=True)
class Growth:
    """How far the rows of a canvas may change their length. A model trained for it predicts the two tokens like any other."""

    expand_id: int | None
    """A mask that resolves to this token is two masks from then on."""
    delete_id: int | None
    """A mask that resolves to this token is gone."""
    longest: int
    """Positions that a row may come to."""
    budget: int
    """How often a row may expand: where a model expands and deletes in turn, this ends it."""
    end_id: int | None = None
    """After a mask that resolves to this token, all masks of the row do: the text ends there (DreamOn's padding of ends)."""

    @property
    def tokens(self) -> set[int]:
        """Tokens that may be predicted although no text is spelt by them."""
        return {token for token in (self.expand_id, self.delete_id, self.end_id) if token is not None}

    def barred(self, logits: Tensor, full: Tensor) -> Tensor:
        """(N, V) logits, (N,) bool -> the logits, without the token that expands in rows of a canvas that may grow no further."""
        if self.expand_id is None or not bool(full.any()):
            return logits
        kept = logits.clone()
        kept[full.to(kept.device), self.expand_id] = -torch.inf
        return kept

    def within(self, tokens: Tensor, room: int) -> Tensor:
        """(n,) tokens revealed together, surest first -> (n,) bool: those that stay when so many may expand; the others wait."""
        if self.expand_id is None:
            return torch.ones_like(tokens, dtype=torch.bool)
        return tokens.eq(self.expand_id).cumsum(0) <= room

    def end(self, x: Tensor, masked: Tensor, revealed: Tensor) -> Tensor:
        """(L,) canvas after a step, (L,) bool what was masked before it, (L,) bool what was revealed in it -> (L,) bool: the
        masks that go with the first token that ends the text."""
        if self.end_id is None or not bool((ends := revealed & (x == self.end_id)).any()):
            return torch.zeros_like(masked)
        return masked & (torch.arange(len(x)) > int(ends.int().argmax()))

    def origins(self, x: Tensor, revealed: Tensor) -> list[int] | None:
        """(L,) canvas, (L,) bool what was revealed in this step -> for each place of the canvas as it is to be, the place it has
        now, NEW for the second half of a mask that became two; None when nothing changes."""
        expanded = revealed & (x == self.expand_id) if self.expand_id is not None else torch.zeros_like(revealed)
        deleted = revealed & (x == self.delete_id) if self.delete_id is not None else torch.zeros_like(revealed)
        if not bool((expanded | deleted).any()):
            return None
        found: list[int] = []
        for place, (two, none) in enumerate(zip(expanded.tolist(), deleted.tolist(), strict=True)):
            found += [place, NEW] if two else [] if none else [place]
        return found


def aligned(origins: list[list[int]]) -> Tensor:
    """(B, L) long: rows of several lengths side by side, PADDING at the end of the shorter ones."""
    longest = max(map(len, origins))
    return torch.tensor([row + [PADDING] * (longest - len(row)) for row in origins])


def parents(origin: Tensor) -> Tensor:
    """(B, L) origins -> (B, L) places to take a value from: a new place takes it from the mask it was split off."""
    return torch.where(origin == NEW, origin.roll(1, -1), origin).clamp(min=0)
