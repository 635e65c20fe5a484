"""What hands do that a plain click doesn't tell: long paragraphs, three clicks, input methods, other keyboards, keys without a mouse."""

from __future__ import annotations

from itertools import pairwise

import pytest
from playwright.sync_api import Page, Route, expect

from tests.page import (
    SlowToy,
    draft,
    fill,
    finished,
    gaps,
    masked,
    open_draft,
    paste,
    press,
    put_caret,
    said,
    select,
    serving,
    text,
    visit,
    write,
)

CARET = "() => { const box = getSelection().getRangeAt(0).getBoundingClientRect(); return [box.top, box.bottom]; }"
CARD = "() => { const box = document.querySelector('.card').getBoundingClientRect(); return [box.top, box.bottom]; }"
FOCUS = "() => document.activeElement.closest('.draft') ? 'draft' : document.activeElement.textContent"


@pytest.fixture
def page(new_page, url) -> Page:
    made: Page = new_page()
    visit(made, url)
    return made


@pytest.fixture(scope="module")
def slow_url():
    with serving(lambda: SlowToy(0.15)) as (address, _):
        yield address


def filled(page: Page, marks: str) -> str:
    """A draft, filled: how it reads then."""
    open_draft(page, marks)
    fill(page)
    expect(masked(page)).to_have_count(0)
    return text(page)


def test_the_caret_stays_in_sight_in_a_paragraph_that_is_taller_than_the_page(page: Page):
    open_draft(page, "The lamp was lit and the sea was still. " * 60 + "[[2]]")
    draft(page).click(position={"x": 200, "y": 60})
    page.keyboard.press("Control+End")
    for letters in ("and then", " the door opened " * 12):
        page.keyboard.insert_text(letters)
        top, bottom = page.evaluate(CARET)
        above, below = page.evaluate(CARD)
        assert above <= top and bottom <= below
    page.keyboard.press("Control+Home")
    page.keyboard.insert_text("So ")
    assert page.evaluate(CARET)[0] >= page.evaluate(CARD)[0]


def test_an_earlier_step_that_is_looked_at_does_not_stay_when_something_else_is_filled(page: Page):
    before = filled(page, "It was [[2]] and [[3]] so.")
    page.get_by_role("slider", name="Step").fill("1")
    expect(masked(page)).not_to_have_count(0)
    draft(page).click()
    page.keyboard.press("Control+End")
    page.keyboard.insert_text(" It is _")
    page.keyboard.insert_text("_")
    page.keyboard.insert_text("_")
    expect(gaps(page)).to_have_count(1)
    fill(page)
    expect(masked(page)).to_have_count(0)
    assert text(page).startswith(before + " It is ")


def test_what_is_in_a_field_counts_when_a_run_is_started_from_it(page: Page):
    open_draft(page, "She came with [[6]] in her hand.")
    gaps(page).click()
    page.get_by_role("dialog", name="Gap").get_by_label("Must hold").fill("lantern")
    page.keyboard.press("Control+Enter")
    finished(page)
    assert "lantern" in text(page)
    page.keyboard.press("Control+z")
    expect(gaps(page)).to_have_count(1)
    assert "lantern" in text(page), "the gap still asks for it"


def test_what_is_changed_at_a_gap_before_the_first_step_stays(page: Page):
    open_draft(page, "She came with [[6]] in her hand.")
    held: list[Route] = []
    page.route("**/gradio_api/call/fill", lambda route: held.append(route))
    with page.expect_request("**/gradio_api/call/fill"):
        press(page, "Fill")
    gaps(page).click()
    page.get_by_role("dialog", name="Gap").get_by_label("Must hold").fill("lantern")
    page.keyboard.press("Tab")
    held[0].continue_()
    finished(page)
    draft(page).locator(".cell").first.click()
    press(page, "Reopen")
    assert "lantern" in text(page)


def test_keys_go_where_the_focus_is_while_words_are_written(new_page, slow_url):
    page = new_page()
    visit(page, slow_url)
    open_draft(page, "It was [[24 tokens]] so.")
    put_caret(page, "so")
    before = text(page)
    page.get_by_role("button", name="Fill").focus()
    page.keyboard.press("Enter")
    said(page, "to go")
    assert page.evaluate(FOCUS) == "Stop"
    page.keyboard.press("Enter")
    finished(page)
    said(page, "Stopped")
    assert page.evaluate(FOCUS) == "Fill"
    page.keyboard.press("Control+z")
    assert text(page) == before, "no key was taken for text"


def test_words_that_were_written_move_with_their_paragraph(page: Page):
    before = filled(page, "One [[2]] two.\n\nThree [[~ the {{old}} house]] four.")
    draft(page).click()
    page.keyboard.press("Control+a")
    page.keyboard.press("Control+x")
    assert text(page) == ""
    page.keyboard.press("Control+v")
    assert text(page) == before
    expect(page.locator(".island.fill")).to_have_count(2)
    draft(page).locator(".cell").first.click()
    expect(page.get_by_role("dialog", name="Alternatives")).to_be_visible()


