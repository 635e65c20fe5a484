"""Published checkpoints by name: which there are, what they need, which are on this machine, and how they get here. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


class HubError(ValueError):
    """A model can't be found or fetched; the message is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One entry of the page's model picker."""

    name: str
    """What `engine.load` takes: a hub name, or a folder's path."""
    family: str
    """MDLM, LLaDA, Dream, BERT ...; as a person would say it."""
    size: int
    """Bytes to download, or on disk."""
    licence: str
    """SPDX-like, as its card says; empty when unknown."""
    memory: int
    """Bytes that running it takes in the default dtype."""
    installed: bool
    needs: str = ""
    """A Python package that is missing for it; empty when it can be loaded."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a download is, in bytes over all of the model's files."""

    done: int
    total: int
    file: str
    """The file in hand."""


def models() -> list[ModelInfo]:
    """The embedded model first, then what is installed, then the published checkpoints that can be had."""
    raise NotImplementedError


def download(name: str, revision: str | None = None) -> Iterator[Progress]:
    """Fetch a model's files into the cache; closing the iterator stops it, and the next call goes on where it was."""
    raise NotImplementedError


def resolve(name: str, revision: str | None = None) -> Path | None:
    """The folder of a model that is on this machine; None when it isn't."""
    raise NotImplementedError
