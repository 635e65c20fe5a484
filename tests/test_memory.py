"""Memory for models: what is free, what fits, what a model's weights are in, and that nothing is held on to."""

from __future__ import annotations

import weakref

import pytest
import torch

import engine
from engine import memory
from engine.backends import EMBEDDED
from engine.backends.toy import Toy


def test_free_memory_is_told_or_not_known() -> None:
    free = engine.free_memory("cpu")
    assert free is None or 2**20 < free < 2**50


def test_a_small_model_fits_beside_another_and_one_that_nobody_knows_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda _: 10**9)
    for name in (None, str(EMBEDDED)):
        assert engine.fits_beside(name, "cpu")
    for name in ("nobody/nothing", "./nowhere", "\0", "~nobody/at/home", "x" * 5000):
        assert not engine.fits_beside(name, "cpu")
    size = sum(path.stat().st_size for path in EMBEDDED.glob("*.safetensors"))
    monkeypatch.setattr(memory, "free_memory", lambda _: int(memory.SPARE * size) - 1)
    assert not engine.fits_beside(None, "cpu")
    monkeypatch.setattr(memory, "free_memory", lambda _: None)
    assert not engine.fits_beside(None, "cpu")


def test_released_memory_includes_what_holds_itself_in_a_circle() -> None:
    class Knot:
        def __init__(self) -> None:
            self.me, self.weights = self, torch.zeros(8)

    knot = Knot()
    gone = weakref.ref(knot)
    del knot
    engine.release_memory()
    assert gone() is None


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "int4"])
def test_the_numbers_that_the_weights_are_in(dtype: str) -> None:
    assert engine.dtype_of(engine.load(dtype=dtype)) == dtype
    assert engine.dtype_of(Toy()) == ""
