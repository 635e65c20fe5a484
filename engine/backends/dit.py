"""Our own network: the embedded model and everything else in our checkpoint format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from engine import checkpoint
from engine.backends.folded import fold
from engine.backends.folder import Folder, Placement
from engine.backends.hub_tokenizer import HubTokenizer
from engine.backends.packed import pack
from engine.backends.quantised import quantise
from engine.backends.speech import Speech
from engine.caches import ContextCache
from engine.forward import guided
from engine.hub.installed import WEIGHTS
from engine.length_head import LengthHead, around, reading
from engine.lexicon import Lexicon
from engine.model import DiT
from engine.reveal_order import RevealOrder
from engine.schedules import SCHEDULES
from engine.tokenizer import Tokenizer


class DiTDenoiser(Speech):
    """A DiT network behind the Denoiser protocol."""

    def __init__(
        self,
        model: DiT,
        tokenizer: Tokenizer | HubTokenizer | None,
        *,
        name: str,
        mask_id: int,
        document_id: int | None = None,
        length_bias: dict[str, float] | None = None,
        learned_schedule: tuple[float, ...] | None = None,
        reveal_order: RevealOrder | None = None,
        recommended: dict[str, Any] | None = None,
        lexicon: Lexicon | None = None,
        beyond: str = "",
        evened: bool = False,
    ) -> None:
        """`model` is where it shall run. `document_id`: the token that stands before each document in training. `recommended`: the
        settings that are best for it (`engine.settings.recommended`). `lexicon`: the words of its texts (`engine.spelling`). `beyond`: what
        a draft is read to go on with where a gap ends it (`engine.canvas`). `evened`: its texts were (`engine.lines`).
        """
        self.network, self.tokenizer, self.name = model.eval().requires_grad_(False), tokenizer, name
        self.mask_id, self.document_id, self.length_bias = mask_id, document_id, length_bias
        self.learned_schedule, self.reveal_order = learned_schedule, reveal_order
        self.recommended, self.lexicon, self.beyond, self.evened = recommended or {}, lexicon, beyond, evened
        self.device = model.embedding.weight.device
        self.vocab_size = model.config.vocab_size
        self.max_length = model.config.max_length
        self.time_conditioned = model.config.time_conditioning
        special = {mask_id} if document_id is None else {mask_id, document_id}
        self.suppressed: Sequence[int] = sorted(special | self.unwritten(self.vocab_size))

    def frame(self, ids: list[int], *, starts: bool, ends: bool) -> tuple[list[int], int]:
        """Lead the canvas with the document token where the document starts.

        No token closes it: a draft's end is where the writer is, not where the document ends.
        """
        return ([self.document_id, *ids], 1) if starts and self.document_id is not None else (list(ids), 0)

    @torch.inference_mode()
    def logits(self, ids: Tensor, positions: Tensor, *, t: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
        """(B, L) ids, (B, L) bool positions -> (N, V) float32 raw logits, on the device of `ids`.

        A time-conditioned network is told sigma = -log(1 - (1 - 1e-3) t), the log-linear schedule's, of `t`, or of each row's masks.
        """
        sigma = self.noise_level(ids, t, attend) if self.time_conditioned else None
        return self.network_rows(ids, positions, sigma, attend).to(ids.device)

    def noise_level(self, ids: Tensor, t: Tensor | None, attend: Tensor | None) -> Tensor:
        """(B,) sigma at times t or, without them, at each row's share of masks."""
        if t is None:
            seen = torch.ones_like(ids, dtype=torch.bool) if attend is None else attend
            t = (ids.eq(self.mask_id) & seen).sum(-1) / seen.sum(-1)
        return SCHEDULES["loglinear"].sigma(t).to(self.device, torch.float32)

    def network_rows(
        self,
        ids: Tensor,
        positions: Tensor,
        sigma: Tensor | None,
        attend: Tensor | None,
        context: ContextCache | None = None,
        guidance: float = 0.0,
    ) -> Tensor:
        """(N, V) float32, what the network says at the positions; `attend` (B, L) or (B, L, L) as the network takes it."""
        where = positions.reshape(-1).nonzero()[:, 0].to(self.device)
        seen = None if attend is None else attend.to(self.device)
        states = self.network.states(ids.to(self.device), sigma, seen, None, where, context)
        if guidance:  # before the head, which then reads half as much
            states = guided(states.float(), guidance).to(states.dtype)
        rows: Tensor = self.network.head(states)
        return rows.float()


