"""Rows of tokens to train on, drawn from a corpus of shards with a weight for each source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine.training.corpus import CorpusError, weight_of
from engine.training.shards import Index, read_shard


class Rows:
    """Draws rows that start anywhere in a shard; a token of a source of weight 2 is drawn twice as often as one of weight 1."""

    def __init__(self, streams: Sequence[np.ndarray], sources: Sequence[str], weights: Sequence[tuple[str, float]] = ()) -> None:
        """`weights`: name patterns (`*fiction*`) and how often; the first that matches a source counts, others are drawn once."""
        self.streams, self.sources, self.weights = list(streams), list(sources), list(weights)
        self._weights = np.array([weight_of(source, weights) for source in sources], dtype=np.float64)

    @classmethod
    def open(cls, folder: Path, weights: Sequence[tuple[str, float]] = ()) -> Rows:
        """The rows of a folder of shards; CorpusError when it is damaged, or a weight matches nothing."""
        index = Index.read(folder)
        rows = cls([read_shard(folder, shard) for shard in index.shards], [shard.source for shard in index.shards], weights)
        for pattern, _ in weights:
            if not any(weight_of(source, [(pattern, -1.0)]) < 0 for source in rows.sources):
                raise CorpusError(f"No source is called {pattern}; the corpus has {', '.join(dict.fromkeys(rows.sources))}.")
        return rows

    def of(self, streams: Sequence[np.ndarray]) -> Rows:
        """The same sources with other streams."""
        return Rows(streams, self.sources, self.weights)

    @property
    def tokens(self) -> int:
        """Tokens that can be drawn at all."""
        return sum(len(stream) for stream, weight in zip(self.streams, self._weights, strict=True) if weight > 0)

    def draw(self, batch: int, length: int, rng: np.random.Generator) -> np.ndarray:
        """(batch, length) int64; CorpusError when no shard is longer than a row."""
        starts = np.array([max(0, len(stream) - length + 1) for stream in self.streams], dtype=np.float64)
        chances = np.cumsum(starts * self._weights)
        if not len(chances) or not chances[-1]:
            raise CorpusError(f"The texts hold {self.tokens} tokens, fewer than one row of {length}; add more text.")
        rows = np.empty((batch, length), dtype=np.int64)
        for row, (u, v) in zip(rows, rng.random((batch, 2)), strict=True):
            s = int(np.searchsorted(chances, u * chances[-1], side="right"))
            start = int(v * starts[s])
            row[:] = self.streams[s][start : start + length]
        return rows

    def epochs(self, tokens: int) -> dict[str, float]:
        """How many times the tokens of each source are seen in a run of `tokens`, on average."""
        sizes = np.array([len(stream) for stream in self.streams], dtype=np.float64)
        times = tokens * self._weights / (sizes * self._weights).sum()
        return {source: round(float(t), 3) for source, t in zip(self.sources, times, strict=True)}
