"""Fills on the page: the animation, the timeline, stopping, filling again, typing meanwhile; in a real browser."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from torch import Tensor

import engine
from app import main
from app.service import Service
from tests.browser import repeatable
from tests.growing import Growing
from tests.page import (
    SlowToy,
    desk,
    draft,
    fill,
    fill_sending,
    finished,
    gaps,
    masked,
    open_draft,
    press,
    put_caret,
    said,
    select,
    serving,
    text,
    undo_to,
    visit,
    write,
)
from tests.waiting import until

ROOT = Path(__file__).resolve().parent.parent
STEP = 0.06  # seconds a look
SIXTEEN = "The keeper closed the door and [[16]] before the lamp went out."


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Service]]:
    with serving(lambda: SlowToy(STEP)) as running:
        yield running


@pytest.fixture(scope="module")
def page(browser, server) -> Iterator[Page]:
    with desk(browser, server[0]) as page:
        yield page


def opened(page: Page, content: str, care: int = 4) -> None:
    """The draft, opened; care 4 is the default number of steps, 16."""
    page.get_by_role("slider", name="Care").fill(str(care))
    open_draft(page, content)


def live(page: Page) -> None:
    """Wait for the first frame of a run."""
    page.wait_for_function("() => document.querySelector('.dock').dataset.run === 'live' && document.querySelector('.draft .ink')")


def replay(page: Page) -> None:
    """Play the run again, at four times the pace."""
    for pace in ("1×", "2×"):
        press(page, f"Speed {pace}")
    press(page, "Play")


def step(page: Page) -> int:
    return int(page.get_by_role("slider", name="Step").input_value())


def test_a_gap_settles_step_by_step_while_the_engine_runs(page, server):
    opened(page, SIXTEEN)
    page.evaluate(
        """() => {
            window.canvases = new Map();
            new MutationObserver(async () => {
                const seen = document.querySelector(".draft").textContent;
                if (window.canvases.has(seen)) return;
                window.canvases.set(seen, null);
                window.canvases.set(seen, (await (await fetch("lacuna/status")).json()).running);
            }).observe(document.querySelector(".draft"), { subtree: true, childList: true, characterData: true });
        }"""
    )
    fill(page)
    while_running = page.evaluate("[...window.canvases].filter(([canvas, running]) => canvas.includes('░') && running === 1).length")
    assert while_running >= 8
    assert masked(page).count() == 0
    assert text(page).startswith("The keeper closed the door and ") and text(page).endswith(" before the lamp went out.")


def test_scrub_replay_undo_and_fill_again(page, server):
    _, service = server
    opened(page, SIXTEEN)
    fill(page)
    filled, last = text(page), step(page)
    made = service.status()["steps"]
    slider = page.get_by_role("slider", name="Step")
    slider.fill("2")
    assert masked(page).count() > 0
    press(page, "Step forward")
    assert step(page) == 3
    slider.fill("0")
    replay(page)
    page.wait_for_function(f"() => Number(document.querySelector('.scrub').value) === {last}")
    assert text(page) == filled
    assert service.status()["steps"] == made, "replaying asked the engine"
    press(page, "Undo")
    assert text(page) == SIXTEEN
    press(page, "Redo")
    assert text(page) == filled
    fill(page)
    assert text(page) != filled, "filling again has another seed"
    press(page, "Undo")
    assert text(page) == filled
    press(page, "Keep all")
    assert page.locator(".draft .island").count() == 0
    assert text(page) == filled


def test_stop_ends_the_engine_within_a_step(page, server):
    _, service = server
    model = service.models.model
    opened(page, "He said that [[60]] and went home.", care=10)  # 128 steps
    press(page, "Fill")
    live(page)
    page.wait_for_function("() => Number(document.querySelector('.scrub').value) >= 3")
    press(page, "Stop")
    pressed = model.calls
    finished(page)
    said(page, "Stopped at step")
    until(lambda: service.status()["running"] == 0)
    calls = model.calls
    assert calls <= pressed + 2, "one step may have begun before the press arrived, and one was in hand"
    assert 3 <= step(page) < 128
    assert masked(page).count() > 0
    press(page, "Undo")
    assert text(page) == "He said that [[60]] and went home."
    service.settle()  # whatever was still asked of the model's thread is done by then
    assert model.calls == calls, "the engine went on after it was stopped"


def test_typing_during_a_run_keeps_the_words_and_the_run(page):
    opened(page, SIXTEEN)
    put_caret(page, "before the lamp")
    page.keyboard.press("Control+Enter")
    live(page)
    page.keyboard.type(" in the hall")
    page.keyboard.press("Control+Home")
    page.keyboard.type("Slowly, ")
    finished(page)
    assert text(page).startswith("Slowly, The keeper closed the door and ")
    assert text(page).endswith(" before the lamp in the hall went out.")
    assert masked(page).count() == 0
    undo_to(page, SIXTEEN)


def test_pins_stay_and_a_passage_is_rewritten(page):
    write(page, "The sea was black and quite patient that night.")
    select(page, "black and quite patient")
    press(page, "Rewrite")
    page.locator(".rewrite .word", has_text="black").click()
    select(page, "patient")
    press(page, "Pin")
    fill(page)
    words = text(page)
    assert words.startswith("The sea was black") and words.endswith("patient that night.")
    assert page.locator(".draft .ink.pinned").all_inner_texts() == ["black", "patient"]


def test_a_second_tab_waits_for_its_turn_and_neither_spoils_the_other(page, server):
    opened(page, "One [[40]] end.", care=7)  # 48 steps
    second = page.context.new_page()
    visit(second, server[0])
    open_draft(second, "Two [[4]] end.")
    page.bring_to_front()  # pages behind another are drawn once a second
    press(page, "Fill")
    live(page)
    second.bring_to_front()
    press(second, "Fill")
    said(second, "Waiting for another run")
    finished(second)
    finished(page)
    for tab, first in ((page, "One "), (second, "Two ")):
        assert text(tab).startswith(first) and text(tab).endswith(" end.")
        assert masked(tab).count() == 0
    second.close()


def test_a_settled_word_tells_its_alternatives_and_keyboard_reaches_it(page):
    opened(page, SIXTEEN)
    fill(page)
    page.locator(".draft .ink").nth(3).click()
    window = page.get_by_role("dialog", name="Alternatives")
    expect(window.get_by_role("listitem").first).to_contain_text("%")
    page.keyboard.press("Escape")
    expect(window).to_be_hidden()
    page.locator(".draft .island.fill").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(window).to_be_visible()
    first = page.locator(".cell.current").get_attribute("data-cell")
    page.keyboard.press("ArrowRight")  # the window goes along
    assert page.locator(".cell.current").get_attribute("data-cell") != first
    page.keyboard.press("Escape")
    expect(page.locator(".draft .island.fill")).to_be_focused()
    page.keyboard.press("Enter")
    window.get_by_role("button", name="Reopen").click()
    assert text(page) == SIXTEEN


class SlowGrowing(Growing):
    """A model that lengthens and shortens its gaps while it writes, slowly enough to be watched."""

    def logits(self, ids: Tensor, positions: Tensor, *, t: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
        time.sleep(STEP / 2)
        return super().logits(ids, positions, t=t, attend=attend)


def test_cells_come_and_go_in_mid_run_and_the_timeline_shows_it_again(browser):
    growing = "The lamp [[]] and Anna [[3 tokens]] waited."
    with serving(lambda: SlowGrowing(expand=-1, delete=-1)) as (url, _), desk(browser, url) as page:
        opened(page, growing)
        settings = engine.Settings.of(fill_sending(page))
        frames = list(engine.fill(Growing(expand=-1, delete=-1), growing, settings))
        assert sum(bool(frame.relaid) for frame in frames) >= 2
        cells = page.locator(".draft .island").first.locator(".cell")
        without_spaces = [frame.text.replace(" ", "") for frame in frames]  # a masked cell on the page keeps room for a space
        assert text(page) == frames[-1].text
        slider = page.get_by_role("slider", name="Step")
        counts = []
        for at in [*range(len(frames)), 3, 0, len(frames) - 2]:  # step by step, and in leaps
            slider.fill(str(at))
            assert text(page).replace(" ", "") == without_spaces[at], at
            counts.append(cells.count())
            if at and frames[at].relaid and counts[-1] != counts[-2] and at == len(counts) - 1:
                said(page, "place")
        assert len(set(counts)) >= 2
        expect(page.locator(".draft .ghost")).to_have_count(0)
        slider.fill("0")
        replay(page)
        page.wait_for_function(f"() => Number(document.querySelector('.scrub').value) === {len(frames) - 1}")
        assert text(page) == frames[-1].text
        cells.last.click()
        window = page.get_by_role("dialog", name="Alternatives")
        expect(window).to_contain_text("sure")
        window.get_by_role("button", name="Again").click()
        finished(page)
        assert masked(page).count() == 0
        undo_to(page, growing)


def test_what_can_not_be_filled_is_said_in_a_sentence(page):
    write(page, "No gaps here.")
    press(page, "Fill")
    said(page, "Mark a gap first")
    opened(page, "A [[2]] line.\nThen [[1: silver moon]] it rained.")
    press(page, "Fill")
    expect(page.locator(".say.failed")).to_contain_text("This gap may hold 1 word at most")
    expect(page.locator(".island.mistaken")).to_have_attribute("data-label", "1 word · silver moon")
    assert text(page) == "A [[2]] line.\nThen [[1: silver moon]] it rained."
    page.locator(".island.mistaken").click()
    page.locator(".pop").get_by_role("spinbutton", name="Number").fill("2")
    page.keyboard.press("Enter")
    expect(page.locator(".island.mistaken")).to_have_count(0)


def test_the_app_as_a_newcomer_starts_it_fills_the_example_with_the_embedded_model(new_page):
    """launch.py in a process of its own, the model that came with the checkout, the example that is already there."""
    command = [sys.executable, "launch.py", "--no-browser", "--port", str(main.free_port("127.0.0.1", 8060))]
    environment = os.environ | {"LACUNA_PYTHON": "this"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as app:
        try:
            assert app.stdout is not None
            url = next(word for line in app.stdout for word in line.split() if word.startswith("http"))
            page = new_page()
            visit(page, url, patience=120)
            given = page.evaluate("[...document.querySelectorAll('.draft .line')].map((line) => line.firstChild?.data ?? '')")
            fill(page, patience=180)
            assert masked(page).count() == 0
            assert gaps(page).count() == 0
            for line, words in zip(text(page).split("\n"), given, strict=True):
                assert line.startswith(words)
            expect(page.get_by_role("status", name="Model")).to_contain_text("ms a step")
            page.close()  # it would say, rightly, that the server is gone
        finally:
            app.terminate()


def test_the_draft_is_kept_when_the_server_is_gone(browser):
    context = repeatable(browser)
    page = context.new_page()
    with serving(lambda: SlowToy(STEP)) as (url, _):
        visit(page, url)
        opened(page, SIXTEEN)
    press(page, "Fill")
    said(page, "The Lacuna server does not answer; is it still running?")
    assert text(page) == SIXTEEN
    assert gaps(page).count() == 1
    expect(draft(page)).to_be_editable()
    context.close()
