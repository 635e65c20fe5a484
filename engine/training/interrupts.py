"""Ctrl+C in a training run: the step in hand is finished, and what was learned is kept."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupts() -> Iterator[threading.Event]:
    """An event that the first Ctrl+C sets; the second is a KeyboardInterrupt as ever."""
    pressed = threading.Event()

    def press(number: int, frame: FrameType | None) -> None:
        if pressed.is_set():
            signal.default_int_handler(number, frame)
        pressed.set()
        print("Stopping after this step; once more, and what came since the last saved state is lost.", file=sys.stderr)

    former = signal.signal(signal.SIGINT, press) if threading.current_thread() is threading.main_thread() else None
    try:
        yield pressed
    finally:
        if former is not None:
            signal.signal(signal.SIGINT, former)
