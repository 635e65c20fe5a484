"""What else might have been, on the page: guesses for open places, a word of the writer's choice, going on from a step, a saved replay."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from torch import Tensor

from engine.backends.toy import Toy
from tests.page import desk, draft, fill, finished, masked, open_draft, press, said, serving, text, visit

DRAFT = "The keeper closed the door and [[16 tokens]] before the lamp went out."
LETTER = "It was a [[1 tokens]] in the [[~ old {{house}} again]] then."
GUESSES = (
    """() => [...document.querySelectorAll(".draft .ink.guess")].map((ink) => getComputedStyle(ink, "::before").content.slice(1, -1))"""
)


@pytest.fixture(scope="module")
def page(browser, url) -> Iterator[Page]:
    with desk(browser, url) as page:
        yield page


def go_to(page: Page, step: int) -> None:
    page.get_by_role("slider", name="Step").fill(str(step))


def cells(page: Page) -> list[str | None]:
    """What stands in each cell of the last fill; None where it is masked."""
    found: list[str | None] = page.evaluate(
        """() => [...[...document.querySelectorAll(".draft .island.fill")].pop().querySelectorAll(".cell")].map(
            (cell) => (cell.querySelector(".masked") ? null : cell.textContent))"""
    )
    return found


def look(page: Page, cell: int) -> None:
    """Open the window of a cell of the last fill."""
    draft(page).locator(".island.fill").last.locator(".cell").nth(cell).locator(".ink").click()
    expect(page.get_by_role("dialog", name="Alternatives")).to_be_visible()


def test_an_open_place_tells_what_would_be_written_there_at_the_step_that_is_shown(page: Page):
    open_draft(page, DRAFT)
    fill(page)
    go_to(page, 3)
    left = masked(page).count()
    assert left > 8 and page.evaluate(GUESSES) == []
    page.get_by_label("Show guesses").check()
    third = page.evaluate(GUESSES)
    assert 0 < len(third) <= left and all(word.strip() for word in third)  # a guessed space has no ink
    look(page, 15)
    best = page.get_by_role("list", name="What the model thought of").get_by_role("listitem").first
    expect(best).to_be_visible()
    expect(page.get_by_role("dialog", name="Alternatives")).to_contain_text("Still open")
    page.keyboard.press("Escape")
    go_to(page, 0)
    assert page.evaluate(GUESSES) == []  # nothing was asked yet
    go_to(page, 9)
    assert len(page.evaluate(GUESSES)) <= masked(page).count() < left
    assert "░" * 2 in text(page)  # a picture: whoever copies the text gets no guesses
    page.reload()
    expect(page.get_by_label("Show guesses")).to_be_checked()
    page.get_by_label("Show guesses").uncheck()


def test_a_word_of_the_writers_choice_stands_and_stays_when_the_rest_is_written_again(page: Page):
    open_draft(page, LETTER)
    fill(page)
    before = text(page)
    cell = draft(page).locator(".island.fill").first.locator(".cell")
    cell.click()
    window = page.get_by_role("dialog", name="Alternatives")
    choice = window.get_by_title("Put this word here").first
    word = choice.locator("span").inner_text()
    choice.focus()
    choice.press("Enter")
    assert text(page) == re.sub(r"^It was a \S+", f"It was a {word}", before)
    expect(cell.locator(".ink.pinned")).to_have_text(word)
    said(page, f"“{word}” is yours now.")
    expect(window.get_by_role("button").first).to_be_focused()
    page.keyboard.press("Escape")
    fill(page)
    assert text(page).startswith(f"It was a {word} in the ")
    while text(page) != before:
        press(page, "Undo")


class Hyphens(Toy):
    """Would write "a-b" wherever it may, and else any letter."""

    def logits(self, ids: Tensor, positions: Tensor, *, t: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
        logits = super().logits(ids, positions, t=t, attend=attend) * 0.01
        first = int(positions[0].nonzero()[0]) if self.first is None else self.first
        self.first = first
        for row, place in enumerate(positions.nonzero()[:, 1].tolist()):
            logits[row, ord("a-b"[min(place - first, 2)])] += 9
        return logits

    first: int | None = None


def test_a_word_that_goes_on_behind_a_hyphen_is_kept_whole(new_page):
    with serving(Hyphens) as (url, _):
        page = new_page()
        visit(page, url)
        open_draft(page, "It was [[3 tokens]] then.")
        fill(page)
        assert text(page) == "It was a-b then."
        look(page, 0)
        choice = page.get_by_title("Put this word here").first
        letter = choice.locator("span").inner_text()
        choice.click()
        assert text(page) == f"It was {letter}-b then."
        page.get_by_role("button", name="Again").click()
        finished(page)
        assert text(page).startswith(f"It was {letter}-b")
        page.get_by_role("button", name="Save draft").click()
        said(page, "Saved the draft")


def test_reopen_gives_the_gap_back_that_it_was_before_a_word_was_chosen(page: Page):
    open_draft(page, "It was a [[1 tokens; never]] in the [[3 tokens]].")
    before = text(page)
    fill(page)
    draft(page).locator(".island.fill").first.locator(".cell").click()
    page.get_by_title("Put this word here").first.click()
    press(page, "Reopen")
    assert text(page).startswith(before.partition(" in the")[0])


def test_pieces_of_a_longer_word_are_told_and_not_exchanged(page: Page):
    open_draft(page, "He said [[6 tokens]] then.")
    fill(page)
    inside = page.evaluate(
        """() => {
            const cells = [...document.querySelectorAll(".draft .island.fill .cell")].map((cell) => cell.textContent);
            const letter = /[a-z0-9]/i;
            return cells.findIndex((cell, k) => k && letter.test(cells[k - 1].slice(-1)) && letter.test(cell[0]));
        }"""
    )
    assert inside > 0, "the toy writes letters side by side"
    look(page, inside)
    expect(page.get_by_role("list", name="What the model thought of").get_by_role("listitem").first).to_be_visible()
    expect(page.get_by_title("Put this word here")).to_have_count(0)
    page.keyboard.press("Escape")


def test_a_run_goes_on_from_an_earlier_step_with_what_stood_there(page: Page):
    open_draft(page, DRAFT)
    fill(page)
    whole = text(page)
    expect(page.get_by_role("button", name="Go on from here")).to_have_count(0)
    go_to(page, 6)
    at_six, stood = text(page), cells(page)
    open_places = masked(page).count()
    assert 0 < open_places < 16
    press(page, "Go on from here")
    finished(page)
    assert masked(page).count() == 0
    assert all(a == b for a, b in zip(stood, cells(page), strict=True) if a is not None)
    go_to(page, 0)
    assert cells(page) == stood and text(page).replace(" ", "") == at_six.replace(" ", "")  # the new run begins there
    said(page, f"{open_places} to go")
    go_to(page, 99)
    page.keyboard.press("Control+z")
    while text(page) != whole:
        press(page, "Undo")
    expect(page.get_by_role("button", name="Go on from here")).to_have_count(0)


def test_a_saved_replay_shows_the_run_by_itself(page: Page, browser, tmp_path: Path):
    open_draft(page, "A line.\n\nمرحبا <b>& 👩‍👩‍👧 [[10 tokens]] </script> [[~ old {{house}} again]] and ___ then.")
    expect(page.get_by_role("button", name="Save replay")).to_be_hidden()
    fill(page)
    steps = int(page.get_by_role("slider", name="Step").get_attribute("max") or 0)
    shown = []
    for step in range(steps + 1):
        go_to(page, step)
        shown.append((text(page), masked(page).count(), page.locator(".say").text_content()))
    with page.expect_download() as download:
        press(page, "Save replay")
    path = tmp_path / "replay.html"
    download.value.save_as(path)
    assert download.value.suggested_filename.endswith("-replay.html")
    context = browser.new_context(viewport={"width": 1280, "height": 800}, offline=True)
    problems: list[str] = []
    alone = context.new_page()
    alone.on("pageerror", lambda error: problems.append(str(error)))
    alone.goto(path.as_uri())
    slider = alone.get_by_role("slider", name="Step")
    assert slider.input_value() == str(steps)
    for step, (words, left, told) in enumerate(shown):
        slider.fill(str(step))
        lines = "[...document.querySelectorAll('.draft .line')].map((line) => [...line.childNodes].filter((node) => !node.hidden)"
        assert alone.evaluate(lines + ".map((node) => node.textContent).join('')).join('\\n')") == words
        assert alone.locator(".ink.masked:visible").count() == left
        if step < steps:
            assert alone.locator(".say:visible").text_content() == (told or "").replace("Go on from here · ", "")
    assert alone.get_by_role("button", name="Play").is_visible()
    slider.fill("0")
    alone.get_by_role("button", name="Play").click()
    alone.wait_for_function(f"() => document.querySelector('.scrub').value === '{steps}'")
    expect(alone.get_by_role("button", name="Play")).to_be_focused()
    alone.keyboard.press("ArrowLeft")
    assert slider.input_value() == str(steps - 1)
    context.close()
    assert problems == []


def test_a_run_that_was_stopped_goes_on(new_page, url):
    page = new_page()
    visit(page, url)
    open_draft(page, "It was [[200 tokens]] then.")
    page.get_by_role("slider", name="Care").fill("10")
    press(page, "Fill")
    page.wait_for_function("() => document.querySelectorAll('.draft .cell .ink:not(.masked)').length > 3")
    press(page, "Stop")
    finished(page)
    stood = cells(page)
    assert None in stood and len(stood) == 200
    press(page, "Go on")
    finished(page)
    assert "░" not in text(page)
    assert all(a == b for a, b in zip(stood, cells(page), strict=True) if a is not None)
