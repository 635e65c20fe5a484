"""Models by name, against a hub of our own over real HTTP: what is fetched, how breaks are mended, one sentence for what can't be."""

# ruff: noqa: F811 - fixtures are imported, and named again by the tests that take them

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file

import engine
from engine import hub
from engine.hub import Progress, fetching, installed
from tests import folders
from tests.adapted import make_a2d
from tests.hub_server import MAIN, NAME, Hub, fetch, partials, published, refused, server  # noqa: F401
from tests.waiting import until

ROOT = Path(__file__).resolve().parent.parent


def test_a_model_is_downloaded_by_name_loads_and_is_there_without_the_network(
    server: Hub, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[Progress] = []
    assert engine.resolve(NAME) is None
    model = engine.load(NAME, device="cpu", dtype="float32", progress=steps.append)
    ids = torch.arange(12)[None]
    here = engine.load(published, device="cpu", dtype="float32").logits(ids, ids < 12)
    assert model.name == NAME and torch.equal(model.logits(ids, ids < 12), here)
    assert sorted(Counter(server.fetched()).items()) == [((name, ""), 1) for name in ("config.json", "generation_config.json", MAIN)]
    assert (
        steps[-1].done
        == steps[-1].total
        == sum((published / name).stat().st_size for name in ("config.json", MAIN, "generation_config.json"))
    )
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    folder = engine.resolve(NAME)
    assert folder is not None and {path.name for path in folder.iterdir()} == {"config.json", MAIN, "generation_config.json"}
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    server.asked.clear()
    assert torch.equal(engine.load(NAME, device="cpu", dtype="float32").logits(ids, ids < 12), here)
    assert fetch()[-1].done == fetch()[-1].total > 0
    assert server.asked == []


def test_other_tools_find_it_in_the_cache_and_it_finds_theirs(server: Hub, published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import snapshot_download

    fetch()
    found = snapshot_download(NAME, local_files_only=True, cache_dir=constants.HF_HUB_CACHE, allow_patterns=["*.safetensors", "*.json"])
    assert Path(found) == engine.resolve(NAME)
    shutil.rmtree(constants.HF_HUB_CACHE)
    folder = installed.home_of(NAME) / "snapshots" / ("1" * 40)
    folder.mkdir(parents=True)
    for file in ("config.json", MAIN):
        shutil.copy(published / file, folder)
    assert engine.resolve(NAME) == folder


def test_shards_are_fetched_by_the_index(server: Hub, tmp_path: Path) -> None:
    server.publish(NAME, folder := folders.mdlm(tmp_path / "made", shard_bytes=30_000))
    (folder / "model-00009-of-00009.safetensors").write_text("not named by the index")
    fetch()
    files = {name for name, _ in server.fetched()}
    assert files == {path.name for path in folder.iterdir()} - {"model-00009-of-00009.safetensors"} and len(files) > 4
    assert engine.load(NAME, device="cpu").vocab_size == 97


def test_a_broken_connection_goes_on_where_it_was(server: Hub, published: Path) -> None:
    server.breaks = [20_000, 0, 5_000]
    fetch()
    asked = [span for name, span in server.fetched() if name == MAIN]
    assert asked == ["", "bytes=20000-", "bytes=20000-", "bytes=25000-"]
    assert engine.load(NAME, device="cpu").vocab_size == 97


def test_a_download_that_failed_goes_on_at_the_next_call(
    server: Hub, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "TRIES", 2)
    server.breaks = [20_000, 0, 0, 0]
    assert "breaks off while model.safetensors is fetched; start again, and it goes on where it was" in refused()
    assert [path.stat().st_size for path in partials(tmp_path)] == [20_000] and engine.resolve(NAME) is None
    server.breaks.clear()
    server.asked.clear()
    fetch()
    assert (MAIN, "bytes=20000-") in server.fetched() and partials(tmp_path) == []
    assert engine.load(NAME, device="cpu").vocab_size == 97


def test_a_server_without_ranges_begins_anew(server: Hub, published: Path) -> None:
    server.breaks, server.ranges = [20_000], False
    fetch()
    assert engine.load(NAME, device="cpu").vocab_size == 97


def test_closing_the_iterator_stops_soon_and_leaves_what_can_go_on(server: Hub, published: Path, tmp_path: Path) -> None:
    server.gate = threading.Event()
    with closing(hub.download(NAME)) as steps:
        while next(steps).done <= 20_000 or not server.waiting.is_set():
            pass
    assert server.held, "whoever closes it doesn't wait for what the server still holds back"
    server.gate.set()
    server.gate = None
    (partial,) = partials(tmp_path)
    assert partial.stat().st_size > 20_000 and engine.resolve(NAME) is None
    server.asked.clear()
    fetch()
    assert [span.startswith("bytes=") for name, span in server.fetched() if name == MAIN] == [True]
    assert engine.load(NAME, device="cpu").vocab_size == 97


def test_two_threads_fetch_a_file_once(server: Hub, published: Path) -> None:
    server.gate = threading.Event()
    ends: list[Progress] = []
    threads = [threading.Thread(target=lambda: ends.append(fetch()[-1])) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert server.waiting.wait(20)
    until(lambda: sum(path.startswith("/api/") and NAME in path for _, path, _ in server.asked) == 2)
    server.gate.set()
    for thread in threads:
        thread.join(30)
    assert Counter(name for name, _ in server.fetched())[MAIN] == 1
    assert len(ends) == 2 and ends[0] == ends[1] and ends[0].done == ends[0].total


def test_two_processes_fetch_a_file_once(server: Hub, published: Path) -> None:
    server.gate = threading.Event()
    code = f"from engine import hub; print(list(hub.download({NAME!r}))[-1].done)"
    environment = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_HUB_CACHE": constants.HF_HUB_CACHE, "HF_ENDPOINT": server.url}
    pair = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert server.waiting.wait(60)
    until(lambda: sum(path.startswith("/api/") and NAME in path for _, path, _ in server.asked) == 2)
    server.gate.set()
    assert len({process.communicate(timeout=60)[0] for process in pair}) == 1
    assert Counter(name for name, _ in server.fetched())[MAIN] == 1
    assert engine.load(NAME, device="cpu").vocab_size == 97


def test_every_file_is_of_the_commit_that_the_revision_meant_at_first(server: Hub, tmp_path: Path) -> None:
    first = server.publish(NAME, folders.mdlm(tmp_path / "first", n_blocks=1))
    second = server.publish(NAME, folders.mdlm(tmp_path / "second", n_blocks=3))
    server.refs[NAME]["v1"] = first
    assert len(folders.load(NAME, device="cpu").network.blocks) == 3
    assert len(folders.load(NAME, device="cpu", revision="v1").network.blocks) == 1
    assert len(folders.load(NAME, device="cpu", revision=first).network.blocks) == 1
    assert engine.resolve(NAME, "v1") == engine.resolve(NAME, first) != engine.resolve(NAME) == engine.resolve(NAME, second)
    assert {path.split("/resolve/")[1][:40] for _, path, _ in server.asked if "/resolve/" in path and NAME in path} == {first, second}
    third = server.publish(NAME, folders.mdlm(tmp_path / "third", n_blocks=2))
    assert len(folders.load(NAME, device="cpu").network.blocks) == 3  # what is here is used: a model doesn't change under its user
    fetch()
    assert engine.resolve(NAME) == engine.resolve(NAME, third) and len(folders.load(NAME, device="cpu").network.blocks) == 2
    assert "has no revision 'v9'" in refused(revision="v9")


def test_models_without_a_tokenizer_get_gpt2s(server: Hub, tmp_path: Path) -> None:
    (bare := tmp_path / "gpt2").mkdir()
    letters = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324))]  # GPT-2's bytes
    (bare / "vocab.json").write_text(json.dumps({letter: i for i, letter in enumerate([*letters, "<|endoftext|>"])}))
    (bare / "merges.txt").write_text("#version: 0.2\n")
    (bare / "pytorch_model.bin").write_text("not for us")
    server.publish("openai-community/gpt2", bare)
    server.publish(NAME, folders.mdlm(tmp_path / "made", vocab_size=50258, hidden_dim=8))
    fetch()
    assert {name for name, _ in server.fetched("gpt2")} == {"vocab.json", "merges.txt"}
    for _ in range(2):
        model = engine.load(NAME, device="cpu")
        assert model.decode(model.encode("Ça va, 🙂?")) == "Ça va, 🙂?"
        shutil.rmtree(installed.home_of("openai-community/gpt2"))  # as after another tool's download
    server.answers["openai-community/gpt2"] = 404, "RepoNotFound"
    with pytest.raises(ValueError, match=r"has no tokenizer, .*\.$"):
        engine.load(NAME, device="cpu").encode("text")


