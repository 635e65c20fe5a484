"""Variants of LLaDA's and Dream's networks that the golden folders don't have: grouped, single and full key heads, tied and wider
embeddings, biases, other norms and rotary bases. Each loads from a folder, predicts as the published code does and takes its steps.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import engine
from engine.denoiser import Denoiser
from tests.checkpoints import save
from tests.sampled import GOLDEN, after_prompt, check, published, replay

CONFIGS: dict[str, dict[str, Any]] = json.loads((GOLDEN / "variants/variants.json").read_text(encoding="utf-8"))
TENSORS = load_file(GOLDEN / "variants/variants.safetensors")


def weights(name: str) -> dict[str, Tensor]:
    at = f"{name}.weights."
    return {key.removeprefix(at): tensor for key, tensor in TENSORS.items() if key.startswith(at)}


def load(folder: Path, name: str, tensors: dict[str, Tensor], shards: int = 1) -> Denoiser:
    """The variant through the front door, from a folder in the hub's layout."""
    save(folder, {key: value for key, value in CONFIGS[name].items() if key != "run"}, tensors, shards)
    return engine.load(folder, device="cpu", dtype="float32")


def predictions(model: Denoiser, name: str) -> tuple[Tensor, Tensor]:
    """Ours and the published ones, each row predicting its own position."""
    ids, theirs = TENSORS[f"{name}.ids"], TENSORS[f"{name}.logits"]
    if name.startswith("dream"):
        theirs = torch.cat([theirs[:, :1], theirs[:, :-1]], 1)
    return model.logits(ids, torch.ones_like(ids, dtype=torch.bool)), theirs.flatten(0, 1)


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_and_steps_are_the_published_ones(tmp_path: Path, name: str) -> None:
    model = load(tmp_path, name, weights(name))
    torch.testing.assert_close(*predictions(model, name), atol=1e-4, rtol=0)

    model.suppressed = [model.mask_id]
    trace, seen, run = TENSORS[f"{name}.trace"].long(), TENSORS[f"{name}.seen"], CONFIGS[name]["run"]
    prompt = trace[0, :, : seen.shape[1]]
    x = after_prompt(prompt, trace.shape[-1] - prompt.shape[1], model.mask_id)
    settings = published(**{"method": "LLaDA with guidance", **run})
    check(replay(model, x, settings, attend=after_prompt(seen, x.shape[1] - seen.shape[1], 1).bool()), x, trace)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["llada.tied", "dream.tied", "llada.grouped"])
def test_however_the_file_was_saved(tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    """In halves, in shards, under bare names: the network is that of the rounded weights."""
    rounded = {key: tensor.to(dtype) for key, tensor in weights(name).items()}
    whole, _ = predictions(load(tmp_path / "whole", name, {key: tensor.float() for key, tensor in rounded.items()}), name)
    bare = {key.removeprefix("model."): tensor for key, tensor in rounded.items()}
    for at, tensors in enumerate((rounded, bare)):
        found, _ = predictions(load(tmp_path / f"shards{at}", name, tensors, shards=3), name)
        torch.testing.assert_close(found, whole, atol=1e-6, rtol=0)
