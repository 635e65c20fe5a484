"""What the networks of our own have attention from: rotary positions, the product itself, and rows picked out of rows."""

from __future__ import annotations

from functools import cache, lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.cpu import has


@torch.compiler.assume_constant_result  # else torch.compile computes each cosine anew in every kernel that turns something
def rotary(length: int, head_width: int, base: float, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(length, head_width) cosines and signed sines of the rotary embedding (arXiv 2104.09864), half-split layout, for `rotate`."""
    cos, sin = _rotary(-(-length // ROTARY_STEP) * ROTARY_STEP, head_width, base, device, dtype)
    return cos[:length], sin[:length]


ROTARY_STEP = 64
"""Lengths that share a table: a twin that writes is one token longer at each step."""


@lru_cache(16)  # a run asks for the same ones at every step
@torch.inference_mode(False)  # else those of a fill could not be trained with
def _rotary(length: int, head_width: int, base: float, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    steps = torch.arange(0, head_width, 2, device=device, dtype=torch.float32) / head_width
    angles = torch.outer(torch.arange(length, device=device, dtype=torch.float32), base**-steps)
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
    return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn (..., head_width) queries or keys by their positions; `cos` and `sin` as wide when spread."""
    # The halves change places by `roll`, not by `cat`: torch.compile makes no vector code of what is put together again.
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


def attention(q: Tensor, k: Tensor, v: Tensor, attend: Tensor | None, *, causal: bool) -> Tensor:
    """Scaled dot product attention, (B, heads, n, head_width) queries to (B, heads, L, head_width) keys and values."""
    short = q.dtype == torch.bfloat16 and q.device.type == "cpu" and q.shape[2] * k.shape[2] <= PLAIN_SCORES
    # In this order, for torch.compile must not ask for what the processor can do: that is no part of a graph.
    if attend is None and short and (torch.is_grad_enabled() or not fused_pays()):
        # Without AMX torch's fused kernel takes half as long again, with gradients twice as long; it saves memory, which short rows don't
        # need.
        rows = max(1, SCORES_AT_ONCE // (q.shape[1] * q.shape[2] * k.shape[2]))
        later = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).triu(1) if causal else None
        parts = zip((q * q.shape[-1] ** -0.5).split(rows), k.split(rows), v.split(rows), strict=True)
        found = [_plain(*part, later) for part in parts]
        return found[0] if len(found) == 1 else torch.cat(found)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=attend, is_causal=causal)


@cache
def fused_pays() -> bool:
    """Whether this CPU has the matrix instructions that torch's fused attention is written for: with them it takes a third to nine tenths
    of what plain products take, without them half as long again.
    """
    return has("amx_bf16")


def _plain(q: Tensor, k: Tensor, v: Tensor, later: Tensor | None) -> Tensor:
    """Attention as three plain products; `later` (n, L), True where a query must not look."""
    scores = q @ k.mT
    return torch.softmax(scores if later is None else scores.masked_fill(later, float("-inf")), dim=-1).to(v.dtype) @ v


PLAIN_SCORES = 512 * 512
"""Queries times keys up to which bfloat16 attention on the CPU is three plain products."""
SCORES_AT_ONCE = 2**23
"""Scores that these hold at a time, over heads and rows."""


def taken(x: Tensor, places: Tensor) -> Tensor:
    """(..., L, d) and (..., n) places, as wide as each other when spread -> (..., n, d)."""
    lead = torch.broadcast_shapes(x.shape[:-2], places.shape[:-1])
    places = places.expand(*lead, places.shape[-1])[..., None].expand(*lead, places.shape[-1], x.shape[-1])
    return x.expand(*lead, *x.shape[-2:]).gather(-2, places)


def by_row(where: Tensor, batch: int, length: int) -> tuple[Tensor, Tensor] | None:
    """Flat places (N,) of (batch, length), row-major, as (batch, n) places in each row, n being the most that a row has, and
    as (N,) places in those, flat. Rows with fewer are made up with place 0. None where nearly every place is wanted, or none.
    """
    rows = where // length
    counts = torch.bincount(rows, minlength=batch)
    most = int(counts.max())
    if not 0 < most <= length * SPARSE:
        return None
    order = rows.argsort(stable=True)
    rank = torch.empty_like(rows)
    rank[order] = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows[order]]
    flat = rows * most + rank
    places = torch.zeros(batch * most, dtype=torch.long, device=where.device)
    places[flat] = where % length
    return places.view(batch, most), flat


SPARSE = 0.75
"""The share of a row's places up to which it pays to compute the last block for these alone."""
