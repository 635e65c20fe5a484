"""The tensors of a model folder: found in safetensors headers, checked against the files, read piece by piece into place."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
PIECE = 2**24
"""Bytes read at once: what a tensor costs in memory beyond itself, whatever its size."""


class LoadError(ValueError):
    """A model can't be loaded; the message is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Where one published tensor lies."""

    file: Path
    start: int
    """Byte offset in the file."""
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def numel(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


def entries(path: Path) -> dict[str, Entry]:
    """The tensors of a safetensors file, from its header; LoadError when header and file don't agree."""
    try:
        # The library refuses what lies: headers over 100 MB, offsets that overlap, leave holes or end elsewhere than the file.
        with safe_open(path, "pt"), path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise LoadError(f"{path.name} is no whole safetensors file ({reason[:120]}); get it again.") from error
    found = {}
    for name, said in header.items():
        if name == "__metadata__":
            continue
        if said["dtype"] not in DTYPES:
            raise LoadError(
                f"{path.name} holds numbers of the kind {said['dtype']}, which Lacuna does not read; get the weights in bfloat16."
            )
        found[name] = Entry(path, 8 + length + said["data_offsets"][0], tuple(said["shape"]), DTYPES[said["dtype"]])
    return found


class Reader:
    """Reads entries, keeping the file in hand open."""

    def __init__(self) -> None:
        self._open: tuple[Path, BinaryIO] | None = None
        self._closing = ExitStack()
        self._buffer = torch.empty(PIECE, dtype=torch.uint8)

    def read(self, entry: Entry, into: Tensor, first: int = 0) -> None:
        """Fill a contiguous tensor, on any device and of any dtype, with an entry's numbers from the `first` on.

        LoadError when the file has shrunk or can't be read any more.
        """
        try:
            self._read(entry, into.view(-1), first)
        except OSError as error:
            raise LoadError(f"{entry.file.name} can't be read ({error.strerror}).") from error

    def _read(self, entry: Entry, flat: Tensor, first: int) -> None:
        stream = self._stream(entry.file)
        stream.seek(entry.start + first * entry.dtype.itemsize)
        step = PIECE // entry.dtype.itemsize
        for begin in range(0, flat.numel(), step):
            count = min(step, flat.numel() - begin)
            piece = self._buffer[: count * entry.dtype.itemsize]
            if stream.readinto(piece.numpy()) != piece.numel():  # type: ignore[attr-defined]
                raise LoadError(f"{entry.file.name} became shorter while it was read; get it again.")
            flat[begin : begin + count].copy_(piece.view(entry.dtype))

    def _stream(self, path: Path) -> BinaryIO:
        if self._open is None or self._open[0] != path:
            self._closing.close()
            self._open = path, self._closing.enter_context(path.open("rb"))
        return self._open[1]

    def close(self) -> None:
        """Close what is open."""
        self._closing.close()
        self._open = None


@contextmanager
def reader() -> Iterator[Reader]:
    """A Reader that is closed in the end."""
    made = Reader()
    try:
        yield made
    finally:
        made.close()


def in_order(found: Iterable[tuple[str, Entry]]) -> list[tuple[str, Entry]]:
    """By file and place, so that every file is read once from front to back."""
    return sorted(found, key=lambda item: (str(item[1].file), item[1].start))
