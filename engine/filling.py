"""Fill a draft: from marks to frames. The page, the command line, the API and the tests all consume this stream."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from engine.canvas import Canvas, Window
from engine.constraints import NEWLINE_CELLS, Edges, SpanConstraint, SpanRule, WordCount
from engine.denoiser import Denoiser
from engine.draft import Draft, Gap
from engine.frames import Cell, Frame, State, score
from engine.lengths import decide_lengths
from engine.reverse import Move, denoise
from engine.samplers import FREE_RUNNING, SAMPLERS
from engine.schedules import SCHEDULES
from engine.settings import Settings, SettingsError
from engine.vocabulary import vocabulary

ALTERNATIVES = 5


def fill(model: Denoiser, draft: str | Draft, settings: Settings | None = None) -> Iterator[Frame]:
    """Fill every gap of a draft, yielding a Frame after each denoiser call; nothing runs ahead of the consumer.

    Frame 0 comes when the lengths of the gaps are known and holds every cell. Windows over a long draft are filled
    one after the other in reading order. Raises DraftError (what the draft asks for can't be done) and SettingsError
    before the first frame.
    """
    settings = settings or Settings()
    draft = Draft.parse(draft) if isinstance(draft, str) else draft
    check(draft, settings)
    return _run(model, draft, settings)


def check(draft: Draft, settings: Settings) -> None:
    """Raise DraftError or SettingsError for what can't be done, whatever the model."""
    for name, known, kind in ((settings.sampler, SAMPLERS, "sampler"), (settings.schedule, SCHEDULES, "schedule")):
        if name not in known:
            raise SettingsError(f"There is no {kind} called {name!r}; there are {', '.join(known)}.")
    for number, mark in enumerate(draft.marks):
        if isinstance(mark, Gap) and (mark.keywords or mark.bans):
            what = "must hold certain words" if mark.keywords else "must not hold certain words"
            raise draft.error(number, f"A gap that {what} can't be filled yet; leave the words out of its mark.")


def fill_events(model: Denoiser, draft: str | Draft, settings: Settings | None = None) -> Iterator[dict[str, Any]]:
    """The same as JSON objects: each frame, then `{"done": true, "text": ..., "candidates": [{"text", "score"}]}`."""
    text, cells = "", dict[int, Cell]()
    for frame in fill(model, draft, settings):
        text = frame.text
        cells.update((cell.id, cell) for cell in frame.cells)
        yield frame.as_dict()
    yield {"done": True, "text": text, "candidates": [{"text": text, "score": score(cells.values())}]}


class _Cells:
    """Every cell of a draft as it stands, and what changed since the last frame."""

    def __init__(self, model: Denoiser, canvas: Canvas, sizes: Sequence[int]) -> None:
        self._canvas, self._mask = canvas, model.mask_id
        self._texts_of = vocabulary(model).texts
        self.tokens = [[model.mask_id] * size for size in sizes]
        self._shown = [[""] * size for size in sizes]
        self._probability = [[0.0] * size for size in sizes]
        self._alternatives: list[list[tuple[tuple[str, float], ...]]] = [[()] * size for size in sizes]
        self._places: list[tuple[int, int]] = []
        """(gap, index in the gap) of each span's first cell."""
        self._first_id: list[int] = []
        self.pins: list[Cell] = []
        count, index, gap = 0, 0, -1
        for item in canvas.items:
            if isinstance(item, str):
                continue
            here = canvas.spans[item].gap if isinstance(item, int) else item.gap
            index = index if here == gap else 0
            gap = here
            if isinstance(item, int):
                self._places.append((gap, index))
                self._first_id.append(count)
                count, index = count + sizes[item], index + sizes[item]
            else:
                self.pins.append(Cell(count, gap, index, item.text, -1, 1.0, "pinned"))
                count, index = count + 1, index + 1

    def all(self) -> tuple[Cell, ...]:
        """Every cell, in reading order."""
        written = [self._cell(i, c, "masked") for i, tokens in enumerate(self.tokens) for c in range(len(tokens))]
        return tuple(sorted([*written, *self.pins], key=lambda cell: cell.id))

    def take(self, window: Window, move: Move) -> tuple[Cell, ...]:
        """Take over what a step did; the cells that changed, in reading order."""
        places = window.cells
        asked = {p: row for row, p in enumerate(move.positions[0].nonzero()[:, 0].tolist())}
        states: dict[tuple[int, int], State] = {}
        for position in move.revealed[0].nonzero()[:, 0].tolist():
            i, c = places[position]
            self.tokens[i][c] = int(move.x[0, position])
            self._probability[i][c] = float(move.probability[0, position])
            best = move.log_probs[asked[position]].topk(min(ALTERNATIVES, move.log_probs.shape[-1]))
            self._alternatives[i][c] = tuple(
                (self._texts_of[t].strip(" ") if c == 0 else self._texts_of[t], math.exp(p))
                for p, t in zip(best.values.tolist(), best.indices.tolist(), strict=True)
                if p > -math.inf
            )
            states[i, c] = "revealed"
        for position in move.retaken[0].nonzero()[:, 0].tolist():
            i, c = places[position]
            self.tokens[i][c], self._alternatives[i][c] = self._mask, ()
            self._probability[i][c] = float(move.probability[0, position])
            states[i, c] = "retaken"
        for i in {i for i, _ in states}:
            for c, text in enumerate(self._canvas.texts(i, self.tokens[i])):
                if text != self._shown[i][c]:
                    self._shown[i][c] = text
                    states.setdefault((i, c), "revealed")
        return tuple(self._cell(i, c, states[i, c]) for i, c in sorted(states))

    def text(self) -> str:
        """The whole draft as it stands."""
        return self._canvas.text(self._shown, [[token == self._mask for token in tokens] for tokens in self.tokens])

    def _cell(self, i: int, c: int, state: State) -> Cell:
        gap, index = self._places[i]
        shown, probability = self._shown[i][c], self._probability[i][c]
        return Cell(self._first_id[i] + c, gap, index + c, shown, self.tokens[i][c], probability, state, self._alternatives[i][c])


def _run(model: Denoiser, draft: Draft, settings: Settings) -> Iterator[Frame]:
    canvas = Canvas(model, draft)
    sizes = decide_lengths(model, canvas, _edges)
    cells = _Cells(model, canvas, sizes)
    plan = canvas.windows(sizes)
    steps_of = [_planned(settings, sum(end - start for _, start, end in group)) for group in plan]
    steps = sum(steps_of)
    yield Frame(0, steps, 1.0 if plan else 0.0, 0, cells.text(), cells.all())
    done = 0
    for number, (group, planned) in enumerate(zip(plan, steps_of, strict=True)):
        window = canvas.window(group, cells.tokens)
        x = torch.tensor([window.ids])
        writable = torch.zeros_like(x, dtype=torch.bool)
        writable[0, list(window.cells)] = True
        step = 0
        constraint = _constraint(model, canvas, window, cells.tokens)
        for move in denoise(model, x, writable=writable, settings=settings, first_step=done, constraint=constraint):
            last = not bool(((move.x == model.mask_id) & writable).any())
            step = planned if last else step + 1
            changed = cells.take(window, move)
            time = (len(plan) - 1 - number + (0.0 if last else move.time)) / len(plan)
            yield Frame(done + step, steps, time, 0, cells.text(), changed)
        done += planned


def _planned(settings: Settings, masks: int) -> int:
    return settings.steps if settings.sampler in FREE_RUNNING else min(settings.steps, masks)


def _edges(model: Denoiser, canvas: Canvas, i: int, size: int) -> tuple[Edges, WordCount]:
    """The rules for span i when it has `size` cells."""
    span, known = canvas.spans[i], vocabulary(model)
    counted = span.length is not None and span.length.unit == "words"
    whole_lines = not span.before or span.before[-1] in "\r\n" or not span.after or span.after[0] in "\r\n"
    partial = any(known.partial[token] for token in model.encode(span.before + span.was + span.after))
    edges = Edges.of(
        known,
        span.before,
        span.after,
        size,
        takes_space=span.takes_space,
        newlines=size >= NEWLINE_CELLS and not counted and not span.was and whole_lines,
        partial=partial,
        counted=counted,
    )
    if span.length is not None and counted:
        return edges, WordCount(known.classes, span.length.low, span.length.high, span.quotes)
    return edges, WordCount(known.classes, 0 if size == 1 or partial else 1, None, span.quotes)


def _constraint(model: Denoiser, canvas: Canvas, window: Window, tokens: Sequence[list[int]]) -> SpanConstraint:
    spans = window.spans
    rules = [SpanRule(*_edges(model, canvas, i, len(tokens[i])), tokens=tokens[i]) for i in spans]
    cells = {position: (spans.index(i), c) for position, (i, c) in window.cells.items()}
    return SpanConstraint(vocabulary(model), model.mask_id, rules, cells)
