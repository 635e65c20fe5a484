"""Dream (arXiv 2508.15487) and DreamOn: Dream-org/Dream-v0-Base-7B, Dream-v0-Instruct-7B, DreamOn-v0-7B and others of model_type "Dream".

Made from Qwen2.5, and like it a row of the published network predicts the next position: the shift is undone here.
"""

from __future__ import annotations

import re
from functools import partial

from engine.backends.chat import lead_of
from engine.backends.decoder import DecoderDenoiser, Shape, check_fields, mask_of, network_of, silent_ids, special_id
from engine.backends.folder import Folder, LoadError, Placement
from engine.backends.hub_tokenizer import HubTokenizer
from engine.model import DEEPEST

EXPAND = "<|expand|>"
"""What DreamOn writes where one mask should be two. Where a mask should be gone it writes the end token."""

_KNOWN = frozenset(
    {
        "attention_bias",
        "hidden_act",
        "hidden_size",
        "intermediate_size",
        "layer_types",
        "max_position_embeddings",
        "max_window_layers",
        "num_attention_heads",
        "num_hidden_layers",
        "num_key_value_heads",
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


class Dream(DecoderDenoiser):
    """A Dream network behind the Denoiser protocol."""

    expand_id: int | None = None
    """The id of DreamOn's expand token; None for a model that was not trained with one."""
    delete_id: int | None = None
    """The id by which DreamOn takes a mask away; None where there is no expand token."""


def load(folder: Folder, placement: Placement) -> Dream:
    """The model in a folder; LoadError with a sentence when it can't be one."""
    shape = shape_of(folder)
    shape.check(folder.name)
    tokenizer = HubTokenizer.of(folder)
    mask_id = mask_of(folder, tokenizer, shape.rows)
    expand = special_id(folder, tokenizer, "expand", shape.rows)
    if expand is None and tokenizer:  # DreamOn's own config doesn't name it
        expand = special_id(folder, tokenizer, EXPAND, shape.rows)
    end = special_id(folder, tokenizer, "eos", shape.rows)
    delete = special_id(folder, tokenizer, "delete", shape.rows)
    delete = end if delete is None else delete
    grows = expand is not None and delete is not None
    lead = lead_of(folder, tokenizer)
    if not lead:
        # The published configs name the end token as the beginning, too; the tokenizer knows better.
        start = tokenizer.special("bos") if tokenizer else None
        start = special_id(folder, None, "bos", shape.rows) if start is None or start >= shape.rows else start
        lead = [] if start is None else [start]
    network = network_of(folder, shape, partial(rename, tied=shape.tied), placement)
    model = Dream(
        network,
        tokenizer,
        name=folder.name,
        mask_id=mask_id,
        max_length=folder.integer("max_position_embeddings", 2048),
        device=placement.device,
        lead=lead,
        # DreamOn was trained on whole files between these two.
        close=[end] if grows and end is not None else [],
        shifted=True,
        silent=[*silent_ids(folder), *(i for i in (expand, delete) if grows and i is not None)],
    )
    if grows:
        model.expand_id, model.delete_id = expand, delete
    return model


def shape_of(folder: Folder) -> Shape:
    """The network that a config describes; LoadError for what would be another one."""
    check_fields(folder, _KNOWN)
    folder.only("hidden_act", "silu")
    folder.only("attention_bias", True, None)
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
    return Shape(
        rows=folder.integer("vocab_size"),
        width=folder.integer("hidden_size"),
        depth=folder.integer("num_hidden_layers", most=DEEPEST),
        heads=heads,
        kv_heads=folder.integer("num_key_value_heads", heads),
        hidden=folder.integer("intermediate_size"),
        eps=folder.number("rms_norm_eps", 1e-6),
        rotary_base=float(base) if isinstance(base, int | float) else folder.number("rope_theta", 10000.0, least=1.0),
        qkv_bias=True,
        tied=folder.flag("tie_word_embeddings", False),
        wide_rotation=False,
    )


_NAMES = {
    "input_layernorm": "norm1",
    "post_attention_layernorm": "norm2",
    "self_attn.q_proj": "q",
    "self_attn.k_proj": "k",
    "self_attn.v_proj": "v",
    "self_attn.o_proj": "out",
    "mlp.gate_proj": "gate",
    "mlp.up_proj": "up",
    "mlp.down_proj": "down",
}
_LAYER = re.compile(r"layers\.(\d+)\.([\w.]+)\.(weight|bias)")


def rename(name: str, *, tied: bool = False) -> str | None:
    """Our name of a published tensor; None for the rotary table, which we compute."""
    name = name.removeprefix("model.")
    if name.endswith("rotary_emb.inv_freq") or (tied and name == "lm_head.weight"):
        return None
    if (found := _LAYER.fullmatch(name)) and found[2] in _NAMES:
        return f"layers.{found[1]}.{_NAMES[found[2]]}.{found[3]}"
    return {"embed_tokens.weight": "embedding.weight", "lm_head.weight": "head.weight"}.get(name, name)
