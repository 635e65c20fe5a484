"""Going back: Undo over another draft, a reload in mid-run, a second tab's settings, where the keys and the focus go; and paper."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from app.service import Service
from engine.backends.toy import Toy
from tests.page import SlowToy, draft, fill, fill_sending, masked, open_draft, press, said, serving, text, visit
from tests.test_page_kept import EXAMPLE, again, answering, choose, keep, kept_drafts, leave, saved, tab

DRAFT = "The light was [[3]] so."


@pytest.fixture
def page(new_page: Callable[..., Page], url: str) -> Page:
    made: Page = new_page()
    visit(made, url)
    return made


def test_undo_over_another_draft_leaves_it_among_the_kept_ones(page: Page) -> None:
    keep(page, "Story A")
    choose(page, EXAMPLE)
    keep(page, "Story B")
    choose(page, "Story A")
    assert text(page) == "Story A"
    press(page, "Undo")
    assert text(page) == "Story B"
    draft(page).click()
    page.keyboard.press("End")
    page.keyboard.insert_text(" and more")
    saved(page)
    again(page)
    assert text(page) == "Story B and more"
    expect(kept_drafts(page)).to_contain_text(["Story A"])


def test_a_reload_in_mid_run_gives_back_what_stood_there_before_fill_again(new_page: Callable[..., Page]) -> None:
    gate = threading.Event()
    gate.set()

    class Gated(Toy):
        def logits(self, *args, **more):
            gate.wait(60)
            return super().logits(*args, **more)

    with serving(Gated) as (url, _):
        page = new_page()
        visit(page, url)
        open_draft(page, "The light was [[30 tokens]] so.")
        fill(page)
        written = text(page)
        saved(page)
        press(page, "Fill")
        page.wait_for_function("() => document.querySelector('.draft .ink.masked')")
        gate.clear()
        saved(page)
        again(page)
        gate.set()
        assert text(page) == written
        expect(masked(page)).to_have_count(0)


def test_what_another_tab_sets_is_not_taken_back(page: Page, url: str) -> None:
    other = tab(page.context, url)
    page.bring_to_front()
    page.get_by_text("words banned").click()
    page.get_by_label("Banned words").fill("zebra")
    page.get_by_label("Banned words").blur()
    other.bring_to_front()
    expect(other.locator(".never summary")).to_contain_text("1 word banned")
    open_draft(other, DRAFT)
    fill(other)
    again(page)
    expect(page.locator(".never summary")).to_contain_text("1 word banned")


def test_a_seed_that_is_kept_in_one_tab_is_kept_in_the_other(page: Page, url: str) -> None:
    other = tab(page.context, url)
    page.bring_to_front()
    page.get_by_text("Advanced").click()
    seed = page.get_by_label("Seed", exact=True)
    seed.fill("77")
    seed.press("Enter")
    other.bring_to_front()
    other.get_by_text("Advanced").click()
    expect(other.get_by_label("Same seed each time")).to_be_checked()
    expect(other.get_by_label("Seed", exact=True)).to_have_value("77")
    open_draft(other, DRAFT)
    assert fill_sending(other)["seed"] == 77


def test_shortcuts_work_from_the_slider_and_undo_keeps_the_focus_of_its_button(page: Page) -> None:
    open_draft(page, DRAFT)
    fill(page)
    page.get_by_label("Step", exact=True).focus()
    page.keyboard.press("Control+z")
    expect(page.locator(".draft .island.gap")).to_have_count(1)
    expect(page.get_by_label("Step", exact=True)).to_be_disabled()  # nothing is left that its steps would show
    before = text(page)
    redo = page.get_by_role("button", name="Redo")
    redo.focus()
    page.keyboard.press("Enter")
    assert text(page) != before
    expect(redo).to_be_disabled()
    expect(page.get_by_role("button", name="Undo")).to_be_focused()
    page.keyboard.press("Enter")
    assert text(page) == before, "no new line is typed"


def test_a_mark_keeps_the_focus_when_it_is_filled_again(page: Page) -> None:
    open_draft(page, DRAFT)
    fill(page)
    page.locator(".draft .island").first.focus()
    page.keyboard.press("Control+Enter")
    page.wait_for_function("() => document.querySelector('.dock').dataset.run === 'idle'")
    assert page.evaluate("() => document.activeElement.closest('.island') !== null")


def test_a_download_that_ends_late_takes_no_model_away(monkeypatch: pytest.MonkeyPatch) -> None:
    ends, made = [], []

    def load(name: str | None, *_: object) -> Toy:
        made.append(name)
        return Toy()

    service = Service(load)
    monkeypatch.setattr(service.downloads, "start", lambda name, then=None: ends.append(then))
    monkeypatch.setattr("app.service.is_elsewhere", lambda name: name == "far/away")
    service.choose("far/away")
    service.choose("near")
    service.settle()
    ends[0]("")
    service.settle()
    assert made[-1] == "near" and "far/away" not in made


def test_where_the_browser_keeps_nothing_the_page_works_and_says_so(new_page: Callable[..., Page], url: str) -> None:
    page = new_page()
    forbid = "Object.defineProperty(window, '{}', {{ get() {{ throw new DOMException('no', 'SecurityError'); }} }});"
    page.add_init_script(forbid.format("localStorage") + forbid.format("sessionStorage"))
    page.set_viewport_size({"width": 390, "height": 800})
    visit(page, url)
    said(page, "The browser lets this page keep nothing: your draft is gone when you leave. Copy text takes the text with its fills")
    state = page.locator(".saved")
    expect(state).to_have_text("not kept")
    box, chip = state.bounding_box(), page.locator(".chip").bounding_box()
    assert box and chip and box["width"] > 40 and box["x"] + box["width"] <= chip["x"], "it is not cut off on a narrow page"
    page.set_viewport_size({"width": 1280, "height": 800})
    open_draft(page, DRAFT)
    fill(page)
    said(page, "all settled")
    with page.expect_download():
        press(page, "Save draft")
    said(page, "What was written in them is not in this file: Save text has it.")
    asked = answering(page)
    with page.expect_event("dialog"):
        leave(page)
    assert asked == ["beforeunload"]


def test_paper_gets_the_draft_alone_and_all_of_it(page: Page) -> None:
    open_draft(page, "\n".join(f"Line {number}." for number in range(120)))
    page.emulate_media(media="print")
    expect(page.locator(".dock")).to_be_hidden()
    expect(page.locator(".tools").first).to_be_hidden()
    assert page.evaluate("() => document.scrollingElement.scrollHeight > 2000"), "it is not cut off after a screen"


def test_a_very_low_window_still_has_room_for_the_draft(page: Page) -> None:
    page.set_viewport_size({"width": 640, "height": 300})
    box = draft(page).bounding_box()
    card = page.locator(".card").bounding_box()
    assert box and card and card["height"] >= 150


def test_an_arabic_line_that_begins_with_a_gap_runs_from_the_right(page: Page) -> None:
    open_draft(page, "[[8 tokens]] في البيت القديم")
    assert page.locator(".draft .line").first.evaluate("(line) => getComputedStyle(line).direction") == "rtl"


def test_steps_are_not_read_aloud_and_the_end_is(new_page: Callable[..., Page]) -> None:
    with serving(lambda: SlowToy(0.05)) as (url, _):
        page = new_page()
        visit(page, url)
        open_draft(page, "The light was [[20 tokens]] so.")
        press(page, "Fill")
        expect(page.locator(".say")).to_have_attribute("aria-live", "off")
        page.wait_for_function("() => document.querySelector('.dock').dataset.run === 'idle'")
        expect(page.locator(".say")).to_have_attribute("aria-live", "polite")
