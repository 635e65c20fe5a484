"""What the page asks of the engine: one model in use, one fill at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import engine
from app.downloads import Downloads, catalogue, is_elsewhere
from app.errors import failure
from app.models import Choice, Load, Models

Run: TypeAlias = Generator[engine.Frame | None, None, None]
"""What `engine.stream` gives: the engine works while it is asked for the next step."""


class Service:
    """Holds the model in use and streams fills from it.

    Everything that touches a model runs on one worker thread: the event loop stays free, two runs can never
    step on each other, and torch's per-thread modes hold from the first step of a run to its last. Models are exchanged
    on that thread too, and between runs: a run that is going on ends with the model that it began with.
    """

    def __init__(self, load: Load, name: str | None = None, *, fixed: bool = False) -> None:
        """`name`: the first model, as `engine.load` takes it; `fixed`: it stays, whoever asks for another."""
        self.fixed = fixed
        self.models, self.downloads = Models(load), Downloads()
        self._first = name
        self._wanted = Choice(name, None)
        self._started = False
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._runs: dict[object, Run] = {}
        self._steps = 0

    def start(self) -> None:
        """Begin to load the first model, without waiting for it."""
        if not self._started:
            self.choose(self._first)

    def choose(self, name: str | None, dtype: str | None = None) -> None:
        """Use another model from the next run on, without waiting for it; a published one that isn't here is fetched first.

        `dtype`: int8 or int4 where it should take less memory; otherwise as the app was started.
        """
        self._wanted = choice = Choice(name, dtype)
        self._started = True
        self.models.forgive()
        if name is not None and is_elsewhere(name):

            def fetched(error: str) -> None:
                if error:
                    self.models.refuse(name, error)
                elif self._wanted is choice:  # whoever has chosen another one meanwhile keeps that
                    self._choose(choice)

            self.downloads.start(name, fetched)
        else:
            self._choose(choice)

    def _choose(self, choice: Choice) -> None:
        self.models.choose(choice)
        self._worker.submit(self._exchange)

    def _exchange(self) -> None:
        if not self._runs:  # else the end of the run comes back here
            self.models.exchange()

    def settle(self) -> None:
        """Wait until the worker has done what was asked of it so far."""
        self._worker.submit(lambda: None).result()

    def status(self) -> dict[str, Any]:
        """How the model and the run stand: for the page's model chip, its waiting state, and the tests.

        `running` falls to 0 only when the engine has really stopped; `steps` counts the frames made since the start.
        """
        return {
            "model": self.models.status(),
            "fixed": self.fixed,
            "running": len(self._runs),
            "steps": self._steps,
            "downloads": self.downloads.status(),
        }

    def catalogue(self) -> dict[str, Any]:
        """The models to choose from, the memory that is free for them, and how their downloads stand."""
        return {**catalogue(self.models.device), "downloads": self.downloads.status()}

    def fetch(self, name: str) -> None:
        """Download a published model, or go on with one."""
        self.models.forgive()
        self.downloads.start(name)

    async def fill(
        self,
        draft: str,
        settings: dict[str, Any],
        with_text: bool = True,
        seen: Sequence[str] = (),
        *,
        guesses: bool = False,
        start: Sequence[object] = (),
    ) -> AsyncIterator[dict[str, Any]]:
        """Stream one fill as JSON objects: `{"waiting": true}` now and then while there is nothing to show yet, frames, then
        `{"done": true, "text", "candidates"}`, with a "note" where the model can't write what is asked, or `{"error", ...}`.

        A setting that isn't given is as it is recommended for the model in use.

        `with_text=False` leaves the whole draft's text out of every message: a reader that holds the draft needs
        only the cells, and in a novel the text would be most of the traffic. `seen`, `guesses`, `start`: as `engine.fill` takes them.
        """
        self.start()
        try:
            settings = {} if settings is None else settings
            for name, value, kind, words in (
                ("draft", draft, str, "text"),
                ("settings", settings, dict, "an object of names and values"),
                ("seen", seen, list | tuple, "a list of texts"),
                ("start", start, list | tuple, "a list of cells"),
            ):
                if not isinstance(value, kind):
                    raise engine.SettingsError(f"`{name}` must be {words}, not {value!r:.40}.")
            engine.Settings.of(settings)
            parsed = await asyncio.to_thread(engine.Draft.parse, draft)
            old, cells = [str(text) for text in seen], list(map(engine.Cell.of, start))

            def stream(model: Any) -> Run:
                return engine.stream(model, parsed, engine.recommended(model, settings), seen=old, guesses=guesses, start=cells)

            result = engine.Result()
            async for frame in self._frames(stream):
                if frame is None:  # whoever went away is only noticed when something is sent
                    yield {"waiting": True}
                    continue
                result.take(frame)
                message = frame.as_dict()
                if not with_text:
                    del message["text"]
                yield message
            yield result.done(with_text=with_text)
        except Exception as error:
            yield failure(error)

    async def _frames(self, stream: Callable[[Any], Run]) -> AsyncIterator[engine.Frame | None]:
        """Each step of what `stream` makes of the model, taken on the worker thread; None while gaps are still being laid out. When the
        reader goes away, the engine stops after the step in hand.
        """
        loop, run = asyncio.get_running_loop(), object()
        try:
            await loop.run_in_executor(self._worker, self._begin, run, stream)
            while (frame := await loop.run_in_executor(self._worker, self._step, run)) is not _OVER:
                yield frame
        finally:
            self._worker.submit(self._end, run)

    def _begin(self, run: object, stream: Callable[[Any], Run]) -> None:
        self._runs[run] = stream(self.models.model)

    def _step(self, run: object) -> engine.Frame | None:
        frame: engine.Frame | None = next(self._runs[run], _OVER)
        self._steps += frame is not None and frame is not _OVER
        return frame

    def _end(self, run: object) -> None:
        if run in self._runs:
            self._runs.pop(run).close()
        self._exchange()


_OVER: Any = object()
"""Comes after a run's last frame."""


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
