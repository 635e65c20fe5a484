"""Lacuna's page in a real browser: a server on the toy model, and what a writer does with hands and eyes."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, FileChooser, Locator, Page, expect
from torch import Tensor

from app import main
from app.service import Service
from engine.backends.toy import Toy
from tests.browser import repeatable

expect.set_options(timeout=30_000)  # a busy machine is slow; a wait ends as soon as its condition holds
FILES = itertools.count(1)
FIRST_PORT = 7960 + 200 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])  # two workers don't look for a free port at the same place
READY = """() => {
    const page = document.querySelector(".lacuna[data-ready]");
    if (!page || page.querySelector(".dock .go").disabled) return false;
    const editor = page.querySelector(".draft"), box = editor.getBoundingClientRect();
    return editor.contains(document.elementFromPoint(box.left + 60, box.top + 20));  // no overlay of Gradio's is left
}"""
MIDDLE = """([text, nth]) => {
    const walker = document.createTreeWalker(document.querySelector(".draft"), NodeFilter.SHOW_TEXT);
    for (let node; (node = walker.nextNode());) {
        const at = node.data.indexOf(text);
        if (at < 0) continue;
        const edge = (from, to) => {
            const range = document.createRange();
            range.setStart(node, from); range.setEnd(node, to);
            return range.getBoundingClientRect();
        };
        const first = edge(at, at + 1), last = edge(at + text.length - 1, at + text.length);
        return [first.left + 0.5, first.top + first.height / 2, last.right - 0.5, last.top + last.height / 2];
    }
}"""


class SlowToy(Toy):
    """The toy with the patience of a real model: each look takes a while, so that a run can be watched."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def logits(self, ids: Tensor, positions: Tensor, *, t: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
        time.sleep(self.seconds)
        return super().logits(ids, positions, t=t, attend=attend)


@contextmanager
def serving(load: Callable[[], Any] | Service, also: Sequence[str] = ()) -> Iterator[tuple[str, Service]]:
    """The app's own server on a free port, in this process, with one model or a service: its address and its service. `also`: names that
    it answers to.
    """
    service = load if isinstance(load, Service) else Service(lambda _: load())
    started: list[Any] = []

    def start() -> None:  # in a thread of its own: Playwright keeps an event loop in this one, which Gradio would find
        started.append(main.serve(service, "127.0.0.1", main.free_port("127.0.0.1", FIRST_PORT), also))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    service.start()
    server = started[0]
    try:
        yield server.url, service
    finally:
        server.close()


@contextmanager
def desk(browser: Browser, url: str) -> Iterator[Page]:
    """A page of 1280 x 800 at the address, for a whole module; at the end it must have reported no error."""
    problems: list[str] = []
    context = repeatable(browser, viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    visit(page, url)
    yield page
    context.close()
    assert problems == []


def visit(page: Page, url: str, patience: float = 60) -> Locator:
    """Open the page and wait, so many seconds at most, until it can be used; returns the draft."""
    page.goto(url)
    page.wait_for_function(READY, timeout=patience * 1000)
    return draft(page)


def draft(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Draft")


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def open_draft(page: Page, text: str) -> None:
    """Open a draft file and wait until it is there."""
    name = f"draft {next(FILES)}.txt"
    choose_file(page, text, name)
    said(page, f"Opened {name}.")


def choose_file(page: Page, text: str, name: str) -> None:
    """Choose a file through the page's own button."""
    with page.expect_file_chooser() as chosen:
        press(page, "Open")
    chooser: FileChooser = chosen.value
    chooser.set_files({"name": name, "mimeType": "text/plain", "buffer": text.encode()})


def write(page: Page, text: str) -> None:
    """An empty page, and this text typed into it."""
    press(page, "Drafts")
    page.get_by_role("menuitem", name="An empty page").click()
    draft(page).click()
    page.keyboard.insert_text(text)


def paste(page: Page, text: str) -> None:
    """Paste as the browser would hand it over."""
    page.evaluate(
        """(text) => {
            const clipboardData = new DataTransfer();
            clipboardData.setData("text/plain", text);
            clipboardData.setData("text/html", `<b>${text}</b>`);
            document.querySelector(".draft").dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
        }""",
        text,
    )


def select(page: Page, text: str) -> None:
    """Select these words with the mouse."""
    left, top, right, bottom = page.evaluate(MIDDLE, [text, 0])
    page.mouse.move(left, top)
    page.mouse.down()
    page.mouse.move((left + right) / 2, (top + bottom) / 2, steps=2)
    page.mouse.move(right, bottom, steps=2)
    page.mouse.up()


def put_caret(page: Page, text: str, *, after: bool = True) -> None:
    """Click right behind (or before) these words."""
    left, top, right, bottom = page.evaluate(MIDDLE, [text, 0])
    page.mouse.click(right if after else left, bottom if after else top)


def text(page: Page) -> str:
    """The draft as it stands on the page, line by line; a gap reads as its mark, a masked cell as the sign for it."""
    return page.evaluate("[...document.querySelectorAll('.draft .line')].map((line) => line.textContent).join('\\n')")


def undo_to(page: Page, words: str) -> None:
    """Undo step by step until the draft reads so; fails when there is nothing left to undo."""
    while text(page) != words:
        press(page, "Undo")


def gaps(page: Page) -> Locator:
    return page.locator(".draft .island.gap")


def masked(page: Page) -> Locator:
    return page.locator(".draft .ink.masked")


def finished(page: Page, patience: float = 60) -> None:
    """Wait, so many seconds at most, for the end of a run."""
    page.wait_for_function("() => document.querySelector('.dock').dataset.run === 'idle'", timeout=patience * 1000)


def fill(page: Page, patience: float = 60) -> None:
    """Press Fill and wait for the end."""
    press(page, "Fill")
    finished(page, patience)


def fill_sending(page: Page) -> dict[str, Any]:
    """Press Fill and wait for the end; the settings that were sent to the server."""
    with page.expect_request("**/gradio_api/call/fill") as request:
        press(page, "Fill")
    finished(page)
    sent: dict[str, Any] = (request.value.post_data_json or {})["data"][1]
    return sent


def load_by_path(page: Page, path: str) -> None:
    """Choose a model by its folder in the picker, which stays open."""
    window = page.get_by_role("dialog", name="Models")
    if not window.is_visible():
        page.get_by_title("Choose a model").click()
    window.get_by_role("textbox", name="Find or load").fill(path)
    window.get_by_role("button", name="Load", exact=True).click()


def said(page: Page, text: str) -> None:
    expect(page.locator(".say")).to_contain_text(text)
