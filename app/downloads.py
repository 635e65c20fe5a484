"""The models to choose from, and the downloads of those that are not on this machine yet."""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import asdict
from typing import Any, cast

import engine
from app.errors import LOG, sentence


def catalogue(used: str) -> dict[str, Any]:
    """The models to choose from, and the bytes that are free for them on the device in use (None: unknown)."""
    return {"models": [asdict(info) for info in engine.models()], "free": engine.free_memory(used)}


class Downloads:
    """Downloads of published models, each on a thread of its own; never two of the same model."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[str, dict[str, Any]] = {}
        self._stops: dict[str, threading.Event] = {}

    def start(self, name: str) -> None:
        """Begin to fetch a model's files, or go on where it was stopped; nothing if it is under way."""
        with self._lock:
            if name in self._stops:
                return
            self._stops[name] = threading.Event()
            self._states[name] = {"state": "running", "done": 0, "total": 0, "file": ""}
        threading.Thread(target=self._fetch, args=(name, self._stops[name]), name=f"download {name}", daemon=True).start()

    def cancel(self, name: str) -> None:
        """Stop one after the piece in hand; what has come is kept."""
        with self._lock:
            if name in self._stops:
                self._stops[name].set()
                self._states[name] |= {"state": "stopping"}

    def status(self) -> dict[str, dict[str, Any]]:
        """By name: `state` (running, stopping, stopped, done or failed), bytes `done` of `total`, the `file` in hand, and an `error`."""
        with self._lock:
            return {name: dict(state) for name, state in self._states.items()}

    def _fetch(self, name: str, stop: threading.Event) -> None:
        end: dict[str, Any] = {"state": "done"}
        try:
            with closing(cast(Any, engine.download(name))) as progress:
                for step in progress:
                    if stop.is_set():
                        end = {"state": "stopped"}
                        break
                    with self._lock:
                        self._states[name] |= asdict(step)
        except Exception as error:
            if not isinstance(error, (ValueError, OSError)):
                LOG.exception("a download failed")
            end = {"state": "failed", "error": sentence(error)}
        with self._lock:
            self._states[name] |= end
            del self._stops[name]