class ContextDiT(DiTDenoiser):
    """A DiT network that looks at all places alike and, to keep a context, at no clock: `engine.denoiser.KeepsContext`."""

    @property
    def kept_bytes(self) -> int:
        """Keys and values of all blocks."""
        return 2 * self.network.config.depth * self.network.config.width * self.network.embedding.weight.element_size()

    def read_from(self, positions: Tensor, attend: Tensor | None) -> Tensor:
        """Each position from its own row."""
        return positions

    @torch.inference_mode()
    def logits_beside(
        self, ids: Tensor, positions: Tensor, context: ContextCache, *, attend: Tensor | None = None, guidance: float = 0.0
    ) -> Tensor:
        """(B, L) ids, (B, L) bool positions -> (N, V) float32 raw logits, as `logits`; the context's places are on the network's device."""
        return self.network_rows(ids, positions, None, attend, context, guidance).to(ids.device)


class LengthwiseDiT(ContextDiT):
    """A DiT network with a length head beside it: `engine.denoiser.KnowsLengths`."""

    def __init__(self, model: DiT, tokenizer: Tokenizer | HubTokenizer, lengths: LengthHead, **about: Any) -> None:
        super().__init__(model, tokenizer, **about)
        self.lengths = lengths.to(self.device).eval().requires_grad_(False)

    @torch.inference_mode()
    def gap_lengths(self, canvas: Tensor, gap: Tensor, *, attend: Tensor | None = None) -> Tensor:
        """(B, L) ids, (B, L) bool one mask a row, a gap of any length -> (B, N) log-probabilities of 1, 2, ... N tokens."""
        with reading(self.network, self.lengths.config.layers) as states:
            self.logits(canvas, torch.zeros_like(gap), attend=attend)
        seen = None if attend is None else attend.to(self.device)
        log_probs: Tensor = self.lengths(around(states, gap.to(self.device), seen))
        return log_probs.to(canvas.device)


BEYOND = "\n\n"
"""Rows are cut anywhere in training, so that to a network a canvas without an end is a text cut in mid-sentence. A gap at the end of a
draft ends a paragraph: true words cost 3.96 ± 0.30 nats a gap less before an empty line (docs/record/fifteenth.md)."""


def load(folder: Folder, placement: Placement) -> ContextDiT:
    """A model folder in our format; CheckpointError or LoadError with a sentence otherwise."""
    for name in (WEIGHTS, checkpoint.TOKENIZER, checkpoint.LENGTHS, checkpoint.WORDS):
        folder.file(name)  # refuses links out of the folder
    held = checkpoint.load(folder.path)
    # On GPUs a norm is one operation; int8 weights are on a grid that folded ones leave; float16 has no room for squares scaled later.
    if placement.device.type == "cpu" and not placement.bits and placement.dtype != torch.float16:
        fold(held.model)  # before anything is rounded
    net, tokenizer = held.model.to(placement.device, placement.dtype), held.tokenizer
    if placement.bits:
        quantise(net, placement.bits, placement.dtype)
    pack(net)
    about: dict[str, Any] = {
        "name": held.name,
        "mask_id": tokenizer.mask_id,
        "document_id": tokenizer.document_id,
        "length_bias": held.length_bias,
        "learned_schedule": held.schedule,
        "reveal_order": held.reveal_order,
        "recommended": held.settings,
        "lexicon": held.lexicon,
        "beyond": BEYOND,
        "evened": True,
    }
    if held.lengths is None:
        return ContextDiT(net, tokenizer, **about)
    return LengthwiseDiT(net, tokenizer, held.lengths, **about)
