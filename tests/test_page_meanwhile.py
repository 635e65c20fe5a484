"""What is changed, deleted, stopped or looked at while a run waits for its turn or writes; in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, Route, expect

from app.service import Service
from tests.page import SlowToy, draft, fill, finished, open_draft, press, said, select, serving, text, visit, write
from tests.waiting import until

CALL = "**/gradio_api/call/fill"
LONG = "One [[60]] end."  # 128 steps with the care below
COUNT_NEWS = """() => {
    window.news = 0;
    const told = new MutationObserver(() => { window.news += 1; });
    told.observe(document.querySelector(".say"), { childList: true, characterData: true, subtree: true });
}"""


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Service]]:
    with serving(lambda: SlowToy(0.06)) as running:
        yield running


@pytest.fixture
def page(new_page: Callable[..., Page], server: tuple[str, Service]) -> Iterator[Page]:
    made: Page = new_page()
    visit(made, server[0])
    yield made
    until(lambda: server[1].status()["running"] == 0)


@contextmanager
def on_its_way(page: Page) -> Iterator[Route]:
    """Press Fill, and hold it back on its way to the server until the end of the block."""
    held: list[Route] = []
    page.route(CALL, lambda route: held.append(route))
    press(page, "Fill")
    until(lambda: page.evaluate("true") and bool(held))  # who waits on the page hears from it
    yield held[0]
    page.unroute(CALL)


def pinned(page: Page) -> list[str]:
    return page.locator(".draft .rewrite .word.pinned").all_inner_texts()


def test_what_is_pinned_while_a_run_waits_stays(page: Page) -> None:
    news = "A passage was changed while its run waited"
    for content, filled, told in (
        ("It was [[~ so very quiet]] here.", 0, f"{news}, so it is left as it is: press Fill again."),
        ("It was [[2]] and [[~ so very quiet]] here.", 1, news),
    ):
        open_draft(page, content)
        with on_its_way(page) as call:
            page.locator(".rewrite .word", has_text="very").click()
            call.continue_()
        finished(page)
        said(page, told)
        expect(page.locator(".island.fill")).to_have_count(filled)
        assert pinned(page) == ["very"]


def test_a_run_whose_places_are_deleted_is_stopped(page: Page) -> None:
    page.get_by_role("slider", name="Care").fill("10")
    open_draft(page, LONG)
    press(page, "Fill")
    said(page, "to go")
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    finished(page, 5)
    said(page, "Stopped at step")
    assert text(page) == ""


def test_a_gap_that_is_undone_while_its_run_waits_is_not_written(page: Page) -> None:
    write(page, "It was late.")
    select(page, "late")
    press(page, "Gap")
    with on_its_way(page) as call:
        press(page, "Undo")
        call.continue_()
    finished(page)
    said(page, "Stopped before the first step.")
    assert text(page) == "It was late."


def test_stop_ends_a_run_that_the_server_has_just_begun(page: Page, server: tuple[str, Service]) -> None:
    _, service = server
    page.get_by_role("slider", name="Care").fill("10")
    open_draft(page, LONG)
    before = service.status()["steps"]
    with on_its_way(page) as call:
        answer = call.fetch()
        until(lambda: service.status()["running"] == 1)
        press(page, "Stop")
        said(page, "Stopped before the first step.")
        call.fulfill(response=answer)
    until(lambda: service.status()["running"] == 0, 60)
    assert service.status()["steps"] - before < 100, "nobody reads it, and it went on"


def test_what_a_run_waits_for_is_said_once(page: Page, new_page: Callable[..., Page], server: tuple[str, Service]) -> None:
    for marks, news in (
        ("It was [[2]] so.", "Waiting for the first step …"),
        ("It was [[]] so.", "Choosing how long the gaps should be …"),
    ):
        open_draft(page, marks)
        with on_its_way(page) as call:
            said(page, news)
            call.continue_()
        finished(page)
    first = new_page()
    visit(first, server[0])
    first.get_by_role("slider", name="Care").fill("10")
    open_draft(first, LONG)
    press(first, "Fill")
    said(first, "to go")
    page.bring_to_front()
    press(page, "Fill")
    said(page, "Waiting for another run to finish …")
    page.evaluate(COUNT_NEWS)
    for _ in range(3):
        with page.expect_response("**/lacuna/status"):
            pass
    said(page, "Waiting for another run to finish …")
    assert page.evaluate("window.news") == 0
    press(page, "Stop")
    press(first, "Stop")
    finished(first)


def test_words_are_not_picked_from_an_earlier_step(page: Page) -> None:
    open_draft(page, "It was [[9]] so.")
    fill(page)
    slider = page.get_by_role("slider", name="Step")
    page.locator(".cell").first.dblclick()
    expect(page.locator(".picked")).to_have_count(1)
    slider.focus()
    page.keyboard.press("Home")
    expect(page.locator(".ink.masked")).not_to_have_count(0)
    expect(page.locator(".picked")).to_have_count(0)
    page.keyboard.press("Control+k")
    page.keyboard.press("ArrowRight")
    page.locator(".cell").first.dblclick()
    said(page, "An earlier step is shown: words are picked at the last one.")
    expect(page.locator(".picked")).to_have_count(0)
    draft(page).locator(".island").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    expect(page.locator(".picked")).to_have_count(0)
    slider.focus()
    page.keyboard.press("End")
    expect(page.locator(".island.fill")).to_have_count(1)
    expect(page.locator(".ink.masked")).to_have_count(0)