def test_models_that_are_here_are_listed_before_those_that_can_be_had(server: Hub, published: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(installed, "FOLDERS", tmp_path / "folders")
    folders.mdlm(tmp_path / "folders" / "mine", shard_bytes=9000)
    before = engine.models()
    card = (installed.EMBEDDED / "README.md").read_text(encoding="utf-8")
    assert f"| licence of the weights | {before[0].licence.replace('CC-BY-SA-', 'CC BY-SA ')}, " in card
    assert before[0].installed and before[0].family == "Lacuna" and engine.load(before[0].name).name == before[0].name
    assert [info.installed for info in before] == [True, True] + [False] * (len(before) - 2) and before[1].name.endswith("mine")
    fetch()
    info = next(info for info in engine.models() if info.name == NAME)
    size = (
        (published / "config.json").stat().st_size
        + (published / MAIN).stat().st_size
        + (published / "generation_config.json").stat().st_size
    )
    assert (info.family, info.installed, info.size, info.needs) == ("MDLM", True, size, "")
    numbers = sum(tensor.numel() for tensor in load_file(published / MAIN).values())
    assert info.memory in (2 * numbers, 4 * numbers)
    llada = next(info for info in before if info.name == "GSAI-ML/LLaDA-8B-Instruct")
    assert (llada.family, llada.licence, llada.installed) == ("LLaDA", "MIT", False) and 15e9 < llada.size < 17e9 <= llada.memory + 1e9


def test_models_that_write_block_by_block_are_not_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "FOLDERS", tmp_path / "bd3lm-work" / "some" / "models")
    for name in ("tiny-diffusion-bd3lm", "tiny-diffusion-mdlm"):
        make_a2d(installed.FOLDERS / name)
    run = make_a2d(tmp_path / "bd3lm" / "alpaca" / "checkpoint-final")
    found = [info.name for info in engine.models() if "tiny-diffusion" in info.name]
    assert len(found) == 1 and found[0].endswith("tiny-diffusion-mdlm") and engine.load(found[0], device="cpu").mask_id
    with pytest.raises(ValueError, match="writes block by block"):
        engine.load(run, device="cpu")


