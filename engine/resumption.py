"""Where a run begins that goes on from another one: the cells of a draft as they stood after one of its steps."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import groupby

from engine.canvas import Canvas
from engine.denoiser import Denoiser
from engine.draft import Draft, Gap, Length
from engine.frames import Cell
from engine.layout import Piece
from engine.lengths import tokens_of_words
from engine.settings import SettingsError

UNLIKE = "These cells are not those of this draft and this model: go on from a run of the same draft, or fill it anew."


def resumed(model: Denoiser, draft: Draft, start: Collection[Cell]) -> tuple[Canvas, list[int]]:
    """The canvas of a draft with its keywords where the cells have them, and the cells of its spans.

    Raises SettingsError when the cells are not this draft's, or hold what this model has no token for.
    """
    cells: list[list[Cell]] = [[] for _ in draft.marks]
    for cell in sorted(start, key=lambda cell: (cell.gap, cell.index)):
        known = cell.state == "pinned" or cell.token == model.mask_id or 0 <= cell.token < model.vocab_size
        if not known or not 0 <= cell.gap < len(cells) or cell.index != len(cells[cell.gap]):
            raise SettingsError(UNLIKE)
        cells[cell.gap].append(cell)
    placed = {gap: _pieces(model, mark, cells[gap]) for gap, mark in enumerate(draft.marks) if isinstance(mark, Gap) and mark.keywords}
    canvas = Canvas(model, draft, placed)
    sizes = [0] * len(canvas.spans)
    laid: list[list[int | str]] = [[] for _ in cells]
    for item in canvas.items:
        if not isinstance(item, str):
            laid[canvas.gap_of(item)].append(item if isinstance(item, int) else item.text)
    for items, runs in zip(laid, map(_runs, cells), strict=True):
        # Spans and runs of cells alternate with the same fixed texts.
        if [isinstance(item, int) or item for item in items] != [isinstance(run, int) or run for run in runs]:
            raise SettingsError(UNLIKE)
        for item, run in zip(items, runs, strict=True):
            if isinstance(item, int) and isinstance(run, int):
                sizes[item] = run
    for span, size in zip(canvas.spans, sizes, strict=True):
        if span.length is not None and span.length.unit == "tokens" and not span.length.low <= size <= span.length.high:
            raise SettingsError(UNLIKE)
    return canvas, sizes


def _runs(cells: Sequence[Cell]) -> list[int | str]:
    """The cells of a gap: how many are written side by side, and the texts of those that are given."""
    found: list[int | str] = []
    for pinned, run in groupby(cells, lambda cell: cell.state == "pinned"):
        texts = [cell.text for cell in run]
        found += texts if pinned else [len(texts)]
    return found


def _pieces(model: Denoiser, mark: Gap, cells: Sequence[Cell]) -> list[Piece]:
    """What stands in a gap with keywords, as they were placed: counted in words where the gap is."""
    counted = mark.length is not None and mark.length.unit == "words"
    return [run if isinstance(run, str) else _length(model, run, counted=counted) for run in _runs(cells)]


def _length(model: Denoiser, cells: int, *, counted: bool) -> Length:
    if not counted:
        return Length(cells, cells, "tokens")
    words = max(count for count in range(1, cells + 1) if count == 1 or tokens_of_words(model, count) <= cells)
    return Length(words, words, "words")
