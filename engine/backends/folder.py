"""A model folder in the hub's layout, read without trust: config, tokenizer files and safetensors shards, never code, never a pickle."""

from __future__ import annotations

import json
import math
import os
import stat
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NoReturn

import torch
from torch import nn

from engine.backends import streaming
from engine.backends.shards import Entry, LoadError, entries
from engine.hub.installed import CONFIG, INDEX, WEIGHTS, pickles_in

__all__ = ["Folder", "LoadError", "Placement", "Rename"]

Rename = Callable[[str], str | None]
"""A published tensor's name -> ours; None for one that is not needed."""

Weights = Literal["plain", "int8", "int4"]

OWN = {CONFIG, WEIGHTS, INDEX}
"""Files that no other folder stands in for: another model's weights are none."""
MOST_BYTES = 64 * 2**20
"""The largest file but weights that is read: ten times the index of a model with a thousand shards."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a network goes and in which numbers."""

    device: torch.device
    dtype: torch.dtype
    weights: Weights = "plain"
    """`plain` keeps `dtype`; the others store the matrices in fewer bits (weight-only) and compute in `dtype`."""

    @property
    def bits(self) -> int:
        """8 or 4 for matrices in fewer bits, 0 for plain ones."""
        return {"plain": 0, "int8": 8, "int4": 4}[self.weights]


