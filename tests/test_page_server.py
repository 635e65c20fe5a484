"""The page's server without a browser: /fill for gradio_client, the command line of the app, and who is answered."""

from __future__ import annotations

import json
import re
import socket
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from gradio_client import Client

import engine
from app import main
from app.service import Service, print_draft, read_draft
from engine.backends.toy import Toy
from tests.page import SlowToy, serving
from tests.waiting import until

HOSTS = [
    *((host, 200) for host in ("localhost", "127.0.0.1", "192.168.1.20:7860", "[::1]:7860", "[fe80::1]")),
    *((host, 400) for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "[evil.example]", "")),
]
"""Of Host headers: an address can't be made to point elsewhere, a name can (DNS rebinding)."""
DRAFT = "“It was [[5]] when the door opened,” she said, and [[~ the {{old}} house was {{quite still}}]]. مرحبا 👩‍👩‍👧"
SETTINGS = {"seed": 7, "steps": 8}
A_FEW = 5
"""Calls of a model that takes 0.05 s for each, until it is noticed that nobody reads any more."""


@pytest.fixture(scope="module")
def client(url) -> Client:
    return Client(url, verbose=False)


def stream(client: Client, *arguments: object) -> list[dict]:
    job = client.submit(*arguments, api_name="/fill")
    job.result(timeout=60)
    return job.outputs()


def test_numbers_that_no_model_is_kept_in_are_refused_before_anything_starts(capsys):
    with pytest.raises(SystemExit):
        main.main(["--dtype", "int9", "--no-browser"])
    assert "invalid choice: 'int9'" in capsys.readouterr().err


def test_gradio_client_streams_the_same_frames_as_the_engine(client):
    *frames, last = stream(client, DRAFT, SETTINGS)
    expected = [json.loads(json.dumps(frame.as_dict())) for frame in engine.fill(Toy(), DRAFT, engine.Settings.of(SETTINGS))]
    assert frames == expected
    assert last["done"] is True
    assert last["text"] == expected[-1]["text"] == last["candidates"][0]["text"]
    assert 0 < last["candidates"][0]["score"] <= 1


