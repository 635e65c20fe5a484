"""Settings that a model brings along: used where nobody chose, overridden one by one, and the page's own method while it is in use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import ClassVar

import pytest
from playwright.sync_api import expect

import engine
from app.service import Service
from engine import cli
from engine.backends.toy import Toy
from tests.page import fill_sending, load_by_path, open_draft, serving, visit

DRAFT = "It was [[6]] when the door opened."


class Choosy(Toy):
    """A toy that fills best with settings of its own."""

    recommended: ClassVar = {"guidance": 1.0, "steps": 3}


def frames(*given: engine.Settings) -> list[engine.Frame]:
    return list(engine.fill(Choosy(), DRAFT, *given))


def test_a_fill_without_settings_takes_what_is_recommended_for_the_model() -> None:
    assert engine.recommended(Toy()) == engine.Settings()
    assert engine.recommended(Choosy(), {"steps": 5, "seed": 2}) == engine.Settings(guidance=1.0, steps=5, seed=2)
    assert frames() == frames(engine.Settings(guidance=1.0, steps=3)) != frames(engine.Settings(steps=3))
    with pytest.raises(engine.SettingsError, match="no setting called 'step'"):
        engine.recommended(Choosy(), {"step": 5})


def test_the_command_line_takes_it_too_and_what_is_given_comes_first(monkeypatch: pytest.MonkeyPatch, capfdbinary) -> None:
    monkeypatch.setattr("engine.backends.load", lambda *_, **__: Choosy())
    for options, settings in ((["--seed", "4"], {"seed": 4}), (["--guidance", "0", "--steps", "5"], {"guidance": 0.0, "steps": 5})):
        assert cli.main(["--json", *options, DRAFT]) == 0
        lines = [json.loads(line) for line in capfdbinary.readouterr().out.decode().splitlines()]
        events = list(engine.fill_events(Choosy(), DRAFT, engine.Settings.of({**Choosy.recommended, **settings})))
        assert lines == json.loads(json.dumps(events))


def test_no_published_method_is_bent_by_it() -> None:
    for name, values in engine.PUBLISHED.items():
        assert engine.recommended(Choosy(), values).guidance == (1.5 if name == "LLaDA with guidance" else 0.0), name


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(Service(lambda name, **_: Toy() if name == "toy" else Choosy())) as (address, _):
        yield address


SLOW_LOCKS = """
const request = navigator.locks.request.bind(navigator.locks);
navigator.locks.request = async (...how) => {
  while ((await (await fetch('lacuna/status')).json()).model.state !== 'ready') await new Promise(requestAnimationFrame);
  return request(...how);
};
"""


def test_a_page_that_the_model_was_ready_before_is_not_usable_without_its_settings(new_page, url: str) -> None:
    page = new_page()
    page.add_init_script(SLOW_LOCKS)  # the page looks for its draft until the model is ready
    visit(page, url)
    assert page.get_by_label("Guidance", exact=True).input_value() == "1"


def test_the_pages_own_method_is_what_is_best_for_the_model_in_use(new_page, url: str) -> None:
    page = new_page()
    visit(page, url)
    open_draft(page, DRAFT)
    method, guidance = page.get_by_label("Method"), page.get_by_label("Guidance", exact=True)
    page.get_by_text("Advanced", exact=True).click()
    expect(guidance).to_have_value("1")
    expect(method).to_have_value("Lacuna’s own")
    sent = fill_sending(page)
    usual = asdict(engine.Settings())
    assert {name for name in usual if sent[name] != usual[name]} - {"seed", "bans"} == set(Choosy.recommended)
    guidance.fill("0.5")
    guidance.press("Tab")
    expect(method).to_have_value("your own mix")
    page.reload()
    visit(page, url)
    page.get_by_text("Advanced", exact=True).click()
    expect(guidance).to_have_value("0.5")
    expect(method).to_have_value("your own mix")
    method.select_option("Lacuna’s own")
    expect(guidance).to_have_value("1")
    load_by_path(page, "toy")
    page.keyboard.press("Escape")
    expect(guidance).to_have_value("0")  # that model has no wishes
    expect(method).to_have_value("Lacuna’s own")
    assert fill_sending(page)["steps"] == usual["steps"]
