"""A2D, autoregressive models made into masked diffusion models by dLLM (arXiv 2602.22661): the same network, its attention both ways.

dllm-hub/Qwen3-0.6B-diffusion-mdlm-v0.1 and others of model_type "a2d-qwen3", "a2d-qwen2" or "a2d-llama". Unlike Dream, which was made
alike, they were trained without the shift: a row predicts its own position.
"""

from __future__ import annotations

from functools import partial

from engine.backends import qwen
from engine.backends.chat import chat_of
from engine.backends.decoder import DecoderDenoiser, Shape, mask_of, network_of, silent_ids, special_id
from engine.backends.folder import Folder, LoadError, Placement
from engine.backends.hub_tokenizer import HubTokenizer

QWEN3_HEAD = 128
"""Width of a head where a config of Qwen3 names none (`transformers`, Qwen3Config)."""


def load(folder: Folder, placement: Placement) -> DecoderDenoiser:
    """The model in a folder; LoadError with a sentence when it can't be one."""
    if "bd3lm" in folder.name.lower():  # nothing in its config tells it from the others
        raise LoadError(
            f"{folder.name} sees nothing of what stands behind a gap, for it writes block by block; take the mdlm one of its kind."
        )
    shape = shape_of(folder)
    shape.check(folder.name)
    tokenizer = HubTokenizer.of(folder)
    mask_id = mask_of(folder, tokenizer, shape.rows)
    end = special_id(folder, tokenizer, "eos", shape.rows)
    chat = chat_of(folder, tokenizer)
    network = network_of(folder, shape, partial(qwen.rename, tied=shape.tied), placement)
    return DecoderDenoiser(
        network,
        tokenizer,
        name=folder.name,
        mask_id=mask_id,
        max_length=folder.integer("max_position_embeddings", 2048),
        device=placement.device,
        chat=chat,
        close=[end] if chat and end is not None else [],  # behind every answer that they were trained on
        silent=silent_ids(folder),
    )


def shape_of(folder: Folder) -> Shape:
    """The network that a config describes; LoadError for what would be another one."""
    base = str(folder.config["model_type"]).lower().removeprefix("a2d-")
    folder.only("attention_bias", False, None)  # where Qwen3 and Llama say so, the output would have one, too
    return qwen.shape_of(folder, qkv_bias=base == "qwen2", qk_norm=base == "qwen3", head_width=QWEN3_HEAD if base == "qwen3" else None)
