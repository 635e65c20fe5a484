"""What a run remembers of its canvas between two whole readings of it."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.caches import ContextCache
from engine.denoiser import Denoiser, KeepsContext

WORTH_KEEPING = 0.5
"""The share of a canvas up to which it pays to compute its changing places alone."""
MOST_KEPT = 2**30
"""Bytes that may be kept of a row, or of all versions of one: LLaDA-8B takes half a megabyte a token."""


def keeper(model: Denoiser, refresh: int, tokens: int) -> KeepsContext | None:
    """The denoiser, if it can keep what it made of so many tokens and is to read the whole canvas every `refresh` steps only."""
    if refresh > 1 and isinstance(model, KeepsContext) and not model.time_conditioned and tokens * model.kept_bytes <= MOST_KEPT:
        return model
    return None


class Surroundings:
    """The given text of one canvas as a denoiser sees it before anything is written there, for reading versions of what is written
    beside it. What they tell it of themselves is left out: it would give away the very words that a version hides.
    """

    def __init__(self, model: Denoiser, refresh: int, blank: Tensor, written: Tensor, versions: int) -> None:
        """(1, L) the canvas with masks where it is `written`, (1, L) bool. `versions`: rows read at once, at most. `refresh` 1: each
        version is read whole.
        """
        device = torch.device(getattr(model, "device", "cpu"))
        self._model, self._blank, self._written, self._cache = model, blank.to(device), written.to(device), ContextCache()
        short = bool(written.sum() <= WORTH_KEEPING * blank.numel())
        self._keeper = keeper(model, refresh, versions * blank.numel()) if short else None

    def logits(self, ids: Tensor, positions: Tensor) -> Tensor:
        """`Denoiser.logits` of (B, L) versions of the canvas, on the model's device; the first call reads the given text."""
        ids, positions = ids.to(self._blank.device), positions.to(self._blank.device)
        if self._keeper is None:
            return self._model.logits(ids, positions)
        if not self._cache.held:
            first = self._written & (self._written.cumsum(-1) == 1)  # a prediction is asked for only because one must be
            self._keeper.logits_beside(self._blank, first, self._cache)
        beside = self._cache.repeated(len(ids))
        beside.only(self._written | self._keeper.read_from(positions, None))
        return self._keeper.logits_beside(ids, positions, beside)


class Context:
    """Asks a denoiser step after step, and has it read the whole canvas every `refresh` steps only, if it can do so."""

    def __init__(self, model: Denoiser, refresh: int, longest: int) -> None:
        """`refresh` 1: the whole canvas at every step. `longest`: tokens in the longest row."""
        self._model, self._refresh = model, refresh
        self._keeper = keeper(model, refresh, longest)
        self._cache, self._stale = ContextCache(), False
        self._rows: list[int] = []
        self._seen: Tensor | None = None

    def due(self, step: int) -> bool:
        """Whether the whole canvas is to be read anew at this step, even if nothing has changed since the last one."""
        return self._stale and step % self._refresh == 0

    def logits(self, step: int, rows: list[int], ids: Tensor, positions: Tensor, *, t: Tensor, attend: Tensor | None) -> Tensor:
        """`Denoiser.logits` of these rows of a run, which stay the same canvases from step to step; rows that are done leave."""
        if self._keeper is None:
            return self._model.logits(ids, positions, t=t, attend=attend)
        widths = ids.shape[1] if attend is None else attend.sum(-1, keepdim=True)
        seen = self._kept(rows)
        active = positions if seen is None else positions | (ids != seen)
        # Each row decides for itself, so that what comes of it depends on no other.
        active = active | (active.sum(-1, keepdim=True) > WORTH_KEEPING * widths)
        self._stale = seen is not None and step % self._refresh != 0 and not bool(active.all())
        if self._stale:
            self._cache.only(active | self._keeper.read_from(positions, attend))
        else:
            self._cache.all_places()
        self._rows, self._seen = rows, ids
        return self._keeper.logits_beside(ids, positions, self._cache, attend=attend)

    def _kept(self, rows: list[int]) -> Tensor | None:
        """(B, L) the rows as they were seen last, the cache holding them alone; None at first."""
        if self._seen is not None and rows != self._rows:
            wanted = [self._rows.index(row) for row in rows]
            self._cache.rows(wanted)
            self._seen = self._seen[torch.tensor(wanted, device=self._seen.device)]
        return self._seen
