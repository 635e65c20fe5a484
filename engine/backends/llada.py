"""LLaDA (arXiv 2502.09992): GSAI-ML/LLaDA-8B-Base, LLaDA-8B-Instruct, LLaDA-1.5 and others of model_type "llada"."""

from __future__ import annotations

import re
from functools import partial

from engine.backends.decoder import DecoderDenoiser, Shape, check_fields, network_of, reading_of, silent_ids
from engine.backends.folder import Folder, LoadError, Placement
from engine.model import DEEPEST

_KNOWN = frozenset(
    {
        "activation_type",
        "alibi",
        "alibi_bias_max",
        "attention_layer_norm",
        "attention_layer_norm_with_affine",
        "bias_for_layer_norm",
        "block_group_size",
        "block_type",
        "d_model",
        "embedding_size",
        "flash_attention",
        "include_bias",
        "include_qkv_bias",
        "init_cutoff_factor",
        "init_device",
        "init_fn",
        "init_std",
        "input_emb_norm",
        "layer_norm_type",
        "layer_norm_with_affine",
        "max_sequence_length",
        "mlp_hidden_size",
        "mlp_ratio",
        "multi_query_attention",
        "n_heads",
        "n_kv_heads",
        "n_layers",
        "precision",
        "rms_norm_eps",
        "rope",
        "rope_full_precision",
        "rope_theta",
        "scale_logits",
        "vocab_size",
        "weight_tying",
    }
)


def load(folder: Folder, placement: Placement) -> DecoderDenoiser:
    """The model in a folder; LoadError with a sentence when it can't be one."""
    shape = shape_of(folder)
    tokenizer, mask_id, chat = reading_of(folder, shape)
    network = network_of(folder, shape, partial(rename, tied=shape.tied), placement)
    return DecoderDenoiser(
        network,
        tokenizer,
        name=folder.name,
        mask_id=mask_id,
        max_length=folder.integer("max_sequence_length", 4096),
        device=placement.device,
        chat=chat,
        silent=silent_ids(folder),
    )


def shape_of(folder: Folder) -> Shape:
    """The network that a config describes; LoadError for what would be another one."""
    if "num_experts" in folder.config:  # LLaDA-MoE has the same model_type
        raise LoadError(f"{folder.name} is a mixture of experts, which can't be loaded; take a LLaDA that is none.")
    check_fields(folder, _KNOWN)
    for field, *values in (
        ("block_type", "llama"),
        ("block_group_size", 1, None),
        ("activation_type", "silu"),
        ("layer_norm_type", "rms"),
        ("rope", True),
        ("alibi", False, None),
        ("attention_layer_norm", False, None),
        ("input_emb_norm", False, None),
        ("scale_logits", False, None),
        ("include_bias", False, None),
        ("bias_for_layer_norm", False, None),
        ("layer_norm_with_affine", True),
    ):
        folder.only(field, *values)
    width, heads = folder.integer("d_model"), folder.integer("n_heads")
    shared = folder.flag("multi_query_attention", False)
    kv_heads = folder.integer("n_kv_heads", 1 if shared else heads)
    if shared and kv_heads != 1:
        raise LoadError(f"The config of {folder.name} asks for one head of keys and for {kv_heads}; get the model again.")
    vocabulary = folder.integer("vocab_size")
    return Shape(
        rows=folder.integer("embedding_size", vocabulary, least=vocabulary),
        width=width,
        depth=folder.integer("n_layers", most=DEEPEST),
        heads=heads,
        kv_heads=kv_heads,
        hidden=folder.integer("mlp_hidden_size", int(folder.number("mlp_ratio", 4) * width)),
        eps=folder.number("rms_norm_eps", 1e-5),
        rotary_base=folder.number("rope_theta", 10000.0, least=1.0),
        qkv_bias=folder.flag("include_qkv_bias", False),
        tied=folder.flag("weight_tying", True),
        wide_rotation=folder.flag("rope_full_precision", True),
    )


_NAMES = {
    "attn_norm": "norm1",
    "ff_norm": "norm2",
    "q_proj": "q",
    "k_proj": "k",
    "v_proj": "v",
    "attn_out": "out",
    "ff_proj": "gate",
    "up_proj": "up",
    "ff_out": "down",
}
_TOP = {"wte": "embedding", "ln_f": "norm", "ff_out": "head"}
_BLOCK = re.compile(r"blocks\.(\d+)\.(\w+)\.(weight|bias)")


def rename(name: str, *, tied: bool = False) -> str | None:
    """Our name of a published tensor; `ff_out` is a block's last matrix inside it, and the output head outside."""
    name = name.removeprefix("model.").removeprefix("transformer.")
    if (found := _BLOCK.fullmatch(name)) and found[2] in _NAMES:
        return f"layers.{found[1]}.{_NAMES[found[2]]}.{found[3]}"
    part, _, kind = name.partition(".")
    if part == "ff_out" and tied:
        return None
    return f"{_TOP[part]}.{kind}" if part in _TOP else name
