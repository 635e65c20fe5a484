"""Choosing a model: exchanged between runs, the old one kept when the new one fails; and the picker in a real browser."""

from __future__ import annotations

import asyncio
import json
import threading
import weakref
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from playwright.sync_api import Locator, Page, expect
from torch import Tensor

import engine
from app.service import Service
from engine.backends import EMBEDDED
from engine.backends.toy import Toy
from engine.hub.catalogue import CATALOGUE
from tests import hub_server
from tests import test_page_families as families
from tests.hub_server import Hub
from tests.page import SlowToy, desk, fill, finished, load_by_path, masked, open_draft, press, serving, visit, write
from tests.waiting import until

DRAFT = "It was [[12]] when the door opened."


class GatedToy(SlowToy):
    gate: threading.Event

    def logits(self, ids: Tensor, positions: Tensor, *, t: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
        self.gate.wait(60)
        return super().logits(ids, positions, t=t, attend=attend)


class Shop:
    """Makes toys by name, and remembers which are still held by somebody."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.gate = threading.Event()
        """While it is not set, the models wait."""
        self.gate.set()
        self.made: list[tuple[str, weakref.ref[Toy]]] = []
        self.alive_at_load: list[list[str]] = []

    def load(self, name: str | None) -> Toy:
        self.alive_at_load.append(self.alive())
        if name is not None and name.endswith("broken"):
            raise ValueError(f"The folder {name} holds no model: its config.json is missing.")
        toy = GatedToy(self.seconds)
        toy.gate = self.gate
        toy.name = Path(name).name if name else "first"
        self.made.append((toy.name, weakref.ref(toy)))
        return toy

    def alive(self) -> list[str]:
        return [name for name, toy in self.made if toy() is not None]


def state(service: Service) -> dict[str, Any]:
    service.settle()
    return service.status()["model"]


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def service(shop) -> Service:
    service = Service(shop.load)
    service.start()
    assert state(service) == {
        "state": "ready",
        "chosen": None,
        "name": "first",
        "device": "cpu",
        "dtype": "",
        "recommended": {},
        "answers": False,
        "refused": None,
    }
    return service


def apart(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run it in a thread of its own: Playwright keeps an event loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


async def read(service: Service, messages: list[dict[str, Any]]) -> None:
    async for message in service.fill(DRAFT, {"seed": 3}):
        messages.append(message)


def test_another_model_takes_the_place_of_the_old_one_which_is_let_go(service, shop):
    service.choose("./second")
    assert (state(service)["name"], state(service)["chosen"]) == ("second", "./second")
    assert shop.alive() == ["second"]
    service.choose("./second")
    assert state(service)["name"] == "second"
    assert len(shop.alive_at_load) == 2, "the model in use is not loaded again"


def test_of_several_choices_the_last_one_counts(service):
    for name in ("./second", "./third", "./fourth"):
        service.choose(name)
    assert state(service)["name"] == "fourth"


@pytest.mark.parametrize("spare", [2.0, 1e15])
def test_a_model_that_fails_leaves_the_old_one_in_use(service, shop, monkeypatch, spare, tmp_path):
    (tmp_path / "broken").mkdir()
    monkeypatch.setattr("engine.memory.SPARE", spare)
    service.choose(str(tmp_path / "broken"))
    service.choose("./broken")
    after = state(service)
    assert (after["state"], after["name"], after["chosen"]) == ("ready", "first", None)
    assert after["refused"] == {"chosen": "./broken", "error": "The folder ./broken holds no model: its config.json is missing."}
    messages: list[dict[str, Any]] = []
    apart(read(service, messages))
    assert messages[-1]["done"] is True
    service.choose("./second")
    assert state(service)["refused"] is None


def test_where_the_first_model_fails_another_can_be_chosen():
    service = Service(Shop().load, "./broken")
    service.start()
    assert state(service) == {
        "state": "failed",
        "error": "The folder ./broken holds no model: its config.json is missing.",
        "refused": {"chosen": "./broken", "error": "The folder ./broken holds no model: its config.json is missing."},
    }
    messages: list[dict[str, Any]] = []
    apart(read(service, messages))
    assert messages == [{"error": "The folder ./broken holds no model: its config.json is missing."}]
    service.choose("./second")
    assert state(service)["name"] == "second"


def test_memory_is_given_back_before_a_model_is_loaded_that_does_not_fit_beside(service, shop, monkeypatch):
    service.choose(str(EMBEDDED))
    service.settle()
    assert shop.alive_at_load[-1] == ["first"], "small models fit side by side, so the old one is there until the new one is"
    monkeypatch.setattr("engine.memory.SPARE", 1e15)
    service.choose("./third")
    service.settle()
    assert shop.alive_at_load[-1] == []
    assert shop.alive() == ["third"]


def test_a_run_ends_with_the_model_it_began_with_and_the_next_has_the_new_one():
    shop = Shop(0.02)
    service = Service(shop.load)

    async def run() -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        running = asyncio.create_task(read(service, messages))
        while len(messages) < 3:
            await asyncio.sleep(0.005)
        service.choose("./second")
        await asyncio.to_thread(service.settle)
        assert service.status()["running"] == 1
        assert service.status()["model"]["state"] == "loading"
        assert shop.alive() == ["first"]
        await running
        return messages

    messages = apart(run())
    expected = [frame.as_dict() for frame in engine.fill(Toy(), DRAFT, engine.Settings(seed=3))]
    assert [message["text"] for message in messages[:-1]] == [frame["text"] for frame in expected]
    assert messages[-1]["done"] is True
    assert state(service)["name"] == "second"
    assert shop.alive() == ["second"]


def test_a_reader_that_goes_away_in_mid_run_makes_room_for_the_new_model():
    service = Service(Shop(0.02).load)

    async def run() -> None:
        messages: list[dict[str, Any]] = []
        running = asyncio.create_task(read(service, messages))
        while len(messages) < 3:
            await asyncio.sleep(0.005)
        service.choose("./second")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    apart(run())
    assert state(service)["name"] == "second"
    assert service.status()["running"] == 0


# ---- in the browser


@pytest.fixture(scope="module")
def desk_server() -> Iterator[tuple[str, Service, Shop]]:
    shop = Shop(0.02)
    with serving(Service(shop.load)) as (url, service):
        yield url, service, shop


@pytest.fixture
def page(browser, desk_server) -> Iterator[Page]:
    with desk(browser, desk_server[0]) as page:
        yield page


def picker(page: Page) -> Locator:
    return page.get_by_role("dialog", name="Models")


def chip(page: Page) -> Locator:
    return page.get_by_role("status", name="Model")


def test_the_picker_is_a_window_for_keyboard_and_screen_reader(page):
    page.get_by_title("Choose a model").focus()
    page.keyboard.press("Enter")
    window = picker(page)
    expect(window.get_by_role("list", name="On this machine").get_by_role("listitem").first).to_contain_text("lacuna")
    embedded = json.loads((EMBEDDED / "config.json").read_text(encoding="utf-8"))["name"]
    expect(window.get_by_role("button", name=f"In use {embedded}")).to_be_visible()
    assert window.get_by_role("list", name="To download").get_by_role("listitem").count() >= 5
    window.get_by_role("textbox", name="Find or load").fill("llada-8b")
    shown = window.get_by_role("listitem").filter(visible=True)
    of_these = [entry.name for entry in CATALOGUE if "llada-8b" in entry.name.lower()]
    assert len(of_these) == shown.count() and all("LLaDA-8B" in name for name in shown.locator(".model-name").all_inner_texts())
    window.get_by_role("textbox", name="Find or load").fill("")
    for _ in range(40):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement === document.body || document.activeElement.closest('dialog') !== null")
    page.keyboard.press("Escape")
    expect(window).to_be_hidden()
    expect(page.get_by_title("Choose a model")).to_be_focused()


def test_a_folder_is_loaded_by_its_path_in_every_tab_and_an_error_stays_in_place(page, desk_server):
    write(page, "The old [[3]].")
    second = page.context.new_page()
    visit(second, desk_server[0])
    page.bring_to_front()  # pages behind another are drawn once a second
    load_by_path(page, "./second")
    expect(picker(page).get_by_role("button", name="In use second")).to_be_visible()
    expect(chip(page)).to_contain_text("second · CPU")
    expect(chip(second)).to_contain_text("second · CPU")
    second.close()
    load_by_path(page, "./broken")
    expect(picker(page).get_by_role("alert")).to_have_text("The folder ./broken holds no model: its config.json is missing.")
    expect(picker(page).get_by_role("button", name="In use second")).to_be_visible()
    expect(chip(page)).to_contain_text("second · CPU")
    load_by_path(page, "nobody/nothing")
    nothing = picker(page).get_by_role("listitem").filter(has_text="nobody/nothing")
    expect(nothing).to_contain_text("not whole on this machine, and the network is switched off")
    expect(nothing.get_by_role("button", name="Try again nothing")).to_be_in_viewport()
    page.keyboard.press("Escape")
    fill(page)
    assert masked(page).count() == 0


def test_choosing_in_mid_run_lets_the_run_end(page, desk_server):
    _, service, shop = desk_server
    open_draft(page, "He said that [[20]] and went home.")
    load_by_path(page, "./third")
    expect(chip(page)).to_contain_text("third · CPU")
    page.keyboard.press("Escape")
    shop.gate.clear()
    press(page, "Fill")
    until(lambda: service.status()["running"] == 1)
    load_by_path(page, "./fourth")
    expect(chip(page)).to_contain_text("fourth comes after this run")
    page.keyboard.press("Escape")
    assert page.locator(".dock").get_attribute("data-run") == "live", "Escape closed the window, not the run"
    shop.gate.set()
    finished(page)
    assert masked(page).count() == 0
    expect(chip(page)).to_contain_text("fourth · CPU")


# ---- downloads, from a hub on this machine

NAME = "someone/tiny-mdlm"


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Iterator[Hub]:
    """A hub with one model, an empty cache, and the network switched on."""
    with hub_server.running() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        running.publish(NAME, families.mdlm(tmp_path / "made"))
        yield running


def test_a_download_tells_how_far_it_is_is_stopped_goes_on_and_is_used(browser, hub):
    hub.files_answer = 503
    with serving(Service(engine.load, "toy")) as (url, _), desk(browser, url) as page:
        load_by_path(page, NAME)
        row = picker(page).get_by_role("listitem").filter(has_text=NAME)
        expect(row.locator(".note.failed")).to_contain_text("start again, and it goes on where it was.")
        expect(chip(page)).to_contain_text("toy")
        hub.files_answer, hub.gate = 0, threading.Event()
        row.get_by_role("button", name="Try again").click()
        until(hub.waiting.is_set)
        bar = row.get_by_role("progressbar")
        page.wait_for_function("() => document.querySelector('dialog .way:not([hidden]) progress')?.position > 0.3")
        for path in ("/no/such/folder", "./nor/this"):  # while the list is drawn again and again
            load_by_path(page, path)
            expect(picker(page).get_by_role("alert")).to_contain_text(f"There is no model called '{path}'")
        expect(bar).to_have_accessible_name(f"Download of {NAME}")
        row.get_by_role("button", name="Cancel").click()
        expect(row).to_contain_text("Stopped; what has come is kept.")
        hub.gate.set()
        row.get_by_role("button", name="Resume").press("Enter")
        expect(row).to_contain_text("Use")  # what it says where it does not is part of the error
        expect(picker(page).get_by_role("list", name="On this machine")).to_contain_text(NAME)
        expect(row.get_by_role("button", name="Use")).to_be_focused()  # though the row was moved
        spans = [span for file, span in hub.fetched(NAME) if file == "model.safetensors"]
        assert spans[0] == "" and spans[-1].startswith("bytes="), "it went on where it was stopped"
        row.get_by_role("button", name="Use").click()
        expect(chip(page)).to_contain_text("tiny-mdlm · CPU")


def test_how_far_the_first_models_download_is_is_shown_and_not_read_aloud(browser, hub):
    hub.gate = threading.Event()
    with serving(Service(engine.load, NAME)) as (url, _):
        page = browser.new_page()
        page.goto(url)
        expect(chip(page)).to_contain_text("Downloading …")
        share = chip(page).locator("span", has_text="%")
        expect(share).to_be_visible()
        assert share.get_attribute("aria-hidden") == "true"
        hub.gate.set()
        expect(chip(page)).to_contain_text("tiny-mdlm · CPU")
        page.close()
