"""Marks beside marks, and where the caret and the focus are after a command; in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

import engine
from tests.page import desk, fill, open_draft, press, put_caret, said, select, text

CROWDED = "Two gaps need some text between them."
FOCUS = "() => document.activeElement.textContent"


@pytest.fixture(scope="module")
def page(browser: Browser, url: str) -> Iterator[Page]:
    with desk(browser, url) as page:
        yield page


def test_no_mark_is_made_right_beside_what_was_written(page: Page) -> None:
    open_draft(page, "It was [[3]], then [[2]] so.")
    fill(page)
    before = text(page)
    for command in ("Gap", "Rewrite"):
        put_caret(page, ", then")
        for _ in ", then":
            page.keyboard.press("Shift+ArrowLeft")
        press(page, command)
        said(page, CROWDED)
        assert text(page) == before
    with page.expect_download() as download:
        press(page, "Save draft")
    engine.Draft.parse(download.value.path().read_text())


def test_a_command_that_is_refused_leaves_the_passage_as_it_was(page: Page) -> None:
    open_draft(page, "It was [[3]] and [[~ so {{very}} quiet]] here.")
    select(page, " and ")
    page.keyboard.press("Delete")
    assert text(page) == "It was [[3]]so very quiet here."
    page.keyboard.insert_text("x")
    press(page, "Undo")
    redo = page.get_by_role("button", name="Redo")
    expect(redo).to_be_enabled()
    for command in ("Gap", "Rewrite"):
        select(page, "so")
        press(page, command)
        said(page, CROWDED)
        expect(page.locator(".rewrite .word.pinned")).to_have_text("very")
        expect(redo).to_be_enabled()


def test_a_passage_is_a_passage_to_a_screen_reader_before_and_after_its_fill(page: Page) -> None:
    open_draft(page, "It was [[~ so very quiet]] and [[3]] here.")
    places = page.locator(".draft .island")
    kinds = "(places) => places.map((place) => place.getAttribute('aria-roledescription'))"
    before = places.evaluate_all(kinds)
    fill(page)
    assert places.evaluate_all(kinds) == before == ["rewrite", "gap"]
    places.first.locator(".cell").first.click()
    expect(places.first).to_have_attribute("aria-activedescendant", re.compile("cell"))
    press(page, "Reopen")
    assert places.first.get_attribute("aria-activedescendant") is None


def test_a_word_that_is_pinned_by_keyboard_keeps_the_focus(page: Page) -> None:
    open_draft(page, "It was [[~ so very quiet]] here.")
    page.locator(".island.rewrite").focus()
    page.keyboard.press("ArrowRight")
    for key in ("Control+k", "Enter", "Enter"):
        page.keyboard.press(key)
        assert page.evaluate(FOCUS) == "so"
    expect(page.locator(".word.pinned")).to_have_text("so")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(FOCUS) == "very"


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_keep_all_leaves_the_caret_where_it_was(page: Page, by: str) -> None:
    open_draft(page, "It was [[9]] so, and [[9]] then.\nHere it is [[5]].")
    fill(page)
    before = text(page)
    put_caret(page, " then")
    keep = page.get_by_role("button", name="Keep all")
    if by == "mouse":
        keep.click()
    else:
        keep.focus()
        page.keyboard.press("Enter")
    said(page, "Kept")
    assert text(page) == before
    page.keyboard.insert_text("!")
    assert text(page) == before.replace(" then.", " then!.")
