"""Networks of Qwen's and Llama's shape whose attention sees both ways and whose rows predict their own position, unlike Dream's.

A2D, autoregressive models that dLLM made into masked diffusion models (arXiv 2602.22661): dllm-hub/Qwen3-0.6B-diffusion-mdlm-v0.1 and
others of model_type "a2d-qwen3", "a2d-qwen2" or "a2d-llama". iLLaDA (arXiv 2606.25331): GSAI-ML/iLLaDA-8B-Base, -Instruct. EuroBERT (arXiv
2503.05500): EuroBERT/EuroBERT-210m and its like, masked language models of fifteen languages.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from engine.backends import qwen
from engine.backends.decoder import DecoderDenoiser, Shape, network_of, reading_of, silent_ids, special_id
from engine.backends.folder import Folder, Placement
from engine.hub.families import kind_of

_QUIRKS: dict[str, dict[str, Any]] = {
    "a2d-qwen3": {"qk_norm": True, "head_width": 128},  # 128 where a config names none (`transformers`, Qwen3Config)
    "a2d-qwen2": {"qkv_bias": True},
}
"""What a family's network has that Llama's hasn't."""


def load(folder: Folder, placement: Placement) -> DecoderDenoiser:
    """The model in a folder; LoadError with a sentence when it can't be one."""
    shape = shape_of(folder)
    tokenizer, mask_id, chat = reading_of(folder, shape)
    start, end = (special_id(folder, tokenizer, role, shape.rows) for role in ("bos", "eos"))
    encoder = kind_of(folder.config) == "eurobert"  # its documents stood between the two
    network = network_of(folder, shape, partial(qwen.rename, tied=shape.tied), placement)
    return DecoderDenoiser(
        network,
        tokenizer,
        name=folder.name,
        mask_id=mask_id,
        max_length=folder.integer("max_position_embeddings", 2048),
        device=placement.device,
        chat=chat,
        lead=[start] if encoder and start is not None else [],
        close=chat.close if chat else [end] if encoder and end is not None else [],
        silent=silent_ids(folder),
    )


def shape_of(folder: Folder) -> Shape:
    """The network that a config describes; LoadError for what would be another one."""
    folder.only("attention_bias", False, None)  # where it is true the output has one, too
    return qwen.shape_of(folder, **_QUIRKS.get(kind_of(folder.config), {}))
