"""Marks over marks, places where a run was stopped, and what the keyboard and the clipboard make of them; in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

import engine
from tests.page import (
    SlowToy,
    desk,
    draft,
    fill,
    finished,
    gaps,
    masked,
    open_draft,
    press,
    said,
    select,
    serving,
    text,
    undo_to,
    visit,
    write,
)

STOPPED = "Once [[~ the old {{house}} by the river]] again, and [[12; suddenly]] so."
WRITER = "Once the old house by the river again, and [[12; suddenly]] so."
CLIPBOARD = "() => navigator.clipboard.readText()"
PLACE = """() => {
    const before = document.createRange();
    before.selectNodeContents(document.querySelector(".draft .line"));
    before.setEndBefore(document.querySelector(".cell.picked"));
    return before.toString().length;
}"""
"""How many characters of the draft's first line stand before what is picked."""
SELECTED = "() => getSelection().toString()"


@pytest.fixture(scope="module")
def page(browser, url) -> Iterator[Page]:
    with desk(browser, url) as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        yield page


@pytest.fixture(scope="module")
def slow_page(browser) -> Iterator[Page]:
    with serving(lambda: SlowToy(0.2)) as (url, _), desk(browser, url) as page:
        yield page


def saved(page: Page) -> str:
    """The draft with its marks, as it is saved."""
    with page.expect_download() as download:
        press(page, "Save draft")
    return download.value.path().read_text()


def all_of(page: Page, command: str) -> None:
    """Select the whole draft and press a button over it."""
    draft(page).focus()
    page.keyboard.press("Control+Home")
    page.keyboard.press("Control+a")
    press(page, command)


def stopped(page: Page, marks: str) -> None:
    """A draft whose fill was stopped when something, not all, was written."""
    open_draft(page, marks)
    press(page, "Fill")
    page.wait_for_function("() => Number(document.querySelector('.scrub').value) >= 2")
    press(page, "Stop")
    finished(page)
    said(page, "Stopped at step")
    expect(masked(page)).not_to_have_count(0)


def pinned(page: Page) -> list[str]:
    return page.locator(".draft .rewrite .word.pinned").all_inner_texts()


def written(page: Page) -> Locator:
    """Cells that hold a letter which the run wrote: seeds are drawn, and a fill may begin or end with a sign, which is no word to pin."""
    return page.locator(".cell:not(:has(.pinned))").filter(has_text=re.compile(r"[^\W_]"))


def test_where_a_run_was_stopped_the_writers_words_are_still_to_be_had(slow_page: Page):
    page = slow_page
    stopped(page, STOPPED)
    places = page.locator(".island.fill")
    assert [place.get_attribute("aria-label") for place in places.all()] == ["Stopped half way"] * 2
    expect(page.locator(".saved")).to_have_text("saved")
    page.reload()
    visit(page, page.url)
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()
    assert [place.get_attribute("aria-label") for place in places.all()] == ["Stopped half way"] * 2

    masked(page).first.click()
    window = page.get_by_role("dialog", name="Alternatives")
    expect(window.get_by_role("button", name="Again")).to_be_visible()
    expect(window.get_by_role("button", name="Keep")).to_have_count(0)
    window.get_by_role("button", name="Reopen").click()
    assert pinned(page) == ["house"]
    press(page, "Undo")

    places.first.focus()
    page.keyboard.press("Delete")
    assert text(page).startswith("Once the old house by the river again, and ")
    press(page, "Undo")
    all_of(page, "Gap")
    gaps(page).click()
    press(page, "Put back")
    assert text(page) == WRITER and pinned(page) == ["house"]


