"""The models to choose from, and the downloads of those that are not on this machine yet."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from typing import Any

import engine
from app.errors import LOG, sentence

Then = Callable[[str], None]
"""What to do at the end of a download, with a sentence on what went wrong or an empty one."""


def is_elsewhere(name: str | None) -> bool:
    """Whether this can only be a published model that is not on this machine."""
    if name is None or name == "toy" or engine.folder_of(name) or any(name == info.name for info in engine.models() if info.installed):
        return False
    try:
        return engine.resolve(str(name)) is None
    except engine.HubError:  # only a folder could be called so, and there is none
        return False


def catalogue(used: str) -> dict[str, Any]:
    """The models to choose from, and the bytes that are free for them on the device in use (None: unknown)."""
    return {"models": [asdict(info) for info in engine.models()], "free": engine.free_memory(used)}


class Downloads:
    """Downloads of published models, each on a thread of its own; never two of the same model."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[str, dict[str, Any]] = {}
        self._stops: dict[str, threading.Event] = {}
        self._then: dict[str, Then | None] = {}

    def start(self, name: str, then: Then | None = None) -> None:
        """Begin to fetch a model's files, or go on where it was stopped; if it is under way, only `then` is new."""
        with self._lock:
            self._then[name] = then or self._then.get(name)
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
            with closing(engine.download(name)) as progress:
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
            then = self._then.pop(name)
        if then:
            then(end.get("error") or ("" if end["state"] == "done" else f"The download of {name} was stopped."))
