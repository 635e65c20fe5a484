"""How a fill is to be done: one frozen value, checked once, understood by page, command line and API alike. No torch."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

Choice = Literal["deterministic", "stochastic", "hybrid"]


class SettingsError(ValueError):
    """A setting is out of its range; the message is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one fill."""

    sampler: str = "confidence"
    """Which masked tokens to reveal next: a name of `engine.SAMPLERS`."""
    schedule: str = "loglinear"
    """The noise schedule alpha(t) that says how many are due: a name of `engine.SCHEDULES`."""
    steps: int = 16
    """Denoiser calls a window at most."""
    temperature: float = 0.7
    """Divides the logits before a token is drawn; 0 is greedy."""
    top_p: float = 0.9
    """Draw from the smallest set of tokens with this probability (nucleus)."""
    top_k: int = 0
    """Draw from the k likeliest tokens; 0 is all."""
    choice: Choice = "stochastic"
    """How a token is chosen: `deterministic` (the likeliest), `stochastic` (drawn), `hybrid` (drawn early, likeliest late)."""
    threshold: float = 0.9
    """`threshold` sampler: reveal whatever is at least this probable (Fast-dLLM)."""
    entropy_bound: float = 0.5
    """`entropy_bound` sampler: the joint-error budget gamma, in nats (EB-Sampler)."""
    block_length: int = 8
    """`left_to_right` sampler: tokens in a semi-autoregressive block."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise SettingsError with one sentence when a value is out of range."""
        checks = [
            (1 <= self.steps <= 4096, "steps must be between 1 and 4096"),
            (0 <= self.temperature <= 10, "temperature must be between 0 and 10"),
            (0 < self.top_p <= 1, "top_p must be above 0 and at most 1"),
            (self.top_k >= 0, "top_k must be 0 (all tokens) or more"),
            (self.choice in get_args(Choice), f"choice must be one of {', '.join(get_args(Choice))}"),
            (0 < self.threshold <= 1, "threshold must be above 0 and at most 1"),
            (self.entropy_bound >= 0, "entropy_bound must be 0 or more"),
            (self.block_length >= 1, "block_length must be at least 1"),
            (0 <= self.seed < 2**63, "seed must be between 0 and 2^63 - 1"),
        ]
        for holds, sentence in checks:
            if not holds:
                raise SettingsError(f"{sentence}.".capitalize())

    @classmethod
    def of(cls, values: dict[str, Any]) -> Settings:
        """Settings from plain values (JSON); an unknown name or a wrong type is a SettingsError, never ignored."""
        kinds: dict[str, type] = {f.name: type(f.default) for f in fields(cls)}
        for name, value in values.items():
            if name not in kinds:
                raise SettingsError(f"There is no setting called {name!r}; there are {', '.join(kinds)}.")
            accepted = (int, float) if kinds[name] is float else kinds[name]
            if not isinstance(value, accepted) or isinstance(value, bool):
                raise SettingsError(f"{name} must be {'a number' if kinds[name] is not str else 'a name'}, not {value!r}.")
        return cls(**values)