@pytest.mark.parametrize("width", [320, 360])
def test_nothing_is_cut_off_on_a_small_phone(new_page, url, width: int):
    page = new_page(width=width, height=640)
    visit(page, url)
    for shown in (page.get_by_role("button", name="More"), page.get_by_role("button", name="Fill"), page.get_by_role("button", name="How")):
        box = shown.bounding_box()
        assert box and box["x"] >= 0 and box["x"] + box["width"] <= width
    card = page.locator(".card")
    assert card.evaluate("(card) => card.scrollWidth <= card.clientWidth")
    assert card.evaluate("(card) => card.getBoundingClientRect().right") <= width
    boxes = [button.bounding_box() for button in page.locator(".dock button:visible").all()]
    sides = sorted((box["x"], box["x"] + box["width"]) for box in boxes if box)
    assert all(end <= start for (_, end), (start, _) in pairwise(sides))


def test_a_word_that_an_input_method_is_still_at_is_part_of_the_draft(page: Page):
    write(page, "The old ")
    keyboard = page.context.new_cdp_session(page)
    keyboard.send("Input.imeSetComposition", {"text": "hou", "selectionStart": 3, "selectionEnd": 3})
    press(page, "Gap")
    expect(gaps(page)).to_have_count(1)
    assert text(page).startswith("The old hou")


def test_a_word_of_an_input_method_that_is_given_up_leaves_nothing_to_undo(page: Page):
    write(page, "one")
    page.keyboard.insert_text(" two")
    press(page, "Undo")
    assert text(page) == "one"
    keyboard = page.context.new_cdp_session(page)
    for letters in ("hou", ""):
        keyboard.send("Input.imeSetComposition", {"text": letters, "selectionStart": len(letters), "selectionEnd": len(letters)})
    assert text(page) == "one"
    press(page, "Redo")
    assert text(page) == "one two"


def test_a_touch_that_becomes_a_scroll_does_not_keep_the_small_bar_away(page: Page):
    write(page, "one two")
    page.evaluate(
        """() => {
            for (const kind of ["pointerdown", "pointercancel"]) {
                document.querySelector(".draft .line").dispatchEvent(new PointerEvent(kind, { bubbles: true, pointerType: "touch" }));
            }
        }"""
    )
    page.keyboard.press("Shift+Home")
    expect(page.locator(".floating")).to_be_visible()


def test_the_small_bar_is_on_the_page_however_much_is_selected(page: Page):
    open_draft(page, "\n".join(f"Line {number} of the story." for number in range(90)) + "\n[[2]]")
    draft(page).click(position={"x": 200, "y": 60})
    bar = page.locator(".floating")
    for keys in (["Control+Home", "Control+a"], ["Control+Home", "Control+Shift+End"], ["Control+End", "Control+Shift+Home"]):
        for key in keys:
            page.keyboard.press(key)
        if keys[-1] == "Control+a":
            expect(bar).to_be_visible()
        box, card = bar.bounding_box(), page.locator(".card").bounding_box()
        assert card
        assert not box or (card["y"] <= box["y"] and box["y"] + box["height"] <= card["y"] + card["height"])


def test_what_was_selected_before_a_click_elsewhere_is_left_alone(page: Page):
    write(page, "one two three")
    select(page, "two")
    header = page.locator(".top").bounding_box()
    assert header
    page.mouse.click(header["x"] + header["width"] / 2, header["y"] + header["height"] / 2)
    press(page, "Gap")
    said(page, "Select some words")
    assert text(page) == "one two three"


def test_shortcuts_work_on_a_keyboard_of_another_script(page: Page):
    write(page, "one")
    page.evaluate(
        """() => document.querySelector(".draft").dispatchEvent(new KeyboardEvent("keydown",
            { key: "я", code: "KeyZ", ctrlKey: true, bubbles: true, cancelable: true }))"""
    )
    assert text(page) == ""


def test_escape_in_a_menu_closes_the_menu_and_not_the_run(new_page, slow_url):
    page = new_page()
    visit(page, slow_url)
    open_draft(page, "It was [[24 tokens]] so.")
    press(page, "Fill")
    said(page, "to go")
    press(page, "Drafts")
    page.keyboard.press("Escape")
    expect(page.get_by_role("menu")).to_be_hidden()
    finished(page)
    expect(masked(page)).to_have_count(0)
    said(page, "all settled")


def test_three_clicks_and_a_letter_leave_the_next_paragraph_alone(page: Page):
    write(page, "one two\nthree four\nfive")
    middle = page.locator(".line").nth(1).bounding_box()
    assert middle
    left, top = middle["x"] + 30, middle["y"] + 15
    page.mouse.click(left, top, click_count=3)
    page.keyboard.insert_text("x")
    assert text(page) == "one two\nx\nfive"
    page.mouse.click(left, top, click_count=3)
    paste(page, "y z")
    assert text(page) == "one two\ny z\nfive"
    page.mouse.click(left, top, click_count=3)
    paste(page, "a line\n")
    assert text(page) == "one two\na line\nfive", "it brings its own end"
    write(page, "one\n")
    page.keyboard.press("Control+a")
    page.keyboard.insert_text("x")
    assert text(page) == "x"


def test_pasting_a_picture_takes_nothing_away(page: Page):
    write(page, "one two")
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+y")
    page.keyboard.press("Control+a")
    paste(page, "")
    assert text(page) == "one two"


def test_the_window_of_a_word_says_which_word(page: Page):
    filled(page, "It was [[3]] so.")
    span = draft(page).locator(".island.fill")
    span.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    word = page.locator(".cell.current")
    assert span.get_attribute("aria-activedescendant") == word.get_attribute("id")
    expect(page.get_by_role("dialog", name=f"Alternatives to “{word.inner_text().strip()}”")).to_be_visible()
