"""Whole fills with the toy back end: what a writer may rely on, for any draft and any settings."""

from __future__ import annotations

import itertools
import unicodedata

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from engine.backends.toy import Toy
from engine.canvas import Canvas
from engine.draft import Draft, Gap, Part, Pin, words
from engine.fill import fill
from engine.frames import MASKED_TEXT, Cell
from engine.settings import Settings
from tests import wild


def assemble(draft: Draft, cells: dict[int, Cell]) -> str:
    """The text that the given strings and the cells make."""
    gaps: dict[int, list[Cell]] = {number: [] for number in range(len(draft.marks))}
    for cell in sorted(cells.values(), key=lambda c: c.id):
        gaps[cell.gap].append(cell)
    for found in gaps.values():
        assert [c.index for c in found] == list(range(len(found)))
    texts = ("".join(MASKED_TEXT if c.state in ("masked", "retaken") else c.text for c in found) for found in gaps.values())
    return "".join(part if isinstance(part, str) else next(texts) for part in draft.parts)


def check_run(draft: Draft, settings: Settings, model: Toy) -> None:
    frames, cells = [], {}
    estimates = 0
    for frame in fill(model, draft, settings):
        if frame.step == 0 and not frames:
            estimates, model.calls = model.calls, 0
            assert estimates <= len(draft.marks)
        assert model.calls <= frame.step, "a call was made ahead of demand"
        for cell in frame.cells:
            known = cells.setdefault(cell.id, cell)
            assert (known.gap, known.index) == (cell.gap, cell.index)
            assert cell.state != "masked" or not frames
            assert 0 <= cell.probability <= 1
            cells[cell.id] = cell
        assert frame.text == assemble(draft, cells)
        frames.append(frame)

    assert [f.step for f in frames] == sorted({f.step for f in frames})
    assert frames[-1].step == frames[-1].steps and frames[-1].time == 0
    assert all(a.time >= b.time for a, b in itertools.pairwise(frames))
    assert not any(cell.state in ("masked", "retaken") or cell.token == model.mask_id for cell in cells.values())
    canvas = Canvas(model, draft)
    sizes = [sum(c.gap == s.gap and c.token >= 0 for c in cells.values()) for s in canvas.spans]
    if all(isinstance(mark, Gap) for mark in draft.marks):
        assert model.calls <= settings.steps * len(canvas.windows(sizes))

    inside: dict[int, list[Cell]] = {number: [] for number in range(len(draft.marks))}
    for cell in sorted(cells.values(), key=lambda c: c.id):
        inside[cell.gap].append(cell)
    numbers = itertools.count()
    for place, part in enumerate(draft.parts):
        if isinstance(part, str):
            continue
        mine = inside[next(numbers)]
        assert wild.controls("".join(c.text for c in mine if c.state != "pinned")) == []
        if isinstance(part, Gap):
            check_gap(part, mine, draft.parts[:place], draft.parts[place + 1 :])
        else:
            pins = iter([c.text for c in mine if c.state == "pinned"])
            assert all(any(pin.text == shown for shown in pins) for pin in part.pieces if isinstance(pin, Pin))
    assert list(fill(model, draft, settings)) == frames


def check_gap(gap: Gap, cells: list[Cell], before: tuple[Part, ...], after: tuple[Part, ...]) -> None:
    """A gap's length, and the spaces at its edges."""
    text = "".join(c.text for c in cells)
    assert "  " not in text
    assert text == text.lstrip() or (before and not str(before[-1])[-1].isspace())
    assert text == text.rstrip() or (after and (str(after[0])[0].isalnum() or unicodedata.category(str(after[0])[0])[0] == "M"))
    if gap.length:
        count = len(words(text)) if gap.length.unit == "words" else len(cells)
        assert gap.length.low <= count <= gap.length.high


def test_random_drafts(long: bool) -> None:
    @hypothesis_settings(max_examples=20_000 if long else 1_000)
    @given(wild.drafts(), wild.settings, st.sampled_from([24, 64, 512]), st.booleans())
    def check(draft: Draft, settings: Settings, max_length: int, tame: bool) -> None:
        model = wild.Wild(max_length)
        if tame:
            model.suppressed = Toy.suppressed
        check_run(draft, settings, model)

    check()
