"""A page that others are let in to: by a name of its own, with a model that stays."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from app import main
from app.service import Service
from engine.backends.toy import Toy
from tests.page import fill, open_draft, serving, text, visit


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(Service(lambda _: Toy(), fixed=True), also=["lacuna.example"]) as (url, _):
        yield url


def status(url: str, host: str, *, origin: str | None = None, data: bytes | None = None) -> int:
    headers = {"Host": host, "Content-Type": "application/json", **({"Origin": origin} if origin else {})}
    try:
        return int(urllib.request.urlopen(urllib.request.Request(url, data=data, headers=headers), timeout=10).status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_name_that_was_allowed_is_answered_and_no_other(address):
    for host, expected in (("lacuna.example", 200), ("lacuna.example:443", 200), ("evil.example", 400), ("a.lacuna.example", 400)):
        assert status(address + "lacuna/status", host) == expected, host
    assert status(address + "lacuna/status", "lacuna.example", origin="https://lacuna.example") == 200
    assert (
        status(address + "lacuna/status", "127.0.0.1:7860", origin="https://lacuna.example:8443") == 200
    )  # a proxy that says its own Host
    for origin in ("https://evil.example", "https://lacuna.example.evil.example", "null"):
        assert status(address + "lacuna/status", "lacuna.example", origin=origin) == 400, origin


@pytest.mark.parametrize("name", ["https://lacuna.example", "lacuna.example:443", "*.example", "*x", ""])
def test_what_is_no_name_of_a_machine_is_a_sentence(capsys, name):
    with pytest.raises(SystemExit):
        main.main(["--allow-host", name, "--no-browser"])
    assert "is no name of a machine" in capsys.readouterr().err


def test_nothing_can_be_uploaded(address):
    assert status(address + "gradio_api/upload", "localhost", data=b"x" * 100) == 404


@pytest.mark.parametrize("path", ["models", "models/use", "models/use/int8", "models/download", "models/cancel"])
def test_nobody_chooses_or_downloads_a_model_where_it_is_fixed(address, path):
    data = None if path == "models" else b'"./nothing"'
    assert status(address + "lacuna/" + path, "localhost", data=data) in (404, 405)


def test_the_page_of_a_fixed_model_fills_and_offers_no_other(new_page, address):
    page = new_page()
    visit(page, address)
    chip = page.get_by_title("Whoever started Lacuna chose the model")
    expect(chip).to_contain_text("toy")
    expect(chip).to_be_disabled()
    open_draft(page, "It was [[4 tokens]] then.")
    fill(page)
    assert "░" not in text(page) and "[[" not in text(page)
