"""One step's gradients: batches drawn ahead, the network in bf16 and compiled where that can be done, the loss part by part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.backends.precision import computes_in_bf16
from engine.forward import token_losses
from engine.model import DiT
from engine.tokenizer import Tokenizer
from engine.training.crew import Crew
from engine.training.objective import MaskingRecipe, capacity, draw_masks, gather
from engine.training.plan import Shape
from engine.training.rows import Rows
from engine.training.twin import lead

LOGITS_AT_ONCE = 2**28
"""Logits that are held at once in float32 (1 GiB): the head's part of a larger batch is done in parts."""


class Batch(NamedTuple):
    """What a step computes on."""

    ids: Tensor
    """(B, L) int64, masked."""
    where: Tensor
    """(room,) int64, flat positions of the predicted tokens."""
    targets: Tensor
    """(room,) int64."""
    weights: Tensor
    """(room,) float32, of each prediction's loss; 0 where the room was not needed."""


Key = tuple[int, int, Shape]
"""(tokens seen before the step, which of its batches, shape): a batch is a pure function of it, the seed and the process."""


class Ahead:
    """Batches drawn in threads before they are asked for, from memory that the GPU can copy from while it computes."""

    def __init__(self, draw: Callable[[Key], Batch], *, pinned: bool, threads: int = 2) -> None:
        self._draw, self._pinned = draw, pinned
        self._pool = ThreadPoolExecutor(threads, "batches")
        self._coming: dict[Key, Future[Batch]] = {}

    def take(self, key: Key, following: Sequence[Key]) -> Batch:
        """The batch of this key; those that will probably follow are begun, those that did not follow are forgotten."""
        wanted = [key, *following]
        self._coming = {k: self._coming.get(k) or self._pool.submit(self._ready, k) for k in wanted}
        return self._coming.pop(key).result()

    def close(self) -> None:
        """Let the threads go."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _ready(self, key: Key) -> Batch:
        batch = self._draw(key)
        return Batch(*(x.pin_memory() for x in batch)) if self._pinned else batch


class Trainer:
    """Draws batches and computes gradients. What a step draws is a pure function of (seed, rank, tokens seen)."""

    def __init__(
        self,
        model: DiT,
        rows: Rows,
        tokenizer: Tokenizer,
        recipe: MaskingRecipe,
        crew: Crew,
        *,
        seed: int,
        accumulate: int,
        compiled: bool,
    ) -> None:
        self.model, self.rows, self.recipe, self.crew = model, rows, recipe, crew
        self.mask_id, self.document_id = tokenizer.mask_id, tokenizer.document_id
        self.seed, self.accumulate = seed, accumulate
        self.compiled, self._bf16 = compiled, computes_in_bf16(crew.device)
        self._predictions: Callable[[Tensor, Tensor], Tensor] = torch.compile(self._states, dynamic=False) if compiled else self._states
        self._loss: Callable[[Tensor, Tensor, Tensor], Tensor] = torch.compile(self._sums, dynamic=False) if compiled else self._sums
        self._room: dict[Shape, int] = {}
        self._ahead = Ahead(self.draw, pinned=crew.device.type == "cuda")

    def close(self) -> None:
        """End the threads that draw."""
        self._ahead.close()

    def tokens(self, shape: Shape) -> int:
        """Tokens that a step of this shape takes, over all processes."""
        return shape[0] * shape[1] * self.accumulate * self.crew.size

    def room(self, shape: Shape) -> int:
        """Predicted positions of a batch of this shape."""
        if self.model.config.causal:
            return shape[0] * shape[1]
        if shape not in self._room:
            self._room[shape] = capacity(self.recipe, *shape)
        return self._room[shape]

    def gradients(self, seen: int, shape: Shape, following: Sequence[tuple[int, Shape]] = ()) -> Tensor:
        """Leave the step's mean gradient in the model; (2,) on the device: this process's nats and predicted tokens.

        seen: tokens before this step. following: (seen, shape) of steps that will probably come next.
        """
        totals = torch.zeros(2, device=self.crew.device)
        keys = [(s, k, of) for s, of in ((seen, shape), *following) for k in range(self.accumulate)]
        for k in range(self.accumulate):
            batch = self._ahead.take(keys[k], keys[k + 1 :])
            moved = Batch(*(x.to(self.crew.device, non_blocking=True) for x in batch))
            totals += self._backward(moved, 1 / (batch.ids.numel() * self.accumulate))
        self.crew.average_gradients(self.model)
        return totals

    def _backward(self, batch: Batch, scale: float) -> Tensor:
        """Add a batch's gradients, the head's part by part and then the blocks' at once, so that few logits exist at a time."""
        with self._numbers():
            states = self._predictions(batch.ids, batch.where)
        totals, gradients = torch.zeros(2, device=states.device), []
        size = max(1, LOGITS_AT_ONCE // self.model.config.vocab_size)
        for part, targets, weights in zip(*(x.split(size) for x in (states, batch.targets, batch.weights)), strict=True):
            leaf = part.detach().requires_grad_()
            with self._numbers():
                sums = self._loss(leaf, targets, weights)
            (sums[0] * scale).backward()
            assert leaf.grad is not None
            gradients.append(leaf.grad)
            totals += sums.detach()[1:]
        states.backward(torch.cat(gradients))
        return totals

    def _numbers(self) -> AbstractContextManager[None]:
        return torch.autocast(self.crew.device.type, torch.bfloat16, enabled=self._bf16)

    def _states(self, ids: Tensor, where: Tensor) -> Tensor:
        return self.model.states(ids).flatten(0, 1)[where]

    def _sums(self, states: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """(3,): weighted nats, plain nats, and how many tokens were predicted."""
        nats = token_losses(self.model.head(states), targets, mask_id=self.mask_id)
        counted = weights > 0
        return torch.stack([(nats * weights).sum(), (nats.detach() * counted).sum(), counted.sum().to(nats.dtype)])

    def draw(self, key: Key) -> Batch:
        """A batch on the CPU. The causal twin is given the same rows, and every token is a target."""
        seen, number, (batch, length) = key
        rng = np.random.default_rng([self.seed, self.crew.rank, seen, number])
        clean = self.rows.draw(batch, length, rng)
        if self.model.config.causal:
            rows = torch.from_numpy(clean)
            return Batch(lead(rows, self.document_id), torch.arange(clean.size), rows.view(-1), torch.ones(clean.size))
        masks, weights = draw_masks(self.recipe, batch, length, rng)
        positions, each = gather(masks, weights, self.room((batch, length)))
        targets = clean.reshape(-1)[positions]
        masked = np.where(masks, self.mask_id, clean)
        return Batch(*map(torch.from_numpy, (masked, positions, targets, each)))
