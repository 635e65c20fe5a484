"""`launch.py models` and `launch.py download` as a user runs them, against a hub of our own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.text import command
from tests import folders, hub_server
from tests.hub_server import Hub
from tests.waiting import until

ROOT = Path(__file__).resolve().parent.parent
NAME = "someone/tiny-mdlm"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Hub]:
    with hub_server.running() as running:
        running.publish(NAME, folders.mdlm(tmp_path / "made"))
        yield running


def start(tmp_path: Path, server: Hub, *arguments: str, **changes: str) -> subprocess.Popen[str]:
    environment = os.environ | {
        "LACUNA_PYTHON": "this",
        "HF_HUB_OFFLINE": "0",
        "HF_ENDPOINT": server.url,
        "HF_HUB_CACHE": str(tmp_path / "cache"),
        **changes,
    }
    command = [sys.executable, "launch.py", *arguments]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(tmp_path: Path, server: Hub, *arguments: str, **changes: str) -> tuple[int, str, str]:
    process = start(tmp_path, server, *arguments, **changes)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_models_are_listed_downloaded_and_listed_as_here(tmp_path: Path, server: Hub) -> None:
    code, out, err = run(tmp_path, server, "models")
    head, embedded, *rest = [line.split("\t") for line in out.splitlines()]
    assert (code, err) == (0, "") and head == ["name", "family", "size", "memory", "licence", "installed"]
    assert embedded[1] == "Lacuna" and embedded[-1] == "yes"
    assert ["GSAI-ML/LLaDA-8B-Instruct", "LLaDA", "16.0 GB", "MIT"] in [[row[0], row[1], row[2], row[4]] for row in rest]
    assert NAME not in out
    assert run(tmp_path, server, "download", NAME) == (0, "", f"{NAME} is on this machine.\n")
    assert [NAME, "MDLM"] in [line.split("\t")[:2] for line in run(tmp_path, server, "models")[1].splitlines() if line.endswith("yes")]


def test_a_failed_download_is_one_sentence(tmp_path: Path, server: Hub) -> None:
    code, out, err = run(tmp_path, server, "download", "someone/else")
    assert (code, out) == (1, "") and err.count("\n") == 1 and err.startswith("There is no model called 'someone/else'")
    code, out, err = run(tmp_path, server, "fill", "--model", NAME, "--revision", "v9", "It was [[3]].")
    assert (code, out) == (1, "") and err.splitlines()[-1].endswith(f"{NAME} has no revision 'v9' on the hub.")


def test_a_proxy_of_an_unknown_kind_is_named_by_its_variable_without_its_password(tmp_path: Path, server: Hub) -> None:
    code, out, err = run(tmp_path, server, "download", NAME, ALL_PROXY="socks://me:secret@127.0.0.1:1080/")
    assert (code, out) == (1, "") and "secret" not in err
    assert (
        err == "The variable ALL_PROXY names a proxy of the kind socks://, which can't be used: unset it, or name one of http:// in it.\n"
    )


def test_certificates_that_cannot_be_read_are_named(tmp_path: Path, server: Hub) -> None:
    (wrong := tmp_path / "wrong.pem").write_text("no certificate")
    for file in (wrong, tmp_path / "none.pem"):
        code, out, err = run(tmp_path, server, "download", NAME, SSL_CERT_FILE=str(file))
        assert (code, out, err.count("\n")) == (1, "", 1) and err.startswith(
            f"SSL_CERT_FILE names {file}, where no certificates can be read"
        )


def test_a_list_tells_what_is_missing_by_a_command_that_can_be_typed(tmp_path: Path, server: Hub) -> None:
    code = "import sys; sys.modules['transformers'] = None; from engine.cli_hub import list_models; list_models([])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    row = next(line for line in done.stdout.splitlines() if line.startswith("google-bert/bert-base-cased"))
    assert row.endswith(f"no, needs transformers ({command('extras')})")


def test_ctrl_c_stops_a_download_and_keeps_what_has_come(tmp_path: Path, server: Hub) -> None:
    server.gate = threading.Event()
    process = start(tmp_path, server, "download", NAME)
    assert server.waiting.wait(60)
    until(lambda: any(path.stat().st_size > 10_000 for path in (tmp_path / "cache").rglob("*.incomplete")))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, "", "Stopped; the next download goes on from here.\n")
    server.gate.set()
    server.gate = None
    assert run(tmp_path, server, "download", NAME)[0] == 0
    assert [span for file, span in server.fetched() if file == "model.safetensors"][-1].startswith("bytes=")
