"""Reveal orders made by hand."""

from __future__ import annotations

import torch

from engine.reveal_order import FEATURES, SIZES, RevealOrder, rising


def an_order(seed: int) -> RevealOrder:
    """Some order or other."""
    numbers = torch.randn(sum(SIZES), generator=torch.Generator().manual_seed(seed))
    return RevealOrder(tuple(rising(numbers).tolist()))


def straight(**weights: float) -> RevealOrder:
    """The order whose score is this sum of features, named with underscores."""
    line = [weights.pop(name.replace(" ", "_"), 0.0) for name in FEATURES]
    assert not weights
    return RevealOrder((*([0.0] * sum(SIZES[:3])), *line, 0.0))
