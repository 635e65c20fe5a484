"""What a corpus holds twice is kept once: whole documents, near copies of them, long paragraphs, and nothing that is held out.

Works on token ids, so that no text is hashed in Python word by word. Memory is fixed: what was seen is kept in Bloom
filters (Bloom 1970), which never miss a copy and take one in some thousands of new shingles for an old one.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

SHINGLE = 8
"""Tokens in a shingle, some six words."""
SAMPLED = 16
"""One shingle in so many is looked at, chosen by its hash, so that two copies choose the same ones (Broder 1997)."""
COPY = 0.5
"""A document is a near copy when more than this share of its shingles was seen in others."""
HELD_OUT = 0.2
"""A document is left out when more than this share of its shingles is in the excluded texts."""
LONG_PARAGRAPH = 32
"""Tokens from which on a paragraph must be new; shorter ones ("Yes," he said.) come again in any book."""


class Bloom:
    """A set of 64-bit hashes in a fixed number of bits: what was added is found; what was not, hardly ever."""

    PROBES = 4

    def __init__(self, bits: int = 28) -> None:
        """`bits`: log2 of the size; 28 takes 32 MiB and finds one in 200 wrongly after 20 million hashes, 3 in 100,000 after 5 million."""
        self._mask = np.uint64(2**bits - 1)
        self._bytes = np.zeros(2**bits // 8, dtype=np.uint8)

    def _places(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        steps = np.arange(self.PROBES, dtype=np.uint64)
        places = (hashes[:, None] + steps * ((hashes[:, None] >> np.uint64(32)) | np.uint64(1))) & self._mask
        return places >> np.uint64(3), np.uint8(1) << (places & np.uint64(7)).astype(np.uint8)

    def seen(self, hashes: np.ndarray) -> np.ndarray:
        """(n,) uint64 -> (n,) bool."""
        places, bits = self._places(hashes)
        found: np.ndarray = (self._bytes[places] & bits).all(axis=1)
        return found

    def add(self, hashes: np.ndarray) -> None:
        """Take (n,) uint64 hashes in."""
        places, bits = self._places(hashes)
        np.bitwise_or.at(self._bytes, places, bits)


def mixed(hashes: np.ndarray) -> np.ndarray:
    """Spread (n,) uint64 over all 64 bits (the finaliser of SplitMix64)."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(hashes ^ (hashes >> np.uint64(31)))


def shingles(ids: np.ndarray) -> np.ndarray:
    """The sampled shingles of a document, as distinct uint64 hashes; none from fewer tokens than one holds."""
    count = len(ids) - SHINGLE + 1
    if count < 1:
        return np.zeros(0, dtype=np.uint64)
    hashes = np.zeros(count, dtype=np.uint64)
    for j in range(SHINGLE):
        hashes = hashes * np.uint64(0x100000001B3) + ids[j : count + j]
    hashes = mixed(hashes)
    return np.unique(hashes[hashes % np.uint64(SAMPLED) == 0] // np.uint64(SAMPLED))


def whole(ids: np.ndarray) -> np.ndarray:
    """One hash of all these tokens, as (1,) uint64."""
    powers = np.cumprod(np.full(len(ids), 0x100000001B3, dtype=np.uint64))
    return mixed((ids.astype(np.uint64) * powers).sum(keepdims=True) + np.uint64(len(ids)))


class Deduplicator:
    """Documents in, those that are new out; what it answers depends on nothing but the documents that it kept before."""

    def __init__(self, break_id: int | None) -> None:
        """`break_id`: the token between two paragraphs; None where the tokenizer has no such token, and paragraphs are not looked at."""
        self._break = break_id
        self._held_out, self._shingles, self._wholes = Bloom(24), Bloom(), Bloom()
        self.dropped: Counter[str] = Counter()
        """Tokens left out, by reason: "copies", "near copies", "paragraphs", "held out"."""

    def hold_out(self, ids: np.ndarray) -> None:
        """A document that must not be in the corpus, nor a text that is mostly it."""
        self._held_out.add(shingles(ids))

    def keep(self, ids: np.ndarray) -> np.ndarray | None:
        """The document without long paragraphs that others have; None when too little of it is new. What is kept is remembered."""
        if self._wholes.seen(whole(ids))[0]:
            self.dropped["copies"] += len(ids)
            return None
        marks = shingles(ids)
        if len(marks) and self._held_out.seen(marks).mean() > HELD_OUT:
            self.dropped["held out"] += len(ids)
            return None
        if len(marks) >= 4 and self._shingles.seen(marks).mean() > COPY:
            self.dropped["near copies"] += len(ids)
            return None
        kept = self._without_old_paragraphs(ids)
        if kept is not None:
            self.remember(kept)
            if len(kept) < len(ids):
                self._wholes.add(whole(ids))
        return kept

    def remember(self, ids: np.ndarray) -> None:
        """A document that was kept before."""
        self._shingles.add(shingles(ids))
        self._wholes.add(whole(ids))
        for paragraph in self._paragraphs(ids):
            if len(paragraph) >= LONG_PARAGRAPH:
                self._wholes.add(whole(paragraph))

    def _paragraphs(self, ids: np.ndarray) -> list[np.ndarray]:
        if self._break is None:
            return [ids]
        pieces = np.split(ids, np.flatnonzero(ids == self._break))
        return [piece[1:] if i else piece for i, piece in enumerate(pieces)]

    def _without_old_paragraphs(self, ids: np.ndarray) -> np.ndarray | None:
        paragraphs = self._paragraphs(ids)
        new = [p for p in paragraphs if len(p) < LONG_PARAGRAPH or not self._wholes.seen(whole(p))[0]]
        if len(new) == len(paragraphs):
            return ids
        self.dropped["paragraphs"] += len(ids) - sum(map(len, new))
        if sum(map(len, new)) < LONG_PARAGRAPH:
            return None
        gap = np.array([self._break], dtype=ids.dtype)
        return np.concatenate([part for p in new for part in (gap, p)][1:])
