"""Gaps that change their length while they are filled: what a writer and a page may rely on."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from engine.draft import Draft, Gap
from engine.filling import fill, fill_events
from engine.frames import MASKED_TEXT, Cell, Frame, Result
from engine.growth import NEW, PADDING, Growth
from engine.reverse import denoise
from engine.rules import GROWTH
from engine.settings import Settings
from tests import wild
from tests.growing import DELETE, EXPAND, Growing

MARKS = ("masked", "retaken")


def follow(frames: list[Frame], draft: Draft) -> list[dict[int, list[Cell]]]:
    """The cells of every gap after each frame, as a page keeps them."""
    gaps: dict[int, list[Cell]] = {number: [] for number in range(len(draft.marks))}
    states = []
    for frame in frames:
        for gap in frame.relaid:
            gaps[gap] = []
        for cell in frame.cells:
            cells = gaps[cell.gap] = list(gaps[cell.gap])
            cells[cell.index : cell.index + 1] = [cell]
        states.append(dict(gaps))
    return states


def shown(draft: Draft, gaps: dict[int, list[Cell]]) -> str:
    texts = ("".join(MASKED_TEXT if c.state in MARKS else c.text for c in gaps[number]) for number in range(len(draft.marks)))
    return "".join(part if isinstance(part, str) else next(texts) for part in draft.parts)


def check_run(model: Growing, draft: Draft, settings: Settings) -> list[Frame]:
    model.calls = 0
    frames = list(fill(model, draft, settings))
    states = follow(frames, draft)
    seen: set[int] = set()
    for frame, before, gaps in zip(frames, [{}, *states], states, strict=False):
        assert frame.text == shown(draft, gaps)
        for number, cells in gaps.items():
            assert [c.index for c in cells] == list(range(len(cells))), "a gap comes whole when it was laid out anew"
            ids = [c.id for c in cells]
            assert len(set(ids)) == len(ids)
            old = [c.id for c in before.get(number, [])]
            if number in frame.relaid:
                assert ids != old and cells
                kept = [one for one in ids if one in old]
                assert kept == [one for one in old if one in ids], "cells that live on keep their order"
                assert not (set(ids) - set(old)) & seen, "a new cell has a new id"
                mark = draft.marks[number]
                assert isinstance(mark, Gap) and mark.length is None, "only lengths that nobody asked for change"
            elif before:
                assert ids == old
            seen |= set(ids)
        assert list(frame.relaid) == sorted(set(frame.relaid))
        for number in frame.relaid:
            assert [c for c in frame.cells if c.gap == number] == gaps[number]
    assert [f.step for f in frames] == sorted({f.step for f in frames})
    assert frames[-1].step == frames[-1].steps and frames[-1].time == 0
    back = [b for a, b in itertools.pairwise(frames) if b.time > a.time]  # of several candidates another one may have been taken back
    assert settings.candidates > 1 or all(any(cell.state == "retaken" for cell in frame.cells) for frame in back)
    for cells in states[-1].values():
        assert not any(c.state in MARKS or c.token in (model.mask_id, EXPAND, DELETE) for c in cells)
        assert wild.controls("".join(c.text for c in cells if c.state != "pinned")) == []
    begun, ended = (sum(map(len, gaps.values())) for gaps in (states[0], states[-1]))
    assert ended <= begun + GROWTH * max(1, len(draft.marks))
    assert list(fill(model, draft, settings)) == frames
    return frames


def test_random_drafts(long: bool) -> None:
    odds = [(0.0, 0.0), (3.0, -2.0), (-2.0, 3.0), (6.0, 6.0)]
    models = [Growing(length, expand=e, delete=d, tame=tame) for length in (24, 512) for e, d in odds for tame in (False, True)]

    @hypothesis_settings(max_examples=5_000 if long else 60)
    @given(wild.drafts(), wild.settings, st.sampled_from(models))
    def check(draft: Draft, settings: Settings, model: Growing) -> None:
        check_run(model, draft, settings)

    check()


@pytest.mark.parametrize(("odds", "grows"), [((4.0, -9.0), True), ((-9.0, 4.0), False)])
def test_a_gap_gets_longer_and_shorter(odds: tuple[float, float], grows: bool) -> None:
    draft = Draft.parse("It was [[]] when the door opened, and [[5 tokens]] there.")
    frames = check_run(Growing(expand=odds[0], delete=odds[1]), draft, Settings(steps=24, seed=4, choice="deterministic"))
    assert any(0 in frame.relaid for frame in frames) and not any(1 in frame.relaid for frame in frames)
    states = follow(frames, draft)
    assert (len(states[-1][0]) > len(states[0][0])) is grows
    assert len(states[-1][1]) == 5


def test_a_model_that_would_expand_for_ever_ends_and_never_outgrows_its_network() -> None:
    for length in (40, 512):
        model = Growing(length, expand=50.0, delete=-50.0)
        frames = check_run(model, Draft.parse("It was [[]] when the door opened."), Settings(steps=4000, sampler="threshold"))
        assert model.widest <= length
        assert len(frames) < 4000


def test_a_model_that_would_delete_everything_leaves_one_cell() -> None:
    draft = Draft.parse("It was [[]] when [[]].")
    for steps in (1, 4, 64):
        frames = check_run(Growing(delete=50.0, expand=-50.0), draft, Settings(steps=steps))
        assert [len(cells) for cells in follow(frames, draft)[-1].values()] == [1, 1]


def test_the_result_forgets_cells_that_are_gone() -> None:
    draft = Draft.parse("It was [[]] when the door opened.")
    *frames, done = fill_events(Growing(delete=2.0), draft, Settings(seed=2))
    result = Result()
    for frame in fill(Growing(delete=2.0), draft, Settings(seed=2)):
        result.take(frame)
    assert result.done() == done and done["text"] == frames[-1]["text"]
    assert "".join(c.text for c in sorted(result.cells.values(), key=lambda c: c.index)) in result.text
    assert set(result.done(with_text=False)["candidates"][0]) == {"score"} and "text" not in result.done(with_text=False)
    assert frames[0]["relaid"] == () and any(frame["relaid"] == (0,) for frame in frames)


def test_rows_of_several_lengths_stay_apart() -> None:
    """Each row of a canvas does what it would do alone, padded where another one is longer."""
    model = Growing()
    x = torch.tensor(
        [list(b"It was ") + [256] * 5 + list(b" when the door opened."), list(b"Or not ") + [256] * 5 + list(b" when the door opened.")]
    )
    growth = Growth(EXPAND, DELETE, longest=48, budget=20)
    settings = Settings(steps=32, seed=1, sampler="entropy")
    together = list(denoise(model, x, writable=x == 256, settings=settings, growth=growth))
    assert len({move.x.shape for move in together}) > 1
    for b in range(2):
        alone = list(denoise(model, x[b : b + 1], writable=x[b : b + 1] == 256, settings=settings, growth=growth, candidate=b))
        for move, theirs in zip(alone, together, strict=False):
            width = move.x.shape[1]
            assert torch.equal(move.x[0], theirs.x[b, :width])
            assert (theirs.x[b, width:] == 256).all()
        assert len(alone) <= len(together)
    for before, move in itertools.pairwise(together):
        if move.origin is not None:
            there = move.origin >= 0
            rows = torch.arange(2)[:, None].expand_as(there)
            kept = there & ~move.revealed & (move.x != 256)
            assert torch.equal(move.x[kept], before.x[rows[kept], move.origin[kept]])
            assert set(move.origin[~there].tolist()) <= {NEW, PADDING}
