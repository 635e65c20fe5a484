"""The DiT family: the embedded model and everything else in our checkpoint format, and MDLM's published weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from engine import checkpoint
from engine.backends.folder import Folder, Placement
from engine.checkpoint import CheckpointError
from engine.model import DiT, ModelConfig
from engine.schedules import SCHEDULES
from engine.tokenizer import Tokenizer


class DiTDenoiser:
    """A DiT network behind the Denoiser protocol."""

    def __init__(
        self,
        model: DiT,
        tokenizer: Tokenizer | None,
        *,
        name: str,
        mask_id: int,
        device: torch.device,
        dtype: torch.dtype,
        length_bias: dict[str, float] | None = None,
    ) -> None:
        self.model = model.to(device, dtype).eval().requires_grad_(False)
        self.tokenizer, self.name, self.mask_id = tokenizer, name, mask_id
        self.device, self.dtype, self.length_bias = device, dtype, length_bias
        self.vocab_size = model.config.vocab_size
        self.max_length = model.config.max_length
        self.time_conditioned = model.config.time_conditioning
        self.suppressed: Sequence[int] = sorted({mask_id, *(tokenizer.without_text if tokenizer else ())})

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without special tokens."""
        return self._tokenizer().encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids; bytes that make no character become U+FFFD."""
        return self._tokenizer().decode(ids)

    def frame(self, ids: list[int], *, starts: bool, ends: bool) -> tuple[list[int], int]:
        """Lead the canvas with the document token where the document starts.

        No token closes it: a draft's end is where the writer is, not where the document ends.
        """
        return ([self._tokenizer().document_id, *ids], 1) if starts else (ids, 0)

    @torch.inference_mode()
    def logits(self, ids: Tensor, positions: Tensor, *, t: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
        """(B, L) ids, (B, L) bool positions -> (N, V) float32 raw logits, on the device of `ids`.

        A time-conditioned network is given sigma of the log-linear schedule at t, or at the share of masks.
        """
        sigma = None
        if self.time_conditioned:
            seen = torch.ones_like(ids, dtype=torch.bool) if attend is None else attend
            share = (ids.eq(self.mask_id) & seen).sum(-1) / seen.sum(-1) if t is None else t
            sigma = SCHEDULES["loglinear"].sigma(share.float()).to(self.device)
        where = positions.reshape(-1).nonzero()[:, 0].to(self.device)
        seen_there = None if attend is None else attend.to(self.device)
        return self.model(ids.to(self.device), where, sigma, seen_there).float().to(ids.device)

    def _tokenizer(self) -> Tokenizer:
        if self.tokenizer is None:
            raise CheckpointError(f"{self.name} has no tokenizer, so it cannot read text; put its tokenizer in the model folder.")
        return self.tokenizer


def load(folder: Folder, placement: Placement) -> DiTDenoiser:
    """A model folder in our format, or in the hub layout of MDLM; CheckpointError or LoadError with a sentence otherwise."""
    if folder.config.get("model_type") == "mdlm":
        return load_mdlm(folder, placement)
    for name in (checkpoint.WEIGHTS, checkpoint.TOKENIZER):
        folder.file(name)  # refuses links out of the folder
    held = checkpoint.load(folder.path)
    return DiTDenoiser(
        held.model,
        held.tokenizer,
        name=held.name,
        mask_id=held.tokenizer.mask_id,
        device=placement.device,
        dtype=placement.dtype,
        length_bias=held.length_bias,
    )


_MDLM_IGNORED = {"architectures", "auto_map", "dropout", "return_dict", "torch_dtype", "transformers_version", "_name_or_path"}


def load_mdlm(folder: Folder, placement: Placement) -> DiTDenoiser:
    """MDLM's published DiT (kuleshov-group/mdlm): its config fields and `backbone.` tensor names, safetensors only."""
    config = folder.config
    known = {"model_type", "vocab_size", "hidden_dim", "n_blocks", "n_heads", "model_length", "cond_dim", "time_conditioning"}
    if unknown := sorted(set(config) - known - _MDLM_IGNORED):
        raise CheckpointError(f"The config has a field {unknown[0]!r} that this version does not understand; update Lacuna.")
    if missing := sorted(known - set(config)):
        raise CheckpointError(f"The config has no field {missing[0]!r}; this is not a whole MDLM checkpoint.")
    shape = ModelConfig(
        vocab_size=config["vocab_size"],
        width=config["hidden_dim"],
        depth=config["n_blocks"],
        heads=config["n_heads"],
        max_length=config["model_length"],
        norm="layer",
        activation="gelu",
        qk_norm=False,
        embed_norm=False,
        biases=True,
        cond_width=config["cond_dim"],
        time_conditioning=config["time_conditioning"],
    )
    with torch.device("meta"):
        model = DiT(shape)
    folder.fill(model, rename_mdlm, placement)
    return DiTDenoiser(model, None, name=folder.name, mask_id=shape.vocab_size - 1, device=placement.device, dtype=placement.dtype)


_MDLM_NAMES = (
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


def rename_mdlm(name: str) -> str | None:
    """Our name of one of MDLM's tensors; None for the rotary buffer, which we compute."""
    name = name.removeprefix("backbone.")
    if name == "rotary_emb.inv_freq":
        return None
    for theirs, ours in _MDLM_NAMES:
        if theirs in name:
            return name.replace(theirs, ours)
    return name