def test_a_place_that_is_being_written_does_not_say_that_it_was_stopped(slow_page: Page):
    page = slow_page
    open_draft(page, STOPPED)
    press(page, "Fill")
    said(page, "to go")
    place = page.locator(".island.fill").first
    assert place.get_attribute("aria-label") == "Being written"
    masked(page).first.click()
    expect(page.get_by_role("dialog", name="Alternatives")).to_contain_text("Still open")
    assert page.get_by_role("button", name="Reopen").count() == 0
    page.keyboard.press("Escape")
    press(page, "Stop")
    finished(page)
    assert place.get_attribute("aria-label") == "Stopped half way"
    masked(page).first.dblclick()
    before = text(page)
    for command in ("Gap", "Rewrite", "Pin"):
        page.locator(".floating").get_by_text(command).click()
        said(page, "This place was stopped half way")
        assert text(page) == before
        masked(page).first.dblclick()
    page.keyboard.press("Delete")
    assert text(page) == before


def test_a_gap_over_gaps_gives_back_all_that_stood_there(page: Page):
    write(page, "The old house was\nvery quiet at night.")
    select(page, "house")
    press(page, "Gap")
    select(page, "quiet")
    press(page, "Rewrite")
    all_of(page, "Gap")
    assert text(page) == "[[]]"
    expect(page.locator(".saved")).to_have_text("saved")
    page.reload()
    visit(page, page.url)
    gaps(page).click()
    expect(page.get_by_role("dialog", name="Gap")).to_contain_text("Was: The old ___ was")
    press(page, "Put back")
    assert text(page) == "The old [[]] was\nvery quiet at night."
    expect(page.locator(".rewrite")).to_have_text("quiet")
    gaps(page).click()
    press(page, "Put back")
    assert text(page) == "The old house was\nvery quiet at night."
    write(page, "One [[]] two.")
    open_draft(page, "One [[~ so\n{{very}} quiet]] two.")
    fill(page)
    written = text(page)
    all_of(page, "Gap")
    gaps(page).click()
    press(page, "Put back")
    assert text(page) == written and page.locator(".draft .line").count() == 2


def test_rewrite_keeps_pins_and_lets_gaps_be(page: Page):
    open_draft(page, "The old [[3; suddenly]] was [[~ so {{very}} quiet]] here.")
    before = saved(page)
    all_of(page, "Rewrite")
    said(page, "There is a gap in this: fill it or remove it first.")
    assert saved(page) == before
    fill(page)
    all_of(page, "Rewrite")
    said(page, "What the gap asked for holds no more: its length, its banned words.")
    assert pinned(page) == ["very"] and text(page).startswith("The old ")
    mark = engine.Draft.parse(saved(page)).parts
    assert len(mark) == 1 and isinstance(mark[0], engine.Rewrite)
    open_draft(page, "It was [[~ so {{very}} quiet]] here.")
    all_of(page, "Rewrite")
    assert saved(page) == "[[~ It was so {{very}} quiet here.]]"
    select(page, "very")
    page.mouse.move(0, 0)
    press(page, "Rewrite")
    assert saved(page) == "It was so [[~ {{very}}]] quiet here."


def test_a_pin_over_a_fill_keeps_other_pins_and_says_what_holds_no_more(page: Page):
    open_draft(page, "It was [[6: lamp; suddenly]] so.")
    fill(page)
    written(page).first.dblclick()
    page.locator(".floating").get_by_text("Pin").click()
    said(page, "Pinned. Fill writes the words around them anew. What the gap asked for holds no more: its length, its banned words.")
    assert "lamp" in " ".join(pinned(page)) and len(pinned(page)) >= 2
    engine.Draft.parse(saved(page))
    open_draft(page, "It was [[~ so {{very}} quiet today]] so.")
    fill(page)
    written(page).last.dblclick()
    page.locator(".floating").get_by_text("Pin").click()
    said(page, "Pinned. Fill writes the words around them anew.")
    assert "holds no more" not in page.locator(".say").inner_text()
    assert "very" in pinned(page) and len(pinned(page)) >= 2


