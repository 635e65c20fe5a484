"""The page put together: the editor component, the /fill endpoint, and the few plain routes that the editor uses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, get_args, get_type_hints

import gradio as gr
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

import engine
from app.banned import NEVER_WRITTEN
from app.editor import DraftEditor
from app.service import Service, print_draft, read_draft

HERE = Path(__file__).parent
STATIC = HERE / "static"
ASSETS = HERE.parent / "assets"
SHEETS = ("base", "draft", "dock", "panel", "picker", "help", "present", "phone")
HEAD = '<meta name="color-scheme" content="light dark">' + "".join(
    f'<link rel="stylesheet" href="lacuna/static/{sheet}.css">' for sheet in SHEETS
)


class WholeMessages(gr.Blocks):
    """Blocks whose streams tell each message whole.

    Gradio sends the difference to the message before, and gradio 6.31 counts down twice where a list inside a list loses entries: what
    gradio_client then makes of it is another message, or an error and no end.
    """

    def handle_streaming_diffs(
        self, block_fn: Any, data: list[Any], session_hash: str | None, run: str | None, final: bool, simple_format: bool = False
    ) -> list[Any]:
        """Each output, whole, in the form of a difference that replaces all of what was there."""
        later = session_hash is not None and run is not None and run in self.pending_diff_streams[session_hash]
        whole: list[Any] = super().handle_streaming_diffs(block_fn, data, session_hash, run, final, simple_format=True)
        return whole if simple_format or final or not later else [[["replace", [], output]] for output in whole]


def build(service: Service) -> gr.Blocks:
    """The Gradio app: one component, and the named endpoint that gradio_client streams."""

    async def fill(
        draft: str,
        settings: dict[str, Any],
        with_text: bool = True,
        seen: list[str] | None = None,
        guesses: bool = False,
        start: list[dict[str, Any]] | None = None,
    ) -> AsyncIterator[dict[str, Any]]:
        """Fill a draft's gaps, streaming a frame a step; the last message is {"done": true, ...} or {"error": ...}, and before the first
        frame there may be some that say {"waiting": true}.

        `settings` holds fields of engine.Settings; `with_text=false` leaves the draft's text out of the messages;
        `seen` are fills that are not wanted again where there is another one; with `guesses` open places tell what would be written there;
        `start` are all cells of an earlier run of this draft as they stood after one of its steps: what they hold stays.
        """
        async for message in service.fill(draft, settings, with_text, seen or (), guesses=guesses, start=start or ()):
            yield message

    with WholeMessages(title="Lacuna", fill_width=True, analytics_enabled=False) as blocks:
        DraftEditor(facts())
        gr.api(fill, api_name="fill", concurrency_limit=1, concurrency_id="model")
    return blocks


def facts() -> dict[str, Any]:
    """What the page must know before it is drawn: settings with their defaults and help, published methods, the words that are
    never written unless the reader wants it, and the example drafts."""
    return {
        "settings": asdict(engine.Settings()),
        "help": engine.HELP,
        "never_written": NEVER_WRITTEN,
        "longest_instruction": engine.LONGEST_INSTRUCTION,
        "options": {
            "sampler": list(engine.sampler_help()),
            "schedule": engine.schedule_names(),
            **{name: get_args(kind) for name, kind in get_type_hints(engine.Settings).items() if get_args(kind)},
        },
        "only_for": engine.ONLY_FOR,
        "published": engine.PUBLISHED,
        "samplers": engine.sampler_help(),
        "examples": [
            {"title": path.stem.partition("-")[2].replace("-", " ").capitalize(), "segments": engine.Draft.parse(text).segments()}
            for path in sorted((ASSETS / "examples").glob("*.txt"))
            for text in [path.read_text(encoding="utf-8").rstrip("\n")]
        ],
    }


def routes(service: Service) -> list[BaseRoute]:
    """Plain routes beside Gradio's: the page's own files, the model's state, and the draft format both ways."""

    async def status(_: Request) -> Response:
        return JSONResponse(service.status())

    async def models(_: Request) -> Response:
        return JSONResponse(await run_in_threadpool(service.catalogue))

    async def nothing(_: Request) -> Response:
        return PlainTextResponse("Nothing can be uploaded here.", 404)

    def asked(path: str, act: Callable[[Any], Any], *kinds: type) -> Route:
        """A route that is sent JSON, and says so: a page elsewhere can't send that here unasked, the browser sees to it."""

        async def answer(request: Request) -> Response:
            if request.headers.get("content-type", "").partition(";")[0] != "application/json":
                return PlainTextResponse("Send JSON, and say so in Content-Type.", 415)
            try:
                body = await request.json()
            except ValueError:
                return PlainTextResponse("This is not JSON.", 400)
            if not isinstance(body, kinds):
                return PlainTextResponse("This is not what is asked for here.", 400)
            return JSONResponse(await run_in_threadpool(act, body))

        return Route(path, answer, methods=["POST"])

    choosing = [
        Route("/lacuna/models", models),
        asked("/lacuna/models/use", service.choose, str),
        *(asked(f"/lacuna/models/use/{dtype}", partial(service.choose, dtype=dtype), str) for dtype in ("int8", "int4")),
        asked("/lacuna/models/download", service.fetch, str),
        asked("/lacuna/models/cancel", service.downloads.cancel, str),
    ]
    return [
        Route("/gradio_api/upload", nothing, methods=["POST"]),  # Gradio's own, which comes after, takes files of any size from anybody
        Route("/lacuna/status", status),
        *([] if service.fixed else choosing),
        asked("/lacuna/draft", print_draft, list),
        asked("/lacuna/segments", read_draft, str),
        Mount("/lacuna/static", Fresh(directory=STATIC)),
        Mount("/lacuna/icons", Fresh(directory=ASSETS / "icons")),
    ]


class Fresh(StaticFiles):
    """Static files that the browser checks for a newer version: after an update nobody runs half of the old page."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, to be revalidated at each use."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response
