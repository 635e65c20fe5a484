"""Published checkpoints by name: which there are, what they need, which are on this machine, and how they get here. No torch."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from engine.hub import installed
from engine.hub.catalogue import CATALOGUE
from engine.hub.downloading import Progress, check, download, vocabulary
from engine.hub.families import FAMILIES, kind_of
from engine.hub.fetching import HubError
from engine.hub.installed import CONFIG, EMBEDDED

__all__ = ["HubError", "ModelInfo", "Progress", "download", "models", "resolve", "vocabulary"]


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
    for name, folder in found:
        if family := FAMILIES.get(kind_of(installed.read_json(folder / CONFIG))):
            called = name or installed.embedded_name()
            licence = licences.get(name, "") if name else "Apache-2.0"
            memory = installed.parameters(folder) * _bytes_a_number()
            known[called] = ModelInfo(called, family.name, installed.size(folder), licence, memory, True, family.needs)
    for entry in CATALOGUE:
        family = FAMILIES[entry.kind]
        memory = entry.parameters * _bytes_a_number()
        known.setdefault(entry.name, ModelInfo(entry.name, family.name, entry.size, entry.licence, memory, False, family.needs))
    return list(known.values())


def resolve(name: str, revision: str | None = None) -> Path | None:
    """The folder of a model that is on this machine; None when it isn't."""
    check(name, revision)
    return installed.whole_snapshot(name, revision)


def _bytes_a_number() -> int:
    """What the default dtype takes here: bfloat16 on a CUDA GPU and on CPUs that compute in it, else float32."""
    if os.path.exists("/proc/driver/nvidia/version") or shutil.which("nvidia-smi"):
        return 2
    with suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
        return 2 if re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", flags) else 4
    return 4
