"""Words that a gap must hold, on the page: typed or given in its window, kept by every fill; in a real browser."""

from __future__ import annotations

from playwright.sync_api import expect

from engine.text import bare_words
from tests.page import fill, gaps, open_draft, press, said, text, undo_to, visit


def test_words_that_a_gap_must_hold_are_given_shown_and_kept_by_every_fill(new_page, url):
    page = new_page()
    visit(page, url)
    open_draft(page, "The light was [[12]] so.")
    gaps(page).click()
    field = page.get_by_label("Must hold")
    expect(field).to_have_value("")
    field.fill(" silver,, old moon ")
    field.press("Enter")
    assert text(page) == "The light was [[12: silver, old moon]] so."
    expect(page.get_by_role("button", name="Length: 12 words · silver, old moon")).to_be_visible()
    fill(page)
    pinned = page.locator(".cell.pinned, .ink.pinned")
    assert {"silver", "old moon"} <= {shown.strip() for shown in pinned.all_inner_texts()}
    filled = text(page)
    assert len(filled.split()) >= 16 and "silver" in bare_words(filled) and "old moon" in filled
    undo_to(page, "The light was [[12: silver, old moon]] so.")


def test_of_several_forms_one_is_held(new_page, url):
    page = new_page()
    visit(page, url)
    open_draft(page, "The light was [[12]] so.")
    gaps(page).click()
    page.get_by_label("Must hold").fill("walk|walked, silver")
    page.get_by_label("Must hold").press("Enter")
    assert text(page) == "The light was [[12: walk|walked, silver]] so."
    fill(page)
    found = bare_words(text(page))
    assert "silver" in found and ("walk" in found) != ("walked" in found)
    undo_to(page, "The light was [[12: walk|walked, silver]] so.")


def test_a_gap_that_is_too_short_for_its_words_says_so(new_page, url):
    page = new_page()
    visit(page, url)
    open_draft(page, "The light was [[1: silver moon]] so.")
    press(page, "Fill")
    said(page, "This gap may hold 1 word at most, and its keywords are 2")
    assert text(page) == "The light was [[1: silver moon]] so."
    open_draft(page, "The light was [[2 tokens: silver]] so.")
    press(page, "Fill")
    said(page, "This gap may hold 2 tokens at most, and its keywords take 7")  # only the model can tell
    assert text(page) == "The light was [[2 tokens: silver]] so."
