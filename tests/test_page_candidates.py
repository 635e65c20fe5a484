"""Candidates on the page: the best stands, the others are a click away, and come back after a reload."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.page import draft, fill, fill_sending, finished, open_draft, said, text, visit

DRAFT = "The light was [[3]] so, and it [[8 tokens]] then."


def versions(page: Page, nth: int) -> list[str]:
    """The fills that are offered at the nth place, the one that stands there among them."""
    draft(page).locator(".island.fill").nth(nth).locator(".cell").first.click()
    window = page.get_by_role("dialog", name="Alternatives")
    expect(window.get_by_role("list", name="Candidates")).to_be_visible()
    return [shown.strip() for shown in window.locator(".version").all_inner_texts()]


@pytest.fixture
def filled(new_page, url) -> Page:
    page: Page = new_page()
    visit(page, url)
    page.get_by_text("Advanced").click()
    page.get_by_role("spinbutton", name="Candidates").fill("4")
    page.get_by_role("spinbutton", name="Candidates").press("Enter")
    open_draft(page, DRAFT)
    assert fill_sending(page)["candidates"] == 4
    return page


def test_another_fill_takes_the_place_of_the_best_one_with_a_click_and_undo_brings_it_back(filled: Page):
    page = filled
    said(page, "click a word for others")
    page.set_viewport_size({"width": 360, "height": 780})  # a small phone: the hint is not cut off
    line, hint = page.locator(".say").bounding_box(), page.get_by_text("click a word for others").bounding_box()
    assert line and hint and hint["x"] + hint["width"] <= line["x"] + line["width"]
    page.set_viewport_size({"width": 1280, "height": 800})
    best = text(page)
    offered = versions(page, 0)
    assert 2 <= len(offered) <= 4 and len(set(offered)) == len(offered) and f" {offered[0]} so," in best
    page.get_by_role("button", name=offered[1], exact=True).click()
    assert text(page) == best.replace(f" {offered[0]} so,", f" {offered[1]} so,")
    chosen = page.locator(".version[aria-current]")
    expect(chosen).to_have_text(offered[1])
    expect(chosen).to_be_focused()
    assert [shown.strip() for shown in page.locator(".version").all_inner_texts()] == offered  # they keep their places
    chosen.press("Enter")  # it stands there already: nothing to undo
    page.keyboard.press("Escape")
    page.keyboard.press("Control+z")
    assert text(page) == best
    expect(page.get_by_role("dialog", name="Alternatives")).to_be_hidden()


def test_fill_again_writes_something_else_even_with_the_same_seed(filled: Page):
    page = filled
    page.get_by_label("Same seed each time").check()
    fill(page)
    first = text(page)
    texts = {first}
    for _ in range(3):
        fill(page)
        assert text(page) not in texts
        texts.add(text(page))


def test_a_window_that_tells_of_what_was_written_closes_when_it_is_written_anew(filled: Page):
    page = filled
    offered = versions(page, 0)
    page.get_by_role("button", name=offered[1], exact=True).click()
    expect(page.locator(".version[aria-current]")).to_have_text(offered[1])
    page.keyboard.press("Control+z")
    expect(page.get_by_role("dialog", name="Alternatives")).to_be_hidden()
    versions(page, 0)
    page.keyboard.press("Control+Enter")  # all is filled, so all is written again
    expect(page.get_by_role("dialog", name="Alternatives")).to_be_hidden()
    finished(page)


def test_the_others_are_there_after_a_reload_and_gone_after_the_next_fill_without_them(filled: Page, url):
    page = filled
    offered = versions(page, 1)
    page.get_by_role("button", name=offered[-1], exact=True).click()
    chosen = text(page)
    expect(page.get_by_text("Saved")).to_be_visible()
    page.reload()
    visit(page, url)
    assert text(page) == chosen and versions(page, 1) == offered
    expect(page.locator(".version[aria-current]")).to_have_text(offered[-1])
    page.keyboard.press("Escape")
    page.get_by_text("Advanced").click()
    page.get_by_role("spinbutton", name="Candidates").fill("1")
    page.get_by_role("spinbutton", name="Candidates").press("Enter")
    fill(page)
    draft(page).locator(".island.fill .cell").first.click()
    expect(page.get_by_role("dialog", name="Alternatives")).to_be_visible()
    expect(page.get_by_role("list", name="Candidates")).to_have_count(0)
