"""What a training step asks of the network: which tokens are masked, and what each masked token's loss weighs.

Two kinds of rows share a batch. Most are masked as the NELBO masks them, every token alone, at a level t drawn from a
bell (logit-normal, arXiv 2605.13026) stratified over the batch. The rest have gaps cut out, runs of tokens between given
text, which is what a writer asks for. Evaluation never uses the second kind: the NELBO stays the NELBO.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

_NORMAL = NormalDist()


@dataclass(frozen=True)
class MaskingRecipe:
    """How the rows of a batch are masked."""

    mean: float = -0.2
    """Of the bell, in logits of t."""
    spread: float = 1.0
    times: tuple[float, ...] | None = None
    """Levels by this learned schedule (engine.schedules.Learned), weighed so that the mean is the NELBO; None: by the bell."""
    weight_limit: float = 20.0
    """The NELBO's weight 1/t is cut here: the rare rows with few masks would shake the gradient."""
    gap_rows: float = 0.0625
    """The share of rows that are masked in runs, as gaps are. A quarter of them, at weights up to 8, cost 0.2 nats of NELBO in small runs
    (docs/DECISIONS.md, Training)."""
    gap_weight_limit: float = 3.0
    """A token's weight in such a row is what makes the row count whole, but no more than this."""
    gap_lengths: tuple[float, float] = (2.0, 24.0)
    """Mean length of a row's gaps in tokens, log-uniform between these: from a word to a sentence (each gap geometric)."""


def draw_masks(recipe: MaskingRecipe, batch: int, length: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(B, L) bool masks and (B,) weights of a masked token's loss; rows of both kinds in random order."""
    gap_rows = int(recipe.gap_rows * batch + rng.random())  # a share of less than a row now and then
    masks = np.zeros((batch, length), dtype=bool)
    weights = np.ones(batch, dtype=np.float32)
    for b in range(gap_rows):
        low, high = map(math.log, recipe.gap_lengths)
        mean = math.exp(rng.uniform(low, high))
        masks[b] = mask_runs(length, rng.uniform(0.04, 0.36), mean, rng)
        weights[b] = min(length / masks[b].sum(), recipe.gap_weight_limit)
    alone = batch - gap_rows
    if alone:
        levels = ((np.arange(alone) + rng.random()) / alone).clip(1e-3, 1 - 1e-3)
        if recipe.times is None:
            bell = np.array([_NORMAL.inv_cdf(u) for u in levels])
            t = (1 / (1 + np.exp(-(recipe.mean + recipe.spread * bell)))).clip(0.02, 0.995)
            density = np.ones_like(t)
        else:
            pieces = len(recipe.times) - 1
            t = np.interp(levels, recipe.times, np.arange(pieces + 1) / pieces)
            density = (np.diff(recipe.times) * pieces)[np.minimum((t * pieces).astype(int), pieces - 1)]
        masks[gap_rows:] = rng.random((alone, length)) < t[:, None]
        weights[gap_rows:] = np.minimum(1 / (t * density), recipe.weight_limit)
    order = rng.permutation(batch)
    return masks[order], weights[order]


def mask_runs(length: int, share: float, mean_length: float, rng: np.random.Generator) -> np.ndarray:
    """(L,) bool: runs of geometric length at random places until about `share` of the row is masked; at least one token."""
    mask = np.zeros(length, dtype=bool)
    while mask.sum() < max(1, share * length):
        run = min(int(rng.geometric(1 / mean_length)), max(1, int(share * length)))
        start = int(rng.integers(0, length - run + 1))
        mask[start : start + run] = True
    return mask


def capacity(recipe: MaskingRecipe, batch: int, length: int) -> int:
    """Masked positions that a batch may hold: fixed, so that the compiled step has one shape; rarely exceeded."""
    rng = np.random.default_rng(0)
    counts = [draw_masks(recipe, batch, length, rng)[0].sum() for _ in range(64)]
    return min(batch * length, int(np.mean(counts) + 5 * np.std(counts)) + 1)


def gather(masks: np.ndarray, weights: np.ndarray, room: int) -> tuple[np.ndarray, np.ndarray]:
    """Flat positions (room,) of the masked tokens and their weights; free places point at 0 with weight 0."""
    where = masks.reshape(-1).nonzero()[0][:room]
    positions = np.zeros(room, dtype=np.int64)
    positions[: len(where)] = where
    each = np.zeros(room, dtype=np.float32)
    each[: len(where)] = weights[where // masks.shape[1]]
    return positions, each
