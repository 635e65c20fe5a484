"""What the page asks of the engine: one model, loaded in the background, one fill at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import engine

LOG = logging.getLogger("lacuna")
UNEXPECTED = "The engine stopped unexpectedly ({reason}); your draft is unchanged, and the terminal shows the details."


class Service:
    """Loads the model once and streams fills from it.

    Everything that touches the model runs on one worker thread: the event loop stays free, two runs can never
    step on each other, and torch's per-thread modes hold from the first step of a run to its last.
    """

    def __init__(self, load: Callable[[], Any]) -> None:
        self._load = load
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._model: Future[Any] | None = None
        self._runs: set[int] = set()
        self._steps = 0

    def start(self) -> None:
        """Begin to load the model, without waiting for it."""
        if self._model is None:
            self._model = self._worker.submit(self._load)

    def status(self) -> dict[str, Any]:
        """How the model and the run stand: for the page's model chip, its waiting state, and the tests.

        `running` falls to 0 only when the engine has really stopped; `steps` counts the frames made since the start.
        """
        return {"model": self._model_status(), "running": len(self._runs), "steps": self._steps}

    def _model_status(self) -> dict[str, str]:
        if self._model is None or not self._model.done():
            return {"state": "loading"}
        if error := self._model.exception():
            return {"state": "failed", "error": sentence(error)}
        model = self._model.result()
        return {"state": "ready", "name": model.name, "device": str(getattr(model, "device", "cpu"))}

    async def fill(self, draft: str, settings: dict[str, Any], with_text: bool = True) -> AsyncIterator[dict[str, Any]]:
        """Stream one fill as JSON objects: frames, then `{"done": true, "text", "candidates"}` or `{"error", ...}`.

        `with_text=False` leaves the whole draft's text out of every message: a reader that holds the draft needs
        only the cells, and in a novel the text would be most of the traffic.
        """
        self.start()
        assert self._model is not None
        try:
            chosen, parsed = engine.Settings.of(settings), await asyncio.to_thread(engine.Draft.parse, draft)
            model = await asyncio.wrap_future(self._model)
            text, cells = str(parsed), dict[int, engine.Cell]()
            async for frame in self._frames(engine.fill(model, parsed, chosen)):
                text = frame.text
                cells.update((cell.id, cell) for cell in frame.cells)
                message = frame.as_dict()
                if not with_text:
                    del message["text"]
                yield message
            words = {"text": text} if with_text else {}
            yield {"done": True, **words, "candidates": [{**words, "score": engine.score(cells.values())}]}
        except Exception as error:
            yield failure(error)

    async def _frames(self, frames: Iterator[engine.Frame]) -> AsyncIterator[engine.Frame]:
        """Each step on the worker thread. When the reader goes away, the engine stops after the step in hand."""
        loop = asyncio.get_running_loop()
        self._runs.add(id(frames))
        try:
            while (frame := await loop.run_in_executor(self._worker, self._step, frames)) is not None:
                yield frame
        finally:
            self._worker.submit(self._close, frames)

    def _step(self, frames: Iterator[engine.Frame]) -> engine.Frame | None:
        frame = next(frames, None)
        self._steps += frame is not None
        return frame

    def _close(self, frames: Any) -> None:
        frames.close()
        self._runs.discard(id(frames))


def sentence(error: BaseException) -> str:
    """What a user is told of an error: the engine's own sentence, never a traceback."""
    if isinstance(error, (ValueError, OSError, RuntimeError)) and str(error):
        return str(error).strip().splitlines()[0]
    return UNEXPECTED.format(reason=type(error).__name__)


def failure(error: Exception) -> dict[str, Any]:
    """The last message of a fill that failed; a mistake in the draft says where it is."""
    if not isinstance(error, (engine.DraftError, engine.SettingsError)):
        LOG.exception("a fill failed", exc_info=error)
    if isinstance(error, engine.DraftError):
        return {"error": error.message, "line": error.line, "column": error.column}
    return {"error": sentence(error)}


def print_draft(segments: list[dict[str, Any]]) -> dict[str, Any]:
    """The draft format of the page's segments, as `{"draft"}`, or `{"error", ...}`."""
    try:
        return {"draft": str(engine.Draft.of_segments(segments))}
    except engine.DraftError as error:
        return failure(error)


def read_draft(text: str) -> dict[str, Any]:
    """The segments of a draft file, as `{"segments"}`, or `{"error", "line", "column"}`."""
    try:
        return {"segments": engine.Draft.parse(text).segments()}
    except engine.DraftError as error:
        return failure(error)
