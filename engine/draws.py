"""Chance: from log-probabilities to tokens. A draw depends on the seed, the candidate, the step and the place, on nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.settings import Settings


@dataclass(frozen=True, slots=True)
class Weights:
    """Log-weights of any scale to draw tokens from, a row for each of N places."""

    log: Tensor
    """(N, k) float32, -inf for what is never drawn."""
    tokens: Tensor | None
    """(N, k) the tokens that these are of; None: token j in column j, of the whole vocabulary."""
    vocabulary: int
    """V, how many tokens there are."""

    def whole(self) -> Tensor:
        """(N, V) log-weights, -inf for all tokens that aren't held here."""
        if self.tokens is None:
            return self.log
        return self.log.new_full((len(self.log), self.vocabulary), -torch.inf).scatter_reduce_(-1, self.tokens, self.log, "amax")


class Noise(Protocol):
    """Where the reverse process takes its chance from. In a step it asks for tokens, when they are to be drawn, then for clocks."""

    def tokens(self, step: int, positions: Tensor, weights: Weights) -> Tensor:
        """(B, L) bool with N True, weights of N places -> (N,) tokens, one drawn for each of these positions."""
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

    def tokens(self, step: int, positions: Tensor, weights: Weights) -> Tensor:
        """A draw from each row; see Noise."""
        drawn = categorical(weights.log, self._uniforms(step, positions)[:, 0])
        return drawn if weights.tokens is None else weights.tokens.gather(-1, drawn[:, None])[:, 0]

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


def tempered(log_probs: Tensor, settings: Settings) -> Weights:
    """(N, V) log-probabilities -> log-weights to draw from: temperature (above 0), then top-k and top-p.

    Both cuts are measured on the whole distribution and what is left passed both, so it doesn't matter which comes first. Tokens stand
    in their own order, so that what a uniform draws doesn't depend on how the cut was made.
    """
    weights, vocabulary = log_probs / max(settings.temperature, COLDEST), log_probs.shape[-1]
    limit = settings.top_k if 0 < settings.top_k < vocabulary else vocabulary
    if settings.top_p < 1:
        return _nucleus(weights, settings.top_p, limit)
    return _ordered(*weights.topk(limit, dim=-1), vocabulary) if limit < vocabulary else Weights(weights, None, vocabulary)


def _nucleus(weights: Tensor, top_p: float, limit: int) -> Weights:
    """Of the `limit` likeliest tokens the smallest set with this share of the mass."""
    shares, vocabulary = weights.softmax(-1), weights.shape[-1]
    width = min(NARROW, limit)
    log, tokens, reach = _likeliest(weights, shares, width, top_p)
    while width < limit and len(rows := (reach < top_p).nonzero()[:, 0]):
        if limit == vocabulary < 16 * width:  # few nuclei are so wide, and pairs of all places would take more room than the vocabulary
            whole = Weights(log, tokens, vocabulary).whole()
            for some in rows.split(rows_at_once(weights)):
                log, tokens, _ = _likeliest(weights[some], shares[some], vocabulary, top_p)
                whole[some] = torch.empty_like(log).scatter_(-1, tokens, log)
            return Weights(whole, None, vocabulary)
        more = min(4 * width, limit) - width
        width += more
        log, tokens = F.pad(log, (0, more), value=-torch.inf), F.pad(tokens, (0, more))
        log[rows], tokens[rows], reach[rows] = _likeliest(weights[rows], shares[rows], width, top_p)
    return _ordered(log, tokens, vocabulary)


def _ordered(log: Tensor, tokens: Tensor, vocabulary: int) -> Weights:
    tokens, order = tokens.sort(dim=-1)
    return Weights(log.gather(-1, order), tokens, vocabulary)


def _likeliest(weights: Tensor, shares: Tensor, width: int, top_p: float) -> tuple[Tensor, Tensor, Tensor]:
    """(N, width) log-weights of the nucleus, -inf behind it, and tokens; (N,) the share of the mass before the last of them."""
    best = weights.topk(width, dim=-1)
    share = shares.gather(-1, best.indices)
    before = share.cumsum(-1) - share  # the mass of everything likelier: 0 for the best, which always stays
    return best.values.masked_fill(before >= top_p, -torch.inf), best.indices, before[:, -1]


NARROW = 128
"""How many of the likeliest tokens are looked at first for a nucleus; where they are too few, four times as many. Most nuclei are narrow,
and sorting a whole vocabulary costs more than the network."""
