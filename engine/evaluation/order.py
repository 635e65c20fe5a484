"""What the order of reading is worth: the denoiser asked strictly from left to right, as its causal twin is.

The NELBO is the mean over all orders in which a text can be revealed (arXiv 2110.02037), most of them harder than the one it was written
in. Asked for each token with all later ones masked, the same network gives another bound on the same text, and what both differ by on the
same tokens belongs to the order, not to what the network knows.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from engine.denoiser import Denoiser
from engine.evaluation.likelihood import Judge
from engine.evaluation.metrics import mean_by_document
from engine.evaluation.nelbo import Document, of_perplexities, padded
from engine.forward import low_variance_t, token_losses


def left_to_right(
    model: Denoiser, judge: Judge, texts: Sequence[Document], *, count: int, seed: int = 0, rows_at_once: int = 16
) -> dict[str, Any]:
    """Nats a token of the model and of its twin on the same `count` tokens, drawn from all rows; the ratio of their perplexities.

    Every token costs the denoiser a row of its own: what stands before it in its row is given, it and what follows are masks. In a second
    one the others are masked with chance t, uniform over [0, 1], which gives the token's own part of the NELBO: what both ways differ by on
    these tokens is told with its error. Errors are by document, differences' paired. All tokens are asked for where there are no more than
    `count`.
    """
    drawn = [(d, r, place) for d, text in enumerate(texts) for r, row in enumerate(text.rows) for place in range(len(row))]
    if count < len(drawn):
        drawn = random.Random(f"left to right {seed}").sample(drawn, count)
    drawn.sort(key=lambda found: -len(texts[found[0]].rows[found[1]]))  # rows of like length share a batch
    ours, twins, anyhow = [], [], []

    def compute(start: int) -> dict[str, Any]:
        some = drawn[start : start + rows_at_once]
        ids, valid = padded([texts[d].rows[r] for d, r, _ in some])
        at = torch.tensor([[place] for _, _, place in some])
        asked = torch.zeros_like(valid).scatter(1, at, True)
        generator = torch.Generator().manual_seed(start * 2**16 + seed)
        t = low_variance_t(len(some), shuffle=True, generator=generator)
        later = torch.arange(ids.shape[1]) >= at
        by_lot = (torch.rand(ids.shape, generator=generator) < t[:, None]) | asked

        def losses(masked: torch.Tensor) -> list[float]:
            x = ids.masked_fill(masked & valid, model.mask_id)
            share = (masked & valid).sum(-1) / valid.sum(-1)
            logits = model.logits(x, asked, t=share, attend=None if bool(valid.all()) else valid)
            found: list[float] = token_losses(logits, ids[asked], mask_id=model.mask_id).tolist()
            return found

        return {
            "model": losses(later),
            "any order": losses(by_lot),
            "twin": judge.twin.nats(ids, valid)[asked].tolist(),
        }

    starts = [str(start) for start in range(0, len(drawn), rows_at_once)]
    key = ["left to right, and by lot", count, seed, rows_at_once]
    for record in judge.store.records(key, starts, lambda i: compute(i * rows_at_once), "Left to right"):
        ours += record["model"]
        twins += record["twin"]
        anyhow += record["any order"]
    owners = np.array([d for d, _, _ in drawn])
    (own, own_error), (twin, twin_error) = (mean_by_document(np.array(nats), owners) for nats in (ours, twins))
    return {
        "tokens": len(drawn),
        "nats_per_token": own,
        "nats_per_token_stderr": own_error,
        "any_order": mean_by_document(np.array(anyhow), owners),
        "worth": mean_by_document(np.array(anyhow) - np.array(ours), owners),
        "twin_nats_per_token": twin,
        "twin_nats_per_token_stderr": twin_error,
        **of_perplexities(*mean_by_document(np.array(ours) - np.array(twins), owners)),
    }
