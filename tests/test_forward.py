"""The forward process and the NELBO: exact values where they can be had, tight bounds with fixed seeds elsewhere."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.backends.toy import Toy
from engine.forward import WHOLE, low_variance_t, mask, nelbo, subs_log_probs, token_losses
from engine.schedules import SCHEDULES, LogLinear, Schedule
from tests.exact import Exact

MASK = 256


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_mask_takes_exactly_the_uniforms_below_the_move_chance():
    x0 = torch.arange(12).view(3, 4)
    uniforms = torch.tensor([[0.0, 0.3, 0.5, 0.9]] * 3)
    got = mask(x0, torch.tensor([0.0, 0.5, 1.0]), mask_id=MASK, uniforms=uniforms)
    assert got.tolist() == [[0, 1, 2, 3], [MASK, MASK, 6, 7], [MASK] * 4]


@given(st.integers(0, 2**32), st.floats(0, 1), st.integers(1, 40))
def test_mask_never_touches_what_is_not_allowed(seed, chance, length):
    rng = generator(seed)
    x0 = torch.randint(0, 256, (3, length), generator=rng)
    allowed = torch.rand(3, length, generator=rng) < 0.5
    xt = mask(x0, torch.full((3,), chance), mask_id=MASK, allowed=allowed, generator=rng)
    assert torch.equal(xt[~allowed], x0[~allowed])
    assert ((xt == x0) | (xt == MASK)).all()


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=list(SCHEDULES))
@pytest.mark.parametrize("t", [0.05, 0.5, 0.95])
def test_mask_masks_the_share_that_the_schedule_says(schedule, t):
    count = 200_000
    chance = schedule.move_chance(torch.tensor([t]))
    xt = mask(torch.zeros(1, count, dtype=torch.long), chance, mask_id=MASK, generator=generator(1))
    p = float(chance)
    assert abs((xt == MASK).float().mean().item() - p) < 4 * math.sqrt(p * (1 - p) / count) + 1e-9


@given(st.integers(1, 300), st.booleans(), st.floats(0, 0.4), st.floats(0.5, 1))
def test_low_variance_times_take_one_from_each_part(batch, shuffle, low, high):
    t = low_variance_t(batch, low=low, high=high, shuffle=shuffle, generator=generator(batch))
    assert t.shape == (batch,) and (t >= low - 1e-6).all() and (t <= high + 1e-6).all()
    ordered = t.sort().values
    edges = low + (high - low) * torch.arange(batch + 1) / batch
    assert (ordered >= edges[:-1] - 1e-5).all() and (ordered <= edges[1:] + 1e-5).all()
    assert shuffle or torch.equal(t, ordered)


def test_each_low_variance_time_is_uniform_in_its_part_and_shuffling_makes_each_row_uniform():
    many = torch.stack([low_variance_t(4, generator=generator(s)) for s in range(4000)])
    inside = many * 4 - torch.arange(4)
    assert (inside.mean(0) - 0.5).abs().max() < 4 / math.sqrt(12 * 4000)
    mixed = torch.stack([low_variance_t(4, shuffle=True, generator=generator(s)) for s in range(4000)])
    assert (mixed.mean(0) - 0.5).abs().max() < 4 / math.sqrt(12 * 4000)


def test_subs_rules_out_the_suppressed_and_keeps_the_odds_of_the_rest():
    logits = torch.randn(5, 10, generator=generator(), dtype=torch.float32) * 5
    log_probs = subs_log_probs(logits.to(torch.bfloat16), [3, 9])
    assert log_probs.dtype == torch.float32
    assert (log_probs[:, [3, 9]] == -torch.inf).all()
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(5))
    odds = log_probs[:, 0] - log_probs[:, 1]
    torch.testing.assert_close(odds, (logits.to(torch.bfloat16).float()[:, 0] - logits.to(torch.bfloat16).float()[:, 1]))


def exact_by_mask(model: Toy, x0: list[int]) -> dict[int, float]:
    """For each number m of masked tokens: the sum over all masks of that size of the masked tokens' -log p."""
    length = len(x0)
    rows = torch.tensor(list(itertools.product([False, True], repeat=length)))
    ids = torch.tensor([x0]).expand(len(rows), -1)
    logits = model.logits(torch.where(rows, model.mask_id, ids), rows)
    per_token = torch.zeros(rows.shape, dtype=torch.float64)
    per_token[rows] = token_losses(logits, ids[rows], mask_id=model.mask_id).double()
    sizes = rows.sum(-1)
    return {m: float(per_token[sizes == m].sum()) for m in range(1, length + 1)}


