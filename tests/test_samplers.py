"""Each sampler on options made by hand, and against the rule of its paper worked out the long way."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.forward import surprisal
from engine.reveal_order import Row
from engine.samplers import FREE_RUNNING, SAMPLERS, Options
from engine.settings import Settings
from tests.orders import an_order


def options(rows: list[list[float]], *, due: int = 1, clocks: list[float] | None = None, stay: float = 0.5, **values: object) -> Options:
    """Options for rows of probabilities; the likeliest token is chosen everywhere."""
    log_probs = torch.tensor(rows).log()
    n = len(rows)
    return Options(
        probability=log_probs.amax(-1).exp(),
        log_probs=log_probs,
        clocks=torch.tensor(clocks or [0.5] * n, dtype=torch.float64),
        due=due,
        stay=stay,
        settings=Settings(**values),  # type: ignore[arg-type]
        tokens=log_probs.argmax(-1),
        places=torch.arange(n),
        row=Row(
            torch.zeros(n, dtype=torch.long),
            torch.zeros(n, dtype=torch.bool),
            torch.ones(n, dtype=torch.bool),
            torch.ones(n, dtype=torch.bool),
        ),
        reveal_order=None,
    )


@st.composite
def any_options(draw: st.DrawFn) -> Options:
    n, width = draw(st.integers(1, 12)), draw(st.integers(2, 6))
    rng = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    log_probs = torch.log_softmax(torch.randn(n, width, generator=rng) * draw(st.floats(0, 6)), -1)
    chosen = torch.randint(0, width, (n,), generator=rng)
    masked = torch.randperm(n + draw(st.integers(0, 12)), generator=rng)
    known = torch.ones(len(masked), dtype=torch.bool).index_fill(0, masked[:n], False)
    return Options(
        probability=log_probs.exp()[range(n), chosen],
        log_probs=log_probs,
        clocks=torch.rand(n, generator=rng, dtype=torch.float64),
        due=draw(st.integers(0, n)),
        stay=draw(st.floats(0, 1)),
        settings=Settings(threshold=draw(st.floats(0.01, 1)), entropy_bound=draw(st.floats(0, 5)), factor=draw(st.floats(0.1, 9))),
        tokens=chosen,
        places=(~known).nonzero()[:, 0],
        row=Row(
            torch.randint(0, width, (len(known),), generator=rng),
            known,
            ~known | (torch.rand(len(known), generator=rng) < 0.5),
            torch.ones_like(known),
        ),
        reveal_order=draw(st.sampled_from([None, an_order(draw(st.integers(0, 9)))])),
    )


def test_each_names_its_paper_after_a_line_of_help():
    for name, sampler in SAMPLERS.items():
        text = sampler.__doc__ or ""
        assert "arXiv" in text and text.splitlines()[0].endswith("."), name


@pytest.mark.parametrize("name", SAMPLERS)
@given(case=any_options())
def test_every_sampler_names_places_once_and_gives_what_is_due(name, case):
    picked = SAMPLERS[name](case).tolist()
    assert len(set(picked)) == len(picked) and set(picked) <= set(range(len(case.probability)))
    if name in {"threshold", "factor", "entropy_bound"}:
        assert len(picked) >= case.due
    elif name not in FREE_RUNNING:
        assert len(picked) == case.due


ROWS = [[0.5, 0.45, 0.05], [0.9, 0.06, 0.04], [0.5, 0.25, 0.25], [0.6, 0.4, 0.0]]


def test_confidence_margin_and_entropy_differ_where_they_should():
    assert SAMPLERS["confidence"](options(ROWS, due=4)).tolist() == [1, 3, 0, 2]  # equal ones from the left
    assert SAMPLERS["margin"](options(ROWS, due=4)).tolist() == [1, 2, 3, 0]
    assert SAMPLERS["entropy"](options(ROWS, due=4)).tolist() == [1, 3, 0, 2]


def test_learned_order_is_the_margin_of_a_model_that_learned_none():
    assert SAMPLERS["learned_order"](options(ROWS, due=3)).tolist() == [1, 2, 3]


def test_random_follows_the_clocks():
    assert SAMPLERS["random"](options(ROWS, due=2, clocks=[0.7, 0.2, 0.9, 0.1])).tolist() == [3, 1]


def test_ancestral_reveals_where_the_clock_is_below_the_chance_to_be_revealed():
    assert SAMPLERS["ancestral"](options(ROWS, clocks=[0.29, 0.31, 0.1, 0.299], stay=0.7)).tolist() == [3, 0, 2]
    assert SAMPLERS["ancestral"](options(ROWS, clocks=[0.9] * 4, stay=0.7)).tolist() == []


def test_left_to_right_is_the_order_of_the_places():
    assert SAMPLERS["left_to_right"](options([[0.1 * k, 1 - 0.1 * k] for k in (1, 2, 3, 4, 1, 2)], due=3)).tolist() == [0, 1, 2]


def test_threshold_takes_all_that_is_likely_enough():
    assert SAMPLERS["threshold"](options(ROWS, threshold=0.6)).tolist() == [1, 3]
    assert SAMPLERS["threshold"](options(ROWS, threshold=0.95)).tolist() == [1]
    assert SAMPLERS["threshold"](options(ROWS, threshold=0.95, due=3)).tolist() == [1, 3, 0]


@given(any_options())
def test_factor_takes_as_many_as_the_published_thresholds_let_through(case):
    """Fast-dLLM: the n-th surest must reach 1 - factor / (n + 1), the first always does; stop at the first that fails. If that
    is the very last one, it goes with the rest (their loop ends there either way).
    """
    sure = sorted(case.probability.double().tolist(), reverse=True)
    passes = [True, *(p >= 1 - case.settings.factor / (n + 1) for n, p in enumerate(sure[1:], 2))]
    taken = passes.index(False) if False in passes else len(sure)
    taken = len(sure) if taken == len(sure) - 1 else taken
    assert len(SAMPLERS["factor"](case)) == max(case.due, taken)


@given(any_options())
def test_entropy_bound_takes_the_longest_start_within_its_budget(case):
    entropies = sorted((-(row.exp() * row).nansum()).double().item() for row in case.log_probs)
    gamma = case.settings.entropy_bound
    longest = max(m for m in range(1, len(entropies) + 1) if sum(entropies[:m]) - max(entropies[:m]) <= gamma + 1e-6)
    shortest = max(m for m in range(1, len(entropies) + 1) if sum(entropies[:m]) - max(entropies[:m]) <= gamma - 1e-6 or m == 1)
    assert max(shortest, case.due) <= len(SAMPLERS["entropy_bound"](case)) <= max(longest, case.due)


def test_surprisal_is_the_entropy_and_counts_what_a_constraint_forbids():
    free = torch.tensor([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]]).log()
    assert surprisal(free).tolist() == pytest.approx([1.5 * math.log(2), 0.0])
    forced = torch.tensor([[0.0, 0.01, 0.0], [0.0, 0.25, 0.25]]).log()
    assert surprisal(forced).tolist() == pytest.approx([-math.log(0.01), math.log(4)])
    hardly = torch.tensor([[-torch.inf, -150.0, -torch.inf], [-torch.inf, -150.0, -150.0]])  # float32 has no such probability
    assert surprisal(hardly).tolist() == pytest.approx([150.0, 150.0])
