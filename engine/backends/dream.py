"""Dream (arXiv 2508.15487) and DreamOn: Dream-org/Dream-v0-Base-7B, Dream-v0-Instruct-7B, DreamOn-v0-7B and others of model_type "Dream".

Made from Qwen2.5, and like it a row of the published network predicts the next position: the shift is undone here.
"""

from __future__ import annotations

from functools import partial

from engine.backends import qwen
from engine.backends.decoder import DecoderDenoiser, Shape, network_of, reading_of, silent_ids, special_id
from engine.backends.folder import Folder, Placement

EXPAND = "<|expand|>"
"""What DreamOn writes where one mask should be two. Where a mask should be gone it writes the end token."""


class Dream(DecoderDenoiser):
    """A Dream network behind the Denoiser protocol."""

    expand_id: int | None = None
    """The id of DreamOn's expand token; None for a model that was not trained with one."""
    delete_id: int | None = None
    """The id by which DreamOn takes a mask away; None where there is no expand token."""


def load(folder: Folder, placement: Placement) -> Dream:
    """The model in a folder; LoadError with a sentence when it can't be one."""
    shape = shape_of(folder)
    tokenizer, mask_id, chat = reading_of(folder, shape)
    expand = special_id(folder, tokenizer, "expand", shape.rows)
    if expand is None and tokenizer:  # DreamOn's own config doesn't name it
        expand = special_id(folder, tokenizer, EXPAND, shape.rows)
    end = special_id(folder, tokenizer, "eos", shape.rows)
    delete = special_id(folder, tokenizer, "delete", shape.rows)
    delete = end if delete is None else delete
    grows = expand is not None and delete is not None
    # The published configs name the end token as the beginning, too; the tokenizer knows better.
    start = tokenizer.special("bos") if tokenizer else None
    start = special_id(folder, None, "bos", shape.rows) if start is None or start >= shape.rows else start
    network = network_of(folder, shape, partial(qwen.rename, tied=shape.tied), placement)
    model = Dream(
        network,
        tokenizer,
        name=folder.name,
        mask_id=mask_id,
        max_length=folder.integer("max_position_embeddings", 2048),
        device=placement.device,
        chat=chat,
        lead=[] if start is None else [start],
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
    folder.only("attention_bias", True, None)
    return qwen.shape_of(folder, qkv_bias=True)
