"""A length head: how many tokens a gap holds, read off the states that a network has at a gap and beside it.

The gap stands in the canvas as one mask, however long it is. The network is not changed: what it knows of the grammar on
both sides is in its hidden states already, and two layers on top of them learn to tell.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.model import ConfigError, DiT

KNOTS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 19, 24, 30, 38, 48, 60, 76, 96, 128)
"""Token counts that the head has a value for; between them the log-probability is linear in the logarithm of the count."""
LONGEST = KNOTS[-1]
PLACES = 3
"""States are read in three places: before the gap, at its mask, and after it."""


@dataclass(frozen=True)
class LengthHeadConfig:
    """Shape of a head."""

    width: int
    """Of the network's states."""
    layers: tuple[int, ...]
    """After which blocks states are read, counted from 1."""
    hidden: int = 128

    def __post_init__(self) -> None:
        """Raise ConfigError when the numbers cannot be meant."""
        for name, value in (("width", self.width), ("hidden", self.hidden), *(("layers", n) for n in self.layers)):
            if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= 2**16:
                raise ConfigError(f"The length head's {name} must be a whole number above 0, not {value!r}.")
        if not self.layers:
            raise ConfigError("The length head reads no layer.")

    @classmethod
    def of(cls, values: Any, net: DiT) -> LengthHeadConfig:
        """The config in a JSON object; ConfigError for a field that is missing, not understood, or not of this network."""
        names = {f.name for f in fields(cls)}
        if not isinstance(values, dict) or set(values) != names or not isinstance(values["layers"], list):
            raise ConfigError(f"The config's lengths must be an object with the fields {', '.join(sorted(names))}.")
        config = cls(**values | {"layers": tuple(values["layers"])})
        if config.width != net.config.width or max(config.layers) > net.config.depth:
            raise ConfigError("The config's lengths belong to a network of another shape.")
        return config

    def as_dict(self) -> dict[str, Any]:
        """The config as a JSON object."""
        return asdict(self) | {"layers": list(self.layers)}


class LengthHead(nn.Module):
    """States around gaps -> log-probabilities of 1 to LONGEST tokens."""

    curve: Tensor

    def __init__(self, config: LengthHeadConfig) -> None:
        super().__init__()
        self.config = config
        self.inner = nn.Linear(PLACES * len(config.layers) * config.width, config.hidden)
        self.outer = nn.Linear(config.hidden, len(KNOTS))
        self.register_buffer("curve", _curve(), persistent=False)
        with torch.no_grad():  # what is right before anything is known: every octave is as likely as any other
            self.outer.weight.zero_()
            self.outer.bias.copy_(-torch.tensor(KNOTS).log())

    def forward(self, states: Tensor) -> Tensor:
        """(B, PLACES, layers, width) -> (B, LONGEST) float32 log-probabilities of 1, 2, ... tokens."""
        return self.logits(normal(states)).log_softmax(-1)

    def logits(self, features: Tensor) -> Tensor:
        """(B, PLACES x layers x width) of `normal` -> (B, LONGEST) log-probabilities up to a constant."""
        values: Tensor = self.outer(F.relu(self.inner(features)).square())
        return values @ self.curve


def normal(states: Tensor) -> Tensor:
    """(B, PLACES, layers, width) -> (B, PLACES x layers x width) float32, each state of mean square 1; absent ones stay 0."""
    return F.rms_norm(states.float(), states.shape[-1:]).flatten(1)


@contextmanager
def reading(net: DiT, layers: Sequence[int]) -> Iterator[list[Tensor]]:
    """The states (B, L, width) after these blocks, in a list that the network's next run fills."""
    found: list[Tensor] = []
    hooks = [net.blocks[layer - 1].register_forward_hook(lambda _, __, out: found.append(out)) for layer in sorted(set(layers))]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def around(states: Sequence[Tensor], gap: Tensor, attend: Tensor | None = None) -> Tensor:
    """(B, L, width) states of each layer, (B, L) bool one mask a row -> (B, PLACES, layers, width).

    Zeros stand where the canvas ends at the gap. `attend` (B, L) bool, False = padding.
    """
    length, at = gap.shape[1], gap.int().argmax(-1)
    places = torch.stack((at - 1, at, at + 1), -1)
    there = (places >= 0) & (places < length)
    places = places.clamp(0, length - 1)
    if attend is not None:
        there &= attend.gather(1, places)
    rows = torch.arange(len(gap), device=gap.device)[:, None]
    return torch.stack([layer[rows, places] for layer in states], 2) * there[:, :, None, None]


def _curve() -> Tensor:
    """(KNOTS, LONGEST): the share of each knot's value in the log-probability of each count."""
    shares = torch.zeros(len(KNOTS), LONGEST)
    for k, (low, high) in enumerate(pairwise(KNOTS)):
        for count in range(low, high + 1):
            share = math.log(count / low) / math.log(high / low)
            shares[k, count - 1], shares[k + 1, count - 1] = 1 - share, share
    return shares
