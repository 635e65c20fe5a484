"""Draws: the right frequencies, the right tokens ruled out, and chance that depends on nothing but its coordinates."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.draws import SeededNoise, Weights, categorical, rows_at_once, tempered
from engine.settings import Settings


def log_probs(rows: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.log_softmax(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)) * 2, -1)


def test_tokens_come_as_often_as_their_probability_says():
    count, row = 200_000, log_probs(1, 30)
    uniforms = SeededNoise(4, 0).clocks(0, torch.ones(1, count, dtype=torch.bool))
    drawn = categorical(row.expand(count, -1), uniforms).bincount(minlength=30).double()
    expected = row[0].double().exp() * count
    square = float(((drawn - expected) ** 2 / expected).sum())
    assert square < 29 + 4 * math.sqrt(2 * 29)


def test_drawing_inverts_the_distribution_function_at_its_edges():
    row = torch.tensor([[-torch.inf, 0.25, -torch.inf, 0.75, -torch.inf]])
    row[0, [1, 3]] = row[0, [1, 3]].log()
    below = 1 - 2.0**-53
    u = torch.tensor([0.0, 0.25 - 1e-6, 0.25 + 1e-6, below], dtype=torch.float64)
    assert categorical(row.expand(4, -1), u).tolist() == [1, 1, 3, 3]


def test_a_tail_far_below_float32_is_reached():
    """A uniform closer to 1 than float32 can tell finds the last token, whose share is 1e-9."""
    row = torch.tensor([[1 - 1e-9, 1e-9]], dtype=torch.float64).log().float()
    u = torch.tensor([1 - 2e-9, 1 - 0.5e-9], dtype=torch.float64)
    assert categorical(row.expand(2, -1), u).tolist() == [0, 1]


def test_many_rows_are_drawn_as_one_at_a_time():
    width = 2**15
    rows = log_probs(2 * rows_at_once(torch.empty(1, width)) + 3, width)
    u = torch.rand(len(rows), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    one_by_one = torch.cat([categorical(rows[i : i + 1], u[i : i + 1]) for i in range(len(rows))])
    assert torch.equal(categorical(rows, u), one_by_one)
    assert categorical(rows[:0], u[:0]).shape == (0,)


@given(st.integers(0, 99), st.floats(0.05, 5), st.floats(0.01, 1), st.integers(0, 25))
def test_temperature_top_k_and_top_p_keep_what_they_should(seed, temperature, top_p, top_k):
    row = log_probs(1, 20, seed)
    weights = tempered(row, Settings(temperature=temperature, top_p=top_p, top_k=top_k)).whole()[0]
    kept = ~torch.isneginf(weights)
    order = row[0].argsort(descending=True)
    n = int(kept.sum())
    assert set(order[:n].tolist()) == set(kept.nonzero()[:, 0].tolist()), "the likeliest are kept"
    limit = top_k if 0 < top_k < 20 else 20
    share = torch.softmax((row[0] / temperature)[order], -1).cumsum(-1)
    assert 1 <= n <= limit
    assert n == limit or float(share[n - 1]) >= top_p - 1e-5, "enough is kept"
    assert n == 1 or float(share[n - 2]) < top_p + 1e-5, "and no more"
    torch.testing.assert_close(weights[kept], (row[0] / temperature)[kept])


def test_a_places_chance_depends_on_its_coordinates_alone():
    everywhere = torch.ones(3, 20, dtype=torch.bool)
    some = torch.rand(3, 20, generator=torch.Generator().manual_seed(2)) < 0.4
    full = SeededNoise(9, 4).clocks(7, everywhere).view(3, 20)
    assert torch.equal(SeededNoise(9, 4).clocks(7, some), full[some])
    assert torch.equal(SeededNoise(9, 5).clocks(7, everywhere[:1]), full[1]), "row b is the candidate b further on"
    assert torch.equal(SeededNoise(9, 4).clocks(7, everywhere[:, :8]).view(3, 8), full[:, :8]), "a longer canvas changes nothing"
    rows = log_probs(1, 50).expand(60, -1)
    tokens = SeededNoise(9, 4).tokens(7, everywhere, Weights(rows, None, 50)).view(3, 20)
    assert torch.equal(SeededNoise(9, 4).tokens(7, some, Weights(rows[: int(some.sum())], None, 50)), tokens[some])


@given(st.integers(0, 99), st.floats(0.3, 3), st.floats(0.3, 1), st.integers(0, 300), st.integers(1, 400))
def test_what_is_cut_is_drawn_as_from_the_whole_vocabulary(seed, temperature, top_p, top_k, width):
    """Nuclei narrower and wider than what is looked at first, side by side: each token as often as its share of what is left says."""
    rows = log_probs(3, width, seed) * torch.tensor([[0.1], [1.0], [4.0]])
    weights = tempered(rows, Settings(temperature=temperature, top_p=top_p, top_k=top_k))
    shares = torch.softmax(weights.whole().double(), -1)
    grid = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    for row in range(3):
        drawn = categorical(weights.log[row].expand(2000, -1), grid)
        tokens = drawn if weights.tokens is None else weights.tokens[row][drawn]
        found = tokens.bincount(minlength=width).double() / 2000
        assert float((found - shares[row]).abs().max()) <= 1 / 2000 + 1e-5


@pytest.mark.parametrize("other", [SeededNoise(1, 0), SeededNoise(0, 1), SeededNoise(2**63 - 1, 0)])
def test_seeds_and_candidates_are_independent_streams(other):
    where = torch.ones(1, 5000, dtype=torch.bool)
    base = SeededNoise(0, 0)
    streams = torch.stack([base.clocks(0, where), base.clocks(1, where), other.clocks(0, where), other.clocks(1, where)])
    correlation = torch.corrcoef(streams) - torch.eye(4)
    assert correlation.abs().max() < 4 / math.sqrt(5000)
    assert (streams.mean(-1) - 0.5).abs().max() < 4 / math.sqrt(12 * 5000)


def test_the_stream_itself_never_changes():
    """Saved drafts name a seed: the numbers behind it are part of the format."""
    got = SeededNoise(7, 0).clocks(3, torch.ones(1, 3, dtype=torch.bool))
    assert got.tolist() == [0.1656586882435429, 0.46465544928992797, 0.05394531048158524]


def test_the_coldest_temperature_that_can_be_asked_for_draws_the_likeliest():
    rows = log_probs(50, 300)
    weights = tempered(rows, Settings(temperature=1e-40))
    assert not weights.log.isnan().any()
    drawn = SeededNoise(1, 0).tokens(0, torch.ones(1, 50, dtype=torch.bool), weights)
    assert drawn.tolist() == rows.argmax(-1).tolist()
