"""The processes that train one model together: one, or as many as torchrun started."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import nn

from engine.backends import pick_device

T = TypeVar("T")
PATIENCE = timedelta(days=1)
"""How long the others wait for the first process, which may have a corpus to cut."""


@dataclass(frozen=True)
class Crew:
    """This process's place among those that train together."""

    rank: int
    size: int
    device: torch.device

    @classmethod
    def of_environment(cls, device: str) -> Crew:
        """The place that torchrun gave this process, or that of the only one."""
        rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        where = pick_device(device)
        if where.type == "cuda" and (size > 1 or where.index is None):  # each process has a GPU of its own, whatever --device names
            where = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        if size > 1:
            on_gpus = where.type == "cuda"
            torch.distributed.init_process_group("nccl" if on_gpus else "gloo", timeout=PATIENCE, device_id=where if on_gpus else None)
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // size))
        return cls(rank, size, where)

    @property
    def leads(self) -> bool:
        """Whether this process is the one that speaks and saves."""
        return self.rank == 0

    def first_alone(self, work: Callable[[], T]) -> T:
        """Let the first process do this, and the others after it, who find its files."""
        if self.size == 1:
            return work()
        if not self.leads:
            torch.distributed.barrier()
        done = work()
        if self.leads:
            torch.distributed.barrier()
        return done

    def part(self) -> None:
        """End what the processes share, together: one that leaves while another still waits for it brings that one down."""
        if self.size > 1:
            torch.distributed.barrier()
            torch.distributed.destroy_process_group()

    def average_gradients(self, model: nn.Module) -> None:
        """Give every process the mean of all processes' gradients, in one message."""
        if self.size == 1:
            return
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        flat = torch.cat([g.reshape(-1) for g in gradients])
        torch.distributed.all_reduce(flat)
        for gradient, mean in zip(gradients, flat.div_(self.size).split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def agreed(self, seconds: float) -> float:
        """The first process's seconds: every process must find the run's end in the same step."""
        if self.size == 1:
            return seconds
        told = torch.tensor([seconds], dtype=torch.float64 if self.device.type == "cpu" else torch.float32, device=self.device)
        torch.distributed.broadcast(told, 0)
        return float(told)
