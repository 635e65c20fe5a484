"""Model folders in the hub's layout, made in the test: random weights, in one file or in shards written one after the other."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from engine import backends


def load(*arguments: Any, **options: Any) -> Any:
    """`engine.load`, for tests that look into the network."""
    return backends.load(*arguments, **options)


MDLM: dict[str, Any] = {
    "model_type": "mdlm",
    "vocab_size": 97,
    "hidden_dim": 32,
    "n_blocks": 2,
    "n_heads": 2,
    "model_length": 24,
    "cond_dim": 8,
    "time_conditioning": False,
    "auto_map": {"AutoModelForMaskedLM": "modeling_mdlm.MDLM"},
}


def mdlm_shapes(config: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The tensors of MDLM's published layout, in file order."""
    wide, cond, vocab = config["hidden_dim"], config["cond_dim"], config["vocab_size"]
    yield "backbone.vocab_embed.embedding", (vocab, wide)
    yield "backbone.sigma_map.mlp.0.weight", (cond, 256)
    yield "backbone.sigma_map.mlp.0.bias", (cond,)
    yield "backbone.sigma_map.mlp.2.weight", (cond, cond)
    yield "backbone.sigma_map.mlp.2.bias", (cond,)
    yield "backbone.rotary_emb.inv_freq", (wide // config["n_heads"] // 2,)
    for block in (f"backbone.blocks.{i}." for i in range(config["n_blocks"])):
        yield block + "norm1.weight", (wide,)
        yield block + "attn_qkv.weight", (3 * wide, wide)
        yield block + "attn_out.weight", (wide, wide)
        yield block + "norm2.weight", (wide,)
        yield block + "mlp.0.weight", (4 * wide, wide)
        yield block + "mlp.0.bias", (4 * wide,)
        yield block + "mlp.2.weight", (wide, 4 * wide)
        yield block + "mlp.2.bias", (wide,)
        yield block + "adaLN_modulation.weight", (6 * wide, cond)
        yield block + "adaLN_modulation.bias", (6 * wide,)
    yield "backbone.output_layer.norm_final.weight", (wide,)
    yield "backbone.output_layer.linear.weight", (vocab, wide)
    yield "backbone.output_layer.linear.bias", (vocab,)
    yield "backbone.output_layer.adaLN_modulation.weight", (2 * wide, cond)
    yield "backbone.output_layer.adaLN_modulation.bias", (2 * wide,)


def write(
    folder: Path,
    config: dict[str, Any],
    shapes: Iterator[tuple[str, tuple[int, ...]]],
    *,
    shard_bytes: int | None = None,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> Path:
    """Write config.json and random weights: model.safetensors, or shards of about `shard_bytes` and their index."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    random = torch.Generator().manual_seed(seed)
    shards: list[list[str]] = [[]]
    held: dict[str, torch.Tensor] = {}
    size = total = 0

    def flush() -> None:
        save_file(held, folder / f"part-{len(shards):05}.safetensors", metadata={"format": "pt"})
        held.clear()

    for name, shape in shapes:
        count = math.prod(shape)
        drawn = torch.randn(min(count, 2**20), generator=random).mul(0.1).to(dtype)  # large tensors repeat themselves, to be quick
        tensor = drawn.repeat(-(-count // max(len(drawn), 1)))[:count].reshape(shape).contiguous()
        if shard_bytes and held and size + tensor.nbytes > shard_bytes:
            flush()
            shards.append([])
            size = 0
        held[name] = tensor
        shards[-1].append(name)
        size, total = size + tensor.nbytes, total + tensor.nbytes
    flush()
    if shard_bytes is None:
        (folder / "part-00001.safetensors").rename(folder / "model.safetensors")
        return folder
    where = {}
    for number, names in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        (folder / f"part-{number:05}.safetensors").rename(folder / file)
        where |= dict.fromkeys(names, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": where}))
    return folder


LLADA: dict[str, Any] = {
    "model_type": "llada",
    "block_type": "llama",
    "layer_norm_type": "rms",
    "activation_type": "silu",
    "rope": True,
    "rope_theta": 500000.0,
    "d_model": 4096,
    "mlp_hidden_size": 12288,
    "n_heads": 32,
    "n_kv_heads": 32,
    "n_layers": 32,
    "vocab_size": 126464,
    "embedding_size": 126464,
    "max_sequence_length": 4096,
    "mask_token_id": 126336,
    "weight_tying": False,
}
"""LLaDA-8B's own shape."""


def llada_shapes(config: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The tensors of LLaDA's published layout, in file order."""
    wide, hidden, vocab = config["d_model"], config["mlp_hidden_size"], config["embedding_size"]
    yield "model.transformer.wte.weight", (vocab, wide)
    for block in (f"model.transformer.blocks.{i}." for i in range(config["n_layers"])):
        yield from ((block + f"{name}.weight", (wide,)) for name in ("attn_norm", "ff_norm"))
        yield from ((block + f"{name}.weight", (wide, wide)) for name in ("q_proj", "k_proj", "v_proj", "attn_out"))
        yield from ((block + f"{name}.weight", (hidden, wide)) for name in ("ff_proj", "up_proj"))
        yield block + "ff_out.weight", (wide, hidden)
    yield "model.transformer.ln_f.weight", (wide,)
    yield "model.transformer.ff_out.weight", (vocab, wide)


def llada(folder: Path, *, shard_bytes: int | None = None, dtype: torch.dtype = torch.bfloat16, **changes: Any) -> Path:
    """A random LLaDA checkpoint of the 8B model's shape; `changes` are config fields."""
    config = LLADA | changes
    return write(folder, config, llada_shapes(config), shard_bytes=shard_bytes, dtype=dtype)


def mdlm(folder: Path, *, shard_bytes: int | None = None, dtype: torch.dtype = torch.float32, **changes: Any) -> Path:
    """A random MDLM checkpoint; `changes` are config fields."""
    config = MDLM | changes
    return write(folder, config, mdlm_shapes(config), shard_bytes=shard_bytes, dtype=dtype)
