"""The narrow page: what its sheet and its More menu leave to be reached, and where the focus goes; in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.page import SlowToy, draft, finished, masked, open_draft, press, said, serving, visit

INERT = "() => [...document.querySelectorAll('.top, .sheet-of-paper, .dock')].map((part) => part.inert)"
FOCUS = "() => document.activeElement.getAttribute('aria-label')"


# What a phone does when its keyboard comes up, which no browser on a desk has.
KEYBOARD = """(height) => {
    Object.defineProperty(visualViewport, "height", { value: height, configurable: true });
    visualViewport.dispatchEvent(new Event("resize"));
}"""


@pytest.fixture(scope="module")
def slow_url() -> Iterator[str]:
    with serving(lambda: SlowToy(0.15)) as (address, _):
        yield address


@pytest.fixture
def phone(new_page: Callable[..., Page], slow_url: str) -> Page:
    page = new_page(width=390, height=800)
    visit(page, slow_url)
    return page


def test_nothing_behind_the_sheet_is_reached(phone: Page) -> None:
    press(phone, "How")
    assert phone.evaluate(INERT) == [True] * 3
    for _ in range(30):
        phone.keyboard.press("Tab")
        assert phone.evaluate("document.activeElement === document.body || document.activeElement.closest('aside') !== null")
    phone.keyboard.press("Escape")
    assert phone.evaluate(INERT) == [False] * 3
    assert phone.evaluate(FOCUS) == "How"
    press(phone, "How")
    phone.set_viewport_size({"width": 1280, "height": 800})
    phone.wait_for_function("() => !document.querySelector('.dock').inert")
    press(phone, "Gap")  # it can be pressed again


def test_the_more_menu_is_closed_with_escape_and_gives_the_focus_back(phone: Page) -> None:
    more = phone.get_by_role("button", name="More")
    more.click()
    open_draft(phone, "It was [[24 tokens]] so.")
    expect(more).to_have_attribute("aria-expanded", "false")
    press(phone, "Fill")
    said(phone, "to go")
    more.focus()
    phone.keyboard.press("Enter")
    expect(more).to_have_attribute("aria-expanded", "true")
    phone.keyboard.press("Tab")
    assert phone.evaluate("document.activeElement.textContent") == "Open"
    phone.keyboard.press("Escape")
    expect(phone.get_by_role("button", name="Open")).to_be_hidden()
    expect(more).to_be_focused()
    finished(phone)
    expect(masked(phone)).to_have_count(0)  # Escape was the menu's, not the run's
    said(phone, "all settled")
    phone.keyboard.press("Enter")
    with phone.expect_download():
        phone.get_by_role("button", name="Save draft").press("Enter")
    expect(more).to_be_focused()


def test_a_button_in_a_message_is_large_enough_to_be_touched(new_page: Callable[..., Page], slow_url: str) -> None:
    page = new_page(phone=True)
    visit(page, slow_url)
    page.get_by_role("button", name="More").tap()
    open_draft(page, "It was \\[[2]] so.")
    press(page, "Fill")
    box = page.get_by_role("button", name="Make a gap of it").bounding_box()
    assert box and box["height"] >= 40


def test_the_keyboard_of_a_phone_covers_neither_the_caret_nor_the_dock(new_page: Callable[..., Page], slow_url: str) -> None:
    page = new_page(phone=True)
    visit(page, slow_url)
    page.get_by_role("button", name="More").tap()
    open_draft(page, "\n".join(f"Line {number}." for number in range(40)) + "\n[[2]]")
    draft(page).locator(".line").nth(12).tap()
    dock, row = page.locator(".dock"), draft(page).locator(".line").nth(12)
    below = row.bounding_box()
    assert below and below["y"] > 420
    page.evaluate(KEYBOARD, 420)
    for shown in (dock, row):
        box = shown.bounding_box()
        assert box and box["y"] >= 0 and box["y"] + box["height"] <= 420
    page.evaluate(KEYBOARD, 844)
    box = dock.bounding_box()
    assert box and round(box["y"] + box["height"]) == 844
