"""Where a run begins that goes on from another one: the cells of a draft as they stood after one of its steps."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import groupby

from engine.canvas import Canvas
from engine.cells import UNLIKE
from engine.denoiser import Denoiser
from engine.draft import Draft, Gap, Length
from engine.frames import Cell
from engine.layout import Piece
from engine.lengths import reachable, tokens_of_words
from engine.marks import LONGEST_GAP, forms
from engine.settings import Settings, SettingsError


def resumed(model: Denoiser, draft: Draft, start: Collection[Cell], settings: Settings) -> tuple[Canvas, list[int]]:
    """The canvas of a draft with its keywords where the cells have them, and the cells of its spans. `settings` as for a canvas.

    Raises SettingsError when the cells are not this draft's, or hold what this model has no token for.
    """
    cells = _by_gap(model, draft, start)
    placed = {
        gap: _pieces(model, mark, _runs(cells[gap])) for gap, mark in enumerate(draft.marks) if isinstance(mark, Gap) and mark.keywords
    }
    while True:
        canvas = Canvas(model, draft, placed, settings)
        sizes = _sizes(canvas, cells)
        if not _lessened(model, canvas, sizes, placed):
            return canvas, sizes


def _by_gap(model: Denoiser, draft: Draft, start: Collection[Cell]) -> list[list[Cell]]:
    """The cells of each gap in their order; SettingsError when some are missing, or hold what is no token."""
    cells: list[list[Cell]] = [[] for _ in draft.marks]
    for cell in sorted(start, key=lambda cell: (cell.gap, cell.index)):
        known = cell.state == "pinned" or cell.token == model.mask_id or 0 <= cell.token < model.vocab_size
        if not known or not 0 <= cell.gap < len(cells) or cell.index != len(cells[cell.gap]):
            raise SettingsError(UNLIKE)
        cells[cell.gap].append(cell)
    return cells


def _runs(cells: Sequence[Cell]) -> list[int | str]:
    """The cells of a gap: how many are written side by side, and the texts of those that are given."""
    found: list[int | str] = []
    for pinned, run in groupby(cells, lambda cell: cell.state == "pinned"):
        texts = [cell.text for cell in run]
        found += texts if pinned else [len(texts)]
    return found


def _pieces(model: Denoiser, mark: Gap, runs: Sequence[int | str]) -> list[Piece]:
    """What stands in a gap with keywords, as they were placed: counted in words where the gap is."""
    given = {run.casefold() for run in runs if isinstance(run, str)}
    counts = [run for run in runs if isinstance(run, int)]
    counted = mark.length is not None and mark.length.unit == "words"
    fits = mark.length is None or counted or sum(counts) <= mark.length.high
    if (
        not fits
        or max(counts, default=0) > LONGEST_GAP
        or not all(any(form.casefold() in given for form in forms(keyword)) for keyword in mark.keywords)
    ):
        raise SettingsError(UNLIKE)

    def length(run: int) -> Length:
        if not counted:
            return Length(run, run, "tokens")
        words = max(count for count in range(1, run + 1) if count == 1 or tokens_of_words(model, count) <= run)
        return Length(words, words, "words")

    return [run if isinstance(run, str) else length(run) for run in runs]


def _sizes(canvas: Canvas, cells: Sequence[Sequence[Cell]]) -> list[int]:
    """The cells of each span; SettingsError where they don't stand between the same fixed texts, or are more or fewer than asked for."""
    sizes = [0] * len(canvas.spans)
    laid: list[list[int | str]] = [[] for _ in cells]
    for item in canvas.items:
        if not isinstance(item, str):
            laid[canvas.gap_of(item)].append(item if isinstance(item, int) else item.text)
    for items, runs in zip(laid, map(_runs, cells), strict=True):
        if [isinstance(item, int) or item for item in items] != [isinstance(run, int) or run for run in runs]:
            raise SettingsError(UNLIKE)
        for item, run in zip(items, runs, strict=True):
            if isinstance(item, int) and isinstance(run, int):
                sizes[item] = run
    for span, size in zip(canvas.spans, sizes, strict=True):
        if span.length is not None and span.length.unit == "tokens" and not span.length.low <= size <= span.length.high:
            raise SettingsError(UNLIKE)
    return sizes


def _lessened(model: Denoiser, canvas: Canvas, sizes: Sequence[int], placed: dict[int, list[Piece]]) -> bool:
    """Take a word from what is counted beside keywords, where so many don't go into its cells: one of them was for a stop or a quote."""
    found = False
    for gap, pieces in placed.items():
        spans = [i for i, span in enumerate(canvas.spans) if span.gap == gap]
        places = [k for k, piece in enumerate(pieces) if isinstance(piece, Length)]
        for i, k in zip(spans, places, strict=True):
            length = canvas.spans[i].length
            if length and length.unit == "words" and length.low > 1 and reachable(model, canvas, i, length.low) > sizes[i]:
                pieces[k] = Length(length.low - 1, length.low - 1, "words")
                found = True
    return found
