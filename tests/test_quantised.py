"""Matrices in fewer bits: how far they are from what they stand for, what they take, and models loaded with them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import engine
from engine import backends
from engine.backends import quantised
from engine.backends.folder import LoadError
from engine.backends.quantised import QuantisedLinear, quantise
from tests import folders

WIDE: dict[str, Any] = {"vocab_size": 5000, "hidden_dim": 256, "n_blocks": 2, "n_heads": 4, "cond_dim": 32, "model_length": 64}


def layer(weight: torch.Tensor, bits: int, dtype: torch.dtype = torch.float32) -> QuantisedLinear:
    made = QuantisedLinear(len(weight), weight.shape[1], bits, bias=False, device=torch.device("cpu"), dtype=dtype)
    for block in made.blocks():
        made.store(block, weight[block])
    return made


@given(st.integers(0, 2**32), st.sampled_from([8, 4]), st.floats(1e-6, 1e4))
def test_every_number_is_within_half_a_step(seed: int, bits: int, size: float) -> None:
    weight = torch.randn(5, 128, generator=torch.Generator().manual_seed(seed)) * size
    got = layer(weight, bits).weight
    if bits == 8:
        step = weight.abs().amax(1, keepdim=True) / 127
    else:
        groups = weight.unflatten(1, (-1, 64))
        step = ((groups.amax(2) - groups.amin(2)) / 15).repeat_interleave(64, 1)
    assert ((got - weight).abs() <= step * 0.5001 + 1e-30).all()


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nothing_and_the_same_everywhere_come_back(bits: int, dtype: torch.dtype) -> None:
    for value in (0.0, 0.5, -2.0):
        assert torch.equal(layer(torch.full((3, 64), value), bits, dtype).weight, torch.full((3, 64), value, dtype=dtype))


def test_blocks_and_the_whole_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, x = torch.randn(37, 128), torch.randn(2, 3, 128)
    whole = layer(weight, 4)
    before = whole(x)
    monkeypatch.setattr(quantised, "BLOCK", {"cpu": 5 * 128})
    assert torch.allclose(layer(weight, 4)(x), before, atol=1e-5) and torch.equal(layer(weight, 4).weight, whole.weight)
    assert torch.allclose(before, F.linear(x, whole.weight), atol=1e-5)


class Block(nn.Module):
    """A block shaped like LLaDA's feed-forward part: gate, up, down, with a residual and a norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate, self.up = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, 3 * width, bias=False)
        self.down = nn.Linear(3 * width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = F.rms_norm(x, x.shape[-1:])
        return x + self.down(F.silu(self.gate(seen)) * self.up(seen))


@pytest.mark.parametrize(("bits", "most"), [(8, 1), (4, 10)])
def test_a_stack_of_layers_stays_close_to_bfloat16s_own_error(bits: int, most: float) -> None:
    torch.manual_seed(0)
    stack = nn.Sequential(*(Block(256) for _ in range(8))).requires_grad_(False)
    x = torch.randn(64, 256)
    exact = stack(x) - x
    halved = copy.deepcopy(stack).bfloat16()(x.bfloat16()).float() - x
    quantise(stack, bits, torch.float32)
    assert sum(isinstance(module, QuantisedLinear) for module in stack.modules()) == 24
    error = ((stack(x) - x - exact).norm() / exact.norm()).item()
    own = ((halved - exact).norm() / exact.norm()).item()
    assert 0 < error < most * own, f"int{bits} is off by {error:.4f}, bfloat16 by {own:.4f}"


@pytest.mark.parametrize(("dtype", "most", "share"), [("int8", 0.03, 0.7), ("int4", 0.25, 0.6)])
def test_a_model_loads_in_fewer_bits(tmp_path: Path, dtype: str, most: float, share: float) -> None:
    folder = folders.mdlm(tmp_path, shard_bytes=2_000_000, **WIDE)
    plain = folders.load(folder, device="cpu", dtype="float32")
    small = folders.load(folder, device="cpu", dtype=dtype)
    ids = torch.randint(0, 5000, (2, 40))
    want, got = plain.logits(ids, ids > 2500), small.logits(ids, ids > 2500)
    assert ((got - want).norm() / want.norm()).item() < most
    assert not any(p.is_meta for p in [*small.network.parameters(), *small.network.buffers()])
    held = [sum(t.nbytes for t in [*model.network.parameters(), *model.network.buffers()]) for model in (plain, small)]
    assert held[1] < share * held[0]


@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_the_embedded_model_fills_in_fewer_bits(dtype: str) -> None:
    model = folders.load(dtype=dtype, device="cpu")
    assert any(isinstance(module, QuantisedLinear) for module in model.network.modules())
    *_, last = engine.fill(model, "It was [[3]] when the door opened.", engine.Settings(steps=4, seed=1))
    assert last.text.startswith("It was ") and last.text.endswith(" when the door opened.")


def test_the_advice_when_memory_is_short_names_fewer_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folders.mdlm(tmp_path / "big", **WIDE)
    for free, kinds in ((10_000_000, "bfloat16|int8"), (8_000_000, "int4"), (1_000, "")):
        monkeypatch.setattr(backends.room, "free_memory", lambda device, free=free: free)
        advice = rf"dtype='({kinds})' \(\d+ MB\)" if kinds else "a smaller model"
        with pytest.raises(LoadError, match=rf"^big needs 17 MB of memory in float32 and {free // 10**6} MB are free: .* try {advice}\.$"):
            folders.load(folder, device="cpu", dtype="float32")


def test_tied_and_small_matrices_stay_plain() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head, self.small = nn.Embedding(1024, 64), nn.Linear(64, 1024), nn.Linear(64, 8)
            self.head.weight = self.embedding.weight

    model = Tied()
    quantise(model, 8, torch.float32)
    assert model.head.weight is model.embedding.weight and type(model.small) is nn.Linear
