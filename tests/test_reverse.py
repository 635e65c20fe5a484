"""The reverse loop on the toy model: what must hold for every draw, and what must hold on average."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engine.backends.toy import MASK, VISIBLE, Toy
from engine.pace import blocks_of, counts_of, even_grid, grid
from engine.reverse import Move, denoise
from engine.samplers import SAMPLERS
from engine.schedules import SCHEDULES
from engine.settings import Settings
from tests.exact import Exact

CHOICES = ["deterministic", "stochastic", "hybrid"]


@st.composite
def any_settings(draw: Any) -> Settings:
    return Settings(
        sampler=draw(st.sampled_from(sorted(SAMPLERS))),
        schedule=draw(st.sampled_from(sorted(SCHEDULES))),
        steps=draw(st.integers(1, 24)),
        temperature=draw(st.sampled_from([0.0, 0.3, 1.0, 2.5])),
        top_p=draw(st.sampled_from([1.0, 0.9, 0.1])),
        top_k=draw(st.sampled_from([0, 1, 5, 400])),
        choice=draw(st.sampled_from(CHOICES)),
        threshold=draw(st.sampled_from([0.05, 0.5, 1.0])),
        entropy_bound=draw(st.sampled_from([0.0, 1.0, 20.0])),
        block_length=draw(st.integers(0, 9)),
        scores=draw(st.sampled_from(["model", "tempered"])),
        rounding=draw(st.sampled_from(["every_step", "nearest", "up", "down"])),
        guidance=draw(st.sampled_from([0.0, 0.0, 1.5])),
        factor=draw(st.sampled_from([0.1, 1.0, 8.0])),
        remasking=draw(st.sampled_from([0.0, 0.0, 0.3])),
        seed=draw(st.integers(0, 2**63 - 1)),
    )


GIVEN, FOUND, GIVEN_MASK = 2, 3, 4
"""Kinds of places besides the masks to fill: given text, a writable token that stands already, a mask in the given text."""


@st.composite
def any_canvas(draw: Any, rows: int | None = None) -> tuple[Tensor, Tensor]:
    """(B, L) ids and what is writable."""
    rows = rows or draw(st.integers(1, 3))
    length = draw(st.integers(1, 24))
    places = rows * length
    kind = torch.tensor(draw(st.lists(st.integers(0, 4), min_size=places, max_size=places))).view(rows, length)
    ids = torch.tensor(draw(st.lists(st.integers(0, 255), min_size=places, max_size=places))).view(rows, length)
    return ids.masked_fill((kind < GIVEN) | (kind == GIVEN_MASK), MASK), (kind < GIVEN) | (kind == FOUND)


def run(model: Toy, x: Tensor, writable: Tensor, chosen: Settings, **more: Any) -> list[Move]:
    return list(denoise(model, x, writable=writable, settings=chosen, **more))


def same(a: list[Move], b: list[Move]) -> bool:
    return len(a) == len(b) and all(
        all(torch.equal(getattr(p, f), getattr(q, f)) for f in ("x", "revealed", "probability", "positions", "log_probs"))
        and p.time == q.time
        for p, q in zip(a, b, strict=True)
    )


@given(any_canvas(), any_settings())
def test_what_holds_for_every_run(canvas, chosen):
    x, writable = canvas
    model, before = Toy(), x.clone()
    moves = run(model, x, writable, chosen)
    sought = (x == MASK) & writable
    assert torch.equal(x, before), "the caller's canvas is left alone"
    assert model.calls <= chosen.steps and len(moves) <= chosen.steps
    assert bool(moves) == bool(sought.any())

    masked, now, time = sought, x, 1.0
    blocks = blocks_of(writable, chosen)
    for move in moves:
        asked = masked & (blocks == blocks.masked_fill(~masked, 99).amin(-1, keepdim=True))
        assert torch.equal(move.positions, asked), "the masks of each row's first block that has any"
        assert move.log_probs.shape == (int(asked.sum()), model.vocab_size)
        assert not (move.revealed & ~masked).any() and not (move.retaken & (masked | ~writable)).any()
        assert chosen.remasking or not move.retaken.any()
        same_as_before = ~move.revealed & ~move.retaken
        assert torch.equal(move.x[same_as_before], now[same_as_before])
        assert set(move.x[move.revealed].tolist()) <= VISIBLE
        told = move.log_probs.exp()
        rows = asked.nonzero().tolist()
        for i, (b, place) in enumerate(rows):
            expected = told[i, move.x[b, place]] if move.revealed[b, place] else told[i].max()
            assert float(move.probability[b, place]) == pytest.approx(float(expected), abs=1e-6)
        assert move.time < time
        masked, now, time = (masked & ~move.revealed) | move.retaken, move.x, move.time
    given = ~writable if chosen.remasking else ~sought  # a token that stands in a writable place is one that the run wrote before
    assert torch.equal(now[given], x[given]), "given tokens and given masks stay"
    assert not ((now == MASK) & writable).any(), "no mask is left"
    if moves:
        assert (moves[-1].probability[given] == 1).all()


@given(any_canvas(), any_settings(), st.integers(0, 5))
def test_the_same_seed_gives_the_same_moves_and_a_row_is_a_candidate_of_its_own(canvas, chosen, candidate):
    x, writable = canvas
    together = run(Toy(), x, writable, chosen, candidate=candidate)
    assert same(together, run(Toy(), x, writable, chosen, candidate=candidate))
    for b in range(len(x)):
        alone = run(Toy(), x[b : b + 1], writable[b : b + 1], chosen, candidate=candidate + b)
        assert len(alone) <= len(together)
        for move, theirs in zip(alone, together, strict=False):
            assert torch.equal(move.x[0], theirs.x[b]) and torch.equal(move.revealed[0], theirs.revealed[b])


@given(any_canvas(rows=1), any_settings(), st.data())
def test_a_run_resumes_exactly_from_any_step(canvas, chosen, data):
    x, writable = canvas
    moves = run(Toy(), x, writable, chosen)
    if len(moves) > 1:
        times = grid(chosen, counts_of(blocks_of(writable, chosen)[0], ((x == MASK) & writable)[0]))
        done = data.draw(st.integers(1, len(moves) - 1))
        rest = run(Toy(), moves[done - 1].x, writable, chosen, first_step=done, times=times[times <= moves[done - 1].time])
        assert len(rest) == len(moves) - done
        for move, theirs in zip(rest, moves[done:], strict=True):
            assert torch.equal(move.x, theirs.x) and torch.equal(move.revealed, theirs.revealed) and move.time == theirs.time


@pytest.mark.parametrize("sampler", ["confidence", "margin", "entropy", "random", "left_to_right"])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("masks", "steps"), [(5, 16), (16, 16), (40, 16), (7, 1)])
def test_samplers_that_keep_to_the_schedule_use_every_step_and_waste_none(sampler, schedule, masks, steps):
    model = Toy()
    x = torch.full((1, masks), MASK)
    moves = run(model, x, torch.ones_like(x, dtype=torch.bool), Settings(sampler=sampler, schedule=schedule, steps=steps))
    assert model.calls == len(moves) == min(masks, steps)
    assert all(move.revealed.any() for move in moves) and moves[-1].time == 0


def test_loglinear_reveals_equal_shares():
    x = torch.full((1, 40), MASK)
    moves = run(Toy(), x, torch.ones_like(x, dtype=torch.bool), Settings(sampler="confidence", steps=8))
    assert [int(m.revealed.sum()) for m in moves] == [5] * 8


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_ancestral_reveal_rate_is_the_schedules(schedule):
    """Masks left after k of 12 steps are binomial with the share (1 - alpha(t_k)) / (1 - alpha(1)); what a step reveals is a
    multinomial draw, tested as a whole by chi-square (its mean is the degrees of freedom, its variance twice that).
    """
    length, steps = 12_000, 12
    x = torch.full((1, length), MASK)
    moves = run(
        Toy(),
        x,
        torch.ones_like(x, dtype=torch.bool),
        Settings(sampler="ancestral", schedule=schedule, steps=steps, temperature=1, seed=11),
    )
    chance = SCHEDULES[schedule].move_chance(even_grid(steps))
    share = (chance / chance[0]).tolist()
    share[-1] = 0.0
    left = length
    square, cells = 0.0, 0
    for k in range(steps):
        revealed = int(moves[k].revealed.sum()) if k < len(moves) else 0
        left -= revealed
        p = share[k + 1]
        assert abs(left - length * p) <= 4 * math.sqrt(length * p * (1 - p)), f"step {k}"
        if (expected := length * (share[k] - share[k + 1])) >= 5:
            square, cells = square + (revealed - expected) ** 2 / expected, cells + 1
    assert left == 0
    assert square < (cells - 1) + 4 * math.sqrt(2 * (cells - 1))


@pytest.mark.parametrize("schedule", ["loglinear", "cosine", "polynomial"])
def test_remasking_keeps_the_marginals(schedule):
    """ReMDM: with the cap eta a written token is masked again with sigma = min(eta, (1 - alpha_s) / alpha_t), and at every step as many
    are masked as without it: a binomial share of (1 - alpha(t_k)) / (1 - alpha(1)).
    """
    length, steps, cap = 12_000, 10, 0.2
    x = torch.full((1, length), MASK)
    chosen = Settings(sampler="ancestral", schedule=schedule, steps=steps, temperature=1, remasking=cap, seed=5)
    moves = run(Toy(), x, torch.ones_like(x, dtype=torch.bool), chosen)
    alpha = SCHEDULES[schedule].alpha(even_grid(steps))
    masked = 1 - alpha
    left = length
    for k, move in enumerate(moves):
        written, sigma = length - left, float(torch.minimum(torch.tensor(cap), masked[k + 1] / alpha[k])) if k < steps - 1 else 0.0
        again = int(move.retaken.sum())
        assert abs(again - written * sigma) <= 4.5 * math.sqrt(written * sigma * (1 - sigma)) + 1e-9
        assert (move.x[move.retaken] == MASK).all() and not (move.retaken & (move.revealed | move.positions)).any()
        left += again - int(move.revealed.sum())
        p = float(masked[k + 1] / masked[0]) if k < steps - 1 else 0.0
        assert abs(left - length * p) <= 4.5 * math.sqrt(length * p * (1 - p)) + 1e-9, f"step {k}"
    assert len(moves) == steps and left == 0


@pytest.mark.parametrize(
    "how",
    [
        {"sampler": "random", "steps": 3},
        {"sampler": "left_to_right", "block_length": 1, "steps": 3},
        {"sampler": "ancestral", "steps": 32},
    ],
    ids=lambda how: "-".join(map(str, how.values())),
)
def test_samplers_that_are_exact_draw_from_the_models_own_distribution(how):
    """One token at a time in an order that no token decides, each drawn from its true conditional: the joint distribution.

    Ancestral sampling is that in the limit of many steps: with 32, few reveal two tokens of a row at once.
    """
    model, rows = Exact(), 1000
    x = torch.full((rows, 3), model.mask_id)
    final = run(model, x, x == model.mask_id, Settings(temperature=1.0, top_p=1.0, choice="stochastic", seed=2, repetition=0.0, **how))[
        -1
    ].x
    counts = (final @ torch.tensor([9, 3, 1])).bincount(minlength=27).double()
    expected = model.joint.flatten() * rows
    square = float(((counts - expected) ** 2 / expected).sum())
    assert square < 26 + 3.5 * math.sqrt(2 * 26)
    # A sampler that is not exact is told apart by the same test: everything at once forgets how the tokens hang together.
    at_once = Settings(sampler="random", temperature=1.0, top_p=1.0, choice="stochastic", seed=2, steps=1, repetition=0.0)
    once = run(model, x, x == model.mask_id, at_once)[-1].x
    counts = (once @ torch.tensor([9, 3, 1])).bincount(minlength=27).double()
    assert float(((counts - expected) ** 2 / expected).sum()) > 80


class Timed(Toy):
    """The toy, as if it looked at the time."""

    time_conditioned = True

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def logits(self, ids: Tensor, positions: Tensor, *, t: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
        assert t is not None
        self.times += t.tolist()
        return super().logits(ids, positions, t=t, attend=attend)


def test_a_prediction_is_used_again_only_where_that_is_exact():
    x = torch.full((1, 4), MASK)
    chosen = Settings(sampler="ancestral", steps=40, temperature=1, top_p=1.0, choice="stochastic", seed=3)
    plain, timed = Toy(), Timed()
    once = run(plain, x, x == MASK, chosen)
    each = run(timed, x, x == MASK, chosen)
    assert same(once, each), "the toy's predictions don't depend on the time, so neither do the moves"
    changes = sum(bool(m.revealed.any()) for m in once)
    assert plain.calls == changes <= 4, "a call for each new canvas"
    assert timed.calls == len(each) > plain.calls, "a call for each time"
    assert timed.times == pytest.approx(even_grid(40)[: len(each)].tolist())


def test_a_conditioned_network_is_told_how_much_is_masked_under_any_schedule():
    x, timed = torch.full((1, 8), MASK), Timed()
    run(timed, x, x == MASK, Settings(sampler="confidence", schedule="cosine", steps=8))
    share = 1 - torch.cos(even_grid(8)[:-1] * math.pi / 2)
    assert timed.times == pytest.approx(share.tolist(), abs=1e-6)


def test_choice_and_temperature():
    x = torch.full((1, 60), MASK)

    def text(**values: Any) -> list[int]:
        told = {"steps": 60, "sampler": "left_to_right", "temperature": 1.0, "repetition": 0.0, **values}
        return list(run(Toy(), x, x == MASK, Settings(**told))[-1].x[0].tolist())

    greedy = text(choice="deterministic")
    assert (
        greedy == text(choice="deterministic", seed=5) == text(choice="stochastic", temperature=0.0) == text(choice="stochastic", top_k=1)
    )
    assert greedy == text(choice="stochastic", top_p=1e-6)
    drawn = text(choice="stochastic")
    assert drawn != greedy and drawn != text(choice="stochastic", seed=1)
    hybrid = run(Toy(), x, x == MASK, Settings(steps=60, sampler="left_to_right", temperature=1.0, choice="hybrid", repetition=0.0))
    for k, move in enumerate(hybrid):
        rows = move.positions[0].nonzero()[:, 0].tolist()
        likeliest = [int(move.x[0, place]) == int(move.log_probs[i].argmax()) for i, place in enumerate(rows) if move.revealed[0, place]]
        assert k < 30 or all(likeliest)
    early = hybrid[29].x[0]
    assert early[early != MASK].tolist() == [token for token, e in zip(drawn, early.tolist(), strict=True) if e != MASK]


class Digits:
    """Only digits, and of those revealed together no two alike: the first in the order of preference keeps its token."""

    def __init__(self) -> None:
        self.orders: list[list[float]] = []

    def allowed(self, x: Tensor, positions: Tensor) -> Tensor:
        row = torch.zeros(257, dtype=torch.bool)
        row[48:58] = True
        return row.expand(len(positions), -1)

    def settle(self, x: Tensor, positions: Tensor, tokens: Tensor, log_probs: Tensor) -> Tensor:
        assert (x[positions] == MASK).all()
        self.orders.append(log_probs.gather(-1, tokens[:, None])[:, 0].tolist())
        taken: list[int] = []
        for row in log_probs:
            taken.append(next(t for t in row.argsort(descending=True).tolist() if t not in taken))
        return torch.tensor(taken)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_constraint_is_obeyed_and_told_the_order_of_preference(sampler):
    x = torch.full((2, 20), MASK)
    constraint = Digits()
    chosen = Settings(sampler=sampler, steps=5, choice="deterministic", threshold=0.001, entropy_bound=5.0)
    moves = run(Toy(), x, x == MASK, chosen, constraint=constraint)
    assert set(moves[-1].x.flatten().tolist()) <= set(range(48, 58))
    if sampler in {"confidence", "threshold"}:
        assert all(order == sorted(order, reverse=True) for order in constraint.orders)
    for move in moves:
        assert not torch.isneginf(move.log_probs[:, 48:58]).any() and torch.isneginf(move.log_probs[:, :48]).all()
        # The probabilities stay the model's own: far below 1 in sum, for it would rather write letters.
        assert (move.log_probs.exp().sum(-1) < 0.5).all()
        for b in range(2):
            written = move.x[b][move.revealed[b]].tolist()
            assert len(set(written)) == len(written), "what was settled is what is written"
        rows = {tuple(place): i for i, place in enumerate(move.positions.nonzero().tolist())}
        for b, place in move.revealed.nonzero().tolist():
            told = float(move.log_probs[rows[b, place], move.x[b, place]].exp())
            assert float(move.probability[b, place]) == pytest.approx(told, rel=1e-5)


def test_a_constraint_that_leaves_nothing_is_an_error():
    class Nothing(Digits):
        def allowed(self, x: Tensor, positions: Tensor) -> Tensor:
            return torch.zeros(len(positions), 257, dtype=torch.bool)

    x = torch.full((1, 3), MASK)
    with pytest.raises(ValueError, match="leaves no token"):
        run(Toy(), x, x == MASK, Settings(), constraint=Nothing())


def test_other_seeds_candidates_and_steps_give_other_draws():
    x = torch.full((1, 50), MASK)
    chosen = Settings(sampler="random", steps=1, temperature=1, top_p=1.0, choice="stochastic")
    texts = {
        tuple(run(Toy(), x, x == MASK, dataclasses.replace(chosen, seed=s), candidate=c, first_step=k)[-1].x[0].tolist())
        for s in (0, 1, 2**63 - 1)
        for c in (0, 1)
        for k in (0, 1)
    }
    assert len(texts) == 12
