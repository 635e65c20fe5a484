"""Ways back and forth: out of a mark, to what was there before, to what an earlier run wrote, and to a draft's name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.page import draft, fill, finished, gaps, masked, open_draft, paste, press, put_caret, said, select, text, visit, write
from tests.test_page_kept import again, choose, keep, kept_drafts, saved

WORDS = "[...document.querySelectorAll('.draft .island')].map((island) => island.textContent)"


@pytest.fixture
def page(new_page: Callable[..., Page], url: str) -> Page:
    made: Page = new_page()
    visit(made, url)
    return made


def window(page: Page) -> Locator:
    return page.locator(".pop")


def press_in(page: Page, name: str) -> None:
    """Press a button of the small window."""
    window(page).get_by_role("button", name=name, exact=True).click()


def caret_is_in_the_text(page: Page) -> None:
    expect(draft(page)).to_be_focused()


def test_a_text_pasted_over_all_of_another_leaves_that_one_among_the_kept_ones(page: Page) -> None:
    keep(page, "A chapter of mine")
    page.keyboard.press("Control+a")
    paste(page, "Another chapter")
    said(page, "What was here is kept: see Drafts.")
    assert text(page) == "Another chapter"
    saved(page)
    assert again(page) == "Another chapter"
    expect(kept_drafts(page)).to_contain_text(["A chapter of mine"])
    page.keyboard.press("Escape")
    page.keyboard.press("Control+a")
    page.keyboard.press("Backspace")
    page.keyboard.insert_text("A third")
    saved(page)
    again(page)
    expect(kept_drafts(page)).to_have_count(2)


@pytest.mark.parametrize("key", ["Backspace", "Control+Backspace", "Delete"])
@pytest.mark.parametrize("command", ["Rewrite", "Gap"])
def test_at_a_mark_with_words_of_ones_own_the_mark_goes_and_the_words_stay(page: Page, command: str, key: str) -> None:
    write(page, "Keep these fine words here.")
    select(page, "these fine words")
    press(page, command)
    expect(page.locator(".draft .island")).to_have_count(1)
    if key == "Delete":
        page.keyboard.press("ArrowLeft")
    caret_is_in_the_text(page)
    page.keyboard.press(key)
    expect(page.locator(".draft .island")).to_have_count(0)
    assert text(page) == "Keep these fine words here."


def test_reopen_gives_the_gap_back_after_a_word_of_it_was_pinned_and_after_a_reload(page: Page) -> None:
    open_draft(page, "The light was very bright and warm so.")
    select(page, "very bright and warm")
    press(page, "Gap")
    gaps(page).click()
    window(page).get_by_label("Banned").fill("never")
    window(page).get_by_label("Banned").press("Enter")
    fill(page)
    for reload in (False, True):
        page.locator(".draft .cell .ink").nth(1).dblclick()
        page.locator(".floating").get_by_text("Pin", exact=True).click()
        expect(page.locator(".draft .island.rewrite")).to_have_count(1)
        if reload:
            saved(page)
            again(page)
        page.locator(".draft .rewrite .word:not(.pinned)").first.focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowLeft")
        page.locator(".draft .island.rewrite").press("Enter")
        press_in(page, "Reopen")
        expect(gaps(page)).to_have_attribute("aria-label", "Length: auto · 1 banned")
        gaps(page).click()
        expect(window(page)).to_contain_text("very bright and warm")
        page.keyboard.press("Escape")
        fill(page)
    page.locator(".draft .cell .ink").first.click()
    press_in(page, "Keep")
    assert "very bright" not in text(page)


def test_what_is_typed_at_a_mark_goes_behind_it_and_arrows_and_escape_lead_out(page: Page) -> None:
    open_draft(page, "One [[2]] two.")
    chip = gaps(page)
    chip.focus()
    page.keyboard.type("x")
    assert text(page) == "One [[2]]x two."
    press(page, "Undo")
    chip.focus()
    page.keyboard.press("ArrowLeft")
    caret_is_in_the_text(page)
    page.keyboard.type("y")
    assert text(page) == "One y[[2]] two."
    press(page, "Undo")
    chip.focus()
    page.keyboard.press("Escape")
    caret_is_in_the_text(page)
    page.keyboard.type("z")
    assert text(page) == "One [[2]]z two."
    press(page, "Undo")
    fill(page)
    cells = page.locator(".draft .cell").count()
    page.locator(".draft .island").focus()
    for _ in range(cells + 1):
        page.keyboard.press("ArrowRight")
    caret_is_in_the_text(page)


def test_a_length_is_set_by_keyboard_alone_and_the_text_goes_on_behind_the_gap(page: Page) -> None:
    write(page, "One ")
    page.keyboard.press("Control+m")
    page.keyboard.press("Control+m")
    page.keyboard.press("ArrowRight")
    expect(window(page).get_by_role("radio", name="words")).to_be_focused()  # the arrows go on from one to the next
    page.keyboard.press("ArrowRight")
    expect(window(page).get_by_role("radio", name="tokens")).to_be_checked()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.keyboard.type(" two")
    assert text(page) == "One [[5 tokens]] two"


def test_one_gap_alone_is_filled_and_the_model_reads_the_others_as_missing_words(page: Page) -> None:
    open_draft(page, "The wind was [[1]], and the rain [[2]] against the glass.")
    gaps(page).nth(1).click()
    with page.expect_request("**/gradio_api/call/fill") as request:
        press_in(page, "Fill this")
    finished(page)
    sent = (request.value.post_data_json or {})["data"][0]
    assert sent == "The wind was …, and the rain [[2]] against the glass."
    expect(gaps(page)).to_have_count(1)
    expect(page.locator(".draft .island.fill")).to_have_count(1)
    expect(masked(page)).to_have_count(0)


def test_a_passage_alone_is_filled(page: Page) -> None:
    open_draft(page, "A [[~ small house]] and [[1]] more.")
    page.locator(".draft .island.rewrite").press("Enter")
    press_in(page, "Fill this")
    finished(page)
    expect(page.locator(".draft .island.fill")).to_have_count(1)
    expect(gaps(page)).to_have_count(1)


def test_the_word_that_stands_is_pinned_from_its_window(page: Page) -> None:
    open_draft(page, "The light was [[6]] so.")
    fill(page)
    cells = page.locator(".draft .cell .ink")
    free = next(k for k in range(cells.count()) if _offers_pin(page, cells.nth(k)))
    word = cells.nth(free).inner_text().strip()
    press_in(page, "Pin")
    said(page, f"“{word}” is yours now.")
    expect(page.locator(".draft .ink.pinned")).to_have_text([word])
    press_in(page, "Again")
    finished(page)
    expect(page.locator(".draft .ink.pinned")).to_have_text([word])


def _offers_pin(page: Page, cell: Locator) -> bool:
    cell.click()
    return window(page).get_by_role("button", name="Pin", exact=True).count() == 1


def test_what_earlier_runs_wrote_can_be_had_back(page: Page) -> None:
    open_draft(page, "The light was [[6]] so.")
    fill(page)
    first = page.evaluate(WORDS)[0]
    fill(page)
    second = page.evaluate(WORDS)[0]
    assert first != second
    saved(page)
    again(page)
    page.locator(".draft .cell .ink").first.click()
    earlier = window(page).get_by_role("list", name="Earlier")
    expect(earlier.get_by_role("button")).to_have_text([first.strip()])
    earlier.get_by_role("button").click()
    assert page.evaluate(WORDS) == [first]
    others = window(page).locator(".version:not([aria-current])")
    others.filter(has_text=second.strip()).first.click()
    assert page.evaluate(WORDS) == [second]


def test_a_draft_is_named_in_place(page: Page, tmp_path: Path) -> None:
    write(page, "Words [[1]] here.")
    name = page.locator(".about .title")
    expect(name).to_have_text("Untitled")
    name.click()
    field = page.get_by_role("textbox", name="Name of the draft")
    field.fill("My chapter")
    field.press("Enter")
    expect(name).to_have_text("My chapter")
    saved(page)
    again(page)
    expect(name).to_have_text("My chapter")
    name.click()
    field.fill("Something else")
    field.press("Escape")
    expect(name).to_have_text("My chapter")
    with page.expect_download() as download:
        press(page, "Save text")
    assert download.value.suggested_filename == "My chapter.txt"
    assert Path(download.value.path()).read_text(encoding="utf-8") == "Words [[1]] here."


def test_the_text_is_saved_as_it_stands_under_its_files_own_ending(page: Page) -> None:
    from tests.page import choose_file

    choose_file(page, "# The light\n\nIt was [[2]] so.", "chapter.md")
    said(page, "Opened chapter.md.")
    with page.expect_download() as download:
        press(page, "Save text")
    said(page, "Saved the text as it stands; open gaps are written as ___.")
    assert download.value.suggested_filename == "chapter.md"
    assert Path(download.value.path()).read_text(encoding="utf-8") == "# The light\n\nIt was ___ so."
    fill(page)
    with page.expect_download() as download:
        press(page, "Save text")
    written = Path(download.value.path()).read_text(encoding="utf-8")
    assert written == text(page) and "___" not in written


def test_a_kept_draft_is_deleted_and_put_back(page: Page) -> None:
    keep(page, "Story A")
    keep(page, "Story B")
    expect(kept_drafts(page)).to_contain_text(["Story A"])
    page.get_by_role("menuitem", name="Delete “Story A”").click()
    said(page, "Deleted “Story A”.")
    expect(kept_drafts(page)).to_have_count(0)
    page.keyboard.press("Escape")
    press(page, "Put it back")
    said(page, "“Story A” is back.")
    choose(page, "Story A")
    assert text(page) == "Story A"


def test_the_seed_that_the_dice_show_is_the_next_runs(page: Page) -> None:
    open_draft(page, "The light was [[3]] so.")
    fill(page)
    seed = page.get_by_role("spinbutton", name="Seed")
    if not seed.is_visible():
        page.get_by_text("Advanced").click()
    page.get_by_title("Another seed").click()
    shown = int(seed.input_value())
    from tests.page import fill_sending

    assert fill_sending(page)["seed"] == shown
    assert fill_sending(page)["seed"] != shown  # each run has its own again


@pytest.mark.parametrize(
    "lines",
    [
        [{"items": [{"kind": "rewrite"}], "eol": ""}],
        [{"items": [{"kind": "gap", "keywords": [], "bans": [7]}], "eol": ""}],
        [{"items": [{"kind": "gap", "keywords": [], "bans": [], "length": {"low": "a"}}], "eol": ""}],
        [{"items": [{"kind": "gap", "keywords": [], "bans": [], "fill": {"cells": [{"text": 3}]}}], "eol": ""}],
        [{"items": [{"kind": "spell"}], "eol": ""}],
        [{"items": ["x"], "eol": 5}],
        {"items": 5},
    ],
)
def test_what_is_no_draft_spoils_none_neither_pasted_nor_kept(page: Page, lines: object) -> None:
    keep(page, "Mine")
    page.evaluate(
        """(lines) => {
            const clipboardData = new DataTransfer();
            clipboardData.setData("application/x-lacuna", JSON.stringify(lines));
            clipboardData.setData("text/plain", " and theirs");
            document.querySelector(".draft").dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
        }""",
        lines,
    )
    assert text(page) == "Mine and theirs"
    stored = json.dumps({"version": 1, "time": 9e15, "title": "", "lines": lines})
    page.evaluate("(stored) => localStorage.setItem('lacuna.draft.odd', stored)", stored)
    saved(page)
    page.evaluate("sessionStorage.clear()")
    assert again(page) == "Mine and theirs"
    expect(kept_drafts(page)).to_have_count(0)


def test_a_mark_that_an_input_method_writes_at_once_is_made_a_gap(page: Page) -> None:
    write(page, "One ")
    session = page.context.new_cdp_session(page)
    session.send("Input.imeSetComposition", {"text": "___", "selectionStart": 3, "selectionEnd": 3})
    session.send("Input.insertText", {"text": "___"})
    expect(gaps(page)).to_have_count(1)
    assert text(page) == "One [[]]"


def test_a_line_that_is_broken_while_an_input_method_writes_is_the_documents(page: Page) -> None:
    write(page, "One")
    session = page.context.new_cdp_session(page)
    session.send("Input.imeSetComposition", {"text": " two", "selectionStart": 4, "selectionEnd": 4})
    page.evaluate(
        """() => document.querySelector(".draft").dispatchEvent(
            new InputEvent("beforeinput", { inputType: "insertParagraph", isComposing: true, bubbles: true, cancelable: true }))"""
    )
    page.wait_for_function("() => document.querySelectorAll('.draft .line').length === 2")
    saved(page)
    assert again(page) == "One two\n"


def test_marks_that_were_left_as_text_are_told_of_once_more_after_a_run(page: Page) -> None:
    write(page, "A [")
    paste(page, "b ___ c ___ d")
    said(page, "2 marks are written here as plain text.")
    put_caret(page, "c")
    page.keyboard.insert_text("x ___")
    expect(gaps(page)).to_have_count(1)
    fill(page)
    said(page, "2 marks are written here as plain text.")
    fill(page)
    expect(page.locator(".say")).not_to_contain_text("written here as plain text")
