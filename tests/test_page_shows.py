"""What the page shows and tells: to who hears it, gives a talk, comes for the first time, or opens what is no draft."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

import engine
from app.service import Service
from tests.page import choose_file, desk, draft, fill, gaps, load_by_path, open_draft, press, put_caret, said, serving, text, visit, write
from tests.test_page_kept import choose, keep, tab
from tests.test_page_models import NAME, chip, hub, picker  # noqa: F401

BOXES = """() => {
    const box = (name) => document.querySelector(name).getBoundingClientRect();
    return { card: box(".card"), legend: box(".legend"), fill: box(".dock .go"), high: innerHeight };
}"""


@pytest.fixture
def page(new_page: Callable[..., Page], url: str) -> Page:
    made: Page = new_page()
    visit(made, url)
    return made


def test_the_end_of_a_run_is_told_with_what_was_written(page: Page) -> None:
    open_draft(page, "It was [[3]] in the [[: lamp]] light.")
    fill(page)
    told = page.locator(".say").text_content() or ""
    written = [place.text_content() for place in page.locator(".draft .island").all()]
    assert re.search(r"^Step (\d+) of \1 · all settled", told), told
    assert told.endswith(f". Written: {'; '.join(str(words).strip() for words in written)}")
    assert page.locator(".say .heard").bounding_box() == {**(page.locator(".say .heard").bounding_box() or {}), "width": 1, "height": 1}
    slider = page.get_by_role("slider", name="Step", exact=True)
    expect(slider).to_have_attribute("aria-valuetext", re.compile(r"^Step (\d+) of \1 · all settled"))
    slider.fill("1")
    expect(slider).to_have_attribute("aria-valuetext", re.compile(r"^Step 1 of \d+ · .*\d+ to go$"))


def test_without_a_run_the_track_is_empty(page: Page) -> None:
    open_draft(page, "It was [[3]].")
    fill(page)
    choose(page, "The lighthouse")
    assert page.locator(".scrub").evaluate("(slider) => slider.style.getPropertyValue('--at')") == "0%"
    expect(page.locator(".scrub")).not_to_have_attribute("aria-valuetext", re.compile("."))


def test_backspace_behind_a_fill_makes_its_words_the_writers_own(page: Page) -> None:
    open_draft(page, "It was [[2]] then.")
    fill(page)
    before = text(page)
    put_caret(page, " then", after=False)
    page.keyboard.press("Backspace")
    expect(page.locator(".draft .island")).to_have_count(0)
    assert text(page) == before
    page.keyboard.press("Backspace")
    assert text(page) == before.removesuffix(" then.")[:-1] + " then."
    press(page, "Undo")
    press(page, "Undo")
    assert text(page) == before
    expect(page.locator(".draft .island")).to_have_count(1)


def test_what_only_looks_like_marks_can_be_left_as_text(page: Page) -> None:
    choose_file(page, "See [[2024-01-05]].", "daily.md")
    said(page, "daily.md, line 1, column 7")
    press(page, "Open it as plain text")
    said(page, "Opened daily.md as plain text.")
    assert text(page) == "See [[2024-01-05]]."
    expect(gaps(page)).to_have_count(0)
    choose_file(page, "I read [[1984]] and [[5]].", "read.md")
    said(page, "Opened read.md. It has 2 marks.")
    expect(gaps(page)).to_have_count(2)
    press(page, "Leave them as text")
    assert text(page) == "I read [[1984]] and [[5]]."
    expect(gaps(page)).to_have_count(0)


@pytest.mark.parametrize("before", ["", "\ufeff"])
def test_a_byte_order_mark_is_no_part_of_the_text_and_stays_in_the_file(page: Page, before: str) -> None:
    with page.expect_file_chooser() as chosen:
        page.keyboard.press("Control+o")
    chosen.value.set_files({"name": "mine.txt", "mimeType": "text/plain", "buffer": f"{before}It was [[2]].".encode()})
    said(page, "Opened mine.txt.")
    assert text(page) == "It was [[2]]."
    draft(page).focus()
    for save, written in (lambda: page.keyboard.press("Control+s"), "It was [[2]]."), (lambda: press(page, "Save text"), "It was ___."):
        with page.expect_download() as saved:
            save()
        assert saved.value.suggested_filename == "mine.txt"
        assert Path(saved.value.path()).read_bytes() == f"{before}{written}".encode()


def test_a_tab_has_its_drafts_name_and_a_copy_of_an_open_draft_says_so(page: Page, url: str) -> None:
    keep(page, "A chapter of mine")
    assert page.title() == "Lacuna"
    press(page, "Name: Untitled")
    page.get_by_role("textbox", name="Name of the draft").fill("Chapter one")
    page.keyboard.press("Enter")
    expect(page).to_have_title("Chapter one · Lacuna")
    expect(page.locator(".saved")).to_have_text("saved")
    other = tab(page.context, url)
    said(other, "This draft is open in another tab: here is a copy of it.")
    assert text(other) == "A chapter of mine"
    expect(other).to_have_title("Chapter one · Lacuna")


def test_the_legend_comes_with_the_first_tint_and_covers_no_text(page: Page) -> None:
    write(page, "\n".join(f"Line {k}" for k in range(60)))
    expect(page.locator(".legend")).to_be_hidden()
    page.keyboard.insert_text(" ___")
    expect(page.locator(".legend")).to_be_hidden()
    fill(page)
    expect(page.locator(".legend")).to_be_visible()
    boxes = page.evaluate(BOXES)
    assert boxes["legend"]["top"] >= boxes["card"]["bottom"]


def test_what_a_run_writes_out_of_sight_is_scrolled_to(page: Page) -> None:
    open_draft(page, "A line.\n" * 400 + "It was [[2]].\n" + "A line.\n" * 400)
    expect(page.locator(".draft .island")).not_to_be_in_viewport()
    fill(page)
    expect(page.locator(".draft .island")).to_be_in_viewport()
    open_draft(page, "A line.\n" * 30 + "It was [[2]].\n" + "A line.\n" * 30)
    page.locator(".draft .island").scroll_into_view_if_needed()
    at = page.locator(".card").evaluate("(card) => card.scrollTop")
    fill(page)
    assert page.locator(".card").evaluate("(card) => card.scrollTop") == at, "what is in sight stays where it is"


def test_f8_leads_from_mark_to_mark(page: Page) -> None:
    open_draft(page, "One [[1]] two.\n" * 3 + "A line.\n" * 80 + "Last [[1]].\n")
    marks = page.locator(".draft .island")
    put_caret(page, "One", after=False)
    for key, k in (("F8", 0), ("F8", 1), ("Shift+F8", 0), ("Shift+F8", 3), ("F8", 0)):
        page.keyboard.press(key)
        expect(marks.nth(k)).to_be_focused()
        expect(marks.nth(k)).to_be_in_viewport()
        said(page, f"Mark {k + 1} of 4.")
    page.keyboard.press("Escape")
    page.keyboard.press("Control+End")
    page.keyboard.press("F8")
    expect(marks.nth(0)).to_be_focused()
    write(page, "Nothing here.")
    page.keyboard.press("F8")
    said(page, "There are no marks yet.")


def test_the_window_that_says_what_is_what_opens_and_gives_the_focus_back(page: Page) -> None:
    page.get_by_role("button", name="Help").press("Enter")
    window = page.get_by_role("dialog", name="What is what")
    for told in ("Still masked", "Pinned", "Ctrl+Enter", "[[3-8: lamp]]", "Variety"):
        expect(window).to_contain_text(told)
    page.keyboard.press("Escape")
    expect(window).to_be_hidden()
    expect(page.get_by_role("button", name="Help")).to_be_focused()


def test_for_a_talk_the_draft_stands_alone_in_large_type(page: Page) -> None:
    small = draft(page).evaluate("(draft) => parseFloat(getComputedStyle(draft).fontSize)")
    press(page, "Present")
    assert draft(page).evaluate("(draft) => parseFloat(getComputedStyle(draft).fontSize)") > 1.5 * small
    for gone in (page.get_by_role("toolbar", name="Marks"), page.get_by_title("Choose a model"), page.locator("aside")):
        expect(gone).to_be_hidden()
    fill(page)
    page.keyboard.press("Escape")
    expect(page.get_by_role("toolbar", name="Marks")).to_be_visible()
    press(page, "Present")
    press(page, "Leave")
    expect(page.locator("aside")).to_be_visible()


@pytest.mark.parametrize("size", [(640, 400), (320, 640)])
def test_at_a_zoom_of_two_hundred_per_cent_fill_is_in_sight(new_page: Callable[..., Page], url: str, size: tuple[int, int]) -> None:
    page = new_page(width=size[0], height=size[1])
    visit(page, url)
    boxes = page.evaluate(BOXES)
    assert boxes["fill"]["bottom"] <= boxes["high"] and boxes["card"]["height"] > 120


def test_a_gaps_chip_is_never_parted_from_its_beginning(page: Page) -> None:
    write(page, "a " * 40)
    page.keyboard.insert_text("[[5-12 tokens: lamp]]")
    for width in range(1000, 1120, 3):
        page.set_viewport_size({"width": width, "height": 600})
        widths = gaps(page).evaluate("(gap) => [...gap.getClientRects()].map(({ width }) => width)")
        assert len(widths) == 1, (width, widths)


def test_on_a_phone_what_is_pressed_brings_up_no_keyboard(new_page: Callable[..., Page], url: str) -> None:
    page = new_page(phone=True)
    visit(page, url)
    for act in (lambda: choose_on_phone(page), lambda: fill(page), lambda: press(page, "Undo"), lambda: press(page, "Redo")):
        act()
        expect(draft(page)).not_to_be_focused()
    draft(page).tap(position={"x": 30, "y": 400})
    expect(draft(page)).to_be_focused()


def choose_on_phone(page: Page) -> None:
    press(page, "More")
    choose(page, "The lighthouse")


def test_what_becomes_of_a_download_is_told_where_the_picker_is_closed(browser, hub) -> None:  # noqa: F811
    hub.files_answer = 503
    with serving(Service(engine.load, "toy")) as (url, _), desk(browser, url) as page:
        load_by_path(page, NAME)
        page.keyboard.press("Escape")
        said(page, "start again, and it goes on where it was.")
        expect(page.locator(".say")).to_have_class("say failed")
        hub.files_answer, hub.gate = 0, threading.Event()
        page.get_by_title("Choose a model").click()
        row = picker(page).get_by_role("listitem").filter(has_text=NAME)
        row.get_by_role("button", name="Try again").click()
        page.keyboard.press("Escape")
        expect(chip(page)).to_contain_text("downloading")
        hub.gate.set()
        said(page, "tiny-mdlm is on this machine now.")
        press(page, "Use it")
        expect(chip(page)).to_contain_text("tiny-mdlm · CPU")
