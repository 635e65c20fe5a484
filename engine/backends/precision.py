"""Which numbers a device is quickest in: bfloat16 where its products are native and pay, else float32."""

from __future__ import annotations

import time
from functools import cache

import torch
from torch import Tensor, nn

from engine.backends.packed import pack
from engine.cpu import has
from engine.settings import LARGE

SHAPE = (256, 512, 2048)
"""Rows, inputs and outputs of the layer that is timed: a window of the embedded model through something like its feed-forward."""
ROUNDS = 12
"""Timings of each, of which the best counts: whatever else the machine does only makes one longer."""


def native_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16 products; emulated ones are slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and has("avx512_bf16", "amx_bf16", "bf16")


def computes_in_bf16(device: torch.device, numbers: int = 0) -> bool:
    """Whether a model with so many numbers is to compute in bfloat16 there rather than in float32."""
    if not native_bf16(device):
        return False
    return device.type == "cuda" or numbers >= LARGE or bf16_pays()


@cache
def bf16_pays() -> bool:
    """Whether this CPU multiplies bfloat16 matrices faster than float32 ones, measured once (0.1 s).

    Having the instructions does not tell: Zen 4 does twice as many products with them and cores with AMX many times as many, but
    Intel's without AMX take half as long again as for float32 (docs/DECISIONS.md, Published checkpoints).
    """
    layers = [_layer(dtype) for dtype in (torch.bfloat16, torch.float32)]
    found = [[_seconds(*layer) for layer in layers] for _ in range(ROUNDS)]  # in turns: what else the machine does falls on both
    half, whole = (min(column) for column in zip(*found, strict=True))
    return half < whole


@torch.inference_mode()
def _layer(dtype: torch.dtype) -> tuple[nn.Module, Tensor]:
    """A layer as models have it, called once, and what goes into it."""
    rows, inputs, outputs = SHAPE
    linear = nn.utils.skip_init(nn.Linear, inputs, outputs, bias=False, dtype=dtype)  # whose random numbers would be somebody's next ones
    nn.init.ones_(linear.weight)
    layer, x = nn.Sequential(linear), torch.ones(rows, inputs, dtype=dtype)
    pack(layer)
    _seconds(layer, x)
    return layer, x


@torch.inference_mode()
def _seconds(layer: nn.Module, x: Tensor) -> float:
    """What one call takes."""
    began = time.perf_counter()
    layer(x)
    return time.perf_counter() - began
