"""One file a family of models; `load` finds the right one."""

from __future__ import annotations

from pathlib import Path

from engine.denoiser import Denoiser

EMBEDDED = Path(__file__).resolve().parents[2] / "assets" / "model"
"""The model that came with the checkout."""


class LoadError(ValueError):
    """A model can't be loaded; the message is one sentence for the user."""


def load(name_or_path: str | Path | None = None, *, device: str = "auto", dtype: str = "auto") -> Denoiser:
    """A model by name or folder: None is the embedded one, "toy" the toy for tests.

    device: auto (CUDA, then Apple's MPS, then the CPU) or torch's name of one. dtype: auto, float32, bfloat16, float16.
    Raises LoadError, or the back end's own one-sentence ValueError for a folder that holds no usable model.
    """
    if name_or_path == "toy":
        from engine.backends.toy import Toy

        return Toy()
    folder = EMBEDDED if name_or_path is None else Path(name_or_path).expanduser()
    if not folder.is_dir():
        if name_or_path is None:
            raise LoadError("The embedded model is missing from assets/model; get the checkout whole, or name a model's folder.")
        raise LoadError(f"There is no model called {str(name_or_path)!r}; give the folder of one, or leave it out for the embedded model.")
    from engine.backends import dit

    return dit.load(folder, _device(device), dtype)


def _device(name: str) -> str:
    """torch's name of a device that is there."""
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise LoadError(f"The device {name!r} can't be used here; try cpu, or auto for the best there is.") from error
    return name
