"""Qwen's and Llama's configs and names of tensors, as `transformers` writes them, for the families that were made from these models."""

from __future__ import annotations

import re

from engine.backends.decoder import Shape, check_fields
from engine.backends.folder import Folder, LoadError
from engine.model import DEEPEST

_KNOWN = frozenset(
    {
        "attention_bias",
        "head_dim",
        "hidden_act",
        "hidden_size",
        "intermediate_size",
        "layer_types",
        "max_position_embeddings",
        "max_window_layers",
        "mlp_bias",
        "num_attention_heads",
        "num_hidden_layers",
        "num_key_value_heads",
        "pretraining_tp",
        "rms_norm_eps",
        "rope_parameters",
        "rope_scaling",
        "rope_theta",
        "sliding_window",
        "tie_word_embeddings",
        "use_sliding_window",
        "vocab_size",
    }
)


def shape_of(folder: Folder, *, qkv_bias: bool = False, qk_norm: bool = False, head_width: int | None = None) -> Shape:
    """The network that a config describes; LoadError for what would be another one.

    qkv_bias, qk_norm: what the family has without its configs saying so. head_width: where the config names none; else an even share.
    """
    check_fields(folder, _KNOWN)
    folder.only("hidden_act", "silu")
    folder.only("mlp_bias", False, None)
    folder.only("pretraining_tp", 1, None)
    folder.only("use_sliding_window", False, None)
    rotary = folder.config.get("rope_parameters") or {}
    for field in ("rope_scaling", "rope_parameters"):
        scaling = folder.config.get(field) or {}
        if not isinstance(scaling, dict) or scaling.get("rope_type", scaling.get("type", "default")) != "default":
            raise LoadError(
                f"The {field!r} of {folder.name}'s config scales the rotary positions, which this version can't do; take the model without."
            )
    if set(folder.config.get("layer_types") or ()) - {"full_attention"}:
        raise LoadError(f"The 'layer_types' of {folder.name}'s config ask for layers that see only a window, which this version can't do.")
    heads = folder.integer("num_attention_heads")
    base = rotary.get("rope_theta") if isinstance(rotary, dict) else None
    named = folder.config.get("head_dim") is not None
    return Shape(
        rows=folder.integer("vocab_size"),
        width=folder.integer("hidden_size"),
        depth=folder.integer("num_hidden_layers", most=DEEPEST),
        heads=heads,
        kv_heads=folder.integer("num_key_value_heads", heads),
        hidden=folder.integer("intermediate_size"),
        eps=folder.number("rms_norm_eps", 1e-6),
        rotary_base=float(base) if isinstance(base, int | float) else folder.number("rope_theta", 10000.0, least=1.0),
        head_width=folder.integer("head_dim") if named else head_width or 0,
        qkv_bias=qkv_bias,
        qk_norm=qk_norm,
        tied=folder.flag("tie_word_embeddings", False),
        wide_rotation=False,
    )


_NAMES = {
    "input_layernorm": "norm1",
    "post_attention_layernorm": "norm2",
    "self_attn.q_proj": "q",
    "self_attn.k_proj": "k",
    "self_attn.v_proj": "v",
    "self_attn.q_norm": "q_norm",
    "self_attn.k_norm": "k_norm",
    "self_attn.o_proj": "out",
    "mlp.gate_proj": "gate",
    "mlp.up_proj": "up",
    "mlp.down_proj": "down",
}
_LAYER = re.compile(r"layers\.(\d+)\.([\w.]+)\.(weight|bias)")


def rename(name: str, *, tied: bool = False) -> str | None:
    """Our name of a published tensor; None for the rotary table, which we compute, and for a head that is the embedding."""
    name = name.removeprefix("model.")
    if name.endswith("rotary_emb.inv_freq") or (tied and name == "lm_head.weight"):
        return None
    if (found := _LAYER.fullmatch(name)) and found[2] in _NAMES:
        return f"layers.{found[1]}.{_NAMES[found[2]]}.{found[3]}"
    return {"embed_tokens.weight": "embedding.weight", "lm_head.weight": "head.weight"}.get(name, name)