def quadrature(by_mask: dict[int, float], schedule: Schedule, low: float, high: float, points: int = 400) -> float:
    """The NELBO over times [low, high] by Gauss-Legendre quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(points)
    t = torch.tensor((nodes + 1) / 2 * (high - low) + low)
    chance = schedule.move_chance(t)
    length = max(by_mask)
    # weight * chance^m with one factor taken together: both are fine near t = 0, where the weight alone is infinite.
    integrand = sum((-schedule.slope(t)) * chance ** (m - 1) * (1 - chance) ** (length - m) * value for m, value in by_mask.items())
    return float((integrand * torch.tensor(weights)).sum() * (high - low) / 2)


TEXT = list(b"the lamp ")


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=list(SCHEDULES))
@pytest.mark.parametrize(("most", "least"), [(0.99, 0.01), (0.9, 0.4), (0.998, 0.002)])
def test_the_nelbo_is_the_same_for_all_schedules_over_the_same_interval_of_alpha(schedule, most, least):
    by_mask = exact_by_mask(Toy(), TEXT)
    ends = schedule.time(torch.tensor([most, least], dtype=torch.float64))
    same = WHOLE.time(torch.tensor([most, least], dtype=torch.float64))
    reference = quadrature(by_mask, WHOLE, *same.tolist())
    assert quadrature(by_mask, schedule, *ends.tolist()) == pytest.approx(reference, rel=1e-7)


def test_the_nelbo_over_all_of_alpha_bounds_the_likelihood_and_equals_the_mean_over_orders():
    """Over alpha from 1 to 0 it's the mean over all orders of revealing of -log p, one token at a time (a likelihood)."""
    model, x0 = Toy(), TEXT[:5]
    total, orders = 0.0, list(itertools.permutations(range(5)))
    for order in orders:
        x = torch.full((1, 5), MASK)
        for place in order:
            where = torch.zeros(1, 5, dtype=torch.bool)
            where[0, place] = True
            total += float(token_losses(model.logits(x, where), torch.tensor([x0[place]]), mask_id=MASK))
            x[0, place] = x0[place]
    assert quadrature(exact_by_mask(model, x0), WHOLE, 0.0, 1.0) == pytest.approx(total / len(orders), rel=1e-5)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_nelbo_of_a_model_that_is_right_is_the_likelihood_itself(seed):
    model = Exact(length=4, letters=3, seed=seed)
    for x0 in itertools.product(range(3), repeat=4):
        bound = quadrature(exact_by_mask(model, list(x0)), WHOLE, 0.0, 1.0, points=20)
        assert bound == pytest.approx(-math.log(float(model.joint[x0])), rel=1e-5)


@pytest.mark.parametrize("name", ["uniform", "clamped", "importance", "cosine", "cosinesqr", "geometric", "polynomial", "linear_sigma"])
def test_the_estimate_is_unbiased_however_its_times_are_drawn(name):
    model, rows, most, least = Toy(), 20_000, 0.98, 0.03
    schedule = SCHEDULES.get(name, LogLinear())
    low, high = schedule.time(torch.tensor([most, least], dtype=torch.float64)).tolist()
    exact = quadrature(exact_by_mask(model, TEXT), schedule, low, high)
    if name == "uniform":
        schedule, low, high = WHOLE, 0.0, 1.0
        exact = quadrature(exact_by_mask(model, TEXT), WHOLE, 0.0, 1.0)
    t, density = low_variance_t(rows, low=low, high=high, generator=generator(5)), torch.full((rows,), 1 / (high - low))
    if name == "importance":
        t, density = schedule.importance(low_variance_t(rows, generator=generator(5)), low=low, high=high)
    x0 = torch.tensor([TEXT]).expand(rows, -1)
    estimate = nelbo(model, x0, t=t, schedule=schedule, density=density, generator=generator(6)).per_sequence.double()
    # Rows are independent but not alike (stratified t), so that their spread overstates the error of the mean.
    assert abs(float(estimate.mean()) - exact) < 3.5 * float(estimate.std()) / math.sqrt(rows)
    assert float(estimate.std()) / math.sqrt(rows) < 0.02 * exact


def test_padding_neither_counts_nor_changes_anything():
    model = Toy()
    padded = torch.tensor([[*TEXT, *b"\0" * 6], [*TEXT[:4], *b"\0" * 11]])
    valid = torch.tensor([[True] * 9 + [False] * 6, [True] * 4 + [False] * 11])
    t, uniforms = torch.tensor([0.7, 0.4]), torch.rand(2, 15, generator=generator(2))
    both = nelbo(model, padded, t=t, valid=valid, uniforms=uniforms)
    assert not both.masked[~valid].any() and (both.per_token[~valid] == 0).all()
    for row, length in ((0, 9), (1, 4)):
        alone = nelbo(model, padded[row : row + 1, :length], t=t[row : row + 1], uniforms=uniforms[row : row + 1, :length])
        torch.testing.assert_close(both.per_token[row, :length], alone.per_token[0])
    assert float(both.mean) == pytest.approx(float(both.per_sequence.sum()) / 13)


def test_training_pieces_give_the_same_number_and_a_gradient():
    logits = torch.randn(6, 12, generator=generator(3), requires_grad=True)
    targets, weights = torch.tensor([0, 1, 2, 3, 4, 5]), torch.linspace(1, 3, 6)
    loss = (weights * token_losses(logits, targets, mask_id=11)).sum()
    log_probs = subs_log_probs(logits.detach(), [11])
    assert loss.item() == pytest.approx(-float((weights * log_probs[range(6), targets]).sum()), rel=1e-6)
    loss.backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all() and (logits.grad[:, 11] == 0).all()
