"""The state of a training run in its folder: everything that an exact resume needs, in safetensors and JSON, no pickle."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from engine.checkpoint import Checkpoint, CheckpointError, save, write_tensors, written
from engine.length_head import LengthHead
from engine.lexicon import Lexicon
from engine.model import DiT
from engine.tokenizer import Tokenizer
from engine.training.optimiser import Average, Optimiser


@dataclass
class Progress:
    """Where a run is."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    """Spent training; pauses are not counted."""
    nats: float | None = None
    """Nats a masked token, smoothed over some hundred steps."""
    curve: list[tuple[int, float]] = field(default_factory=list)
    """(tokens seen, nats) every fifty steps or so."""

    def note(self, steps: int, seconds: float, nats: float) -> None:
        """Take in what the last `steps`, counted already, took and cost."""
        self.seconds += seconds
        keep = 0.99**steps
        self.nats = nats if self.nats is None else keep * self.nats + (1 - keep) * nats
        if self.step % 50 < steps:
            self.curve.append((self.tokens, round(self.nats, 4)))


STATE, FINISHED = "state.safetensors", "finished"


class Run:
    """A folder with state.safetensors and, in `model/`, the averaged weights as a checkpoint to use."""

    def __init__(
        self,
        folder: Path,
        model: DiT,
        optimiser: Optimiser,
        average: Average,
        tokenizer: Tokenizer,
        *,
        name: str,
        told: dict[str, Any],
        epochs: Callable[[int], dict[str, float]],
        store: torch.dtype = torch.bfloat16,
        lengths: LengthHead | None = None,
        settings: dict[str, Any] | None = None,
        lexicon: Lexicon | None = None,
        begun: dict[str, str | None] | None = None,
    ) -> None:
        """`told`: what the model's config shall tell of the recipe. `epochs`: how often so many tokens read each source.
        `store`: the numbers that exported weights are kept in.

        `lengths`, `settings`: the length head and the recommended settings of the model that this one is tuned from, whose states
        stay near enough for them. `lexicon`: its words. `begun`: digests of the corpus and of the model that the run began with: a state
        of others isn't gone on from.
        """
        self.folder, self.model, self.optimiser, self.average = folder, model, optimiser, average
        self.tokenizer, self.name, self.told, self.store, self.lengths = tokenizer, name, told, store, lengths
        self.settings, self.lexicon, self.begun = settings or {}, lexicon, begun or {}
        self.epochs = epochs
        self.progress = Progress()

    @property
    def _state(self) -> Path:
        return self.folder / STATE

    @property
    def finished(self) -> bool:
        """Whether the model in `model/` is that of the state, and all was done that comes after training."""
        try:
            return int((self.folder / FINISHED).read_text(encoding="utf-8")) == self.progress.tokens and (self.folder / "model").is_dir()
        except (OSError, ValueError):
            return False

    def finish(self) -> None:
        """Note that nothing is left to be done."""
        (self.folder / FINISHED).write_text(f"{self.progress.tokens}\n", encoding="utf-8")

    def save(self) -> None:
        """Write the state; the file of an earlier state is replaced only when the new one is whole."""
        tensors = {f"model.{n}": p.detach() for n, p in self.model.state_dict().items()}
        tensors |= {f"average.{n}": p for n, p in self.average.weights.items()}
        tensors |= {f"optimiser.{n}": p for n, p in self.optimiser.state().items()}
        self.folder.mkdir(parents=True, exist_ok=True)
        facts = {
            "progress": asdict(self.progress),
            "average_steps": self.average.steps,
            "causal": self.model.config.causal,
            "begun": self.begun,
        }
        held = {n: t.cpu().contiguous().clone() for n, t in tensors.items()}
        written(self._state, lambda partial: write_tensors(partial, held, {"facts": json.dumps(facts)}))

    def resume(self) -> bool:
        """Take up a saved state, if there is one; CheckpointError when it is damaged, another network's, or of other texts."""
        if not self._state.is_file():
            return False
        try:
            facts = self._restore()
        except (SafetensorError, OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"The state in {self.folder} is damaged, or it is of another network or version; name another --out or delete that folder."
            ) from error
        if any(facts.get("begun", {}).get(name, digest) != digest for name, digest in self.begun.items()):
            raise CheckpointError(
                f"The run in {self.folder} began with other texts or from another model; name another --out or delete that folder."
            )
        return True

    def _restore(self) -> dict[str, Any]:
        with safe_open(self._state, "pt") as opened:
            facts = json.loads(opened.metadata()["facts"])
            # Copies, for the optimiser keeps what it is given, and Windows lets no file be replaced that is mapped.
            tensors = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118

        def part(prefix: str) -> dict[str, torch.Tensor]:
            return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}

        if facts.get("causal", self.model.config.causal) != self.model.config.causal:
            raise ValueError("a twin's state has a denoiser's shapes, and says so here alone")
        self.model.load_state_dict(part("model."))
        for name, weight in part("average.").items():
            self.average.weights[name].copy_(weight)
        self.average.steps = facts["average_steps"]
        self.optimiser.restore(part("optimiser."))
        self.progress = Progress(**facts["progress"])
        return dict(facts)

    def export(self) -> Path:
        """Write the averaged weights as a checkpoint in `model/`."""
        with torch.device("meta"):
            averaged = DiT(self.model.config)
        averaged.load_state_dict(self.average.weights, assign=True)
        folder = self.folder / "model"
        done = {"tokens": self.progress.tokens, "steps": self.progress.step, "seconds": round(self.progress.seconds)}
        told = done | self.told | {"epochs": self.epochs(self.progress.tokens)}
        kept = Checkpoint(
            averaged,
            self.tokenizer,
            self.name,
            trained=told,
            lengths=self.lengths,
            settings=self.settings,
            lexicon=self.lexicon,
        )
        save(kept, folder, self.store)
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
        axes.plot([t / 1e6 for t in tokens], nats, color="#3b5bdb")
        axes.set(xlabel="million tokens", ylabel="nats a masked token, smoothed")
        axes.grid(alpha=0.25)
        path = self.folder / "loss.png"
        figure.savefig(path, dpi=120)
        pyplot.close(figure)
        return path
