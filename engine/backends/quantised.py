"""Matrices in fewer bits: int8 with a scale for each row, int4 with a scale and an offset for each group of columns. Weight-only.

Plain torch, so that it is the same on every device: a block of rows is put back into the dtype of the input, used, and dropped.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.backends.layers import put, tied_parameters

GROUP = 64
"""Columns of an int4 matrix that share a scale."""
SMALLEST = 2**16
"""Matrices with fewer numbers stay as they are: they cost little."""
BLOCK = {"cpu": 2**18}
"""Numbers quantised or put back at once, by device: few enough to stay in a CPU's cache, which is several times as fast."""
LARGE_BLOCK = 2**24
"""The same for all other devices, where each block costs the start of some kernels."""


class QuantisedLinear(nn.Module):
    """A linear layer whose matrix is kept in `bits` bits; bias and arithmetic stay in `dtype`."""

    def __init__(self, rows: int, columns: int, bits: int, *, bias: bool, device: torch.device, dtype: torch.dtype) -> None:
        """Room for a matrix (rows, columns), to be given in blocks by `store`."""
        super().__init__()
        self.out_features, self.in_features, self.bits, self.dtype = rows, columns, bits, dtype
        groups = 1 if bits == 8 else columns // GROUP
        kind, wide = (torch.int8, columns) if bits == 8 else (torch.uint8, columns // 2)
        self.packed: Tensor
        self.scale: Tensor
        self.least: Tensor
        self.bias: nn.Parameter | None
        self.register_buffer("packed", torch.empty(rows, wide, dtype=kind, device=device))
        self.register_buffer("scale", torch.empty(rows, groups, dtype=dtype, device=device))
        self.register_buffer("least", torch.empty(rows, groups if bits == 4 else 0, dtype=dtype, device=device))
        self.register_parameter("bias", nn.Parameter(torch.empty(rows, dtype=dtype, device="meta")) if bias else None)

    def blocks(self) -> Iterator[slice]:
        """The rows in blocks that are put back at once."""
        step = max(1, BLOCK.get(self.packed.device.type, LARGE_BLOCK) // self.in_features)
        yield from (slice(first, min(first + step, self.out_features)) for first in range(0, self.out_features, step))

    def store(self, rows: slice, values: Tensor) -> None:
        """Quantise a block of rows, to the nearest."""
        values = values.float()
        if self.bits == 8:
            scale = (values.abs().amax(1, keepdim=True) / 127).to(self.dtype)
            steps = values / scale.float().clamp_min(torch.finfo(torch.float32).tiny)
            self.packed[rows] = steps.round().clamp(-127, 127).to(torch.int8)
            self.scale[rows] = scale
            return
        grouped = values.unflatten(1, (-1, GROUP))
        least = grouped.amin(2).to(self.dtype)
        scale = ((grouped.amax(2) - least.float()) / 15).to(self.dtype)
        steps = (grouped - least.float()[..., None]) / scale.float().clamp_min(torch.finfo(torch.float32).tiny)[..., None]
        whole = steps.round().clamp(0, 15).to(torch.uint8).flatten(1)
        self.packed[rows] = whole[:, 0::2] | (whole[:, 1::2] << 4)
        self.scale[rows], self.least[rows] = scale, least

    def rows(self, rows: slice, dtype: torch.dtype) -> Tensor:
        """A block of the matrix as plain numbers."""
        packed, scale = self.packed[rows], self.scale[rows].to(dtype)
        if self.bits == 8:
            return packed.to(dtype) * scale
        whole = torch.stack((packed & 15, packed >> 4), 2).to(dtype).view(len(packed), -1, GROUP)
        return (whole * scale[..., None] + self.least[rows].to(dtype)[..., None]).flatten(1)

    @property
    def weight(self) -> Tensor:
        """The whole matrix as plain numbers."""
        return torch.cat([self.rows(block, self.dtype) for block in self.blocks()])

    def forward(self, x: Tensor) -> Tensor:
        """(..., columns) -> (..., rows)."""
        parts = [F.linear(x, self.rows(block, x.dtype)) for block in self.blocks()]
        y = parts[0] if len(parts) == 1 else torch.cat(parts, -1)
        return y if self.bias is None else y + self.bias


def can_be(module: nn.Module, bits: int) -> bool:
    """Whether a layer is worth keeping in fewer bits, and can be."""
    if type(module) is not nn.Linear or module.weight.numel() < SMALLEST:
        return False
    return bits == 8 or module.in_features % GROUP == 0


def replace(model: nn.Module, bits: int, tied: set[int], device: torch.device, dtype: torch.dtype) -> dict[str, QuantisedLinear]:
    """Put quantised layers, still empty, in place of a network's linear ones; by the names of their weights.

    `tied`: ids of parameters that another layer uses too, whose layers stay as they are.
    """
    made = {}
    for name, module in list(model.named_modules()):
        if not can_be(module, bits) or id(module.weight) in tied:
            continue
        assert isinstance(module, nn.Linear)
        new = QuantisedLinear(module.out_features, module.in_features, bits, bias=module.bias is not None, device=device, dtype=dtype)
        put(model, name, new)
        made[f"{name}.weight"] = new
    return made


def needed(model: nn.Module, bits: int, tied: set[int], dtype: torch.dtype) -> int:
    """Bytes that a network takes with its matrices in `bits` bits and the rest in `dtype`."""
    saved = 0
    for module in model.modules():
        if can_be(module, bits) and id(module.weight) not in tied:
            assert isinstance(module, nn.Linear)
            rows, columns = module.weight.shape
            scales = rows if bits == 8 else 2 * rows * columns // GROUP
            saved += rows * columns * dtype.itemsize - rows * columns * bits // 8 - scales * dtype.itemsize
    return sum(parameter.numel() for parameter in model.parameters()) * dtype.itemsize - saved


def quantise(model: nn.Module, bits: int, dtype: torch.dtype) -> None:
    """Quantise a network that is in memory already, one matrix after the other."""
    tied = tied_parameters(model)
    for name, module in list(model.named_modules()):
        if can_be(module, bits) and id(module.weight) not in tied:
            assert isinstance(module, nn.Linear)
            weight, bias = module.weight, module.bias
            new = QuantisedLinear(module.out_features, module.in_features, bits, bias=bias is not None, device=weight.device, dtype=dtype)
            for block in new.blocks():
                new.store(block, weight.detach()[block])
            new.bias = None if bias is None else nn.Parameter(bias.detach().to(dtype), requires_grad=False)
            put(model, name, new)
