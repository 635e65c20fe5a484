"""What can't be fetched from a hub: one sentence each, before anything large, and nothing outside the cache."""
# ruff: noqa: F811 - fixtures are imported, and named again by the tests that take them

from __future__ import annotations

import re
import shutil
import socket
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

import engine
from engine.hub import installed
from engine.text import command
from tests import folders, hub_server
from tests.adapted import make_a2d
from tests.hub_server import MAIN, NAME, Hub, fetch, partials, published, refused, server  # noqa: F401


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (404, "RepoNotFound", "There is no model called 'someone/tiny-mdlm' on this machine or on the hub"),
        (401, "", "There is no model called|does not give out"),
        (403, "GatedRepo", "is given out on request only"),
        (403, "", "does not give out someone/tiny-mdlm (it answers 403)"),
        (500, "", "does not answer as it should (500)"),
    ],
)
def test_a_hub_that_refuses_is_one_sentence(server: Hub, published: Path, status: int, code: str, says: str) -> None:
    server.answers[NAME] = status, code
    said = refused()
    assert any(one in said for one in says.split("|")), said


def test_a_gated_file_is_one_sentence(server: Hub, published: Path) -> None:
    server.files_answer = 403
    assert "does not give out someone/tiny-mdlm (it answers 403); log in" in refused()


def test_no_network_is_one_sentence(server: Hub, published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:  # bound and not listening: every connection is refused
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        assert "is no folder and no whole model on this machine, and the hub can't be reached" in refused()


def test_no_network_says_that_a_model_is_here_all_the_same(server: Hub, published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        said = f"{NAME} is on this machine; whether it is the newest can't be asked now, because the hub can't be reached."
        assert refused() == said
        assert engine.load(NAME, device="cpu").vocab_size == 97


def test_a_missing_package_is_told_before_anything_large(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.publish(NAME, folders.mdlm(tmp_path / "made", model_type="bert"))
    monkeypatch.setitem(sys.modules, "transformers", None)  # as where it isn't installed
    said = f"{NAME} needs the package transformers, as all BERT models do: run `{command('extras')}` and start again."
    assert refused() == said
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        engine.load(NAME, device="cpu")
    assert {name for name, _ in server.fetched()} == {"config.json"}


def test_offline_says_what_is_missing(server: Hub, published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert refused() == f"{NAME} is not whole on this machine, and the network is switched off (HF_HUB_OFFLINE)."
    with pytest.raises(ValueError, match="switched off"):
        engine.load(NAME)
    assert server.asked == []


@pytest.mark.parametrize(
    "name", ["", "..", "../x", "a/../b", "a/b/c", "/etc", "a b", "a--b/c", "x" * 300, "a/b\n", "C:\\x", "https://x.y/z"]
)
def test_what_can_be_no_name_is_refused_before_anything_is_asked(server: Hub, name: str) -> None:
    assert "There is no model called" in refused(name)
    assert server.asked == []


@pytest.mark.parametrize("revision", ["", "..", "../../x", "/x", "a/../b", "a b", "-x"])
def test_what_can_be_no_revision_is_refused_before_anything_is_asked(server: Hub, revision: str) -> None:
    assert "There can be no revision called" in refused(revision=revision)
    assert server.asked == []


def test_an_unknown_family_is_refused_before_its_weights_are_fetched(server: Hub, tmp_path: Path) -> None:
    server.publish(NAME, folders.mdlm(tmp_path / "made", model_type="llada2_moe"))
    said = refused()
    assert "is of the family 'llada2_moe', which can't be loaded; there are Lacuna, MDLM" in said
    assert [name for name, _ in server.fetched()] == ["config.json"]


def test_a_model_that_writes_block_by_block_is_refused_before_its_weights_are_fetched(server: Hub, tmp_path: Path) -> None:
    name = "dllm-hub/Qwen3-tiny-diffusion-bd3lm-v0.1"
    server.publish(name, make_a2d(tmp_path / "made"))
    assert "writes block by block" in refused(name=name)
    assert [file for file, _ in server.fetched()] == ["config.json"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        (lambda folder: (folder / "config.json").write_text("[]"), "does not say of which family"),
        (lambda folder: (folder / MAIN).rename(folder / "pytorch_model.bin"), "pytorch_model.bin only, a kind of file that can run code"),
        (
            lambda folder: [(folder / name).unlink() for name in (MAIN, "pytorch_model.bin", "training_args.bin")],
            "flax_model.msgpack only",
        ),
        (
            lambda folder: [path.unlink() for path in folder.iterdir() if path.suffix in (".safetensors", ".bin", ".msgpack", ".h5")],
            "has no model.safetensors",
        ),
        (
            lambda folder: (
                (folder / MAIN).rename(folder / "x") and (folder / f"{MAIN}.index.json").write_text('{"weight_map": {"a": "../x"}}')
            ),
            "names weights that it does not have",
        ),
    ],
)
def test_a_model_that_is_of_no_use_is_refused_before_anything_large(server: Hub, published: Path, change: Any, says: str) -> None:
    change(published)
    server.publish(NAME, published)
    assert says in refused()
    assert not {name for name, _ in server.fetched()} - {"config.json", f"{MAIN}.index.json"}


def test_a_full_disk_is_one_sentence_before_anything_large(server: Hub, published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 5, 5))
    assert "GB on disk and 0.0 GB are free" in refused()
    assert [name for name, _ in server.fetched()] == ["config.json"]


def test_a_disk_that_fills_up_is_one_sentence(server: Hub, published: Path) -> None:
    server.breaks = [20_000]
    installed.home_of(NAME).joinpath("blobs").mkdir(parents=True)
    full = Path("/dev/full")
    if full.exists():
        data = (published / MAIN).read_bytes()
        (installed.home_of(NAME) / "blobs" / f"{hub_server.digest(data)}.incomplete").symlink_to(full)
        assert "The disk is full: make room for someone/tiny-mdlm" in refused()


def test_wrong_bytes_are_not_kept(server: Hub, published: Path, tmp_path: Path) -> None:
    server.spoil = True
    assert "model.safetensors did not arrive as the hub describes it" in refused()
    assert partials(tmp_path) == [] and engine.resolve(NAME) is None
    server.spoil = False
    fetch()
    assert engine.load(NAME, device="cpu").vocab_size == 97


EVIL = {"size": 3, "blobId": "a" * 40}


@pytest.mark.parametrize(
    "listing",
    [
        {"id": NAME, "sha": "../../../x", "siblings": [{"rfilename": "config.json"} | EVIL]},
        {"id": NAME, "sha": "a" * 40, "siblings": [{"rfilename": "../../../../x.json"} | EVIL, {"rfilename": "/x"} | EVIL]},
        {"id": NAME, "sha": "a" * 40, "siblings": [{"rfilename": "config.json"} | EVIL | {"blobId": "../../../../../x"}]},
        {"id": NAME, "sha": "a" * 40, "siblings": "many"},
        {"id": NAME, "sha": "a" * 40, "siblings": [{"rfilename": "config.json", "size": "-5", "blobId": 7}]},
        {"id": NAME},
        [],
        7,
    ],
)
def test_a_hub_that_lies_writes_nothing_outside_the_cache(server: Hub, published: Path, tmp_path: Path, listing: Any) -> None:
    server.listing = listing
    before = {path for path in tmp_path.rglob("*") if tmp_path / "cache" not in path.parents}
    refused()
    assert {path for path in tmp_path.rglob("*") if tmp_path / "cache" not in path.parents} - before <= {tmp_path / "cache"}
