"""Keys and values that a network computed before: a causal one's earlier tokens, or the places of a canvas that stayed as they were."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from engine.ngrams import Ngrams

Recall = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""A layer's part of a cache: new (B, heads, n, head_width) keys and values in, all of them out."""


class KVCache:
    """The keys and values of a causal network's earlier tokens, so that a token is computed once."""

    def __init__(self, room: int) -> None:
        """`room`: tokens that it will hold at most."""
        self.room, self.used = room, 0
        self.held: list[tuple[Tensor, Tensor]] = []
        self.earlier: Tensor | None = None

    def take(self, ids: Tensor) -> Tensor | None:
        """The last (B, n) ids taken before these, as many as `Ngrams` looks back to; these are kept for the next time."""
        before = self.earlier
        self.earlier = (ids if before is None else torch.cat((before, ids), dim=1))[:, -Ngrams.REACH :]
        return before

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Add (B, heads, new, head_width) keys and values of a layer; all of that layer's so far. `used` is moved on by the network."""
        if layer == len(self.held):
            shape = (*k.shape[:2], self.room, k.shape[3])
            self.held.append((k.new_empty(shape), v.new_empty(shape)))
        end = self.used + k.shape[2]
        for whole, part in zip(self.held[layer], (k, v), strict=True):
            whole[:, :, self.used : end] = part
        keys, values = self.held[layer]
        return keys[:, :, :end], values[:, :, :end]


class ContextCache:
    """The keys and values of a canvas as it was read last, so that some of its places can be computed beside the others.

    What the others are told by these places is then out of date, which is why it is read anew every few steps (the approximate caches
    of Fast-dLLM, arXiv 2505.22618, and dKV-Cache, arXiv 2505.15781).
    """

    def __init__(self) -> None:
        self.held: list[tuple[Tensor, Tensor]] = []
        self.places: Tensor | None = None
        """(B, n) the places to compute; None: the whole canvas, to be kept."""
        self._rank: Tensor | None = None

    def only(self, active: Tensor) -> None:
        """Compute the places in `active` (B, L) bool next, at least one, and keep what they become; the others stay as they were."""
        counts = active.sum(-1, keepdim=True)
        places = active.int().argsort(dim=-1, descending=True, stable=True)[:, : int(counts.max())]
        batch, count = places.shape
        # A row with fewer computes its first place again, so that no row depends on what another one needs.
        self.places = torch.where(torch.arange(count, device=active.device) < counts, places, places[:, :1])
        ranks = torch.arange(batch * count, device=active.device).view(batch, count)
        self._rank = torch.zeros(active.shape, dtype=torch.long, device=active.device).scatter_(1, self.places, ranks)

    @classmethod
    def of(cls, rows: Sequence[tuple[ContextCache, int]]) -> ContextCache:
        """One that holds these rows of others, in this order."""
        first = rows[0][0]
        if all(cache is first for cache, _ in rows):
            return first.copied([at for _, at in rows])
        found = cls()
        for pairs in zip(*([(k[at], v[at]) for k, v in cache.held] for cache, at in rows), strict=True):
            keys, values = zip(*pairs, strict=True)
            found.held.append((torch.stack(keys), torch.stack(values)))
        return found

    def first(self, count: int) -> ContextCache:
        """The first rows as a cache of their own; what is written there is written here."""
        other = ContextCache()
        other.held = [(k[:count], v[:count]) for k, v in self.held]
        return other

    def copied(self, wanted: list[int]) -> ContextCache:
        """Another one that holds these rows, each as often as it is named."""
        other = ContextCache()
        other.held = [(k[wanted], v[wanted]) for k, v in self.held]
        return other

    def among(self, where: Tensor | None) -> Tensor | None:
        """Flat positions of the canvas, all of them active, as flat positions of `places`."""
        return None if where is None or self._rank is None else self._rank.flatten()[where]

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Take in a layer's keys and values of the computed places, in order of the layers; those of all places."""
        if self.places is None:
            self.held.append((k.contiguous(), v.contiguous()))
            return self.held[-1]
        rows = torch.arange(len(k), device=k.device)[:, None]
        keys, values = self.held[layer]
        # Whole rows of numbers are put in place, which takes a fifth of what `scatter_` does, number by number.
        keys[rows, :, self.places], values[rows, :, self.places] = k.transpose(1, 2), v.transpose(1, 2)
        return keys, values
