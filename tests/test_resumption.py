"""Going on from a step of another run: what stood there stays, the rest is written."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import engine
from engine.backends.toy import Toy
from engine.draft import Draft
from engine.frames import Cell
from tests.growing import Growing
from tests.wild import drafts

DRAFT = "“It was [[5]] when the door opened,” she said, and [[~ the {{old}} house was {{quite still}}]] [[6-9: silver, moon]]."
SETTINGS = {"steps": 12, "candidates": 1, "revise": 0}


def states(draft: str | Draft, **settings: object) -> list[dict[int, Cell]]:
    """Every cell after each step of a run."""
    result, found = engine.Result(), []
    for frame in engine.fill(Toy(), draft, engine.Settings.of({**SETTINGS, **settings})):
        result.take(frame)
        found.append(dict(result.cells))
    return found


def gone_on(draft: str | Draft, cells: dict[int, Cell], **settings: object) -> tuple[list[engine.Frame], engine.Result]:
    result = engine.Result()
    frames = list(engine.fill(Toy(), draft, engine.Settings.of({**SETTINGS, **settings}), start=list(cells.values())))
    for frame in frames:
        result.take(frame)
    return frames, result


def written(cells: dict[int, Cell]) -> dict[tuple[int, int], tuple[str, int]]:
    """What stands where, of that which is written or given."""
    return {(cell.gap, cell.index): (cell.text, cell.token) for cell in cells.values() if cell.state in ("revealed", "pinned")}


@pytest.mark.parametrize("at", [0, 3, 7])
def test_what_stood_at_a_step_stays_and_the_rest_is_written(at: int):
    before = states(DRAFT, seed=3)[at]
    frames, result = gone_on(DRAFT, before, seed=4)
    stood = written(before)
    first = {cell.id: cell for cell in frames[0].cells}
    assert written(first) == stood
    assert {place: held[1] for place, held in written(result.cells).items() if place in stood} == {
        place: held[1] for place, held in stood.items()
    }
    assert len(result.cells) == len(before) and "░" not in result.text
    assert all(cell.state in ("revealed", "pinned") for cell in result.cells.values())


def test_as_many_steps_as_are_needed_for_what_is_open():
    before = states("It was [[12 tokens]] then.", seed=3)[9]
    frames, _ = gone_on("It was [[12 tokens]] then.", before, seed=3)
    assert frames[0].steps == 3 and [frame.step for frame in frames] == [0, 1, 2, 3]
    assert frames[0].time == 1.0 and frames[-1].time == 0.0


def test_the_same_step_can_be_gone_on_from_in_more_ways_than_one():
    before = states("It was [[12 tokens]] then.", seed=3)[4]
    texts = {gone_on("It was [[12 tokens]] then.", before, seed=seed, temperature=1.5)[1].text for seed in range(6)}
    assert len(texts) > 2


def test_the_probabilities_and_alternatives_of_what_stays_are_kept():
    before = states("It was [[8 tokens]] then.", seed=1)[5]
    frames, _ = gone_on("It was [[8 tokens]] then.", before)
    stayed = [cell for cell in frames[0].cells if cell.state == "revealed"]
    assert len(stayed) == 5
    assert {(cell.index, cell.probability, cell.alternatives) for cell in stayed} == {
        (cell.index, cell.probability, cell.alternatives) for cell in before.values() if cell.state == "revealed"
    }


def test_a_run_that_was_finished_is_as_it_was():
    *_, last = states(DRAFT, seed=2)
    frames, result = gone_on(DRAFT, last)
    assert len(frames) == 1 and frames[0].time == 0.0 and frames[0].steps == 0
    assert written(result.cells) == written(last)


@given(drafts(), st.integers(0, 2**40), st.integers(0, 6), st.sampled_from([1, 3]))
def test_any_draft_can_be_gone_on_with(draft: Draft, seed: int, at: int, count: int):
    found = states(draft, seed=seed, steps=6)
    before = found[min(at, len(found) - 1)]
    _, result = gone_on(draft, before, seed=seed + 1, candidates=count, revise=1)
    stood, now = written(before), written(result.cells)
    assert {place: held[1] for place, held in now.items() if place in stood} == {place: held[1] for place, held in stood.items()}
    assert len(now) == len(before)


@pytest.mark.parametrize("seed", range(4))
def test_words_beside_a_keyword_are_still_counted(model: engine.Denoiser, seed: int):
    text = "The sea was grey. She saw [[5: silver]]"  # the gap ends its paragraph, so a cell of it is for a stop
    result = engine.Result()
    for frame in engine.fill(model, text, engine.Settings(seed=seed, steps=4)):
        result.take(frame)
        if frame.step == 2:
            break
    for frame in engine.fill(model, text, engine.Settings(seed=seed + 1, steps=4), start=result.cells.values()):
        last = frame.text
    gap = last.removeprefix("The sea was grey. She saw ")
    assert len(engine.words(gap)) == 5 and "silver" in engine.words(gap.casefold()), last


@given(st.integers(0, 2**40), st.integers(0, 8))
def test_gaps_that_grow_go_on(seed: int, at: int):
    result, settings = engine.Result(), engine.Settings(steps=12, seed=seed)
    for frame in engine.fill(Growing(), "It was [[]] then, and [[3 tokens]].", settings):
        result.take(frame)
        if frame.step == at:
            break
    before = written(result.cells)
    found = engine.Result()
    for frame in engine.fill(Growing(), "It was [[]] then, and [[3 tokens]].", settings, start=list(result.cells.values())):
        found.take(frame)
    assert all(cell.state == "revealed" for cell in found.cells.values())
    assert [text for place, (text, _) in sorted(before.items()) if place[0] == 1] == [
        text for place, (text, _) in sorted(written(found.cells).items()) if place in before and place[0] == 1
    ]


def test_a_long_draft_goes_on_in_its_windows():
    text = " ".join(f"Here is number {k}, [[4 tokens]] and more of it for a while." for k in range(40))
    before = states(text, seed=1)[30]
    _, result = gone_on(text, before, seed=2)
    stood, now = written(before), written(result.cells)
    assert 0 < len(stood) < 160 == len(now)
    assert all(now[place] == held for place, held in stood.items())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda cells: cells[:-1],
        lambda cells: [*cells, replace(cells[-1], index=cells[-1].index + 1, token=65, state="revealed")],
        lambda cells: [replace(cell, gap=cell.gap + 1) for cell in cells],
        lambda cells: [replace(cell, text="other") if cell.state == "pinned" else cell for cell in cells],
        lambda cells: [replace(cell, token=99_999) if cell.state != "pinned" else cell for cell in cells],
        lambda cells: [replace(cell, token=cell.token + 1) if cell.state != "pinned" else cell for cell in cells],
    ],
    ids=["too few", "too many", "of a gap that isn't there", "with another pin", "no token", "another model's tokens"],
)
def test_cells_of_another_draft_are_refused_in_a_sentence(spoil):
    text = "It was [[~ the {{old}} house]] then [[4 tokens]]."
    *_, last = states(text)
    cells = spoil(list(last.values()))
    with pytest.raises(engine.SettingsError, match="not those of this draft"):
        next(engine.fill(Toy(), text, start=cells))


def test_keywords_that_are_asked_for_must_be_among_the_cells():
    *_, last = states("It was [[9: moon]] then.")
    with pytest.raises(engine.SettingsError, match="not those of this draft"):
        next(engine.fill(Toy(), "It was [[9: silver]] then.", start=list(last.values())))


def test_a_cell_comes_back_from_json_as_it_was():
    for cell in states(DRAFT)[4].values():
        told = asdict(cell)
        told["alternatives"] = [list(pair) for pair in told["alternatives"]]
        assert Cell.of({**told, "step": 3}) == cell


@pytest.mark.parametrize("wrong", [None, 5, {}, {"id": 1}, "cell", {**asdict(Cell(0, 0, 0, "a", 1, 0.5, "revealed")), "token": "1"}])
def test_what_is_no_cell_is_refused(wrong: object):
    with pytest.raises(ValueError, match="as a frame told it"):
        Cell.of(wrong)
