"""Choosing a model: exchanged between runs, the old one kept when the new one fails; and the picker in a real browser."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

import pytest

import engine
from app.service import Service
from engine.backends import EMBEDDED
from engine.backends.toy import Toy
from tests.page import SlowToy

DRAFT = "It was [[12]] when the door opened."


class Shop:
    """Makes toys by name, and remembers which are still held by somebody."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.made: list[tuple[str, weakref.ref[Toy]]] = []
        self.alive_at_load: list[list[str]] = []

    def load(self, name: str | None) -> Toy:
        self.alive_at_load.append(self.alive())
        if name is not None and name.startswith("broken"):
            raise ValueError(f"The folder {name} holds no model: its config.json is missing.")
        toy = SlowToy(self.seconds)
        toy.name = name or "first"
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
    assert state(service) == {"state": "ready", "chosen": None, "name": "first", "device": "cpu", "dtype": "", "refused": None}
    return service


async def read(service: Service, messages: list[dict[str, Any]]) -> None:
    async for message in service.fill(DRAFT, {"seed": 3}):
        messages.append(message)


def test_another_model_takes_the_place_of_the_old_one_which_is_let_go(service, shop):
    service.choose("second")
    assert state(service)["name"] == state(service)["chosen"] == "second"
    assert shop.alive() == ["second"]
    service.choose("second")
    assert state(service)["name"] == "second"
    assert len(shop.alive_at_load) == 2, "the model in use is not loaded again"


def test_of_several_choices_the_last_one_counts(service):
    for name in ("second", "third", "fourth"):
        service.choose(name)
    assert state(service)["name"] == "fourth"


@pytest.mark.parametrize("spare", [2.0, 1e15])
def test_a_model_that_fails_leaves_the_old_one_in_use(service, shop, monkeypatch, spare, tmp_path):
    (tmp_path / "broken").mkdir()
    monkeypatch.setattr("engine.memory.SPARE", spare)
    service.choose(str(tmp_path / "broken"))
    service.choose("broken")
    after = state(service)
    assert (after["state"], after["name"], after["chosen"]) == ("ready", "first", None)
    assert after["refused"] == {"chosen": "broken", "error": "The folder broken holds no model: its config.json is missing."}
    messages: list[dict[str, Any]] = []
    asyncio.run(read(service, messages))
    assert messages[-1]["done"] is True
    service.choose("second")
    assert state(service)["refused"] is None


def test_memory_is_given_back_before_a_model_is_loaded_that_does_not_fit_beside(service, shop, monkeypatch):
    service.choose(str(EMBEDDED))
    service.settle()
    assert shop.alive_at_load[-1] == ["first"], "small models fit side by side, so the old one is there until the new one is"
    monkeypatch.setattr("engine.memory.SPARE", 1e15)
    service.choose("third")
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
        service.choose("second")
        await asyncio.to_thread(service.settle)
        assert service.status()["running"] == 1
        assert service.status()["model"]["state"] == "loading"
        assert shop.alive() == ["first"]
        await running
        return messages

    messages = asyncio.run(run())
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
        service.choose("second")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(run())
    assert state(service)["name"] == "second"
    assert service.status()["running"] == 0