class Folder:
    """One model's files. Every name stays inside the folder; LoadError with a sentence for whatever can't be used."""

    def __init__(self, path: Path, name: str | None = None, beside: Path | None = None) -> None:
        """`name`: what the model is called on the page; the folder's name when left out. `beside`: a folder for what this one lacks."""
        self.path, self.name, self.beside = path, " ".join((name or _called(path.resolve())).split()), beside
        config = self.json(CONFIG)
        if config is None:
            raise LoadError(f"There is no model in {path}: it has no {CONFIG}.")
        self.config: dict[str, Any] = config

    def file(self, name: str) -> Path | None:
        """The path of a file of the folder; None when it has none of this name, LoadError when it is not a file or lies elsewhere."""
        found = self._file(self.path, name)
        return self._file(self.beside, name) if found is None and self.beside and name not in OWN else found

    def _file(self, folder: Path, name: str) -> Path | None:
        path = folder / name
        try:
            if "\0" not in name and not os.path.lexists(path):
                return None
            real, home = path.resolve(strict=True), folder.resolve()
            kind = real.stat().st_mode
        except (OSError, RuntimeError, ValueError) as error:  # a link to nothing, a circle of links, a name with a null byte
            raise LoadError(f"{name!r} in {self.name} can't be read; get the model again.") from error
        homes = [home]
        if home.parent.name == "snapshots" and (model := home.parent.parent).name.startswith("models--"):
            # The hub's cache keeps each file once: among the blobs of the model, or among those that several models share.
            homes += [model / "blobs", model.parent / "blobs"]
        if Path(name).is_absolute() or not any(real.is_relative_to(one) for one in homes):
            raise LoadError(f"{name!r} in {self.name} leads out of the model's folder, so it is not read.")
        if not stat.S_ISREG(kind):
            raise LoadError(f"{name!r} in {self.name} is not an ordinary file, so it is not read.")
        return real

    def data(self, name: str) -> bytes | None:
        """A small file's bytes; None when there is no such file."""
        path = self.file(name)
        if path is None:
            return None
        try:
            with path.open("rb") as stream:
                data = stream.read(MOST_BYTES + 1)
        except OSError as error:
            raise LoadError(f"{name} in {self.name} can't be read ({error.strerror}).") from error
        if len(data) > MOST_BYTES:
            raise LoadError(f"{name} in {self.name} is larger than {MOST_BYTES // 2**20} MB, which no model needs; get the model again.")
        return data

    def text(self, name: str) -> str | None:
        """A small UTF-8 file's text; None when there is no such file."""
        data = self.data(name)
        try:
            return None if data is None else data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise LoadError(f"{name} in {self.name} is not UTF-8 text; get the model again.") from error

    def json(self, name: str) -> dict[str, Any] | None:
        """A JSON object among the files; None when there is no such file."""
        text = self.text(name)
        if text is None:
            return None
        try:
            found = json.loads(text, parse_constant=_no_number, parse_float=_finite)
        except (ValueError, RecursionError) as error:
            raise LoadError(f"{name} in {self.name} is not JSON; get the model again.") from error
        if not isinstance(found, dict):
            raise LoadError(f"{name} in {self.name} holds no JSON object; get the model again.")
        return found

    def integer(self, field: str, default: int | None = None, *, least: int = 1, most: int = 2**24) -> int:
        """A whole number of config.json; `default` (when given) where the field is absent or null."""
        value = self.config.get(field)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self._refuse(field, value, f"a whole number from {least} to {most}")
        return value

    def number(self, field: str, default: float | None = None, *, least: float = 0.0, most: float = 1e12) -> float:
        """A number of config.json; `default` (when given) where the field is absent or null."""
        value = self.config.get(field)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            self._refuse(field, value, f"a number from {least:g} to {most:g}")
        return float(value)

    def flag(self, field: str, default: bool | None = None) -> bool:
        """A truth value of config.json; `default` (when given) where the field is absent or null."""
        value = self.config.get(field)
        if value is None and default is not None:
            return default
        if not isinstance(value, bool):
            self._refuse(field, value, "true or false")
        return value

    def only(self, field: str, *allowed: Any) -> Any:
        """A field of config.json that may only have these values (the first is meant where it is absent)."""
        value = self.config.get(field, allowed[0])
        if not any(value is one or (type(value) is type(one) and value == one) for one in allowed):
            self._refuse(field, value, " or ".join(json.dumps(one) for one in allowed))
        return value

    def _refuse(self, field: str, value: object, wanted: str) -> NoReturn:
        said = f"{json.dumps(value)[:40]} for {field!r}" if field in self.config else f"no {field!r}"
        raise LoadError(f"{CONFIG} of {self.name} has {said}, where Lacuna can use {wanted}.")

    @cached_property
    def tensors(self) -> dict[str, Entry]:
        """The published tensors by name: of model.safetensors, or of the shards that the index names."""
        if single := self.file(WEIGHTS):
            return entries(single)
        index = self.json(INDEX)
        if index is None:
            self._no_weights()
        where = index.get("weight_map")
        if not isinstance(where, dict) or not where or not all(isinstance(file, str) for file in where.values()):
            raise LoadError(f"{INDEX} of {self.name} names no weights; get the model again.")
        found: dict[str, Entry] = {}
        for file in sorted(set(where.values())):
            if Path(file).name != file or "\\" in file or not file.endswith(".safetensors"):
                raise LoadError(f"{INDEX} of {self.name} names the file {file[:80]!r}, which is no safetensors file of its folder.")
            path = self.file(file)
            if path is None:
                raise LoadError(f"{self.name} lacks its file {file}; get the model again.")
            held = entries(path)
            if twice := found.keys() & held.keys():
                raise LoadError(f"The tensor {min(twice)[:80]!r} of {self.name} is in two files; get the model again.")
            found.update(held)
        if found.keys() != where.keys():
            odd = min(found.keys() ^ where.keys())
            raise LoadError(f"{INDEX} of {self.name} and its files don't agree about the tensor {odd[:80]!r}; get the model again.")
        return found

    def _no_weights(self) -> NoReturn:
        pickles = pickles_in(path.name for path in self.path.iterdir())
        if pickles:
            raise LoadError(
                f"{self.name} has its weights in {pickles[0]} only, a kind of file that can run code and is never read: convert it to "
                f"{WEIGHTS} with safetensors.torch.save_file where you trust it, or find the model's safetensors."
            )
        raise LoadError(f"{self.name} has no {WEIGHTS}; get the model again.")

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The published tensors' names and shapes, from the headers alone."""
        return {name: entry.shape for name, entry in self.tensors.items()}

    @property
    def numbers(self) -> int:
        """How many numbers were published."""
        return sum(entry.numel for entry in self.tensors.values())

    @property
    def in_16_bits(self) -> bool:
        """Whether most of the published numbers are 16-bit ones."""
        wide = Counter[bool]()
        for entry in self.tensors.values():
            wide[entry.dtype.itemsize > 2] += entry.numel
        return wide[False] > wide[True]

    def fill(self, model: nn.Module, rename: Rename, placement: Placement) -> None:
        """Give a network made on the meta device its weights, one tensor at a time, straight to the device.

        Every parameter and persistent buffer must be met by exactly one tensor of its shape, tied parameters counting as one; LoadError
        otherwise. Floating-point tensors become the placement's dtype. Non-persistent buffers stay as they were made: make them off meta,
        or compute them afterwards.
        """
        streaming.fill(model, self.tensors, rename, placement.device, placement.dtype, placement.bits, self.name)


def _called(path: Path) -> str:
    """What a model in a folder is called: as the folder, or in the hub's cache, whose folders are called by digests, as on the hub."""
    kind, *names = path.parent.parent.name.split("--")
    return names[-1] if path.parent.name == "snapshots" and kind == "models" and names else path.name


def _no_number(said: str) -> NoReturn:
    raise ValueError(f"{said} is no JSON")


def _finite(said: str) -> float:
    value = float(said)
    if not math.isfinite(value):
        raise ValueError(f"{said} is too large")
    return value
