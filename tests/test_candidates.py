"""Several fills side by side: each as if it were alone, the one that reads best is kept, and the others can be had."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import engine
from engine.backends.toy import Toy
from engine.growth import Growth
from engine.reading import APART, EDGE, Reader, passages
from engine.reverse import Move, denoise
from engine.revision import candidates, revised, steps_planned
from engine.settings import PUBLISHED, Settings
from engine.text import bare_words
from tests.counts import examples
from tests.exact import Exact

DRAWN = Settings(steps=4, temperature=1.0, top_p=1.0, repetition=0.0, words="any")


def masks(model: Toy, length: int) -> Tensor:
    return torch.full((1, length), model.mask_id)


def run(model: Toy, x: Tensor, how: Settings) -> list[Move]:
    return list(revised(model, x, writable=x == model.mask_id, settings=how))


def cost(model: Exact, x: Tensor) -> float:
    """The true pseudo-log-likelihood of a whole row."""
    found = 0.0
    for place in range(x.shape[-1]):
        row = x.masked_fill(torch.arange(x.shape[-1]) == place, model.mask_id)
        found += float(model.logits(row, row == model.mask_id)[:, :-1].log_softmax(-1)[0, x[0, place]])
    return found


def before_the_choice(moves: list[Move]) -> list[Move]:
    """The moves without those in which the first candidate is exchanged for the best one."""
    return moves[: -2 if moves[-1].revealed.any() else -1]


@settings(max_examples=examples(30))
@given(count=st.integers(2, 6), seed=st.integers(0, 99), revise=st.integers(0, 2))
def test_the_best_of_them_is_kept_and_each_other_one_is_told_once_best_first(count: int, seed: int, revise: int) -> None:
    model = Exact(length=4, letters=3, seed=seed % 5)
    *_, last = run(model, masks(model, 4), dataclasses.replace(DRAWN, candidates=count, seed=seed, revise=revise))
    costs = [cost(model, x[None]) for x in (last.x[0], *(other.x for other in last.others))]
    assert costs == sorted(costs, reverse=True)
    told = [tuple(last.x[0].tolist()), *(tuple(other.x.tolist()) for other in last.others)]
    assert len(set(told)) == len(told) <= count and not last.more
    for other in last.others:
        assert bool((other.probability > 0).all() and (other.probability <= 1).all())


@settings(max_examples=examples(30))
@given(count=st.integers(2, 5), seed=st.integers(0, 99), revise=st.integers(0, 3))
def test_the_first_candidate_is_the_same_however_many_are_asked_for(count: int, seed: int, revise: int) -> None:
    """And is what is shown, until the best one takes its place."""
    model = Exact(length=5, letters=3, seed=seed % 3)
    how = dataclasses.replace(DRAWN, seed=seed, revise=revise)
    alone = run(model, masks(model, 5), how)
    beside = run(model, masks(model, 5), dataclasses.replace(how, candidates=count))
    shown = [move.x.tolist() for move in before_the_choice(beside)]
    changes = [x for x, _ in itertools.groupby(move.x.tolist() for move in alone)]
    assert changes == [x for x, _ in itertools.groupby(shown)][: len(changes)]
    assert alone[-1].x.tolist() in [x[None].tolist() for x in (beside[-1].x[0], *(other.x for other in beside[-1].others))]


@settings(max_examples=examples(20))
@given(seed=st.integers(0, 99), length=st.integers(2, 5))
def test_what_is_told_of_the_exchange_adds_up(seed: int, length: int) -> None:
    model = Exact(length=length, letters=4, seed=1)
    how = dataclasses.replace(DRAWN, candidates=4, seed=seed, revise=1)
    moves = run(model, masks(model, length), how)
    assert len(moves) <= steps_planned(model, how, length, None)
    for before, after in itertools.pairwise(moves):
        assert bool((after.x[after.retaken] == model.mask_id).all())
        changed = before.x != after.x
        assert bool((changed == (after.revealed | after.retaken)).all())
    assert not bool((moves[-1].x == model.mask_id).any())


def test_a_fill_is_judged_by_where_it_leads_too() -> None:
    model = Exact(length=6, letters=3, seed=2)
    full = torch.tensor([[0, 1, 2, 0, 1, 2]])
    written = torch.arange(6)[None] == 5
    reader = Reader(model, full.masked_fill(written, model.mask_id), written, refresh=1, repetition=0.0)
    (reading,) = reader.read(full, None)
    judged = list(range(5 - EDGE, 6))
    rows = torch.cat([full.masked_fill(torch.arange(6) == place, model.mask_id) for place in judged])
    true = model.logits(rows, rows == model.mask_id)[:, :-1].log_softmax(-1).gather(-1, full[0, judged][:, None])[:, 0]
    assert float(reading.worth.sum()) == pytest.approx(float(true.sum()), abs=1e-4)
    assert reading.worth.nonzero()[:, 0].tolist() == judged
    assert float(reading.own[0]) == pytest.approx(float(true[-1]), abs=1e-4)


def test_what_says_again_what_stands_beside_it_reads_worse() -> None:
    model = Exact(length=5, letters=4, seed=2)
    written = torch.tensor([[False, True, True, False, False]])
    blank = torch.tensor([[0, 4, 4, 1, 2]])

    def worth(repetition: float, *fill: int) -> float:
        reader = Reader(model, blank, written, refresh=1, repetition=repetition)
        return float(reader.read(blank.masked_scatter(written, torch.tensor(fill)), None)[0].worth.sum())

    assert worth(3.0, 3, 3) == pytest.approx(worth(0.0, 3, 3) - 6.0)
    assert worth(3.0, 3, 2) == pytest.approx(worth(0.0, 3, 2) - 3.0)  # the 2 stands two tokens to the right


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("temperature", [0.3, 2.0])  # the lower one writes the same again and again
def test_gaps_that_stand_apart_are_chosen_one_by_one(seed: int, temperature: float) -> None:
    model = Toy()
    given_text = list(b"t was late and the rain came down ")
    x = torch.tensor([[*b"I", *[model.mask_id] * 3, *given_text, *[model.mask_id] * 4, *b" so."]])
    written = x == model.mask_id
    how = dataclasses.replace(DRAWN, temperature=temperature, candidates=4, seed=seed)
    first, second = passages(written[0])
    assert first.nonzero()[:, 0].tolist() == [0, 1, 2, 3, 4, 5] and len(second.nonzero()) == 4 + 2 * EDGE
    *_, last = run(model, x, how)
    alone = [[*denoise(model, x, writable=written, settings=how, candidate=k)][-1].x for k in range(4)]
    reader = Reader(model, x, written, refresh=1, repetition=0.0)
    read = [reader.read(row, None)[0] for row in alone]
    for passage in (first, second):
        best = max(range(4), key=lambda k: float(read[k].worth[passage].sum()))
        assert last.x[0, passage].tolist() == alone[best][0, passage].tolist()


def test_gaps_that_stand_near_are_chosen_together() -> None:
    written = torch.zeros(60, dtype=torch.bool)
    written[[5, 6, 6 + APART, 40]] = True
    assert [passage.nonzero()[[0, -1], 0].tolist() for passage in passages(written)] == [[3, 8 + APART], [38, 42]]


def frames(draft: str, **told: object) -> list[engine.Frame]:
    how = Settings.of({"steps": 8, "temperature": 1.5, "top_p": 1.0, "repetition": 0.0, **told})
    return list(engine.fill(Toy(), draft, how))


def test_the_others_come_with_the_last_frame_as_whole_drafts_with_their_cells() -> None:
    draft = "He [[2]] so, and it [[12 tokens; he]] was."
    told = frames(draft, candidates=4, seed=3)
    assert all(not frame.others for frame in told[:-1])
    others = told[-1].others
    assert len(others) == 3 and len({told[-1].text, *(other.text for other in others)}) == 4
    result = engine.Result()
    for frame in told:
        result.take(frame)
    assert result.text == told[-1].text
    for other in others:
        assert [cell.id for cell in other.cells] == [cell.id for cell in sorted(result.cells.values(), key=lambda c: (c.gap, c.index))]
        first, second = ("".join(cell.text for cell in other.cells if cell.gap == gap) for gap in (0, 1))
        assert other.text == f"He {first} so, and it {second} was."
        assert len(bare_words(first)) == 2 and "he" not in second.lower().split()
        assert all(cell.state == "revealed" and 0 < cell.probability <= 1 for cell in other.cells)
    done = result.done()
    assert [candidate["text"] for candidate in done["candidates"]] == [told[-1].text, *(other.text for other in others)]
    assert [0 < candidate.get("score", 0) <= 1 for candidate in done["candidates"]] == [True, False, False, False]  # they come best first
    assert "text" not in result.done(with_text=False)["candidates"][1] and "others" not in told[-1].as_dict()


@pytest.mark.parametrize("draft", ["He [[2]] so, and it [[4 tokens]] was.", "It was [[~ the {{old}} house, {{quite}} so]] then."])
def test_what_was_seen_is_not_kept_again_where_there_is_another(draft: str) -> None:
    how = Settings.of({"steps": 8, "temperature": 0.7, "repetition": 0.0, "candidates": 4, "seed": 4})

    def written(frames: list[engine.Frame], gap: int) -> str:
        result = engine.Result()
        for frame in frames:
            result.take(frame)
        cells = sorted((cell for cell in result.cells.values() if cell.gap == gap), key=lambda cell: cell.index)
        return "".join(cell.text for cell in cells).strip()

    first = list(engine.fill(Toy(), draft, how))
    again = list(engine.fill(Toy(), draft, how, seen=[f" {written(first, 0)}"]))
    choices = {written(first, 0), *("".join(cell.text for cell in other.cells if cell.gap == 0).strip() for other in first[-1].others)}
    assert len(choices) > 1 and written(again, 0) in choices - {written(first, 0)}
    worn = list(engine.fill(Toy(), draft, how, seen=choices))
    assert written(worn, 0) == written(first, 0)  # when there is no other, the best stands
    alone = dataclasses.replace(how, candidates=1)
    assert list(engine.fill(Toy(), draft, alone, seen=choices)) == list(engine.fill(Toy(), draft, alone)), "then there is no other at all"


def test_pins_stay_in_every_one_of_them() -> None:
    told = frames("It was [[~ the {{old}} house, {{quite}} so]] then.", candidates=3, seed=1)
    for text in (told[-1].text, *(other.text for other in told[-1].others)):
        assert text.startswith("It was ") and text.endswith(" then.") and " old " in text and " quite " in text


def test_each_window_of_a_long_draft_has_its_own_and_the_ranks_go_together() -> None:
    given_text = "The light was low and the room was quiet then. " * 12
    told = frames(f"It [[4 tokens]] so. {given_text}And [[4 tokens]] it was.", candidates=3, seed=5)
    kept = told[-1].text
    assert 1 <= len(told[-1].others) <= 2 and all(other.text != kept and len(other.cells) == 8 for other in told[-1].others)
    assert all(a.step < b.step for a, b in itertools.pairwise(told)) and told[-1].step == told[-1].steps


def test_one_candidate_is_the_default_and_all_there_is_where_fills_can_not_be_compared() -> None:
    assert Settings().candidates == 1 and all(told["candidates"] == 1 for told in PUBLISHED.values())
    assert candidates(Toy(), Settings(candidates=4), Growth(1, 2, longest=64, budget=8), 8) == 1
    assert [candidates(Toy(), Settings(candidates=4), None, masks) for masks in (0, 1, 64, 65, 128, 129, 999)] == [4, 4, 4, 3, 2, 1, 1]
    plain = frames("It [[9 tokens]] so.")
    assert not plain[-1].others and {frame.candidate for frame in plain} == {0}
    for wrong in (0, 65):
        with pytest.raises(engine.SettingsError, match="Candidates must be between 1 and 64"):
            Settings(candidates=wrong)


def test_a_draft_without_gaps_and_a_gap_of_one_token_have_them_too() -> None:
    assert frames("Nothing to do.", candidates=3)[-1].others == ()
    told = frames("It [[1 tokens]] so.", candidates=6, seed=2)
    assert told[-1].others and all(math.isfinite(engine.score(other.cells)) for other in told[-1].others)
