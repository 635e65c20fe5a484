"""What the processor can do."""

from __future__ import annotations

from collections.abc import Mapping

import torch


def has(*features: str) -> bool:
    """Whether this CPU has one of these instruction sets, by torch's names for them."""
    known: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.11 may lack it
    return any(known.get(feature) for feature in features)
