"""Banned words on the page: the page's list, and a gap's own; in a real browser."""

from __future__ import annotations

from playwright.sync_api import expect

from app.banned import NEVER_WRITTEN
from engine.text import bare_words
from tests.page import fill, fill_sending, gaps, open_draft, press, said, text, undo_to, visit


def test_the_words_never_written_are_folded_away_edited_kept_and_restored(new_page, url):
    page = new_page()
    visit(page, url)
    shown = page.get_by_role("region", name="How to fill")
    expect(shown).to_contain_text(f"{len(NEVER_WRITTEN)} words banned")
    field, restore = page.get_by_label("Banned words"), page.get_by_role("button", name="Default list")
    expect(field).to_be_hidden()
    shown.get_by_text("words banned").click()
    expect(field).to_have_value("\n".join(NEVER_WRITTEN))
    expect(restore).to_be_disabled()
    field.fill(" he\n\nthe \nhe\nnot  she ")
    open_draft(page, "The light was [[12]] so, and he said so.")
    assert fill_sending(page)["bans"] == ["he", "the", "not  she"]
    assert not {"he", "the"} & set(bare_words(text(page).partition(" so, ")[0][4:]))
    page.reload()
    visit(page, url)
    expect(shown).to_contain_text("3 words banned")
    shown.get_by_text("words banned").click()
    expect(field).to_have_value("he\nthe\nnot  she")
    page.get_by_label("Method").select_option("Fast-dLLM factor")
    expect(field).to_have_value("he\nthe\nnot  she")
    field.fill("")
    expect(shown).to_contain_text("No word is banned")
    assert fill_sending(page)["bans"] == []
    field.fill("x" * 101)
    press(page, "Fill")
    said(page, "A banned word can be 100 characters long at most")
    press(page, "Default list")
    expect(field).to_have_value("\n".join(NEVER_WRITTEN))
    assert "bans" not in page.evaluate("JSON.parse(localStorage.getItem('lacuna.settings')).values")


def test_a_gap_s_own_banned_words_are_shown_edited_and_kept_to(new_page, url):
    page = new_page()
    visit(page, url)
    open_draft(page, "The light was [[12; he]] so.")
    expect(page.get_by_role("button", name="Length: 12 words · 1 banned")).to_be_visible()
    gaps(page).click()
    field = page.get_by_label("Banned", exact=True)
    expect(field).to_have_value("he")
    field.fill(" he,, the ,two words")
    field.press("Enter")
    assert text(page) == "The light was [[12; he, the, two words]] so."
    fill(page)
    assert not {"he", "the"} & set(bare_words(text(page))[3:-1])
    undo_to(page, "The light was [[12; he]] so.")
