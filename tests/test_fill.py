"""Whole fills with the toy back end: what a writer may rely on, for any draft and any settings."""

from __future__ import annotations

import itertools
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from engine.backends.toy import Toy
from engine.canvas import Canvas
from engine.draft import Draft, DraftError, Gap, Part, Pin, words
from engine.filling import fill, fill_events
from engine.frames import MASKED_TEXT, Cell
from engine.rarity import words_of
from engine.settings import Settings, SettingsError
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
    words_of(model)  # asks the model once, whenever it is asked itself for the first time
    model.calls = 0
    for frame in fill(model, draft, settings):
        if frame.step == 0 and not frames:
            assert model.calls <= len(draft.marks), "one call to estimate a length"
            model.calls = 0
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
    back = [b for a, b in itertools.pairwise(frames) if b.time > a.time]  # of several candidates another one may have been taken back
    assert settings.candidates > 1 or all(any(cell.state == "retaken" for cell in frame.cells) for frame in back)
    assert not any(cell.state in ("masked", "retaken") or cell.token == model.mask_id for cell in cells.values())
    for other in frames[-1].others:
        assert {cell.id for cell in other.cells} == cells.keys()
        assert other.text == assemble(draft, {cell.id: cell for cell in other.cells})
    canvas = Canvas(model, draft)
    sizes = [sum(c.gap == s.gap and c.token >= 0 for c in cells.values()) for s in canvas.spans]
    if all(isinstance(mark, Gap) for mark in draft.marks):
        once = settings.steps * len(canvas.windows(sizes))
        assert model.calls <= (frames[-1].steps if settings.revise or settings.candidates > 1 else once)

    inside: dict[int, list[Cell]] = {number: [] for number in range(len(draft.marks))}
    for cell in sorted(cells.values(), key=lambda c: c.id):
        inside[cell.gap].append(cell)
    numbers = itertools.count()
    for place, part in enumerate(draft.parts):
        if isinstance(part, str):
            continue
        number = next(numbers)
        mine = inside[number]
        code = any(span.code for span in canvas.spans if span.gap == number)
        written = "".join(c.text for c in mine if c.state != "pinned")
        assert wild.controls(written.replace("\t", "") if code else written) == []
        if isinstance(part, Gap):
            if not code:  # there spaces are as the model wrote them
                check_spaces(mine, draft.parts[:place], draft.parts[place + 1 :])
            if part.length:
                count = len(words(written)) if part.length.unit == "words" else len(mine)
                assert part.length.low <= count <= part.length.high
        else:
            pins = iter([c.text for c in mine if c.state == "pinned"])
            assert all(any(pin.text == shown for shown in pins) for pin in part.pieces if isinstance(pin, Pin))
    assert list(fill(model, draft, settings)) == frames


def check_spaces(cells: list[Cell], before: tuple[Part, ...], after: tuple[Part, ...]) -> None:
    """The spaces in a gap, and at its edges."""
    text = "".join(c.text for c in cells)
    assert "  " not in re.sub("\n +", "", text)
    assert text == text.lstrip() or (before and not str(before[-1])[-1].isspace())
    assert text == text.rstrip() or (after and (str(after[0])[0].isalnum() or unicodedata.category(str(after[0])[0])[0] == "M"))


def test_random_drafts(long: bool) -> None:
    models = {(length, tame): wild.Wild(length, tame=tame) for length in (24, 64, 512) for tame in (False, True)}

    @hypothesis_settings(max_examples=20_000 if long else 600)
    @given(wild.drafts(), wild.settings, st.sampled_from([24, 64, 512]), st.booleans())
    def check(draft: Draft, settings: Settings, max_length: int, tame: bool) -> None:
        check_run(draft, settings, models[max_length, tame])

    check()


def test_nothing_runs_ahead_of_its_reader() -> None:
    model = Toy()
    frames = fill(model, "It was [[12 tokens]] when the door opened.", Settings(steps=6))
    assert model.calls == 0
    for calls in range(4):
        assert next(frames).step == calls
        assert model.calls == calls
    frames.close()  # type: ignore[attr-defined]
    assert model.calls == 3


def test_a_draft_without_gaps_is_one_frame() -> None:
    (frame,) = fill(Toy(), "Nothing to fill.")
    assert (frame.step, frame.steps, frame.time, frame.text, frame.cells) == (0, 0, 0.0, "Nothing to fill.", ())
    assert list(fill_events(Toy(), ""))[-1] == {"done": True, "text": "", "candidates": [{"text": "", "score": 1.0}]}


def test_frames_hold_every_cell_first_and_then_what_changed() -> None:
    first, *later = fill(Toy(), "[[~ the {{old}} house]] was [[3 tokens]].", Settings(steps=5))
    assert [c.id for c in first.cells] == list(range(len(first.cells)))
    assert {c.state for c in first.cells} == {"masked", "pinned"}
    assert [(c.gap, c.text, c.token) for c in first.cells if c.state == "pinned"] == [(0, " ", -1), (0, "old", -1), (0, " ", -1)]
    assert first.text == "░░░ old ░░░░░ was ░░░."
    for frame in later:
        for cell in frame.cells:
            assert cell.state == "revealed" and 0 < len(cell.alternatives) <= 5
            chances = [p for _, p in cell.alternatives]
            assert chances == sorted(chances, reverse=True) and cell.probability <= chances[0] + 1e-6
    revealed = [c.id for frame in later for c in frame.cells]
    assert set(revealed) == {c.id for c in first.cells if c.state == "masked"}


@pytest.mark.parametrize("draft", ["[[]]", "[[40]]", "[[12 tokens]]", "[[~ the house was quiet]]", "[[~\n{{so}}]]"])
def test_a_draft_that_is_one_gap(draft: str) -> None:
    *_, last = fill(Toy(), draft, Settings(steps=4))
    assert MASKED_TEXT not in last.text and last.text.strip() != "" and last.text[-1] not in " \n"
    if draft == "[[40]]":
        assert len(words(last.text)) == 40


def test_what_cannot_be_done_is_said_before_anything_runs() -> None:
    with pytest.raises(DraftError, match="Line 1, column 4: This gap may hold 3 words at most"):
        fill(Toy(), "so [[3: a lamp, not lit; very]]")
    with pytest.raises(SettingsError, match="no sampler called 'best'"):
        fill(Toy(), "[[]]", Settings(sampler="best"))
    with pytest.raises(SettingsError, match="no schedule called 'best'"):
        fill(Toy(), "[[]]", Settings(schedule="best"))


def test_two_thousand_tokens_in_windows() -> None:
    model = Toy()
    first, *_, last = fill(model, "It was [[2000 tokens]] when.", Settings(steps=3))
    assert len(first.cells) == 2000 and first.steps == last.step == model.calls == 24
    assert MASKED_TEXT not in last.text