def test_the_list_survives_a_damaged_cache(server: Hub, published: Path) -> None:
    fetch()
    home = Path(constants.HF_HUB_CACHE)
    (home / "models--a--b" / "snapshots" / ("2" * 40)).mkdir(parents=True)
    (home / "models--a--b" / "snapshots" / ("2" * 40) / "config.json").write_bytes(b"\xff")
    (home / "models--a--b" / "snapshots" / ("2" * 40) / MAIN).write_bytes(b"\xff" * 20)
    (home / "models--strange").write_text("a file")
    (home / "models--a--b--c--d").mkdir()
    folder = engine.resolve(NAME)
    assert folder is not None
    (folder / MAIN).resolve().write_bytes(b"\xff" * 9)
    assert next(info for info in engine.models() if info.name == NAME).memory == 0
    with pytest.raises(ValueError, match="no whole safetensors file"):
        engine.load(NAME)


def test_the_list_survives_folders_and_files_that_cannot_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "FOLDERS", tmp_path)
    mine = folders.mdlm(tmp_path / "mine")
    size = sum(path.stat().st_size for path in mine.iterdir())
    odd = folders.mdlm(tmp_path / "odd")
    (odd / "config.json").unlink()
    closed = folders.mdlm(tmp_path / "closed")
    for link in (mine / "notes", mine / "more.safetensors", odd / "config.json", tmp_path / "link"):
        link.symlink_to("x" * 300)  # a name longer than any can be: to look at it is an error, for root, too
    closed.chmod(0)
    try:
        listed = {info.name: info for info in engine.models()}  # root may look into the closed one
    finally:
        closed.chmod(0o700)
    assert (listed[str(mine)].size, listed[str(mine)].installed) == (size, True) and str(odd) not in listed
    assert installed.weights(mine) == (mine / MAIN).stat().st_size


@pytest.mark.parametrize(("cuda", "bytes_a_parameter"), [("'13.0'", 2), ("None", 4)])
def test_memory_is_told_for_a_gpu_only_where_the_installed_torch_can_use_it(tmp_path: Path, cuda: str, bytes_a_parameter: int) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('this costs seconds')\n")
    (tmp_path / "torch" / "version.py").write_text(f"__version__ = '2.13.0'\ncuda: Optional[str] = {cuda}\nhip: Optional[str] = None\n")
    (tmp_path / "nvidia-smi").touch(0o755)
    changes = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]), "PATH": os.pathsep.join([str(tmp_path), os.environ["PATH"]])}
    code = "import engine; print({info.name: info.memory for info in engine.models()}['kuleshov-group/mdlm-owt'])"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | changes, capture_output=True, text=True, check=True)
    assert int(done.stdout) == bytes_a_parameter * 169_600_000


def test_listing_costs_no_torch() -> None:
    code = "import sys, engine; engine.models(); engine.resolve('a/b'); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout == "False\n"
