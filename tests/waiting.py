"""Waiting for what happens in another thread, process or machine: as long as it takes, and no longer than a test may."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(holds: Callable[[], bool], patience: float = 60) -> None:
    """Wait, so many seconds at most, until something holds."""
    end = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
