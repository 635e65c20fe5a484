"""Whether a network fits: what it needs, what is free, and the sentence when it doesn't."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from engine.backends.shards import LoadError
from engine.text import amount

_PROC, _CGROUP = Path("/proc"), Path("/sys/fs/cgroup")


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free on a device, those that torch keeps for later counted in; None where this can't be known."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    known = [free for free in (_free_on_host(), _free_in_container()) if free is not None]
    return min(known, default=None)


def _free_on_host() -> int | None:
    try:
        lines = (_PROC / "meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return None


def _free_in_container() -> int | None:
    """What the container's limit leaves; the file cache, which the system gives back, is not counted as used."""
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
        stat = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        return limit - used + int(stat.get("file", 0))
    except (OSError, ValueError):  # no limit ("max"), no container, another system
        return None


def check_room(name: str, needs: dict[str, int], asked: str, device: torch.device) -> None:
    """Raise LoadError when a model doesn't fit. `needs`: bytes by dtype; `asked`: the dtype that was chosen."""
    free = free_memory(device)
    if free is not None and needs[asked] > free:
        raise LoadError(_sentence(name, needs, asked, device, free))


@contextmanager
def one_sentence(name: str, needs: dict[str, int], asked: str, device: torch.device) -> Iterator[None]:
    """Turn the errors of an allocation that failed into a LoadError."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise LoadError(_sentence(name, needs, asked, device, free_memory(device))) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch or Python says that memory ran out."""
    signs = ("DefaultCPUAllocator", "out of memory", "alloc_cpu")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(sign in str(error) for sign in signs)


def _sentence(name: str, needs: dict[str, int], asked: str, device: torch.device, free: int | None) -> str:
    where = {"cpu": "of memory", "cuda": "on the GPU"}.get(device.type, f"on the device {device.type}")
    has = "not as much is free" if free is None or free >= needs[asked] else f"{amount(free)} are free"
    smaller = {dtype: need for dtype, need in needs.items() if need < needs[asked] and (free is None or need <= free)}
    if smaller:
        dtype = max(smaller, key=lambda one: smaller[one])
        advice = f"try dtype={dtype!r} ({amount(smaller[dtype])})"
    else:
        advice = "try a smaller model"
    other = ", device='cpu'" if device.type != "cpu" else ""
    return f"{name} needs {amount(needs[asked])} {where} in {asked} and {has}: close other programs, or {advice}{other}."