def test_words_of_a_fill_are_picked_by_keyboard_and_pinned_or_taken_out(page: Page):
    open_draft(page, "It was [[6: lamp]] so.")
    fill(page)
    words, island = text(page), page.locator(".island.fill")
    island.focus()
    page.keyboard.press("End")
    for key in ("Shift+ArrowRight", "Shift+ArrowRight", "Shift+ArrowRight", "Shift+ArrowLeft"):
        page.keyboard.press(key)
    cells = page.locator(".cell").all_inner_texts()
    assert page.locator(".picked").all_inner_texts() == cells[:2]
    said(page, f"Picked “{''.join(cells[:2]).strip()}”")
    page.keyboard.press("Escape")
    expect(page.locator(".picked")).to_have_count(0)
    at = next(k for k, cell in enumerate(cells) if re.search(r"[^\W_]", cell) and cell.strip() != "lamp")
    for _ in range(at + 1):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    assert page.locator(".picked").all_inner_texts() == [cells[at]]
    page.keyboard.press("Delete")
    said(page, "Taken out.")
    page.keyboard.press("Control+z")
    assert text(page) == words
    island.focus()  # where the same word is still the one that is looked at
    page.keyboard.press("Shift+ArrowRight")
    assert page.locator(".picked").all_inner_texts() == [cells[at]]
    page.keyboard.press("Control+k")
    said(page, "Pinned. Fill writes the words around them anew. What the gap asked for holds no more: its length.")
    assert "lamp" in pinned(page) and len(pinned(page)) >= 2
    engine.Draft.parse(saved(page))


def picked(page: Page) -> str:
    """Drag over the second to the fourth cell of a fill: what is tinted then."""
    middle = "(cell) => { const box = cell.getClientRects()[0]; return [(box.left + box.right) / 2, (box.top + box.bottom) / 2]; }"
    first, last = (page.locator(".cell").nth(index).evaluate(middle) for index in (1, 3))
    page.mouse.move(*first)
    page.mouse.down()
    page.mouse.move(*last, steps=5)
    page.mouse.up()
    assert 2 <= page.locator(".cell.picked").count() < page.locator(".cell").count()
    return "".join(page.locator(".cell.picked").all_text_contents())


def test_after_a_click_on_a_written_word_everything_means_the_draft(page: Page):
    open_draft(page, "First paragraph.\n\nThen [[3]] ends.")
    gaps(page).click()
    page.keyboard.press("Control+a")  # the focus is on a choice in the gap's window
    assert page.evaluate(SELECTED).startswith("First") and "Variety" not in page.evaluate(SELECTED)
    expect(page.get_by_role("dialog", name="Gap")).to_be_hidden()
    page.keyboard.press("ArrowLeft")
    fill(page)
    shown = text(page)
    page.locator(".cell").first.click()
    page.keyboard.press("Escape")
    page.keyboard.press("Control+a")
    page.keyboard.press("Control+c")
    assert page.evaluate(CLIPBOARD) == shown
    page.keyboard.press("Delete")
    assert text(page) == ""
    page.keyboard.press("Control+v")
    assert text(page) == shown
    page.get_by_label("Variety").focus()
    page.keyboard.press("Control+a")
    assert "Variety" not in page.evaluate(SELECTED)
    page.keyboard.press("ArrowLeft")
    page.locator(".cell").first.click()
    page.get_by_role("button", name="Reopen").click()
    gaps(page).click()
    field = page.get_by_label("Banned", exact=True)
    field.fill("suddenly")
    field.press("Control+a")  # a field's own text
    page.keyboard.type("x")
    expect(field).to_have_value("x")


def test_picked_words_are_what_is_copied_cut_and_deleted(page: Page):
    open_draft(page, "It was [[9]] so.")
    fill(page)
    shown = text(page)
    words, at = picked(page), page.evaluate(PLACE)
    assert shown[at:].startswith(words)
    page.keyboard.press("Control+c")
    assert page.evaluate(CLIPBOARD) == words
    expect(page.locator(".cell.picked")).not_to_have_count(0)
    page.keyboard.press("Delete")
    said(page, "Taken out.")
    assert text(page) == shown[:at] + shown[at + len(words) :]
    undo_to(page, shown)
    expect(page.locator(".island.fill")).to_have_count(1)
    words, at = picked(page), page.evaluate(PLACE)
    page.keyboard.press("Control+x")
    assert text(page) == shown[:at] + shown[at + len(words) :] and page.evaluate(CLIPBOARD) == words
    undo_to(page, shown)
    picked(page)
    page.keyboard.press("Control+a")
    page.keyboard.press("Control+c")
    assert page.evaluate(CLIPBOARD) == shown
    open_draft(page, "It was [[~ so {{very}} quiet]] here.")
    select(page, "quiet")
    page.keyboard.press("Backspace")
    assert saved(page) == "It was [[~ so {{very}}]] here."
    press(page, "Undo")
    assert saved(page) == "It was [[~ so {{very}} quiet]] here."


