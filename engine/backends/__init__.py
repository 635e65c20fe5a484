"""One file a family of models; `load` finds the right one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import torch

from engine import hub
from engine.backends.folder import Folder, LoadError, Placement, Weights
from engine.backends.precision import computes_in_bf16
from engine.backends.toy import Toy
from engine.denoiser import Denoiser
from engine.hub import HubError, Progress
from engine.hub.families import FAMILIES, kind_of, obstacle
from engine.hub.installed import EMBEDDED, TOKENIZER_FILES, embedded_name, folder_of
from engine.settings import DTYPES

__all__ = ["EMBEDDED", "Folder", "LoadError", "Placement", "load", "pick_device"]


def load(
    name_or_path: str | Path | None = None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    revision: str | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Denoiser:
    """A model by folder or by name on the hub: None (or its own name) is the embedded one, "toy" the toy for tests.

    What is not on this machine is downloaded; `progress` hears how far that is, a few times a second. revision: a branch, tag or commit.
    device: auto (CUDA, then Apple's MPS, then the CPU) or torch's name of one. dtype: auto, float32, bfloat16, float16; auto is
    bfloat16 on GPUs that compute in it, and on CPUs that are quicker in it for weights published in 16 bits, else float32. int8 and
    int4 keep the matrices in fewer bits and compute as auto does. Raises LoadError, or the back end's own one-sentence ValueError.
    """
    if name_or_path == "toy":
        return Toy()
    if name_or_path == embedded_name():
        name_or_path = None
    if name_or_path is None and not EMBEDDED.is_dir():
        raise LoadError("The embedded model is missing from assets/model; get the checkout whole, or name a model's folder.")
    where = pick_device(device)
    if dtype not in DTYPES:
        raise LoadError(f"There is no dtype {dtype!r}; choose {', '.join(DTYPES)}.")
    path = folder_of(name_or_path)
    if path is None and (file := _file(name_or_path)):
        raise LoadError(f"{file} is a file; give the folder that it lies in.")
    if path is not None and revision:
        raise LoadError(f"A folder has no revisions, so {revision!r} can't be had of it; leave the revision away.")
    name = None if path else str(name_or_path)
    folder = Folder(path or _from_hub(str(name_or_path), revision, progress), name)
    if why := obstacle(folder.name, folder.config, folder.path):
        raise LoadError(why)
    family = FAMILIES[kind_of(folder.config)]
    if family.tokenizer and not any(folder.file(file) for file in TOKENIZER_FILES) and _speaks_gpt2(folder):
        folder = Folder(folder.path, name, beside=hub.vocabulary(fetch_it=name is not None))
    model: Denoiser = import_module(f"engine.backends.{family.module}").load(folder, _placement(dtype, where, folder))
    return model


def _file(name_or_path: str | Path | None) -> str:
    """The name of the file that this is; empty where it is none."""
    with suppress(OSError, RuntimeError):
        path = Path(name_or_path or "").expanduser()
        return path.name if path.is_file() else ""
    return ""


def _from_hub(name: str, revision: str | None, progress: Callable[[Progress], None] | None) -> Path:
    """The folder of a published model, downloaded when it isn't here yet."""
    try:
        if (found := hub.resolve(name, revision)) is None:
            for step in hub.download(name, revision):
                if progress:
                    progress(step)
            found = hub.resolve(name, revision)
    except HubError as error:
        raise LoadError(str(error)) from error
    if found is None:
        raise LoadError(f"{name} could not be kept in the cache; make room there and start again.")
    return found


def _speaks_gpt2(folder: Folder) -> bool:
    """Whether the vocabulary is GPT-2's 50,257 tokens, with or without a mask of its own."""
    return folder.config.get("vocab_size", folder.config.get("tokens")) in (50257, 50258)


def pick_device(name: str) -> torch.device:
    """The device of that name, when it can be used; `auto` is the best there is."""
    if name == "auto":
        there = (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available()))
        return torch.device(next((found for found, is_there in there if is_there and not _refusal(found)), "cpu"))
    if refusal := _refusal(name):
        raise LoadError(f"The device {name!r} can't be used here; try cpu, or auto for the best there is.") from refusal
    return torch.empty(0, device=name).device


def _refusal(device: str) -> Exception | None:
    """Why a device can't be computed on; None where it can. A GPU may be there for which this PyTorch has no kernels: copies work on it,
    and the first sum fails.
    """
    try:
        (torch.ones(2, device=device) + 1).sum().item()
    except (RuntimeError, AssertionError) as error:
        return error
    return None


def _placement(name: str, device: torch.device, folder: Folder) -> Placement:
    """Where and in which numbers."""
    if name in ("float32", "bfloat16", "float16"):
        return Placement(device, getattr(torch, name))
    # What was published in float32 keeps its precision on a CPU, where memory is not scarce.
    narrow = (device.type == "cuda" or folder.in_16_bits) and computes_in_bf16(device, folder.numbers)
    weights: Weights = "int8" if name == "int8" else "int4" if name == "int4" else "plain"
    return Placement(device, torch.bfloat16 if narrow else torch.float32, weights)
