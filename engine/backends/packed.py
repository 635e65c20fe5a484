"""Matrices in the order in which a CPU's bfloat16 product reads them, so that they aren't laid out anew at every call (oneDNN)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.backends.layers import put, tied_parameters

ROWS = 256
"""Rows of the product that the order is chosen for. It serves any number."""


class PackedLinear(nn.Module):
    """What a linear layer gives, bit for bit where the input is contiguous. It can't be trained or saved."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach().contiguous(), ROWS)
        self.weight = nn.Parameter(packed, requires_grad=False)
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
        return y

    def rectified(self, x: Tensor) -> Tensor:
        """The same with zeros for what is negative, in one operation."""
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "relu", [], "")
        return y


def pack(model: nn.Module) -> None:
    """Put packed layers in place of a network's linear ones, one after the other, where that is worth something: in bfloat16 on
    the CPU, if torch has the means. Matrices that another layer uses too stay as they are.
    """
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")):
        return
    tied = tied_parameters(model)
    for name, module in list(model.named_modules()):
        if type(module) is not nn.Linear or module.weight.dtype != torch.bfloat16 or module.weight.device.type != "cpu":
            continue
        if id(module.weight) not in tied and torch.ops.mkldnn._is_mkldnn_bf16_supported():
            put(model, name, PackedLinear(module))
