"""The state of a training run in its folder: everything that an exact resume needs, in safetensors and JSON, no pickle."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from engine.checkpoint import Checkpoint, save
from engine.model import DiT
from engine.tokenizer import Tokenizer
from engine.training.optimiser import Average, Optimiser


@dataclass
class Progress:
    """Where a run is."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    """Spent training; pauses and evaluations are not counted."""
    curve: list[tuple[int, float]] = field(default_factory=list)
    """(tokens seen, smoothed nats per masked token) every hundred steps or so."""
    evaluations: list[dict[str, Any]] = field(default_factory=list)


class Run:
    """A folder with state.safetensors, state.json and, in `model/`, the averaged weights as a checkpoint to use."""

    def __init__(self, folder: Path, model: DiT, optimiser: Optimiser, average: Average, tokenizer: Tokenizer, name: str) -> None:
        self.folder, self.model, self.optimiser, self.average = folder, model, optimiser, average
        self.tokenizer, self.name = tokenizer, name
        self.progress = Progress()

    def save(self, rng: np.random.Generator) -> None:
        """Write the state; the file of an earlier state is replaced only when the new one is whole."""
        tensors = {f"model.{n}": p.detach().cpu() for n, p in self.model.state_dict().items()}
        tensors |= {f"average.{n}": p.cpu() for n, p in self.average.weights.items()}
        tensors |= {f"optimiser.{n}": p.cpu() for n, p in self.optimiser.state().items()}
        self.folder.mkdir(parents=True, exist_ok=True)
        facts = {"progress": asdict(self.progress), "average_steps": self.average.steps, "rng": rng.bit_generator.state}
        partial = self.folder / "state.part"
        save_file({n: t.contiguous().clone() for n, t in tensors.items()}, partial, metadata={"facts": json.dumps(facts)})
        os.replace(partial, self.folder / "state.safetensors")

    def resume(self, rng: np.random.Generator) -> bool:
        """Take up a saved state, if there is one."""
        path = self.folder / "state.safetensors"
        if not path.is_file():
            return False
        tensors = load_file(path)
        facts = json.loads(_metadata(path)["facts"])

        def part(prefix: str) -> dict[str, torch.Tensor]:
            return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}

        self.model.load_state_dict(part("model."))
        for name, weight in part("average.").items():
            self.average.weights[name].copy_(weight)
        self.average.steps = facts["average_steps"]
        self.optimiser.restore(part("optimiser."))
        rng.bit_generator.state = facts["rng"]
        self.progress = Progress(**facts["progress"])
        return True

    def export(self, trained: dict[str, Any]) -> Path:
        """Write the averaged weights as a checkpoint in `model/`."""
        with torch.device("meta"):
            averaged = DiT(self.model.config)
        averaged.load_state_dict(self.average.weights, assign=True)
        folder = self.folder / "model"
        save(Checkpoint(averaged, self.tokenizer, self.name, trained=trained), folder)
        return folder

    def plot(self) -> Path | None:
        """The loss curve as a picture beside the state."""
        if len(self.progress.curve) < 2:
            return None
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
        tokens, nats = zip(*self.progress.curve, strict=True)
        axes.plot([t / 1e6 for t in tokens], nats, color="#3b5bdb", label="training, per masked token")
        if self.progress.evaluations:
            axes.plot(
                [e["tokens"] / 1e6 for e in self.progress.evaluations],
                [e["nats_per_token"] for e in self.progress.evaluations],
                "o-",
                color="#b4540a",
                label="NELBO on held-out text, per token",
            )
        axes.set(xlabel="million tokens", ylabel="nats")
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
        path = self.folder / "loss.png"
        figure.savefig(path, dpi=120)
        pyplot.close(figure)
        return path


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, "pt") as opened:
        return dict(opened.metadata())
