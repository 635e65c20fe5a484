"""Packed matrices: the same numbers, whatever is asked of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import engine
from engine.backends.packed import PackedLinear, pack
from engine.memory import dtype_of


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1, 64), (3, 64), (2, 7, 64), (300, 64), (0, 64)])
def test_a_packed_layer_gives_the_same_bits(bias: bool, shape: tuple[int, ...]) -> None:
    plain = nn.Linear(64, 200, bias=bias).bfloat16().requires_grad_(False)
    x = torch.randn(shape).bfloat16()
    assert torch.equal(PackedLinear(plain)(x), plain(x))


def test_only_what_gains_by_it_is_packed() -> None:
    shared = nn.Linear(64, 64, bias=False)
    net = nn.ModuleDict({"own": nn.Linear(64, 64), "one": shared, "other": nn.Linear(64, 64, bias=False)}).bfloat16()
    net["other"].weight = net["one"].weight
    net["precise"] = nn.Linear(64, 64)
    before = sum(p.numel() for p in net.parameters())
    pack(net)
    assert [name for name, module in net.items() if isinstance(module, PackedLinear)] == ["own"]
    assert sum(p.numel() for p in net.parameters()) == before


def test_the_embedded_model_is_packed_in_bfloat16_and_is_still_told_by_its_size_and_dtype() -> None:
    packed, precise = engine.load(device="cpu", dtype="bfloat16"), engine.load(device="cpu", dtype="float32")
    sizes = [sum(p.nbytes for p in model.network.parameters()) for model in (packed, precise)]  # type: ignore[attr-defined]
    assert (dtype_of(packed), dtype_of(precise), 2 * sizes[0]) == ("bfloat16", "float32", sizes[1])
    layers = [sum(isinstance(m, PackedLinear) for m in model.network.modules()) for model in (packed, precise)]  # type: ignore[attr-defined]
    assert layers == [4 * precise.network.config.depth + 1, 0]  # type: ignore[attr-defined]
