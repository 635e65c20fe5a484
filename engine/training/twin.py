"""The autoregressive twin: the same network made causal, trained on the same rows; the yardstick and the judge of fluency.

Every row is led by one document token more, given and not predicted, in training and here, so that a row of L tokens
has L predictions, as many as the denoiser has: a row that begins where its document does starts with a document token
of its own, any other row with a token out of the middle of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from engine import checkpoint
from engine.caches import KVCache
from engine.forward import token_losses
from engine.model import DiT
from engine.tokenizer import Tokenizer


def lead(ids: Tensor, document_id: int) -> Tensor:
    """(B, L) ids -> (B, L), shifted right by one behind the document token: row j of the network's output predicts token j."""
    return torch.cat((torch.full_like(ids[:, :1], document_id), ids[:, :-1]), dim=1)


class Twin:
    """A causal network that tells what a text costs and writes on."""

    def __init__(self, model: DiT, tokenizer: Tokenizer, name: str) -> None:
        self.model, self.tokenizer, self.name = model.eval().requires_grad_(False), tokenizer, name
        self.max_length = model.config.max_length

    @classmethod
    def load(cls, folder: Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> Twin:
        """The twin in a folder that `train --causal` wrote; CheckpointError for anything else."""
        held = checkpoint.load(folder, causal=True)
        return cls(held.model.to(device, dtype), held.tokenizer, held.name)

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return self.model.embedding.weight.device

    @torch.inference_mode()
    def nats(self, ids: Tensor, valid: Tensor | None = None) -> Tensor:
        """(B, L) ids -> (B, L) float32: -log p of each token given those before it, on the CPU; 0 where not `valid` (padding, at the end).

        A document's first row begins with the document token, as `encode` gives it, whose own nats are what it costs to say so.
        """
        given = lead(ids.clamp_min(0), self.tokenizer.document_id).to(self.device)
        valid = torch.ones_like(ids, dtype=torch.bool) if valid is None else valid
        where = valid.reshape(-1).nonzero()[:, 0]
        costs = torch.zeros(ids.numel(), dtype=torch.float32)
        # Nothing looks ahead, so padding at the end of a row needs no mask.
        logits = self.model(given, where.to(self.device))
        targets = ids.reshape(-1)[where].to(self.device)
        costs[where] = token_losses(logits, targets, mask_id=self.tokenizer.mask_id).float().cpu()
        return costs.view(ids.shape)

    @torch.inference_mode()
    def generate(
        self,
        prefix_ids: Tensor | Sequence[int],
        count: int,
        *,
        temperature: float = 1.0,
        cached: bool = True,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """`count` tokens after (B, P) prefix ids, drawn one by one -> (B, count) on the CPU; P may be 0.

        temperature: 0 takes the most probable token. cached: keep keys and values, so that each token costs one position
        (False: the whole row again, for comparison). Masks and document tokens are never drawn.
        """
        prefix = torch.as_tensor(prefix_ids, dtype=torch.long)
        prefix = prefix[None] if prefix.dim() == 1 else prefix
        rows = torch.cat((prefix.new_full((len(prefix), 1), self.tokenizer.document_id), prefix), dim=1)
        fresh = rows.to(self.device)
        cache = KVCache(rows.shape[1] + count) if cached else None
        for _ in range(count):
            given = fresh if cache else rows.to(self.device)
            last = torch.arange(1, len(rows) + 1, device=self.device) * given.shape[1] - 1
            logits = self.model(given, last, cache=cache).cpu().double()
            logits[:, [self.tokenizer.mask_id, self.tokenizer.document_id]] = -torch.inf
            if temperature > 0:
                drawn = torch.multinomial(torch.softmax(logits / temperature, -1), 1, generator=generator)
            else:
                drawn = logits.argmax(-1, keepdim=True)
            rows, fresh = torch.cat((rows, drawn), dim=1), drawn.to(self.device)
        return rows[:, rows.shape[1] - count :]
