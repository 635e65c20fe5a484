"""Chance: from log-probabilities to tokens. A draw depends on the seed, the candidate, the step and the place, on nothing else."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from engine.settings import Settings


class Noise(Protocol):
    """Where the reverse process takes its chance from. In a step it asks for tokens, when they are to be drawn, then for clocks."""

    def tokens(self, step: int, positions: Tensor, log_weights: Tensor) -> Tensor:
        """(B, L) bool with N True, (N, V) log-weights of any scale -> (N,) tokens, one drawn for each of these positions."""
        ...

    def clocks(self, step: int, positions: Tensor) -> Tensor:
        """(B, L) bool with N True -> (N,) float64 on the CPU, uniform in [0, 1): what samplers that leave the order to chance
        decide by, whatever the tokens are.
        """
        ...


class SeededNoise:
    """Philox, a counter-based generator: a place's two uniforms are a pure function of (seed, candidate, step, place).

    They are made on the CPU whatever the model runs on, and don't depend on how many other places are masked, how long the
    canvas is or which other candidates run beside.
    """

    def __init__(self, seed: int, candidate: int) -> None:
        """`candidate` is that of the first row; the next rows are the next candidates."""
        self.seed, self.candidate = seed, candidate

    def tokens(self, step: int, positions: Tensor, log_weights: Tensor) -> Tensor:
        """A draw from each row; see Noise."""
        return categorical(log_weights, self._uniforms(step, positions)[:, 0])

    def clocks(self, step: int, positions: Tensor) -> Tensor:
        """A uniform for each position; see Noise."""
        return self._uniforms(step, positions)[:, 1]

    def _uniforms(self, step: int, positions: Tensor) -> Tensor:
        """(N, 2) float64 in [0, 1): two for every place of every row, of which the positions asked for are kept."""
        length, rows = positions.shape[-1], []
        for row, wanted in enumerate(positions.cpu()):
            philox = np.random.Philox(key=[self.seed, self.candidate + row], counter=[0, step, 0, 0])
            rows.append(torch.from_numpy((philox.random_raw(2 * length) >> 11) * 2.0**-53).view(length, 2)[wanted])
        return torch.cat(rows)


def categorical(log_probs: Tensor, uniforms: Tensor) -> Tensor:
    """(N, V) log-weights of any scale, (N,) float64 uniforms in [0, 1) -> (N,) tokens, by inverting the distribution function.

    The sums are float64: float32 noise has too few distinct values in its tail and quietly lowers the temperature
    (arXiv 2409.02908). A token of weight 0 is never drawn.
    """
    if log_probs.device.type == "mps":  # no float64 there
        return categorical(log_probs.cpu(), uniforms).to(log_probs.device)
    tokens = []
    at_once = rows_at_once(log_probs)
    for rows, u in zip(log_probs.split(at_once), uniforms.to(log_probs.device).split(at_once), strict=True):
        cumulated = torch.cumsum(torch.softmax(rows, -1), -1, dtype=torch.float64)
        total = cumulated[:, -1]
        target = torch.minimum(u * total, torch.nextafter(total, torch.zeros_like(total)))
        tokens.append(torch.searchsorted(cumulated, target[:, None], right=True)[:, 0])
    return torch.cat(tokens)


def rows_at_once(log_probs: Tensor) -> int:
    """How many rows of a vocabulary's width are held in float64 together."""
    return max(1, (ON_CPU if log_probs.device.type == "cpu" else ELSEWHERE) // max(1, log_probs.shape[-1]))


ON_CPU, ELSEWHERE = 2**19, 2**25
"""Numbers held in float64 together: more bounds no one but the memory of a long canvas. On a CPU fewer, since the pages of large blocks
are new, and cleared, each time: 128 rows of 16,384 took 9.4 ms at once and 1.1 ms in four parts."""


COLDEST = 1e-6
"""Below this temperature float32 has no room for the quotients, and nothing but the likeliest token is drawn anyway."""


def tempered(log_probs: Tensor, settings: Settings) -> Tensor:
    """(N, V) log-probabilities -> (N, V) log-weights to draw from: temperature (above 0), then top-k and top-p.

    Both cuts are measured on the whole distribution and what is left passed both, so it doesn't matter which comes first.
    """
    weights = log_probs / max(settings.temperature, COLDEST)
    kept = weights if settings.top_p == 1 else _nucleus(weights, settings.top_p)
    if 0 < settings.top_k < weights.shape[-1]:
        best = kept.topk(settings.top_k, dim=-1)
        kept = torch.full_like(kept, -torch.inf).scatter(-1, best.indices, best.values)
    return kept


def _nucleus(weights: Tensor, top_p: float) -> Tensor:
    """The log-weights of the smallest set of tokens with this share of the mass, -inf elsewhere."""
    total = weights.logsumexp(-1, keepdim=True)
    kept = torch.full_like(weights, -torch.inf)
    rows, width = torch.arange(len(weights), device=weights.device), NARROW
    while len(rows):  # most nuclei are narrow, and sorting a whole vocabulary costs more than the network
        width = min(width, weights.shape[-1])
        best = (weights if len(rows) == len(weights) else weights[rows]).topk(width, dim=-1)
        share = (best.values - total[rows]).exp()
        before = share.cumsum(-1) - share  # the mass of everything likelier: 0 for the best, which always stays
        kept[rows[:, None], best.indices] = best.values.masked_fill(before >= top_p, -torch.inf)
        rows = rows[before[:, -1] < top_p] if width < weights.shape[-1] else rows[:0]
        width *= 4
    return kept


NARROW = 128
"""How many of the likeliest tokens are looked at first for a nucleus; where they are too few, four times as many."""
