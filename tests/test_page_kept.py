"""What the browser keeps of drafts: nobody's words are removed for nothing, and what another draft took the place of can be had again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.page import (
    SlowToy,
    choose_file,
    draft,
    fill,
    finished,
    gaps,
    open_draft,
    press,
    said,
    serving,
    text,
    visit,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import BrowserContext, Dialog

EXAMPLE = "The lighthouse"
KEPT = "Object.keys(localStorage).filter((key) => key.startsWith('lacuna.draft.')).map((key) => localStorage.getItem(key))"
# What else may be in the store: so many characters are taken, to be full without writing millions into the draft.
FILL_UP = """(left) => {
    let size = 5e6;
    for (let text = ""; size >= 1000;) {
        try { localStorage.setItem("other", text + "x".repeat(size)); text += "x".repeat(size); } catch { size = Math.floor(size / 2); }
    }
    localStorage.setItem("other", localStorage.getItem("other").slice(left));
}"""
# Copies of so many tabs that are closed, each newer than the one before.
CLOSED = """(many) => {
    for (let k = 1; k <= many; k++) {
        const lines = [{ items: [`Closed tab ${k}.`], eol: "" }];
        localStorage.setItem(`lacuna.draft.closed${k}`, JSON.stringify({ version: 1, time: Date.now() + k, title: "", lines }));
    }
}"""
LABEL = "() => { const at = document.activeElement; return at.getAttribute('aria-label') || at.textContent; }"


@pytest.fixture(scope="module")
def slow_url():
    with serving(lambda: SlowToy(0.15)) as (address, _):
        yield address


@pytest.fixture
def page(new_page: Callable[..., Page], url: str) -> Page:
    made = new_page()
    visit(made, url)
    return made


def saved(page: Page) -> None:
    expect(page.locator(".saved")).to_have_text("saved")


def unkept(page: Page) -> None:
    expect(page.locator(".saved")).to_have_text("not kept")


def tab(context: BrowserContext, url: str) -> Page:
    made = context.new_page()
    visit(made, url)
    return made


def keep(page: Page, words: str) -> None:
    """Write this on an empty page, and wait until it is kept."""
    write(page, words)
    saved(page)


def again(page: Page) -> str:
    """The draft after a reload."""
    page.bring_to_front()
    page.reload()
    visit(page, page.url)
    return text(page)


def choose(page: Page, name: str) -> None:
    press(page, "Drafts")
    page.locator("[role=menuitem]:not([aria-label])", has_text=name).click()


def kept_drafts(page: Page) -> Locator:
    """The entries of the menu, which is opened, that are kept drafts."""
    press(page, "Drafts")
    page.wait_for_function("() => document.querySelector('[role=menu] [aria-busy=false]')")
    return page.get_by_role("group", name="Kept drafts").locator("[role=menuitem]:not([aria-label])")


def answering(page: Page) -> list[str]:
    """Stay whenever the browser asks whether to leave; the kinds of what it asked."""
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.on("dialog", stay)
    return asked


def leave(page: Page) -> None:
    page.evaluate("() => { location.href = 'about:blank'; }")


def test_a_text_that_can_not_be_kept_takes_no_other_draft_with_it(page: Page, url: str):
    keep(page, "The only copy of my story.")
    choose(page, EXAMPLE)
    saved(page)
    before = sorted(page.evaluate(KEPT))
    other = tab(page.context, url)
    other.evaluate(FILL_UP, 0)
    open_draft(other, "and so " * 1000)
    unkept(other)
    assert sorted(other.evaluate(KEPT)) == before
    assert again(page).startswith("It was ")
    choose(page, "The only copy of my story.")
    assert text(page) == "The only copy of my story."


def test_what_an_open_tab_has_is_not_removed_however_many_come_after_it(page: Page, url: str):
    keep(page, "The first tab's.")
    page.evaluate(CLOSED, 41)
    other = tab(page.context, url)
    keep(other, "The last tab's.")
    assert len(page.evaluate(KEPT)) == 40
    other.close()
    assert again(page) == "The first tab's."


def test_a_full_store_is_made_room_in_by_drafts_of_closed_tabs_only(page: Page, url: str):
    keep(page, "An open tab's.")
    other = tab(page.context, url)
    keep(other, "A closed tab's " + "word " * 2000)
    other.close()
    last = tab(page.context, url)
    keep(last, "Short.")
    last.evaluate(FILL_UP, 3000)
    last.keyboard.insert_text(" and so" * 1000)
    saved(last)
    assert text(last).endswith(" and so")
    written = "".join(last.evaluate(KEPT))
    assert "An open tab's." in written
    assert "A closed tab's" not in written
    assert again(last).endswith(" and so")


def test_who_leaves_with_a_text_that_is_not_kept_is_asked(page: Page):
    asked = answering(page)
    keep(page, "Short.")
    assert again(page) == "Short."
    assert asked == []
    page.evaluate(FILL_UP, 0)
    draft(page).click()
    page.keyboard.insert_text(" and so" * 1000)
    with page.expect_event("dialog"):
        leave(page)  # before it was saved
    unkept(page)
    assert text(page).endswith(" and so")
    press(page, "Undo")
    saved(page)
    leave(page)
    page.wait_for_url("about:blank")
    assert asked == ["beforeunload"]


@pytest.mark.parametrize("way", ["example", "empty page", "file"])
def test_what_another_draft_took_the_place_of_is_there_after_a_reload(page: Page, way: str):
    keep(page, "My own words, nowhere else.")
    if way == "file":
        open_draft(page, "From a file.")
    else:
        choose(page, EXAMPLE if way == "example" else "An empty page")
    said(page, "What was here is kept: see Drafts.")
    saved(page)
    again(page)
    entry = kept_drafts(page)
    expect(entry).to_have_count(1)
    expect(entry).to_have_text("My own words, nowhere else.just now")
    entry.click()
    said(page, "Opened “My own words, nowhere else.”.")
    assert text(page) == "My own words, nowhere else."


def test_what_was_typed_last_is_kept_though_it_was_not_saved_yet(page: Page):
    keep(page, "One")
    page.keyboard.insert_text(" two")
    choose(page, EXAMPLE)
    choose(page, "One two")
    assert text(page) == "One two"


def test_drafts_of_closed_tabs_can_be_opened_and_those_of_open_ones_are_not_offered(page: Page, url: str):
    keep(page, "Story A")
    for words in ("Story B", "Story C"):
        other = tab(page.context, url)
        keep(other, words)
    other.close()
    third = tab(page.context, url)
    assert text(third) == "Story C"
    keep(third, "Story D")
    expect(kept_drafts(third)).to_have_text(["Story Cjust now"])
    page.bring_to_front()
    page.close()
    third.keyboard.press("Escape")
    third.bring_to_front()
    third.wait_for_function("async () => (await navigator.locks.query()).held.length === 2")  # a closed tab's lock goes a moment later
    expect(kept_drafts(third)).to_have_text(["Story Cjust now", "Story Ajust now"])
    third.locator("[role=menuitem]:not([aria-label])", has_text="Story A").click()
    assert text(third) == "Story A"
    expect(kept_drafts(third)).to_have_text(["Story Djust now", "Story Cjust now"])


def test_a_kept_draft_comes_back_with_its_title_its_gaps_and_what_was_written(page: Page):
    open_draft(page, "It was [[3]] when the [[5-7: lamp; suddenly]] so.")
    title = page.locator(".title").inner_text()
    open_draft(page, "Then [[2]] came.")
    choose(page, title)
    assert text(page) == "It was [[3]] when the [[5-7: lamp; suddenly]] so."
    fill(page)
    written = text(page)
    choose(page, EXAMPLE)
    saved(page)
    again(page)
    choose(page, title)
    assert text(page) == written
    expect(page.locator(".title")).to_have_text(title)
    draft(page).locator(".cell").first.click()
    press(page, "Reopen")
    expect(gaps(page)).to_have_count(1)


def test_the_same_text_is_kept_once_and_untouched_examples_and_empty_pages_not_at_all(page: Page):
    keep(page, "Mine [[2]].")
    for _ in range(3):
        choose(page, EXAMPLE)
        press(page, "Undo")
        assert text(page) == "Mine [[2]]."
        saved(page)
    assert sum("Mine" in copy for copy in page.evaluate(KEPT)) == 1
    expect(kept_drafts(page)).to_have_count(0)
    page.keyboard.press("Escape")
    for name in (EXAMPLE, "An empty page", EXAMPLE, "An empty page"):
        choose(page, name)
    saved(page)
    expect(kept_drafts(page)).to_have_text(["Mine [[2]].just now"])


def test_a_text_that_is_too_long_to_be_kept_is_said_to_be_lost_but_for_undo(page: Page):
    keep(page, "Short.")
    page.evaluate(FILL_UP, 0)
    page.keyboard.insert_text(" and so" * 1000)
    unkept(page)
    said(page, "This draft is too long to be kept in the browser. Copy text takes the text with its fills")
    choose(page, EXAMPLE)
    said(page, "What was here can't be kept in the browser: Undo brings it back.")
    press(page, "Undo")
    assert text(page).endswith(" and so")
    choose(page, "Short.")
    assert text(page) == "Short.", "as it could be kept last"


@pytest.mark.parametrize("width", [390, 1280])
def test_the_menu_of_kept_drafts_fits_and_is_gone_through_by_keyboard(new_page, url, width: int):
    page = new_page(width=width, height=560)
    visit(page, url)
    more = page.get_by_role("button", name="More")

    def menu() -> None:
        if more.is_visible():
            more.click()

    for number in range(8):
        menu()
        keep(page, f"{number} <b>" + "a long first paragraph that goes on and on " * 20)
    menu()
    entries = kept_drafts(page)
    expect(entries).to_have_count(7)
    shown = page.get_by_role("menu").bounding_box()
    assert shown
    assert shown["x"] >= 0 and shown["x"] + shown["width"] <= width
    assert shown["y"] + shown["height"] <= 560
    assert page.get_by_role("menu").evaluate("(menu) => menu.scrollWidth <= menu.clientWidth")
    page.keyboard.press("ArrowUp")
    assert page.evaluate(LABEL).startswith("0 <b>a long")
    expect(entries.last).to_be_in_viewport()
    page.keyboard.press("ArrowDown")
    assert page.evaluate(LABEL) == EXAMPLE
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    said(page, "Opened “0 <b>a long")
    assert text(page).startswith("0 <b>a long")


def test_another_draft_that_is_opened_in_mid_run_is_what_is_spoken_of(new_page, slow_url):
    page = new_page()  # whose errors fail this test
    visit(page, slow_url)
    open_draft(page, "It was [[24 tokens]] so.")
    press(page, "Fill")
    said(page, "to go")
    choose_file(page, "Another draft, no gaps.", "other.txt")
    said(page, "Opened other.txt.")
    finished(page)
    said(page, "Opened other.txt.")
    assert text(page) == "Another draft, no gaps."
    press(page, "Undo")
    expect(page.locator(".draft .ink.fresh")).to_have_count(0)
    assert text(page).startswith("It was ")


def test_the_keyboard_goes_into_the_sheet_when_it_opens(new_page, url):
    page = new_page(width=640, height=400)
    visit(page, url)
    page.get_by_role("button", name="How").focus()
    page.keyboard.press("Enter")
    assert page.evaluate(LABEL) == "Close"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('aside') !== null")
    page.keyboard.press("Escape")
    assert page.evaluate(LABEL) == "How"


@pytest.mark.parametrize("way", ["Tab", "Shift+Tab"])
def test_a_menu_that_the_keyboard_leaves_is_closed(page: Page, way: str):
    menu = page.get_by_role("menu")
    page.get_by_role("button", name="Drafts").focus()
    page.keyboard.press("Enter")
    expect(menu).to_be_visible()
    for _ in range(menu.get_by_role("menuitem").count() if way == "Tab" else 1):
        page.keyboard.press(way)
    expect(menu).to_be_hidden()
    expect(page.get_by_role("button", name="Drafts")).to_have_attribute("aria-expanded", "false")
