"""A model folder in the hub's layout, read without trust: config, tokenizer files and safetensors shards, never code, never a pickle."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import safe_open
from torch import nn

Rename = Callable[[str], str | None]
"""A published tensor's name -> ours; None for one that is not needed."""


class LoadError(ValueError):
    """A model can't be loaded; the message is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a network goes and in which numbers."""

    device: torch.device
    dtype: torch.dtype
    weights: Literal["plain", "int8", "int4"] = "plain"
    """`plain` keeps `dtype`; the others store the matrices in fewer bits (weight-only) and compute in `dtype`."""


class Folder:
    """One model's files. Every name stays inside the folder; LoadError with a sentence for whatever can't be used."""

    def __init__(self, path: Path, name: str | None = None) -> None:
        """`name`: what the model is called on the page; the folder's name when left out."""
        self.path, self.name = path, name or path.name
        self.config: dict[str, Any] = self.json("config.json") or {}

    def file(self, name: str) -> Path | None:
        """The path of a file of the folder; None when it has none of this name."""
        path = self.path / name
        return path if path.is_file() else None

    def json(self, name: str) -> dict[str, Any] | None:
        """A JSON object among the files; None when there is no such file."""
        path = self.file(name)
        return None if path is None else dict(json.loads(path.read_text(encoding="utf-8")))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The published tensors' names and shapes, from the headers alone."""
        with safe_open(self.path / "model.safetensors", "pt") as opened:
            return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118

    def fill(self, model: nn.Module, rename: Rename, placement: Placement) -> None:
        """Give a network made on the meta device its weights, one tensor at a time, straight to the device.

        Every parameter and persistent buffer must be met by exactly one tensor of its shape; LoadError otherwise. Tied parameters count as one.
        """
        with safe_open(self.path / "model.safetensors", "pt") as opened:
            state = {ours: opened.get_tensor(name) for name in opened.keys() if (ours := rename(name))}  # noqa: SIM118
        model.load_state_dict({n: t.to(placement.device, placement.dtype) for n, t in state.items()}, assign=True)
