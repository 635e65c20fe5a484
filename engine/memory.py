"""Memory for models: how much is free, whether a second model fits beside the first, and giving it back."""

from __future__ import annotations

import gc
from collections import Counter

import torch
from torch import nn

from engine.backends import room
from engine.backends.quantised import QuantisedLinear
from engine.hub import folder_of, installed, resolve

SPARE = 2.0
"""A model may be loaded in wider numbers than it is stored in, and needs room to compute: so many times its files must be free."""


def fits_beside(name: str | None, device: torch.device | str) -> bool:
    """Whether a model, named as for `engine.load`, can be loaded while another one stays on this device. False when in doubt."""
    free = free_memory(device)
    try:
        found = folder_of(name) or resolve(str(name))
    except (ValueError, OSError):  # no name that could be loaded; `engine.load` says why
        return False
    if free is None or found is None:
        return False
    return SPARE * installed.weights(found) <= free


def free_memory(device: torch.device | str) -> int | None:
    """Bytes that are free on a device, those that torch keeps for later counted in; None where this can't be known."""
    return room.free_memory(torch.device(device))


def dtype_of(model: object) -> str:
    """The numbers that most of a model's weights are in, as torch calls them ("bfloat16"), or int8, int4; empty without a network.

    Tables of embeddings don't count: they are looked up, and quantising leaves them as they are.
    """
    held: Counter[str] = Counter()
    for part in vars(model).values():
        for module in part.modules() if isinstance(part, nn.Module) else ():
            if isinstance(module, nn.Embedding):
                continue
            if isinstance(module, QuantisedLinear):
                held[f"int{module.bits}"] += module.out_features * module.in_features
            for weights in module.parameters(recurse=False):
                held[str(weights.dtype).removeprefix("torch.")] += weights.numel()
    return held.most_common(1)[0][0] if held else ""


def release_memory() -> None:
    """Give back what models that nobody holds any more took: to the device, and from torch's own stock."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
