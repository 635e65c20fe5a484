"""Published sampler runs, and what replays them through our one loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from engine import backends
from engine.denoiser import Denoiser
from engine.reverse import Move, denoise
from engine.settings import PUBLISHED, Settings

GOLDEN = Path(__file__).parent / "golden"


def model_of(family: str) -> Denoiser:
    """The small random network that the family's runs were made with."""
    return backends.load(GOLDEN / family, device="cpu", dtype="float32")


def runs_of(family: str, name: str) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]:
    """A file of runs: what they share (prompts, tables), and the tensors of each run under its name."""
    shared: dict[str, Tensor] = {}
    runs: dict[str, dict[str, Tensor]] = {}
    tensors = load_file(GOLDEN / family / f"{name}.safetensors")
    names = {key.removesuffix(".final") for key in tensors if key.endswith(".final")}
    for key, tensor in tensors.items():
        run = next((one for one in names if key.startswith(one + ".")), None)
        if run is None:
            shared[key] = tensor
        else:
            runs.setdefault(run, {})[key.removeprefix(run + ".")] = tensor
    return shared, runs


def published(method: str, **more: Any) -> Settings:
    """The settings of a published method, at its own temperature 0 unless another one is given."""
    return Settings.of({"temperature": 0.0, "top_p": 1.0, **PUBLISHED[method], **more})


def after_prompt(prompt: Tensor, count: int, mask_id: int) -> Tensor:
    """(B, P) prompts followed by so many masks."""
    return torch.cat([prompt, torch.full((len(prompt), count), mask_id)], 1)


def replay(model: Denoiser, x: Tensor, settings: Settings, **more: Any) -> list[Move]:
    """The moves of a run in which every mask is to be filled."""
    return list(denoise(model, x, writable=x == model.mask_id, settings=settings, **more))


def check(moves: list[Move], x: Tensor, trace: Tensor) -> None:
    """Every canvas of a run is that of the trace, whose first one is the start, token by token; and so is their number."""
    assert torch.equal(trace[0], x)
    for step, move in enumerate(moves, 1):
        assert torch.equal(move.x, trace[step]), f"step {step}"
    assert len(moves) == len(trace) - 1


def distinct(canvases: list[Tensor]) -> list[Tensor]:
    """Without those that repeat the one before."""
    return [one for at, one in enumerate(canvases) if not at or not torch.equal(one, canvases[at - 1])]


class Asked:
    """A denoiser that counts the rows it is asked for, and may be told to predict otherwise."""

    def __init__(self, model: Denoiser, change: Callable[[Tensor], Tensor] | None = None, **attributes: Any) -> None:
        self._model, self._change = model, change
        self.calls = 0
        self.__dict__.update(attributes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def logits(self, ids: Tensor, positions: Tensor, *, t: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
        """What the model says, changed."""
        self.calls += 1
        found = self._model.logits(ids, positions, t=t, attend=attend)
        return found if self._change is None else self._change(found)
