"""The way to the hub at its worst: pages in place of files, systems without links, branches that moved on, other folders' files."""

# ruff: noqa: F811 - fixtures are imported, and named again by the tests that take them

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import engine
import environment
from engine.backends.folder import Folder, LoadError
from engine.hub import fetching, installed
from engine.model import ConfigError, ModelConfig
from tests import folders
from tests.hub_server import MAIN, NAME, Hub, fetch, partials, published, refused, server  # noqa: F401

ROOT = Path(__file__).resolve().parent.parent


def test_a_page_in_place_of_a_file_ends_and_what_has_come_is_kept(
    server: Hub, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "TRIES", 2)
    server.breaks, server.block_page = [20_000], b"<html>Log in first</html>"
    assert "breaks off while model.safetensors is fetched" in refused()
    assert [path.stat().st_size for path in partials(tmp_path)] == [20_000]
    assert len([name for name, _ in server.fetched() if name == MAIN]) < 6
    for path in partials(tmp_path):
        path.unlink()
    server.asked.clear()
    assert "breaks off" in refused()
    assert not any(path.stat().st_size for path in partials(tmp_path)), "the page is not taken for the file's beginning"
    server.breaks, server.block_page = [20_000, 0, 0], b""
    assert "breaks off" in refused()
    server.breaks.clear()
    fetch()
    assert (MAIN, "bytes=20000-") in server.fetched() and engine.load(NAME, device="cpu").vocab_size == 97


def test_where_the_system_has_no_links_a_model_is_on_disk_once(server: Hub, published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    fetch()
    home = installed.home_of(NAME)
    size = (published / MAIN).stat().st_size
    assert [path.name for path in home.rglob("*") if path.is_file() and path.stat().st_size == size] == [MAIN]
    assert engine.load(NAME, device="cpu").vocab_size == 97
    server.asked.clear()
    assert fetch()[-1].done >= size
    assert server.fetched() == [], "what is here is not fetched again"


def test_a_branch_that_another_tool_moved_on_does_not_hide_the_model_that_is_here(server: Hub, published: Path) -> None:
    fetch()
    here = engine.resolve(NAME)
    (installed.home_of(NAME) / "refs" / "main").write_text("3" * 40)
    (installed.home_of(NAME) / "snapshots" / ("3" * 40)).mkdir()
    (installed.home_of(NAME) / "snapshots" / ("3" * 40) / "config.json").write_text("{}")
    assert engine.resolve(NAME) == here is not None
    assert next(info for info in engine.models() if info.name == NAME).installed


@pytest.mark.parametrize("endpoint", ["http://[not an address", "ftp://127.0.0.1", "http://127.0.0.1:99999"])
def test_an_address_of_the_hub_that_is_none_is_a_sentence(server: Hub, monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    assert refused()


def test_another_folder_lends_its_tokenizer_and_not_its_weights(tmp_path: Path) -> None:
    beside = folders.mdlm(tmp_path / "gpt2")
    (beside / "vocab.json").write_text("{}")
    model = folders.mdlm(tmp_path / "model", shard_bytes=9000)
    opened = Folder(model, beside=beside)
    assert opened.file("vocab.json") == (beside / "vocab.json").resolve()
    assert len({entry.file for entry in opened.tensors.values()}) > 1, "its own shards"
    for path in model.glob("*.safetensors*"):
        path.unlink()
    (model / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(LoadError, match=r"pytorch_model\.bin only, a kind of file that can run code"):
        _ = Folder(model, beside=beside).tensors


@pytest.mark.parametrize(
    "changes", [{"depth": 5_000_000}, {"cond_width": "128"}, {"cond_width": 128.0}, {"rotary_base": "10000"}, {"rotary_base": 0}]
)
def test_numbers_of_our_own_config_are_numbers_that_a_network_can_have(changes: dict[str, object]) -> None:
    config = json.loads((installed.EMBEDDED / "config.json").read_text(encoding="utf-8"))["model"]
    assert ModelConfig.of(config)
    with pytest.raises(ConfigError, match=next(iter(changes))):
        ModelConfig.of(config | changes)


def test_an_environment_is_not_begun_where_none_can_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environment, "VENV", str(tmp_path / f"AI{os.pathsep}ML" / ".venv"))
    with environment.Status("") as status, pytest.raises(environment.Problem, match="its path holds a"):
        environment.make_venv(status)
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_is_not_made_for_this_python_is_not_blamed_on_the_network() -> None:
    lines = [
        "ERROR: Could not find a version that satisfies the requirement torch==2.13.0",
        "ERROR: No matching distribution found for torch",
    ]
    assert "not to be had for Python" in environment.explain(lines) and "another Python" in environment.explain(lines)
    offline = ["WARNING: Retrying after connection broken by 'NewConnectionError'", *lines]
    assert "needs the network" in environment.explain(offline)


if sys.platform == "linux":

    def test_a_system_that_takes_no_limit_still_renders_templates() -> None:
        """As macOS, or a shell whose own limit is lower."""
        import resource

        def narrow() -> None:
            resource.setrlimit(resource.RLIMIT_AS, (2**29, 2**29))

        job = {"template": "{{ who }} is here", "values": {"who": "she"}, "most": 100, "memory": 2**30, "seconds": 10}
        done = subprocess.run(
            [sys.executable, str(ROOT / "engine" / "backends" / "chat_template.py")],
            input=json.dumps(job).encode(),
            capture_output=True,
            preexec_fn=narrow,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, b"she is here"), done.stderr
