"""Rows of tokens to train on, drawn from a corpus of shards with a weight for each source."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from pathlib import Path

import numpy as np

from engine.training.corpus import CorpusError, weight_of
from engine.training.shards import Index, read_shard

SHORT = 4096
"""Tokens below which streams are joined: a folder of poems is one text to draw rows from, for none of them may hold a row."""


class Rows:
    """Draws rows that start anywhere in a stream; a token of a source of weight 2 is drawn twice as often as one of weight 1."""

    def __init__(self, streams: Sequence[np.ndarray], sources: Sequence[str], weights: Sequence[tuple[str, float]] = ()) -> None:
        """`weights`: name patterns (`*fiction*`) and how often; the first that matches a source counts, others are drawn once."""
        self.streams, self._sources, found = _joined(streams, sources, [weight_of(source, weights) for source in sources])
        self._weights = np.array(found, dtype=np.float64)

    @classmethod
    def open(cls, folder: Path, weights: Sequence[tuple[str, float]] = ()) -> Rows:
        """The rows of a folder of shards; CorpusError when it is damaged, or a weight matches nothing."""
        index = Index.read(folder)
        sources = [shard.source for shard in index.shards]
        for pattern, _ in weights:
            if not any(weight_of(source, [(pattern, -1.0)]) < 0 for source in sources):
                raise CorpusError(f"No source is called {pattern}; the corpus has {', '.join(dict.fromkeys(sources))}.")
        return cls([read_shard(folder, shard) for shard in index.shards], sources, weights)

    def of(self, streams: Sequence[np.ndarray]) -> Rows:
        """The same sources with other streams."""
        made = copy(self)
        made.streams = list(streams)
        return made

    @property
    def tokens(self) -> int:
        """Tokens that can be drawn at all."""
        return sum(len(stream) for stream, weight in zip(self.streams, self._weights, strict=True) if weight > 0)

    def draw(self, batch: int, length: int, rng: np.random.Generator) -> np.ndarray:
        """(batch, length) int64; CorpusError when no stream is longer than a row."""
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

    def epochs(self, tokens: int, *, alone: bool = False) -> dict[str, float]:
        """How many times the tokens of each source are seen in a run of `tokens`, on average. alone: of all together, for the names of a
        writer's files are nobody's business but the writer's.
        """
        if alone:
            return {"all": round(tokens / max(1, self.tokens), 3)}
        sizes = np.array([len(stream) for stream in self.streams], dtype=np.float64)
        times = tokens * self._weights / (sizes * self._weights).sum()
        return {source: round(float(t), 3) for sources, t in zip(self._sources, times, strict=True) for source in sources}


def _joined(
    streams: Sequence[np.ndarray], sources: Sequence[str], weights: Sequence[float]
) -> tuple[list[np.ndarray], list[tuple[str, ...]], list[float]]:
    """The streams, those that are SHORT joined where they are drawn equally often; with the sources and the weight of each.

    Every document begins with its token, so what is joined reads like documents of one source.
    """
    found: list[tuple[np.ndarray, tuple[str, ...], float]] = []
    short: dict[float, list[int]] = {}
    for at, (stream, source, weight) in enumerate(zip(streams, sources, weights, strict=True)):
        if len(stream) < SHORT:
            short.setdefault(weight, []).append(at)
        else:
            found.append((stream, (source,), weight))
    for weight, places in short.items():
        found.append((np.concatenate([streams[at] for at in places]), tuple(sources[at] for at in places), weight))
    return [stream for stream, _, _ in found], [names for _, names, _ in found], [weight for _, _, weight in found]
