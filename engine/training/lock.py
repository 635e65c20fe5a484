"""One run at a time in a folder: two would write the same files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from engine.training.loop import TrainingError

LOCK = ".lock"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder; the system lets them in when this process ends, however it ends. TrainingError where one is in."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / LOCK, timeout=0):
            yield
    except Timeout as error:
        raise TrainingError(f"Another run is at work in {folder}; wait for its end, or name another --out.") from error
