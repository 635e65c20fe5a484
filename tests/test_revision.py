"""Second thoughts: what doesn't fit is taken back and written anew, what fits stays, and a run ends when nothing is left to doubt."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import engine
from engine.backends.toy import Toy
from engine.growth import Growth
from engine.reading import ROWS
from engine.reverse import denoise
from engine.revision import DOUBT, revised, rounds, steps_planned
from engine.settings import PUBLISHED, Settings
from tests.exact import Exact
from tests.pieces import PIECES, Pieces

HASTY, RIGHT = ord("x"), ord("o")


class Hasty(Toy):
    """Writes x beside a mask, and o where it sees both neighbours: by `nats` surer than anything else."""

    def __init__(self, nats: float = 8.0) -> None:
        super().__init__()
        self.nats, self.rows = nats, 0

    def logits(self, ids: Tensor, positions: Tensor, *, t: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
        self.calls, self.rows = self.calls + 1, self.rows + len(ids)
        found = torch.zeros(int(positions.sum()), self.vocab_size)
        for at, (row, place) in enumerate(positions.nonzero().tolist()):
            beside = ids[row, max(0, place - 1) : place + 2].tolist()
            found[at, HASTY if beside.count(self.mask_id) > 1 else RIGHT] = self.nats
        return found


def canvas(model: Toy, masks: int) -> tuple[Tensor, Tensor]:
    x = torch.tensor([[65, *[model.mask_id] * masks, 66]])
    return x, x == model.mask_id


def text(x: Tensor) -> str:
    return bytes(x[0].tolist()).decode()


@pytest.mark.parametrize("masks", [1, 2, 5, 24, 60])
def test_what_was_written_in_haste_is_written_anew(masks: int) -> None:
    model = Hasty()
    x, writable = canvas(model, masks)
    hasty = Settings(steps=16, choice="deterministic", repetition=0.0)
    *_, plain = denoise(model, x, writable=writable, settings=hasty)
    assert masks == 1 or "x" in text(plain.x)
    *_, last = revised(model, x, writable=writable, settings=replace(hasty, revise=80))
    assert text(last.x) == f"A{'o' * masks}B" and not last.more


def test_a_round_takes_back_a_quarter_of_what_was_written_at_most_and_nothing_that_was_given() -> None:
    model = Hasty()
    x, writable = canvas(model, 24)
    settings = Settings(steps=6, choice="deterministic", repetition=0.0, revise=3)
    moves = list(revised(model, x, writable=writable, settings=settings))
    assert len(moves) <= steps_planned(model, settings, 24, None)
    taken = [int(move.retaken.sum()) for move in moves if move.retaken.any()]
    assert len(taken) == 3 and all(0 < count <= 6 for count in taken)
    for move in moves:
        assert bool((move.x[~writable] == x[~writable]).all()) and not move.retaken[~writable].any()
    assert not moves[-1].more


def test_a_canvas_without_masks_is_not_read_over() -> None:
    model = Exact(length=4, letters=3)
    x = torch.tensor([[0, 1, 2, 0]])
    assert list(revised(model, x, writable=torch.ones_like(x, dtype=torch.bool), settings=Settings(revise=9))) == []
    assert model.calls == 0


class Doubting(Pieces):
    """Wishes for "was quiet" until it reads it over; then for other endings of the words."""

    def logits(self, ids: Tensor, positions: Tensor, *, t: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
        found = super().logits(ids, positions, t=t, attend=attend)
        if (ids == self.mask_id).sum() < ids.shape[0] * len(self.wish):
            found[:, PIECES.index("s")] = 20.0
        return found


def test_the_pieces_of_a_word_are_taken_back_together() -> None:
    wish = [" lamp", "ing", " quiet", "ing", " so"]
    model = Doubting(wish)
    x = torch.tensor([[PIECES.index("the"), *[model.mask_id] * 5, PIECES.index(" was")]])
    moves = list(
        revised(model, x, writable=x == model.mask_id, settings=Settings(steps=1, choice="deterministic", repetition=0.0, revise=1))
    )
    taken = next(move.retaken for move in moves if move.retaken.any())
    assert taken[0].nonzero()[:, 0].tolist() in ([1, 2], [3, 4], [5])


def test_a_small_doubt_is_none_and_reading_over_takes_few_rows() -> None:
    model = Hasty(nats=DOUBT / 2)
    x, writable = canvas(model, 40)
    moves = list(revised(model, x, writable=writable, settings=Settings(steps=5, choice="deterministic", repetition=0.0, revise=3)))
    assert len(moves) == 6 and not any(move.retaken.any() for move in moves)
    assert model.calls == 6 and model.rows == 5 + ROWS


def test_the_frames_tell_of_it_and_come_to_an_end() -> None:
    frames = list(engine.fill(Hasty(), "It [[12 tokens]] so.", Settings(steps=4, choice="deterministic", repetition=0.0, revise=2)))
    states = [cell.state for frame in frames for cell in frame.cells]
    assert "retaken" in states
    assert frames[-1].step == frames[-1].steps and frames[-1].time == 0 and "░" not in frames[-1].text
    assert all(a.step < b.step for a, b in itertools.pairwise(frames))
    for before, after in itertools.pairwise(frames):
        assert after.time <= before.time or any(cell.state == "retaken" for cell in after.cells)
    again = list(engine.fill(Hasty(), "It [[12 tokens]] so.", Settings(steps=4, choice="deterministic", repetition=0.0, revise=2)))
    assert frames == again


def test_it_is_left_out_where_it_can_not_be_done_and_in_published_methods() -> None:
    assert rounds(Toy(), Settings(revise=2), Growth(1, 2, longest=64, budget=8)) == 0 and rounds(Toy(), Settings(revise=2), None) == 2
    assert all(values["revise"] == 0 for values in PUBLISHED.values())
    with pytest.raises(engine.SettingsError, match="Revise must be between 0"):
        Settings(revise=-1)
