"""One file a family of models; `load` finds the right one."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import torch

from engine.backends.folder import Folder, LoadError, Placement
from engine.backends.toy import Toy
from engine.denoiser import Denoiser
from engine.families import FAMILIES, kind_of, supported

__all__ = ["DTYPES", "EMBEDDED", "Folder", "LoadError", "Placement", "load", "pick_device"]

EMBEDDED = Path(__file__).resolve().parents[2] / "assets" / "model"
"""The model that came with the checkout."""


def load(name_or_path: str | Path | None = None, *, device: str = "auto", dtype: str = "auto") -> Denoiser:
    """A model by name or folder: None is the embedded one, "toy" the toy for tests.

    device: auto (CUDA, then Apple's MPS, then the CPU) or torch's name of one. dtype: auto, float32, bfloat16, float16.
    Raises LoadError, or the back end's own one-sentence ValueError for a folder that holds no usable model.
    """
    if name_or_path == "toy":
        return Toy()
    folder = EMBEDDED if name_or_path is None else Path(name_or_path).expanduser()
    if not folder.is_dir():
        if name_or_path is None:
            raise LoadError("The embedded model is missing from assets/model; get the checkout whole, or name a model's folder.")
        raise LoadError(f"There is no model called {str(name_or_path)!r}; give the folder of one, or leave it out for the embedded model.")
    where = pick_device(device)
    placement = Placement(where, _dtype(dtype, where))
    opened = Folder(folder)
    kind = kind_of(opened.config)
    if kind not in FAMILIES:
        said = f"is of the family {kind!r}" if kind else "does not say of which family it is"
        raise LoadError(f"{opened.name} {said}, which can't be loaded; there are {supported()}.")
    family = FAMILIES[kind]
    if family.needs:
        raise LoadError(
            f"{opened.name} is a model of the family {family.name}, which needs the package {family.needs}: run launch.py extras."
        )
    model: Denoiser = import_module(f"engine.backends.{family.module}").load(opened, placement)
    return model


def pick_device(name: str) -> torch.device:
    """The device of that name, when it can be used; `auto` is the best there is."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise LoadError(f"The device {name!r} can't be used here; try cpu, or auto for the best there is.") from error


DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def _dtype(name: str, device: torch.device) -> torch.dtype:
    """The dtype of that name; `auto` is bfloat16 where the device computes in it, float32 elsewhere."""
    if name == "auto":
        if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
        known: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.11 may lack it
        native = device.type == "cpu" and any(known.get(feature) for feature in ("avx512_bf16", "amx_bf16", "bf16"))
        return torch.bfloat16 if native else torch.float32
    if name not in DTYPES:
        raise LoadError(f"There is no dtype {name!r}; choose auto, {', '.join(DTYPES)}.")
    return DTYPES[name]
