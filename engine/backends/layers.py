"""A network's layers: which of them share a matrix, and another one put in a layer's place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from torch import Tensor, nn


def tied(slots: Iterable[Tensor]) -> set[int]:
    """The ids of the tensors that are there several times: parameters of several names."""
    return {one for one, count in Counter(map(id, slots)).items() if count > 1}


def tied_parameters(model: nn.Module) -> set[int]:
    """The ids of a network's parameters that have several names."""
    return tied(parameter for _, parameter in model.named_parameters(remove_duplicate=False))


def put(model: nn.Module, name: str, layer: nn.Module) -> None:
    """Put a layer in place of the one of this name."""
    path, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(path), leaf, layer)
