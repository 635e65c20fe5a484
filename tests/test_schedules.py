"""Schedules against MDLM's own values and against the calculus that defines them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from engine.schedules import (
    SCHEDULES,
    Cosine,
    CosineSquared,
    Geometric,
    Learned,
    LinearSigma,
    LogLinear,
    Polynomial,
    Schedule,
    network_time,
)

GOLDEN = load_file(Path(__file__).parent / "golden/noise_schedule/io.safetensors")
PUBLISHED: dict[str, Schedule] = {
    "loglinear": LogLinear(),
    "cosine": Cosine(),
    "cosinesqr": CosineSquared(),
    "linear_0_10": LinearSigma(0.0, 10.0),
    "linear_1e-3_7": LinearSigma(1e-3, 7.0),
    "geometric_1e-3_1": Geometric(1e-3, 1.0),
    "geometric_1e-4_20": Geometric(1e-4, 20.0),
}
EVERY = [
    *SCHEDULES.items(),
    *PUBLISHED.items(),
    ("whole", LogLinear(0.0)),
    ("cubic", Polynomial(3.0)),
    ("root", Polynomial(0.5)),
    ("bent", Learned((0.0, 0.4, 0.5, 0.8, 1.0))),
]
every = pytest.mark.parametrize("schedule", [s for _, s in EVERY], ids=[f"{i}-{name}" for i, (name, _) in enumerate(EVERY)])


def quantities(schedule: Schedule, t: torch.Tensor) -> dict[str, torch.Tensor]:
    return {
        "sigma": schedule.sigma(t),
        "rate": -schedule.slope(t) / schedule.alpha(t),
        "move_chance": schedule.move_chance(t),
        "alpha": schedule.alpha(t),
        "ct_weight": schedule.weight(t),
    }


def test_every_published_schedule_is_covered():
    assert {key.split(".")[0] for key in GOLDEN} - {"t"} == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_values_in_float64(name):
    for key, ours in quantities(PUBLISHED[name], GOLDEN["t"]).items():
        theirs = GOLDEN[f"{name}.f64.{key}"]
        # At t = 0 the reference's weight is 0/0 for the cosines; ours is the limit.
        there = torch.isfinite(theirs)
        assert torch.isinf(ours[~there]).all(), key
        # 1e-6: near t = 0 the reference itself cancels (1 - cos); elsewhere both agree to the last digits.
        torch.testing.assert_close(ours[there], theirs[there], rtol=1e-6, atol=1e-15, msg=lambda m, k=key: f"{name} {k}: {m}")
        late = there & (GOLDEN["t"] >= 0.05)
        torch.testing.assert_close(ours[late], theirs[late], rtol=1e-12, atol=1e-15, msg=lambda m, k=key: f"{name} {k}: {m}")


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_values_in_float32(name):
    ours = quantities(PUBLISHED[name], GOLDEN["t"].float())
    for key, value in ours.items():
        assert value.dtype == torch.float32
        exact = GOLDEN[f"{name}.f64.{key}"]
        there = torch.isfinite(exact) & (GOLDEN["t"] < 1)  # at t = 1 the cosines are rounding itself
        # Against the reference in double: unlike the reference in float32, ours doesn't cancel near t = 0.
        torch.testing.assert_close(value[there].double(), exact[there], rtol=2e-4, atol=1e-6, msg=lambda m, k=key: f"{name} {k}: {m}")
    for key in ("alpha", "move_chance"):
        torch.testing.assert_close(ours[key], GOLDEN[f"{name}.f32.{key}"], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "low"), [("loglinear", LogLinear().time_of_move_chance(-torch.expm1(torch.tensor(-1e-3).double()))), ("linear_1e-3_7", 0.0)]
)
def test_published_importance_sampling(name, low):
    t, _ = PUBLISHED[name].importance(GOLDEN["t"], low=float(low))
    torch.testing.assert_close(t, GOLDEN[f"{name}.f64.importance_t"], rtol=1e-6, atol=1e-12)  # its ends are float32


def test_the_registry_has_the_designs_names_and_each_class_a_help_line():
    designed = {"loglinear", "linear_sigma", "cosine", "cosinesqr", "geometric", "polynomial"}
    assert set(SCHEDULES) == designed | {"linear", "linear_floor", "maskgit_cosine", "learned"}
    for schedule in SCHEDULES.values():
        assert re.fullmatch(r"[A-Z].{20,}[.;)].*", (type(schedule).__doc__ or "").splitlines()[0])


@every
def test_alpha_falls_from_one_to_its_end_and_the_ends_are_finite(schedule):
    t = torch.linspace(0, 1, 1001, dtype=torch.float64)
    alpha = schedule.alpha(t)
    assert torch.isfinite(alpha).all() and (alpha.diff() < 0).all()
    assert 0.998 < alpha[0] <= 1 and alpha[-1] >= 0
    assert torch.isfinite(schedule.move_chance(t)).all() and torch.isfinite(schedule.slope(t[1:])).all()
    assert not torch.isnan(schedule.weight(t)).any()


@every
@given(t=st.floats(1e-4, 1 - 1e-4))
def test_slope_weight_sigma_and_inverse_are_those_of_alpha(schedule, t):
    at = torch.tensor([t], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(schedule.alpha(at).sum(), at)
    at = at.detach()
    torch.testing.assert_close(schedule.slope(at), slope, rtol=1e-7, atol=1e-14)
    torch.testing.assert_close(schedule.alpha(at) + schedule.move_chance(at), torch.ones(1).double(), rtol=1e-12, atol=0)
    torch.testing.assert_close(schedule.weight(at) * schedule.move_chance(at), -slope, rtol=1e-7, atol=1e-14)
    torch.testing.assert_close(torch.exp(-schedule.sigma(at)), schedule.alpha(at), rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(schedule.time_of_move_chance(schedule.move_chance(at)), at, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(schedule.time(schedule.alpha(at)), at, rtol=1e-3, atol=1e-7)


@every
def test_importance_density_integrates_to_one_and_flattens_the_weight(schedule):
    u = torch.linspace(0, 1, 2001, dtype=torch.float64)
    t, density = schedule.importance(u, low=0.05, high=0.9)
    assert abs(float(t[0]) - 0.05) < 1e-9 and abs(float(t[-1]) - 0.9) < 1e-9
    assert abs(float(torch.trapezoid(density, t)) - 1) < 1e-3
    ratio = schedule.weight(t) / density
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-9, atol=0)


def test_importance_sampling_refuses_an_interval_with_an_infinite_weight():
    with pytest.raises(ValueError, match="raise `low`"):
        LogLinear().importance(torch.rand(3))


@every
def test_a_network_is_told_the_loglinear_time_of_the_same_noise(schedule):
    t = torch.linspace(0, 1, 50, dtype=torch.float64)
    told = network_time(schedule, t)
    assert (told.diff() >= 0).all()
    torch.testing.assert_close(LogLinear().move_chance(told), schedule.move_chance(t).clamp(max=0.999), rtol=1e-9, atol=1e-12)