PASSAGE = "the old keeper of the lighthouse went down to the cold and quiet sea"


def pinned_words(page: Page) -> list[str]:
    return page.locator(".rewrite .word.pinned").all_text_contents()


def keep(page: Page, label: str) -> None:
    page.get_by_role("group", name="Keep").get_by_role("button", name=label).click()


def test_a_share_of_a_passages_words_is_kept_by_lot(page: Page) -> None:
    open_draft(page, f"At night [[~ {PASSAGE} {{{{alone}}}}]] again.")
    page.locator(".rewrite .word", has_text="alone").press("Enter")  # takes the pin away
    page.locator(".rewrite .word", has_text="keeper").click()
    drawn = set()
    for label, count in [("half", 8), ("half", 8), ("half", 8), ("a third", 5), ("most", 11), ("none", 0)]:
        keep(page, label)
        pinned = pinned_words(page)
        assert len(pinned) == count and ("keeper" in pinned) == (count > 0), "what the writer pinned stays until nothing is to stay"
        drawn.add(" ".join(pinned))
    assert len(drawn) > 4  # others each time
    said(page, "No word is pinned: all of it may be written anew.")
    assert text(page) == f"At night {PASSAGE} alone again."
    keep(page, "most")
    page.keyboard.press("Escape")
    kept = pinned_words(page)
    fill(page)
    assert " ".join(page.locator(".ink.pinned").all_text_contents()) == " ".join(kept)
    press(page, "Undo")
    press(page, "Undo")
    assert pinned_words(page) == []


def test_what_was_drawn_is_drawn_anew_after_a_click_an_undo_and_another_passage(page: Page) -> None:
    open_draft(page, f"At night [[~ {PASSAGE}]] again, and [[~ the wind was in the old trees by the river]] then.")
    first, second = page.locator(".island.rewrite").first, page.locator(".island.rewrite").last
    first.locator(".word", has_text="keeper").click()
    keep(page, "most")
    freed = first.locator(".word:not(.pinned)").first.inner_text()
    first.locator(".word:not(.pinned)").first.click()  # the writer's own, beside those drawn
    keep(page, "a third")
    pinned = first.locator(".word.pinned").all_text_contents()
    assert len(pinned) == 5 and {"keeper", freed} <= set(pinned)
    second.locator(".word", has_text="wind").click()
    keep(page, "half")
    first.locator(".word", has_text="keeper").click()  # no longer
    keep(page, "a third")
    assert len(first.locator(".word.pinned").all_text_contents()) == 5
    press(page, "Undo")
    first.locator(".word", has_text="lighthouse").click()
    drawn = set()
    for _ in range(4):
        keep(page, "a third")
        drawn.add(" ".join(first.locator(".word.pinned").all_text_contents()))
    assert len(drawn) > 1


def test_where_nothing_can_be_drawn_nothing_is_offered(page: Page) -> None:
    for passage in ("dark", "彼は古い家を見た。", "— dark —"):
        open_draft(page, f"It was [[~ {passage}]] there.")
        page.locator(".rewrite .word").first.click()
        expect(page.get_by_role("dialog", name="Passage")).to_be_visible()
        expect(page.get_by_role("group", name="Keep")).to_have_count(0)
    page.locator(".rewrite .word").last.focus()
    page.keyboard.press("Backspace")  # plain text again
    expect(page.get_by_role("dialog", name="Passage")).to_be_hidden()
    assert text(page) == "It was — dark — there."
