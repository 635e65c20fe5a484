"""Muon for the matrices of the blocks, AdamW for the rest, a rate that warms up, holds and decays, and an average of weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from engine.model import DiT


def learning_rate_scale(done: float, tokens: int, *, warmup_tokens: int = 150_000, hold: float = 0.55) -> float:
    """The factor on the learning rates after `tokens`, a share `done` in [0, 1] of the run: warm up, hold, fall to zero."""
    warm = min(1.0, (tokens + 1) / warmup_tokens)
    return warm if done <= hold else warm * max(0.0, (1 - done) / (1 - hold))


class Optimiser:
    """Muon (Jordan 2024; torch.optim.Muon) on the blocks' matrices, AdamW on embeddings, head, norms and biases."""

    def __init__(self, model: DiT, *, muon_rate: float, adam_rate: float, muon_decay: float = 0.01) -> None:
        matrices = [p for n, p in model.blocks.named_parameters() if p.ndim == 2 and "condition" not in n]
        known = {id(p) for p in matrices}
        self.rest = [p for p in model.parameters() if id(p) not in known]
        self.muon = torch.optim.Muon(matrices, lr=muon_rate, momentum=0.95, weight_decay=muon_decay)
        self.adam = torch.optim.AdamW(self.rest, lr=adam_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
        self.rates = (muon_rate, adam_rate)

    def step(self, scale: float, clip: float) -> None:
        """Clip the gradients of AdamW's parameters (Muon's steps do not depend on their size), step, clear."""
        nn.utils.clip_grad_norm_(self.rest, clip)
        for optimiser, rate in zip((self.muon, self.adam), self.rates, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = rate * scale
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """The optimisers' tensors by flat name, for safetensors."""
        flat: dict[str, Tensor] = {}
        for name, optimiser in (("muon", self.muon), ("adam", self.adam)):
            for i, entries in optimiser.state_dict()["state"].items():
                for key, value in entries.items():
                    flat[f"{name}.{i}.{key}"] = torch.as_tensor(value)
        return flat

    def restore(self, flat: dict[str, Tensor]) -> None:
        """Take back what `state` gave."""
        for name, optimiser in (("muon", self.muon), ("adam", self.adam)):
            state: dict[int, dict[str, Any]] = {}
            for path, value in flat.items():
                kind, i, key = path.split(".", 2)
                if kind == name:
                    state.setdefault(int(i), {})[key] = value
            optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


class Average:
    """An exponential moving average of the weights; its memory grows with the run up to `decay`."""

    def __init__(self, model: nn.Module, decay: float = 0.998) -> None:
        self.decay, self.steps = decay, 0
        self.weights = {n: p.detach().clone() for n, p in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move towards the model's weights."""
        self.steps += 1
        keep = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, weight in model.state_dict().items():
            self.weights[name].lerp_(weight, 1 - keep)
