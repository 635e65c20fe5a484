"""The learned schedule: the same NELBO with less variance, kept with the model, used under its name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import engine
from engine.backends import EMBEDDED
from engine.checkpoint import CheckpointError, set_schedule
from engine.denoiser import Denoiser
from engine.schedules import SCHEDULES, Learned, schedule_of
from engine.training.schedule import LEAST, fit, variance

DEV = Path(__file__).parent / "data" / "dev_sample.txt"


def noisy(seed: int, count: int = 8000) -> tuple[np.ndarray, np.ndarray]:
    """An integrand of mean 3 whose spread at level m is 1 / sqrt(m), as that of a mean over few tokens."""
    rng = np.random.default_rng(seed)
    levels = (np.arange(count) + rng.random(count)) / count
    return levels, 3 + rng.standard_normal(count) / np.sqrt(levels)


def test_fitted_to_one_half_it_lowers_the_variance_of_the_other() -> None:
    times = fit(*noisy(0))
    even = np.linspace(0, 1, len(times)).tolist()
    gain = variance(*noisy(1), times) / variance(*noisy(1), even)
    # For spread m^-1/2 the best density, m^-1/2 / 2, gives (integral of m^-1/2)^2 = 4 against log(1 / the smallest level), some 9.
    assert 0.35 < gain < 0.55


@given(seed=st.integers(0, 1000), pieces=st.integers(2, 32))
def test_a_fit_rises_from_0_to_1_and_no_level_is_left_unseen(seed: int, pieces: int) -> None:
    levels, values = noisy(seed, 200)
    times = fit(levels, values * (levels > 0.5), pieces=pieces)
    assert (times[0], times[-1]) == (0.0, 1.0)
    assert min(np.diff(times)) * pieces > LEAST / (1 + LEAST) - 1e-3


def test_a_row_drawn_by_it_estimates_the_same_bound() -> None:
    """E over t uniform of weight(t) * share(t) * g(share) is the integral of g, whatever the schedule."""
    t = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    for schedule in (Learned((0.0, 0.3, 0.7, 0.8, 1.0)), Learned()):
        share = schedule.move_chance(t)
        assert float((schedule.weight(t) * share * share.sqrt()).mean()) == pytest.approx(2 / 3, abs=1e-4)


def test_it_is_kept_with_the_model_and_used_under_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(EMBEDDED, folder)
    times = (0.0, 0.4, 0.6, 0.9, 1.0)
    set_schedule(folder, times)
    model, plain = engine.load(folder, device="cpu"), engine.load("toy")
    assert schedule_of("learned", model) == Learned(times) and schedule_of("loglinear", model) is SCHEDULES["loglinear"]
    assert schedule_of("learned", plain) == Learned()

    def masked(model: Denoiser, schedule: str) -> list[float]:
        frames = list(engine.fill(model, "It was [[24 tokens]] when the door opened.", engine.Settings(steps=6, schedule=schedule)))
        open_cells = {c.id for c in frames[0].cells if c.state == "masked"}
        counts = []
        for frame in frames[1:]:
            open_cells -= {c.id for c in frame.cells if c.state != "masked"}
            counts.append(len(open_cells) / 24)
        return counts

    assert masked(model, "learned") != masked(model, "loglinear")
    assert masked(plain, "learned") == masked(plain, "linear")
    bad = json.loads((folder / "config.json").read_text())
    for wrong in ([0.0, 0.7, 0.3, 1.0], [0.1, 1.0], "fast", [0.0, None, 1.0]):
        (folder / "config.json").write_text(json.dumps(bad | {"schedule": wrong}))
        with pytest.raises(CheckpointError, match=r"does not rise from 0 to 1.*\.$"):
            engine.load(folder, device="cpu")
