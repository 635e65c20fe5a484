"""What the model would write at places that are still open, told with each step where it is asked for."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import engine
from engine import cli
from engine.backends.toy import Toy
from engine.cells import GUESSED
from engine.draft import Draft
from tests.growing import Growing
from tests.wild import drafts

PLAIN = {"choice": "deterministic", "repetition": 0.0, "refresh": 1}


def told(draft: str, **settings: object) -> list[engine.Frame]:
    return list(engine.fill(Toy(), draft, engine.Settings.of({**PLAIN, **settings}), guesses=True))


def test_the_surest_guess_is_the_one_that_is_revealed():
    frames = told("It was [[9 tokens]] and [[6 tokens]] then.", steps=15)
    assert len(frames) == 16
    for frame in frames[1:]:
        [revealed] = [cell for cell in frame.cells if cell.state == "revealed"]
        others = [cell for cell in frame.cells if cell.state == "masked"]
        assert len(others) == 15 - frame.step
        assert all(cell.probability == cell.alternatives[0][1] <= revealed.probability + 1e-6 for cell in others)
        best, chance = revealed.alternatives[0]
        assert revealed.text.strip() == best.strip() and revealed.probability == pytest.approx(chance)


@given(drafts(), st.integers(0, 2**40))
def test_who_asks_for_guesses_gets_the_same_fill(draft: Draft, seed: int):
    settings = engine.Settings(seed=seed, steps=6, candidates=2, revise=1)
    bare, full = (list(engine.fill(Toy(), draft, settings, guesses=asked)) for asked in (False, True))
    assert [frame.text for frame in full] == [frame.text for frame in bare]
    for one, other in zip(bare, full, strict=True):
        more = {cell.id: cell for cell in other.cells}
        assert all(more[cell.id].text == cell.text and more[cell.id].token == cell.token for cell in one.cells)
        guessed = [cell for cell in other.cells if cell.state in ("masked", "retaken") and cell.alternatives]
        assert all(cell.text == "" and cell.probability == cell.alternatives[0][1] for cell in guessed)


def test_a_place_that_was_taken_back_is_so_until_it_is_written_anew():
    state: dict[int, str] = {}
    taken = 0
    for frame in told("It was [[24 tokens]] when the door opened.", choice="stochastic", temperature=3.0, steps=24, revise=3):
        for cell in frame.cells:
            if state.get(cell.id) == "retaken":
                taken += 1
                assert cell.state in ("retaken", "revealed")
            state[cell.id] = cell.state
    assert taken


def test_a_gap_that_grows_tells_of_its_new_places_when_they_are_asked_for():
    result, came = engine.Result(), 0
    for frame in engine.fill(Growing(), "It was [[]] then.", engine.Settings(steps=40), guesses=True):
        known = set(result.cells)
        new = [cell for cell in frame.cells if cell.id not in known and frame.step and cell.state == "masked"]
        came += len(new)
        assert all(cell.alternatives == () for cell in new)
        result.take(frame)
    assert came and all(cell.state == "revealed" for cell in result.cells.values())


@pytest.mark.parametrize(("tokens", "any_told"), [(GUESSED, True), (GUESSED + 1, False)])
def test_of_drafts_with_more_cells_than_anybody_reads_none_are_told(tokens: int, any_told: bool):
    first = next(frame for frame in told(f"It was [[{tokens} tokens]] then.", steps=tokens) if frame.step == 1)
    assert any(cell.alternatives for cell in first.cells if cell.state == "masked") is any_told


def test_the_command_line_prints_them_with_every_step(capsys):
    assert cli.main(["It was [[4 tokens]].", "--model", "toy", "--json", "--guesses", "--steps", "4"]) == 0
    frames = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    masked = [cell for frame in frames[1:-1] for cell in frame["cells"] if cell["state"] == "masked"]
    assert len(masked) == 3 + 2 + 1 and all(cell["alternatives"] for cell in masked)
    assert cli.main(["It was [[4 tokens]].", "--model", "toy", "--guesses"]) == 2
    assert capsys.readouterr().err == "--guesses says more in the steps that --json prints: give both.\n"
