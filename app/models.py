"""The model in use, and how it is exchanged for another."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import engine
from app.errors import LOG, sentence

Load = Callable[..., Any]
"""What `engine.load` does with a name or a folder's path (None is the embedded model), and with `dtype` where one was chosen."""


@dataclass(frozen=True)
class Choice:
    """A model as it was asked for; without a dtype in the one that is usual here."""

    name: str | None
    dtype: str | None = None


class NoModel(ValueError):
    """There is no model to fill with; the message is why the last one could not be loaded."""


@dataclass(frozen=True)
class Refused:
    """A model that was chosen and could not be loaded."""

    chosen: str | None
    error: str


class Models:
    """The one model that everybody uses. Choosing another is for any thread, `exchange` only for the one that models run on."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._asked: list[Choice] = []
        """What was chosen since the last exchange; the newest counts."""
        self._loading: list[Choice] = []
        """What is being loaded, if something is."""
        self._model: Any = None
        self._used = Choice(None)
        self._refused: Refused | None = None

    @property
    def model(self) -> Any:
        """The model in use; raises NoModel."""
        if self._model is None:
            raise NoModel(self._refused.error if self._refused else "No model is loaded yet.")
        return self._model

    @property
    def device(self) -> str:
        """Where the model in use computes; one that does not say so does it on the CPU."""
        return str(getattr(self._model, "device", "cpu"))

    def choose(self, choice: Choice) -> None:
        """Ask for a model; it comes with the next exchange."""
        with self._lock:
            self._asked.append(choice)

    def refuse(self, name: str | None, error: str) -> None:
        """Tell that a model can't be used, as if loading it had failed."""
        self._refused = Refused(name, error)

    def forgive(self) -> None:
        """Say no more of the last one that was refused: something else is being tried."""
        self._refused = None

    def exchange(self) -> None:
        """Load what was chosen last. One that can't be loaded leaves the old one in use."""
        with self._lock:
            if not self._asked:
                return
            choice = self._asked[-1]
            self._asked.clear()
            self._loading.append(choice)
        try:
            if self._model is None or choice != self._used:
                self._replace(choice)
        finally:
            with self._lock:
                self._loading.clear()

    def _replace(self, choice: Choice) -> None:
        before, lent = self._used, self._model is not None and not engine.fits_beside(choice.name, self.device)
        if lent:  # the old model's memory is needed; should the new one fail, the old one is loaded again
            self._model = None
            engine.release_memory()
        self._refused = self._take(choice)
        engine.release_memory()
        if lent and self._model is None:
            self._take(before)

    def _take(self, choice: Choice) -> Refused | None:
        try:
            self._model = self._load(choice.name, **({"dtype": choice.dtype} if choice.dtype else {}))
        except Exception as error:
            if not isinstance(error, (ValueError, OSError)):
                LOG.exception("a model could not be loaded")
            return Refused(choice.name, sentence(error))
        self._used = choice
        return None

    def status(self) -> dict[str, Any]:
        """`state` is loading, ready or failed; `chosen` is its name as it was asked for; `refused` tells of the last one that failed."""
        with self._lock:
            coming = [*self._loading, *self._asked]
            model, used, refused = self._model, self._used, self._refused
        told = {"refused": asdict(refused) if refused else None}
        if coming or (model is None and not refused):
            return {"state": "loading", "chosen": coming[-1].name if coming else None} | told
        if model is None:
            return {"state": "failed", "error": refused.error if refused else ""} | told
        about = {
            "name": model.name,
            "device": self.device,
            "dtype": engine.dtype_of(model),
            "recommended": getattr(model, "recommended", {}),
            "answers": bool(getattr(model, "answers", False)),
        }
        return {"state": "ready", "chosen": used.name} | about | told