def test_two_plain_requests_have_the_same_messages(url, client):
    """As the README shows for curl."""
    readme = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
    asked, told = re.findall(r"^curl -s.*?(?:-d '(.*)' )?http://127\.0\.0\.1:7860/(\S+)$", readme, re.MULTILINE)
    request = urllib.request.Request(url + asked[1], data=asked[0].encode(), headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        event = json.load(answer)["event_id"]
    with urllib.request.urlopen(url + told[1].replace("EVENT_ID", event), timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    messages = [json.loads(line.removeprefix("data: "))[0] for line in lines if line.startswith("data: [")]
    found, expected = ([m for m in told if "waiting" not in m] for told in (messages, stream(client, *json.loads(asked[0])["data"])))
    assert found[: len(expected)] == expected and found[-1]["done"]


def test_frames_without_the_text_are_the_same_otherwise(client):
    full, bare = stream(client, DRAFT, SETTINGS), stream(client, DRAFT, SETTINGS, False)
    assert [{name: value for name, value in frame.items() if name != "text"} for frame in full[:-1]] == bare[:-1]
    assert bare[-1]["done"] is True
    assert "text" not in json.dumps(bare[-1])


@pytest.mark.parametrize(
    ("draft", "settings", "message"),
    [
        ("Then [[0]] words.", {}, {"line": 1, "column": 8, "mark": None}),
        ("Line.\nThen [[1: silver moon]] it rained.", {}, {"line": 2, "column": 6, "mark": 0}),
        ("It was [[3]].", {"colour": 1}, {"error": "There is no setting called 'colour'"}),
        ("It was [[3]].", {"steps": 0}, {"error": "Steps must be between 1 and 4096."}),
        ("It was [[3]].", {"block_length": 10**20}, {"error": "Block_length must be between 0"}),
        ("It was [[3]].", [1], {"error": "`settings` must be an object of names and values, not [1]."}),
        (None, {}, {"error": "`draft` must be text, not None."}),
        ("It was [[3]].", {"sampler": "magic"}, {"error": "There is no sampler called 'magic'"}),
    ],
)
def test_a_mistake_is_one_sentence_with_its_place(client, draft, settings, message):
    (answer,) = stream(client, draft, settings)
    assert answer["error"].endswith(".") and "\n" not in answer["error"] and "Traceback" not in answer["error"]
    for name, value in message.items():
        assert str(answer.get(name)).startswith(str(value))


def calls_when_still(service: Service, model: SlowToy) -> int:
    """The calls of a model whose run was left: the engine stops soon, and makes no more of them."""
    until(lambda: service.status()["running"] == 0, patience=5)
    calls = model.calls
    threading.Event().wait(0.3)
    assert model.calls == calls
    return calls


def test_gradio_client_has_the_frames_of_words_that_are_taken_back():
    """Lists in a frame get shorter then, which the differences of gradio 6.31 don't survive."""
    model = engine.load(dtype="float32")
    draft, settings = "It was [[3]] when the door opened.", engine.recommended(model, {"seed": 7})
    with serving(lambda: model) as (address, _):
        *frames, last = stream(Client(address, verbose=False), draft, {"seed": 7})
    expected = [json.loads(json.dumps(frame.as_dict())) for frame in engine.fill(model, draft, settings)]
    assert [frame for frame in frames if "step" in frame] == expected and last["done"]


def test_cancelling_stops_the_engine_within_a_step():
    model = SlowToy(0.05)
    with serving(lambda: model) as (address, service):
        job = Client(address, verbose=False).submit("Once [[60]].", {"steps": 200}, api_name="/fill")
        first = next(iter(job))
        assert first["step"] == 0
        calls = model.calls
        job.cancel()
        assert calls_when_still(service, model) <= calls + A_FEW


def test_cancelling_stops_the_engine_while_gaps_are_still_measured():
    model = SlowToy(0.05)
    gaps = 100
    with serving(lambda: model) as (address, service):
        job = Client(address, verbose=False).submit("Once [[]] upon. " * gaps, {}, api_name="/fill")
        assert next(iter(job)) == {"waiting": True}
        job.cancel()
        assert calls_when_still(service, model) < gaps and service.status()["steps"] == 0


def test_a_model_that_does_not_load_is_a_sentence():
    service = Service(engine.load, "no such model")
    service.start()
    service.settle()
    state = service.status()["model"]
    assert state["state"] == "failed"
    assert state["error"].startswith("There is no model called 'no such model'")


def test_segments_and_drafts_are_the_same_thing_twice():
    segments = read_draft(DRAFT)["segments"]
    assert print_draft(segments) == {"draft": DRAFT}
    assert print_draft([{"kind": "text", "text": "[[3]] ___"}])["draft"] != "[[3]] ___"
    assert read_draft("[[3")["line"] == 1
    assert "error" in print_draft([{"kind": "nonsense"}])


@pytest.mark.parametrize(("host", "status"), HOSTS)
def test_only_this_machines_names_and_addresses_are_answered(url, host, status):
    for path in ("", "lacuna/status", "gradio_api/info"):
        request = urllib.request.Request(url + path, headers={"Host": host})
        try:
            answer = urllib.request.urlopen(request, timeout=10).status
        except urllib.error.HTTPError as error:
            answer = error.code
        assert answer == status, path


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/json", b'"./nothing"', 200),
        ("text/plain", b'"./nothing"', 415),  # what a page elsewhere can send without being asked by the browser
        ("application/json", b"{}", 400),
        ("application/json", b"not json", 400),
    ],
)
@pytest.mark.parametrize("path", ["lacuna/models/use", "lacuna/models/cancel"])
def test_models_are_not_chosen_by_other_peoples_pages(url, path, kind, body, status):
    request = urllib.request.Request(url + path, data=body, headers={"Content-Type": kind})
    try:
        answer = urllib.request.urlopen(request, timeout=10).status
    except urllib.error.HTTPError as error:
        answer = error.code
    assert answer == status


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "[::1]:7860", "192.168.1.20:7860", "localhost"])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_another_sites_page_gets_nothing_whatever_address_it_asks(url, host, method):
    def status(origin: str) -> int:
        headers = {"Host": host, "Origin": origin, "Content-Type": "application/json"}
        request = urllib.request.Request(url + "lacuna/models/use", data=b'"./nothing"', headers=headers, method=method)
        try:
            return int(urllib.request.urlopen(request, timeout=10).status)
        except urllib.error.HTTPError as error:
            return error.code

    assert status("http://evil.example") == status("null") == status("http://127.0.0.1:1") == 400
    assert status(f"http://{host}") == {"GET": 405, "POST": 200, "OPTIONS": 405}[method]


@pytest.mark.parametrize("port", ["-5", "0", "65536", "http"])
def test_a_port_that_is_none_is_a_sentence(capsys, port):
    with pytest.raises(SystemExit):
        main.main(["--port", port, "--no-browser"])
    assert f"{port} is no port; ports go from 1 to 65535" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["~nobody-of-this-name/model", "x" * 5_000, "a/" + "b" * 5_000])
def test_a_name_that_can_be_no_folder_is_looked_for_and_not_found(name):
    service = Service(engine.load, "toy")
    service.start()
    service.settle()
    service.choose(name)
    service.settle()
    told = service.status()["model"]
    assert told["refused"]["error"].startswith(f"There is no model called {name[:50]!r}"[:-1])
    assert (told["state"], told["name"]) == ("ready", Toy().name), "the one before is still in use"


def test_a_busy_port_moves_to_the_next():
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        taken = busy.getsockname()[1]
        assert taken < main.free_port("127.0.0.1", taken) <= taken + main.PORTS_TRIED


def test_a_host_that_is_not_this_machine_is_a_sentence(capsys):
    assert main.main(["--host", "203.0.113.1", "--no-browser"]) == 1
    assert "can't listen on 203.0.113.1" in capsys.readouterr().out
