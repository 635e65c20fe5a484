"""What a corpus holds twice is kept once: whole documents, near copies of them, long paragraphs, and nothing that is held out.

Works on token ids, so that no text is hashed in Python word by word. Memory is fixed: what was seen is kept in Bloom
filters (Bloom 1970), which never miss a copy and take one in some thousands of new shingles for an old one.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

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

EMPTY = 0x9E3779B97F4A7C15
"""What the hash of a paragraph without words begins from: not 0, so that it counts."""


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


class Marked(NamedTuple):
    """A document with the hashes that copies of it and of its parts would have."""

    ids: np.ndarray
    """(n,) uint16."""
    shingles: np.ndarray
    """The sampled ones, distinct uint64."""
    whole: np.ndarray
    """(1,) uint64."""
    starts: np.ndarray
    """(P,) where its paragraphs start, each but the first with the break that leads it."""
    paragraphs: np.ndarray
    """(P,) uint64, of each paragraph without its break."""

    @property
    def lengths(self) -> np.ndarray:
        """(P,) tokens of each paragraph, with its break."""
        return np.diff(self.starts, append=len(self.ids))


def mark(ids: np.ndarray, break_id: int | None) -> Marked:
    """Hash a document. `break_id`: the token between two paragraphs; None where there is none, and the document is one paragraph."""
    breaks = np.flatnonzero(ids == break_id) if break_id is not None else np.zeros(0, dtype=np.int64)
    starts = np.concatenate((np.zeros(1, dtype=np.int64), breaks[breaks > 0]))
    if not len(ids):
        nothing = mixed(np.array([EMPTY], dtype=np.uint64))
        return Marked(ids, nothing[:0], nothing, starts, nothing)
    lengths = np.diff(starts, append=len(ids))
    places = np.arange(len(ids)) - np.repeat(starts, lengths)
    values = mixed(ids.astype(np.uint64) + np.uint64(1))
    values[breaks] = 0
    # The break that leads a paragraph has place 0, so the words of the first one begin at place 1, too.
    first = starts[1] if len(starts) > 1 else len(ids)
    places[:first] += 0 if ids[0] == break_id else 1
    sums = np.add.reduceat(values * (2 * places.astype(np.uint64) + np.uint64(1)), starts)
    paragraphs = mixed(sums + np.uint64(EMPTY))
    order = 2 * np.arange(len(paragraphs), dtype=np.uint64) + np.uint64(1)
    return Marked(ids, shingles(ids), mixed((paragraphs * order).sum(keepdims=True) ^ np.uint64(1)), starts, paragraphs)


class Deduplicator:
    """Documents in, those that are new out; what it answers depends on nothing but the documents that it kept before."""

    def __init__(self, break_id: int | None) -> None:
        """`break_id`: as for `mark`."""
        self._break = break_id
        self._held_out, self._shingles, self._wholes = Bloom(24), Bloom(), Bloom()
        self.dropped: Counter[str] = Counter()
        """Tokens left out, by reason: "copies", "near copies", "paragraphs", "held out"."""

    def hold_out(self, ids: np.ndarray) -> None:
        """A document that must not be in the corpus, nor a text that is mostly it."""
        self._held_out.add(shingles(ids))

    def keep(self, found: Marked) -> np.ndarray | None:
        """The document's ids without long paragraphs that others have; None when too little of it is new. What is kept is remembered."""
        if reason := self._known(found):
            self.dropped[reason] += len(found.ids)
            return None
        old = (found.lengths >= LONG_PARAGRAPH) & self._wholes.seen(found.paragraphs)
        if not old.any():
            self.remember(found)
            return found.ids
        self.dropped["paragraphs"] += int(found.lengths[old].sum())
        kept = found.ids[np.repeat(~old, found.lengths)]
        kept = kept[1:] if len(kept) and kept[0] == self._break else kept
        rest = mark(kept, self._break)
        if len(kept) < LONG_PARAGRAPH or self._wholes.seen(rest.whole)[0]:
            return None
        self.remember(rest)
        return kept

    def remember(self, found: Marked) -> None:
        """A document that was kept before."""
        self._shingles.add(found.shingles)
        self._wholes.add(np.concatenate((found.whole, found.paragraphs[found.lengths >= LONG_PARAGRAPH])))

    def _known(self, found: Marked) -> str | None:
        """Why a document is left out whole, if it is."""
        if self._wholes.seen(found.whole)[0]:
            return "copies"
        if len(found.shingles) and self._held_out.seen(found.shingles).mean() > HELD_OUT:
            return "held out"
        if len(found.shingles) >= 4 and self._shingles.seen(found.shingles).mean() > COPY:
            return "near copies"
        return None
