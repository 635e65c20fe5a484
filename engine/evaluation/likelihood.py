"""What a text in a gap costs: the model's own any-order bound given both sides, and a causal twin's cost of the passage."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch

from engine.denoiser import Denoiser
from engine.evaluation.store import Store
from engine.forward import token_losses
from engine.training.gaps import Cut
from engine.training.twin import Twin

STAGES = 16
"""Network rows spent on one gap at most."""
AFTER = 24
"""Tokens of the given text after a gap that count in the cost of its passage: a fill has to lead there."""


def any_order_nats(model: Denoiser, cut: Cut, text: str, *, stages: int = STAGES, seed: int = 0) -> tuple[float, int]:
    """(nats, tokens): an unbiased estimate of E_order[-sum_k log p(token_k | both sides, the tokens before it in the order)].

    By Jensen's inequality this is at least -log p(text | both sides) for the model as an any-order autoregressive one
    (arXiv 2110.02037); it is the NELBO of the gap in discrete time. At stage k, k random tokens are shown and the mean cost of
    the others is an unbiased estimate of the next one's in a random order. Of a text longer than `stages`, one stage in each
    of `stages` equal parts is drawn.
    """
    window = cut.window(model, text)
    places = list(window.cells)
    rng = random.Random(f"{seed} {cut.id}")
    n = len(places)
    shown = list(range(n))
    if n > stages:
        shown = [min(int((j + rng.random()) * n / stages), n - 1) for j in range(stages)]
    ids = torch.tensor([window.ids] * len(shown))
    x, masked = ids.clone(), torch.zeros_like(ids, dtype=torch.bool)
    for row, k in enumerate(shown):
        masked[row, rng.sample(places, n - k)] = True
    x[masked] = model.mask_id
    losses = token_losses(model.logits(x, masked), ids[masked], mask_id=model.mask_id)
    means = [float(own.mean()) for own in losses.split(masked.sum(-1).tolist())]
    return sum(means) * n / len(shown), n


@dataclass(frozen=True, slots=True)
class Judge:
    """The causal twin, and where what it says is kept: apart, so that another one can judge the same fills."""

    twin: Twin
    store: Store


def passage_nats(twin: Twin, model: Denoiser, cut: Cut, text: str) -> tuple[float, int]:
    """(nats, tokens) that a text in its gap and the AFTER tokens behind it cost the causal twin, given what stands before."""
    window = cut.window(model, text)
    first, last = min(window.cells), max(window.cells)
    ids = torch.tensor([window.ids[: last + 1 + AFTER]])
    return float(twin.nats(ids, torch.ones_like(ids, dtype=torch.bool))[0, first:].sum()), ids.shape[1] - first
