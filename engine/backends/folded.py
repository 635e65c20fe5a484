"""Blocks of our own networks as a fill on a CPU computes them: the same numbers but for rounding, in half as many operations.

Most of what a small network costs on a CPU is not its products but the many small operations between them. What two of them do after
each other is done by one here: a norm's weights lie in the matrix behind it, its scale is left for where something is multiplied
anyway, and squared rectified linear units are scaled when they are added up.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.attention import rotate, taken
from engine.backends.packed import PackedLinear
from engine.caches import Recall
from engine.model import NORM_EPS, Block, DiT, First, attended


class FoldedBlock(nn.Module):
    """What a `Block` with RMS norms, squared rectified linear units and neither conditioning nor biases gives. It can't be trained."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.heads, self.qk_norm, self.causal = block.heads, block.qk_norm, block.causal
        self.qkv: nn.Module = _behind(block.norm1.weight, block.qkv)
        self.up: nn.Module = _behind(block.norm2.weight, block.up)
        self.out, self.down = block.out, block.down
        self.input_mix = None if block.input_mix is None else block.input_mix.tolist()
        self.value_mix = None if block.value_mix is None else block.value_mix.tolist()

    def forward(
        self,
        x: Tensor,
        turn: tuple[Tensor, Tensor],
        attend: Tensor | None,
        c: Tensor | None,
        recall: Recall | None = None,
        first: First | None = None,
        asked: Tensor | None = None,
    ) -> Tensor:
        """As `Block.forward`; `c` is not looked at."""
        if self.input_mix is not None and first is not None:
            own, embedded = self.input_mix
            x = torch.add(x * own, first.embeddings, alpha=embedded)
        kept = x if asked is None else taken(x, asked)
        x = kept + self.attention(x, turn, attend, recall, first, asked)
        hidden = self.up.rectified(x) if isinstance(self.up, PackedLinear) else F.relu(self.up(x))
        # relu(s x)² is s² relu(x)², and s² x stays what it is through the last matrix.
        return torch.addcmul(x, self.down(hidden.square_()), _mean_square(x).reciprocal_())

    def attention(
        self,
        x: Tensor,
        turn: tuple[Tensor, Tensor],
        attend: Tensor | None,
        recall: Recall | None,
        first: First | None,
        asked: Tensor | None,
    ) -> Tensor:
        """As `Block.attention`, of what was not normalised yet."""
        batch, length, width = x.shape
        scale = _scale(x)
        qkv = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads)
        qk, v = qkv[:, :, :2], qkv[:, :, 2]
        cos, sin = turn
        # What is normalised again has the same direction whatever the scale before.
        by = _scale(qk, torch.finfo(qk.dtype).tiny) if self.qk_norm else scale[..., None, None]
        qk = rotate(qk, cos[..., None, None, :], sin[..., None, None, :]) * by
        q, k = qk[:, :, 0].transpose(1, 2), qk[:, :, 1].transpose(1, 2)
        v = (v * scale[..., None]).transpose(1, 2)
        if self.value_mix is not None and first is not None:
            first.values = v if first.values is None else first.values
            own, begun = self.value_mix
            v = torch.add(v * own, first.values, alpha=begun)
        out: Tensor = self.out(attended(q, k, v, attend, recall, asked, causal=self.causal))
        return out


def _behind(norm: Tensor, linear: nn.Linear) -> nn.Linear:
    """A linear layer that reads what a norm's weights were not put on."""
    folded = nn.utils.skip_init(nn.Linear, linear.in_features, linear.out_features, bias=False, device="meta")
    weight = linear.weight.detach()
    exact = torch.promote_types(weight.dtype, torch.float32)
    folded.weight = nn.Parameter((weight.to(exact) * norm.detach().to(exact)).to(weight.dtype), requires_grad=False)
    return folded


def _scale(x: Tensor, eps: float = NORM_EPS) -> Tensor:
    """(..., width) -> (..., 1): what RMSNorm multiplies by (arXiv 1910.07467)."""
    return _mean_square(x, eps).rsqrt_()


def _mean_square(x: Tensor, eps: float = NORM_EPS) -> Tensor:
    """(..., width) -> (..., 1), with what keeps it from being nothing."""
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return torch.addcmul(length.new_full((), eps), length, length, value=1 / x.shape[-1])


def fold(network: DiT) -> None:
    """Put folded blocks in place of a network's own, where they would give the same."""
    shape = network.config
    if (shape.norm, shape.activation, shape.cond_width, shape.biases) == ("rms", "relu2", 0, False):
        for number, block in enumerate(network.blocks):
            if isinstance(block, Block):
                network.blocks[number] = FoldedBlock(block)
