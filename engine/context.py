"""What a run remembers of its canvas between two whole readings of it."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.caches import ContextCache
from engine.denoiser import Denoiser, KeepsContext
from engine.forward import guided

WORTH_KEEPING = 0.5
"""The share of a canvas up to which it pays to compute its changing places alone."""
MOST_KEPT = 2**30
"""Bytes that may be kept of all rows of a run, or of all versions that are read at once: LLaDA-8B takes half a megabyte a token."""


def device_of(model: Denoiser) -> torch.device:
    """Where a model wants its tensors; one that doesn't say so wants them on the CPU."""
    return torch.device(getattr(model, "device", "cpu"))


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
        device = device_of(model)
        self._model, self._blank, self._written, self._cache = model, blank.to(device), written.to(device), ContextCache()
        short = bool(written.sum() <= WORTH_KEEPING * blank.numel())
        self._keeper = keeper(model, refresh, versions * blank.numel()) if short else None

    def logits(self, ids: Tensor, positions: Tensor) -> Tensor:
        """`Denoiser.logits` of (B, L) versions of the canvas, on the model's device; the first call reads the given text, and has as many
        versions as any, with the same positions in each row as later ones: what they compute is kept until the next call does so again.
        """
        ids, positions = ids.to(self._blank.device), positions.to(self._blank.device)
        if self._keeper is None:
            return self._model.logits(ids, positions)
        if not self._cache.held:
            first = self._written & (self._written.cumsum(-1) == 1)  # a prediction is asked for only because one must be
            self._keeper.logits_beside(self._blank, first, self._cache)
        if len(self._cache.held[0][0]) < len(ids):  # every reading computes the same places, so one copy does for all of them
            self._cache = self._cache.copied([0] * len(ids))
        beside = self._cache.first(len(ids))
        beside.only(self._written | self._keeper.read_from(positions, None))
        return self._keeper.logits_beside(ids, positions, beside)


class Context:
    """Asks a denoiser step after step, and has it read the whole canvas every `refresh` steps only, if it can do so."""

    def __init__(self, model: Denoiser, refresh: int, tokens: int) -> None:
        """`refresh` 1: the whole canvas at every step. `tokens`: of all rows together."""
        self._model, self._refresh = model, refresh
        self._keeper = keeper(model, refresh, tokens)
        self._stale = False
        self._held: dict[int, tuple[ContextCache, int]] = {}
        """Of each row that is kept: in what cache, and which of its rows it is."""
        self._seen: dict[int, Tensor] = {}
        """(L,) each as it was seen last."""

    def due(self, step: int) -> bool:
        """Whether the whole canvas is to be read anew at this step, even if nothing has changed since the last one."""
        return self._stale and step % self._refresh == 0

    def logits(
        self, step: int, rows: list[int], ids: Tensor, positions: Tensor, *, t: Tensor, attend: Tensor | None, guidance: float = 0.0
    ) -> Tensor:
        """`Denoiser.logits` of these rows of a run, which stay the same canvases from step to step; rows may leave and come back. Under
        guidance the second half of the rows doesn't know the given text, and the logits are those of `forward.guided`.
        """
        if self._keeper is None:
            return guided(self._model.logits(ids, positions, t=t, attend=attend), guidance)
        # Each row decides for itself, so that what comes of it depends on no other.
        whole = [k for k, row in enumerate(rows) if step % self._refresh == 0 or row not in self._held]
        self._stale = False
        if not whole:
            return self._read_beside(rows, ids, positions, attend, guidance)
        beside = [k for k in range(len(rows)) if k not in set(whole)]
        parts = self._read([rows[k] for k in whole], *_rows_of(whole, ids, positions, attend))
        if beside:
            own, asked, seen = _rows_of(beside, ids, positions, attend)
            parts += self._read_beside([rows[k] for k in beside], own, asked, seen).split(asked.sum(-1).tolist())
        place = {k: at for at, k in enumerate([*whole, *beside])}
        return guided(torch.cat([parts[place[k]] for k in range(len(rows))]), guidance)

    def _read_beside(self, rows: list[int], ids: Tensor, positions: Tensor, attend: Tensor | None, guidance: float = 0.0) -> Tensor:
        """What changes, beside what is kept of the rest: logits."""
        assert self._keeper is not None
        active = positions | (ids != torch.stack([self._seen[row] for row in rows]))
        active = active | (active.sum(-1, keepdim=True) > WORTH_KEEPING * _widths(ids, attend))
        self._stale = not bool(active.all())
        cache = self._cache_of(rows)
        self._keep(rows, ids, cache)
        cache.only(active | self._keeper.read_from(positions, attend))
        return self._keeper.logits_beside(ids, positions, cache, attend=attend, guidance=guidance)

    def _cache_of(self, rows: list[int]) -> ContextCache:
        """A cache of these rows alone, in this order: the one that they are in, or another that they move to."""
        found = [self._held[row] for row in rows]
        first = found[0][0]
        if len(first.held[0][0]) == len(rows) and all(cache is first and at == k for k, (cache, at) in enumerate(found)):
            return first
        return ContextCache.of(found)

    def _keep(self, rows: list[int], ids: Tensor, cache: ContextCache) -> None:
        for k, (row, seen) in enumerate(zip(rows, ids.clone(), strict=True)):
            self._held[row], self._seen[row] = (cache, k), seen
        # A cache that most of its rows have left would be held whole for those that rest in it.
        for other in {id(held): held for held, _ in self._held.values() if held is not cache}.values():
            rest = [row for row, (held, _) in self._held.items() if held is other]
            if 2 * len(rest) < len(other.held[0][0]):
                moved = ContextCache.of([self._held[row] for row in rest])
                self._held |= {row: (moved, k) for k, row in enumerate(rest)}

    def _read(self, rows: list[int], ids: Tensor, positions: Tensor, attend: Tensor | None) -> tuple[Tensor, ...]:
        """Whole canvases, which are kept: logits by row. Those that are the same are read once, for candidates begin alike."""
        assert self._keeper is not None
        told = torch.cat([ids, positions, *([] if attend is None else [attend])], dim=-1)
        numbers: dict[int, int] = {}
        alike = [numbers.setdefault(kind, len(numbers)) for kind in told.unique(dim=0, return_inverse=True)[1].tolist()]
        first = [alike.index(k) for k in range(len(numbers))]
        cache = ContextCache()
        own, asked, seen = _rows_of(first, ids, positions, attend)
        found = self._keeper.logits_beside(own, asked, cache, attend=seen)
        parts = found.split(asked.sum(-1).tolist())
        self._keep(rows, ids, cache.copied(alike) if len(first) < len(alike) else cache)
        return tuple(parts[k] for k in alike)


def _rows_of(rows: list[int], ids: Tensor, positions: Tensor, attend: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    return ids[rows], positions[rows], None if attend is None else attend[rows]


def _widths(ids: Tensor, attend: Tensor | None) -> Tensor | int:
    """Tokens in each row."""
    return ids.shape[1] if attend is None else attend.sum(-1, keepdim=True)
