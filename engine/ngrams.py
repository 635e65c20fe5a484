"""Embeddings of neighbours: what stands beside a position, looked up in a table of hashed pairs of tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Ngrams(nn.Module):
    """What stands beside a position, looked up: a row for each hashed pair of neighbours, added to the embeddings.

    Memory in place of arithmetic, after the n-gram embeddings of Over-Tokenized Transformers (arXiv 2501.16975), whose n-grams end at
    the token itself. A denoiser sees both sides, and what a masked position needs is what stands around it.
    """

    PAIRS = ((-2, -1), (1, 2), (-1, 1))
    """The neighbours of each pair, as distances."""
    CAUSAL_PAIRS = ((-1, 0),)
    """Of the autoregressive twin. Its row j holds token j - 1 and predicts token j, so these are the denoiser's first pair, in the same
    rows of the table: a denoiser can go on from a twin."""
    REACH = 2

    def __init__(self, rows: int, width: int, vocab_size: int, *, causal: bool = False) -> None:
        super().__init__()
        self.pairs = self.CAUSAL_PAIRS if causal else self.PAIRS
        self.beyond = vocab_size
        self.table = nn.Embedding(rows, width)

    def forward(self, ids: Tensor, attend: Tensor | None, earlier: Tensor | None = None, places: Tensor | None = None) -> Tensor:
        """(B, L) ids -> (B, L, width); padding, where `attend` (B, L) is False, is beyond the row's end.

        `earlier` (B, n): the ids that stand before these, which a cache holds. `places` (B, n): the only ones that are wanted, so
        (B, n, width).
        """
        if attend is not None and attend.dim() == 2:
            ids = ids.masked_fill(~attend, self.beyond)
        length, reach = ids.shape[1], self.REACH
        row = ids if earlier is None else torch.cat((earlier[:, -reach:], ids), dim=1)
        row = F.pad(row, (length + reach - row.shape[1], reach), value=self.beyond)

        def at(distance: int) -> Tensor:
            if places is not None:
                return row.gather(1, places + (reach + distance))
            return row[:, reach + distance : reach + distance + length]

        found: Tensor = self.table(hashed(at(self.pairs[0][0]), at(self.pairs[0][1]), 0, self.table.num_embeddings))
        for k, (a, b) in enumerate(self.pairs[1:], 1):
            found = found + self.table(hashed(at(a), at(b), k, self.table.num_embeddings))
        return found


def hashed(first: Tensor, second: Tensor, kind: int, rows: int) -> Tensor:
    """A row of a table for each pair of ids of a kind; the numbers are primes, and part of the checkpoint's format."""
    return (first * 1_000_003 + second * 7_919 + (kind + 1) * 15_485_863) % rows
