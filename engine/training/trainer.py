"""One step's gradients: a batch drawn and masked, the loss in bf16, compiled where that can be done."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from engine.forward import token_losses
from engine.model import DiT
from engine.tokenizer import Tokenizer
from engine.training.corpus import CorpusError
from engine.training.crew import Crew
from engine.training.objective import MaskingRecipe, capacity, draw_masks, gather
from engine.training.twin import lead

Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(ids (B, L), positions (room,), targets (room,), weights (room,)) -> (2,): weighted sum of nats, plain sum of nats."""


class Trainer:
    """Draws batches and computes gradients. What step k draws is a pure function of (seed, rank, k), so a run resumes exactly."""

    def __init__(
        self,
        model: DiT,
        stream: np.ndarray,
        tokenizer: Tokenizer,
        recipe: MaskingRecipe,
        crew: Crew,
        *,
        seed: int,
        accumulate: int,
        compiled: bool,
    ) -> None:
        self.model, self.stream, self.recipe, self.crew = model, stream, recipe, crew
        self.mask_id, self.document_id = tokenizer.mask_id, tokenizer.document_id
        self.seed, self.accumulate = seed, accumulate
        self.loss = loss_of(model, self.mask_id, crew.device, compiled and can_compile(crew.device))
        self._room: dict[tuple[int, int], int] = {}

    def gradients(self, step: int, batch: int, length: int) -> tuple[float, int]:
        """Leave the step's mean gradient in the model; this process's nats a masked token, and the tokens that all processes saw."""
        rng = np.random.default_rng([self.seed, self.crew.rank, step])
        nats = masked = 0.0
        for _ in range(self.accumulate):
            ids, positions, targets, weights = self.draw(batch, length, rng)
            sums = self.loss(*(x.to(self.crew.device) for x in (ids, positions, targets, weights)))
            (sums[0] / (ids.numel() * self.accumulate)).backward()
            nats, masked = nats + float(sums[1].detach()), masked + float((weights > 0).sum())
        self.crew.average_gradients(self.model)
        return nats / masked, batch * length * self.accumulate * self.crew.size

    def draw(self, batch: int, length: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Masked ids (B, L), flat positions (room,), their targets and weights; rows start anywhere in the packed stream.

        The causal twin is given the same rows, and every token is a target.
        """
        if len(self.stream) <= length:
            raise CorpusError(f"The texts hold {len(self.stream)} tokens, fewer than one row of {length}; add more text.")
        starts = rng.integers(0, len(self.stream) - length, batch)
        clean = self.stream[starts[:, None] + np.arange(length)].astype(np.int64)
        if self.model.config.causal:
            every = torch.arange(clean.size)
            rows = torch.from_numpy(clean)
            return lead(rows, self.document_id), every, rows.view(-1), torch.ones(clean.size)
        if (batch, length) not in self._room:
            self._room[batch, length] = capacity(self.recipe, batch, length)
        masks, weights = draw_masks(self.recipe, batch, length, rng)
        positions, each = gather(masks, weights, self._room[batch, length])
        targets = clean.reshape(-1)[positions]
        masked = np.where(masks, self.mask_id, clean)
        return torch.from_numpy(masked), torch.from_numpy(positions), torch.from_numpy(targets), torch.from_numpy(each)


def loss_of(model: DiT, mask_id: int, device: torch.device, compiled: bool) -> Loss:
    """The loss of a batch in bf16 autocast."""

    def loss(ids: Tensor, positions: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            logits = model(ids, positions)
        nats = token_losses(logits, targets, mask_id=mask_id)
        return torch.stack([(nats * weights).sum(), (nats.detach() * (weights > 0)).sum()])

    return torch.compile(loss, dynamic=False) if compiled else loss


def can_compile(device: torch.device) -> bool:
    """Whether torch.compile can work: on a CPU it needs a C++ compiler, which a writer's laptop may lack."""
    return device.type == "cuda" or (device.type == "cpu" and any(map(shutil.which, ("c++", "g++", "clang++", "cl"))))


def attention_for(device: torch.device) -> AbstractContextManager[None]:
    """The kernel to train with: on a CPU the decomposed one is twice as fast in bf16, forward and backward (DECISIONS)."""
    if device.type != "cpu":
        return nullcontext()
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)
    return sdpa_kernel(SDPBackend.MATH)
