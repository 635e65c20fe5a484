"""Published checkpoints by name: which there are, what they need, which are on this machine, and how they get here. No torch."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from engine.hub import installed
from engine.hub.catalogue import CATALOGUE, EMBEDDED_LICENCE
from engine.hub.downloading import Progress, check, download, vocabulary
from engine.hub.families import FAMILIES, blockwise, kind_of
from engine.hub.fetching import HubError
from engine.hub.installed import CONFIG, EMBEDDED, folder_of
from engine.settings import LARGE

__all__ = ["HubError", "ModelInfo", "Progress", "download", "folder_of", "models", "resolve", "vocabulary"]


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


def models() -> list[ModelInfo]:
    """The embedded model first, then what is installed, then the published checkpoints that can be had."""
    licences = {entry.name: entry.licence for entry in CATALOGUE}
    found = [("", EMBEDDED)] if installed.is_whole(EMBEDDED) else []
    found += [*installed.cached(), *((str(folder), folder) for folder in installed.folders())]
    known: dict[str, ModelInfo] = {}
    cuda = _uses_cuda()
    for name, folder in found:
        config = installed.read_json(folder / CONFIG)
        if (family := FAMILIES.get(kind_of(config))) and not blockwise(folder, config):
            called = name or installed.embedded_name()
            licence = licences.get(name, "") if name else EMBEDDED_LICENCE
            memory = _memory(installed.parameters(folder), installed.weights(folder), cuda)
            known[called] = ModelInfo(called, family.name, installed.size(folder), licence, memory, True, family.needs)
    for entry in CATALOGUE:
        family = FAMILIES[entry.kind]
        memory = _memory(entry.parameters, entry.size, cuda)
        known.setdefault(entry.name, ModelInfo(entry.name, family.name, entry.size, entry.licence, memory, False, family.needs))
    return list(known.values())


def resolve(name: str, revision: str | None = None) -> Path | None:
    """The folder of a model that is on this machine; None when it isn't."""
    check(name, revision)
    return installed.whole_snapshot(name, revision)


def _memory(parameters: int, stored: int, cuda: bool) -> int:
    """Bytes that a network takes in the default dtype, which `engine.load` tells; at most, of a small one on a CPU. stored: bytes of its
    weights on disk.
    """
    if cuda:
        return 2 * parameters
    with suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
        if parameters >= LARGE and stored < 3 * parameters and re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", flags):
            return 2 * parameters
    return 4 * parameters


def _uses_cuda() -> bool:
    """Whether there is an NVIDIA GPU and the installed torch was built for it, as its version.py says: importing it takes seconds."""
    if not os.path.exists("/proc/driver/nvidia/version") and not shutil.which("nvidia-smi"):
        return False
    with suppress(ImportError, ValueError, OSError):
        if (torch := find_spec("torch")) and torch.origin:
            built = Path(torch.origin).with_name("version.py").read_text(encoding="utf-8")
            return not re.search(r"^cuda\b.*= *None", built, re.MULTILINE)
    return False
