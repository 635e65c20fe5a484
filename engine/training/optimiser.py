"""Muon for the matrices of the blocks, AdamW for the rest, a rate that warms up, holds and decays, and an average of weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from engine.model import DiT

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the Newton-Schulz iteration (Jordan 2024): steep at zero, settling near one."""


def learning_rate_scale(done: float, tokens: int, *, warmup_tokens: int, hold: float) -> float:
    """The factor on the learning rates after `tokens`, a share `done` in [0, 1] of the run: warm up, hold, fall to zero."""
    warm = min(1.0, (tokens + 1) / max(1, warmup_tokens))
    return warm if done <= hold else warm * max(0.0, (1 - done) / (1 - hold))


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """(G, m, n) -> (G, m, n) bfloat16: each matrix's singular values near one, by Newton-Schulz, all G at once."""
    a, b, c = QUINTIC
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.bfloat16()
    x = x.transpose(1, 2) if tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    for _ in range(steps):
        gram = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.transpose(1, 2) if tall else x


class Muon:
    """Momentum, orthogonalised (Jordan 2024), the update of torch.optim.Muon; matrices of one shape are stepped together.

    One stack a shape takes a few large matrix products in place of some dozens of small ones, which on a GPU are mostly launches.
    """

    def __init__(self, matrices: Sequence[nn.Parameter], *, momentum: float = 0.95, decay: float = 0.01) -> None:
        self.momentum, self.decay = momentum, decay
        self.groups: dict[tuple[int, ...], list[Tensor]] = {}
        for matrix in matrices:
            self.groups.setdefault(tuple(matrix.shape), []).append(matrix)
        self.buffers = {shape: torch.zeros(len(group), *shape, device=group[0].device) for shape, group in self.groups.items()}

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move the matrices against their gradients, decay them, and clear the gradients; ones without a gradient are an error."""
        for shape, group in self.groups.items():
            gradients = torch.stack([p.grad for p in group if p.grad is not None]).float()
            buffer = self.buffers[shape].lerp_(gradients, 1 - self.momentum)
            update = orthogonalise(gradients.lerp_(buffer, self.momentum)).to(group[0].dtype)
            torch._foreach_mul_(group, 1 - rate * self.decay)
            torch._foreach_add_(group, update.unbind(), alpha=-rate * max(1.0, shape[0] / shape[1]) ** 0.5)
            for p in group:
                p.grad = None


class Optimiser:
    """Muon on the blocks' matrices, AdamW on embeddings, head, norms and biases."""

    def __init__(self, model: DiT, *, muon_rate: float, adam_rate: float, muon_decay: float = 0.01) -> None:
        matrices = [p for n, p in model.blocks.named_parameters() if p.ndim == 2 and "condition" not in n]
        known = {id(p) for p in matrices}
        self.rest = [p for p in model.parameters() if id(p) not in known]
        self.muon = Muon(matrices, decay=muon_decay)
        self.adam = torch.optim.AdamW(self.rest, lr=adam_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
        self.rates = (muon_rate, adam_rate)

    def step(self, scale: float, clip: float) -> None:
        """Clip the gradients of AdamW's parameters (Muon's steps do not depend on their size), step, clear."""
        nn.utils.clip_grad_norm_(self.rest, clip)
        self.muon.step(self.rates[0] * scale)
        for group in self.adam.param_groups:
            group["lr"] = self.rates[1] * scale
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """The optimisers' tensors by flat name, for safetensors."""
        flat = {f"muon.{m}x{n}": buffer for (m, n), buffer in self.muon.buffers.items()}
        for i, entries in self.adam.state_dict()["state"].items():
            flat |= {f"adam.{i}.{key}": torch.as_tensor(value) for key, value in entries.items()}
        return flat

    def restore(self, flat: dict[str, Tensor]) -> None:
        """Take back what `state` gave."""
        for (m, n), buffer in self.muon.buffers.items():
            buffer.copy_(flat[f"muon.{m}x{n}"])
        state: dict[int, dict[str, Tensor]] = {}
        for path, value in flat.items():
            if path.startswith("adam."):
                _, i, key = path.split(".")
                state.setdefault(int(i), {})[key] = value
        self.adam.load_state_dict({"state": state, "param_groups": self.adam.state_dict()["param_groups"]})


LONG = 10**9
"""Steps after which an average's memory grows no more."""


class Average:
    """An exponential moving average of the weights; its memory grows with the run up to `decay`."""

    def __init__(self, model: nn.Module, decay: float = 0.998, *, is_average: bool = False) -> None:
        """`is_average`: the weights come from the middle of a run and are an average already: the memory is as long as it gets."""
        self.decay, self.steps = decay, LONG if is_average else 0
        self.weights = {n: p.detach().clone() for n, p in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move towards the model's weights."""
        self.steps += 1
        keep = min(self.decay, (1 + self.steps) / (10 + self.steps))
        current = model.state_dict()
        torch._foreach_lerp_(list(self.weights.values()), [current[name] for name in self.weights], 1 - keep)
