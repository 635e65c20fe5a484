"""MDLM's published networks (kuleshov-group/mdlm, arXiv 2406.07524), and what BD3LM and SEDD share with them: the same DiT under the
same tensor names, GPT-2's tokens with the mask behind them, and documents parted by <|endoftext|>.
"""

from __future__ import annotations

from typing import Any

import torch

from engine.backends.dit import ContextDiT
from engine.backends.folder import Folder, LoadError, Placement
from engine.backends.hub_tokenizer import HubTokenizer
from engine.model import DEEPEST, ConfigError, DiT, ModelConfig

DOCUMENT = "<|endoftext|>"
"""What parts documents in GPT-2's vocabulary."""


class MDLM(ContextDiT):
    """MDLM-OWT: rows of [BOS] text [EOS] in training, both <|endoftext|>, wherever in a document they were cut."""

    framed: bool = True
    """Whether the training rows had the two ends; mdlm-noeos-owt's had not."""

    def frame(self, ids: list[int], *, starts: bool, ends: bool) -> tuple[list[int], int]:
        """[BOS] canvas [EOS], wherever in the document the canvas lies; a short one is made longer by masks, as text not known yet.

        Rows were always whole in training, and a network without a clock reads the noise level off them.
        """
        if self.framed and self.document_id is not None:
            front, back = [self.document_id], [self.document_id]
        else:
            front, back = super().frame([], starts=starts, ends=ends)[0], []
        unknown: list[int] = []
        if self.mask_id in ids and not self.time_conditioned:
            unknown = [self.mask_id] * (min(SHORTEST_ROW, self.max_length) - len(front) - len(ids) - len(back))
        return [*front, *ids, *unknown, *back], len(front)


SHORTEST_ROW = 64
"""Tokens: what masks up to the trained length gain, and a sentence in place of a page to compute (DECISIONS, Published checkpoints)."""


def load(folder: Folder, placement: Placement) -> MDLM:
    """A folder of model_type mdlm; LoadError with a sentence otherwise."""
    network = network_of(folder, placement, time_conditioning=folder.flag("time_conditioning"))
    model = MDLM(network, **speech(folder, network))
    # The config does not say which of the two trainings it was; the published names do.
    model.framed = "noeos" not in f"{folder.name} {folder.config.get('_name_or_path', '')}".lower()
    return model


def dit(folder: Folder, placement: Placement, **shape: Any) -> DiT:
    """The DiT of this shape with the folder's weights."""
    try:
        config = ModelConfig(**shape, norm="layer", activation="gelu", qk_norm=False, embed_norm=False, biases=True)
    except ConfigError as error:
        raise LoadError(f"{folder.name} can't be used: {error}") from error
    with torch.device("meta"):
        network = DiT(config)
    folder.fill(network, rename, placement)
    return network


def network_of(folder: Folder, placement: Placement, *, time_conditioning: bool) -> DiT:
    """The DiT that an MDLM or BD3LM config describes, with the folder's weights."""
    return dit(
        folder,
        placement,
        vocab_size=folder.integer("vocab_size"),
        width=folder.integer("hidden_dim"),
        depth=folder.integer("n_blocks", most=DEEPEST),
        heads=folder.integer("n_heads"),
        max_length=folder.integer("model_length"),
        cond_width=folder.integer("cond_dim"),
        time_conditioning=time_conditioning,
    )


def speech(folder: Folder, network: DiT) -> dict[str, Any]:
    """The arguments of a DiTDenoiser with GPT-2's tokens: the mask is the last id, behind the tokenizer's own."""
    tokenizer = HubTokenizer.of(folder)
    mask_id = network.config.vocab_size - 1
    if tokenizer is not None and tokenizer.vocab_size > network.config.vocab_size:
        raise LoadError(
            f"The tokenizer of {folder.name} has {tokenizer.vocab_size} tokens, the network {mask_id}; they do not belong together."
        )
    document_id = None if tokenizer is None else tokenizer.special(DOCUMENT)
    return {"tokenizer": tokenizer, "name": folder.name, "mask_id": mask_id, "document_id": document_id}


_NAMES = (
    ("vocab_embed.embedding", "embedding.weight"),
    ("sigma_map.mlp.0", "noise_level.inner"),
    ("sigma_map.mlp.2", "noise_level.outer"),
    ("output_layer.norm_final", "norm"),
    ("output_layer.linear", "head"),
    ("output_layer.adaLN_modulation", "condition"),
    ("attn_qkv", "qkv"),
    ("attn_out", "out"),
    ("mlp.0", "up"),
    ("mlp.2", "down"),
    ("adaLN_modulation", "condition"),
)
_NOT_NEEDED = ("rotary_emb.inv_freq", "sampling_eps_min", "sampling_eps_max", "noise.empty")
"""Buffers: what the rotary embedding is computed from, and BD3LM's bounds for the noise in training."""


def rename(name: str) -> str | None:
    """Our name of a published tensor; None for one that is not needed."""
    name = name.removeprefix("backbone.")
    if name in _NOT_NEEDED:
        return None
    for theirs, ours in _NAMES:
        if theirs in name:
            return name.replace(theirs, ours)
    return name
