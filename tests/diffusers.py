"""Small random diffusion networks on GPT-2's kind of tokens, in the layouts of MDLM, BD3LM and SEDD."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

from tests.encoders import gpt2_files
from tests.folders import mdlm_shapes, write

_SHAPE = {"hidden_dim": 32, "n_blocks": 2, "n_heads": 2, "cond_dim": 8}


def _folder(folder: Path, *, tokenizer: bool) -> int:
    """GPT-2's kind of files, or none; how many ids there are."""
    folder.mkdir(parents=True, exist_ok=True)
    count = gpt2_files(folder, first=[], last=["<|endoftext|>"])
    if not tokenizer:
        for name in ("vocab.json", "merges.txt"):
            (folder / name).unlink()
    return count


def make_mdlm(folder: Path, *, seed: int = 0, tokenizer: bool = True, **fields: Any) -> Path:
    """An MDLM folder; the published ones have no tokenizer of their own."""
    config = {"model_type": "mdlm", "vocab_size": _folder(folder, tokenizer=tokenizer) + 1, "model_length": 128, **_SHAPE}
    config |= {"time_conditioning": False, "dropout": 0.1, "return_dict": False, **fields}
    return write(folder, config, mdlm_shapes(config), seed=seed)


def make_bd3lm(folder: Path, *, seed: int = 0, tokenizer: bool = True, **fields: Any) -> Path:
    """A BD3LM folder of blocks of four."""
    config = {"model_type": "bd3lm", "vocab_size": _folder(folder, tokenizer=tokenizer) + 1, "model_length": 128, **_SHAPE}
    config |= {"block_size": 4, "cross_attn": True, "adaln": True, "causal": False, "attn_backend": "flex", "time_conditioning": False}
    config |= {"var_min": True, "sampling_eps_min": 0.001, "sampling_eps_max": 0.999, **fields}
    bounds: list[tuple[str, tuple[int, ...]]] = [("sampling_eps_min", ()), ("sampling_eps_max", ())]
    return write(folder, config, chain(mdlm_shapes(config), bounds), seed=seed)


def make_sedd(folder: Path, *, seed: int = 0, tokenizer: bool = True, **fields: Any) -> Path:
    """A SEDD folder: its config has no model_type."""
    tokens = _folder(folder, tokenizer=tokenizer)
    shapes = mdlm_shapes({"vocab_size": tokens + 1, **_SHAPE})
    shape = {"hidden_size": 32, "cond_dim": 8, "n_blocks": 2, "n_heads": 2, "length": 128, "dropout": 0.1, "scale_by_sigma": True}
    config = {
        "ngpus": 8,
        "tokens": tokens,
        "graph": {"type": "absorb", "file": "data", "report_all": False},
        "noise": {"type": "loglinear", "sigma_min": 0.0001, "sigma_max": 20},
        "model": {"name": "small", "type": "ddit", **shape, **fields},
    }
    return write(folder, config, ((name.removeprefix("backbone."), size) for name, size in shapes), seed=seed)
