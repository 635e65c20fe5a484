"""Model folders that lie, break or attack: each is refused with one sentence, nothing is run, nothing outside the folder is touched."""

from __future__ import annotations

import json
import os
import re
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import engine
from engine import backends
from engine.backends.folder import Folder, LoadError
from tests import folders
from tests.checkpoints import make_llada

Damage = Callable[[Path], object]
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


def set_config(**fields: Any) -> Damage:
    def damage(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | fields))

    return damage


def config_is(data: bytes) -> Damage:
    return lambda folder: (folder / "config.json").write_bytes(data)


def weights_are(data: bytes) -> Damage:
    return lambda folder: (folder / WEIGHTS).write_bytes(data)


def header(**tensors: Any) -> bytes:
    text = json.dumps(tensors).encode()
    return struct.pack("<Q", len(text)) + text


def change_weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Damage:
    def damage(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        save_file(tensors, folder / WEIGHTS)

    return damage


def cut(folder: Path) -> None:
    with (folder / WEIGHTS).open("r+b") as file:
        file.truncate((folder / WEIGHTS).stat().st_size - 100)


def link(name: str, target: str | Path) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return damage


def link_out(name: str) -> Damage:
    def damage(folder: Path) -> None:
        outside = folder.parent / f"outside-{name}"
        (folder / name).rename(outside)
        (folder / name).symlink_to(outside)

    return damage


def link_into_foreign_blobs(folder: Path) -> None:
    """Blobs are allowed beside snapshots only."""
    (blobs := folder.parent.parent / "blobs").mkdir()
    (folder / WEIGHTS).rename(blobs / "x")
    (folder / WEIGHTS).symlink_to(blobs / "x")


def pickles_only(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    torch.save({"a": torch.ones(1)}, folder / "pytorch_model.bin")


def empty(name: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()

    return damage


HUGE = {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}
ONE_FILE: dict[str, tuple[Damage, str]] = {
    "config is missing": (lambda folder: (folder / "config.json").unlink(), "it has no config.json"),
    "config is empty": (config_is(b""), "config.json in bad is not JSON"),
    "config is no object": (config_is(b"[1]"), "holds no JSON object"),
    "config is no UTF-8": (config_is(b"\xff\xfe{}"), "not UTF-8"),
    "config is deeply nested": (config_is(b'{"a":' * 100_000 + b"1" + b"}" * 100_000), "is not JSON"),
    "config holds NaN": (config_is(b'{"model_type": "mdlm", "hidden_dim": NaN}'), "is not JSON"),
    "config holds a number without end": (config_is(b'{"model_type": "mdlm", "hidden_dim": 1e999}'), "is not JSON"),
    "config holds a long number": (config_is(b'{"model_type": "mdlm", "hidden_dim": ' + b"9" * 10_000 + b"}"), "is not JSON"),
    "config is huge": (config_is(b" " * (64 * 2**20 + 1)), "larger than 64 MB"),
    "config is a folder": (empty("config.json"), "not an ordinary file"),
    "family is unknown": (set_config(model_type="quux"), "of the family 'quux', which can't be loaded; there are Lacuna, MDLM"),
    "family is a list": (set_config(model_type=["mdlm"]), "can't be loaded"),
    "family is not said": (config_is(b"{}"), "does not say of which family it is"),
    "width is negative": (set_config(hidden_dim=-32), "hidden_dim|width"),
    "width is enormous": (set_config(hidden_dim=2**50), "hidden_dim|width"),
    "width is a text": (set_config(hidden_dim="32"), "hidden_dim|width"),
    "width is null": (set_config(hidden_dim=None), "hidden_dim|width"),
    "depth is a truth value": (set_config(n_blocks=True), "n_blocks|depth"),
    "depth is enormous": (set_config(n_blocks=10**9), "n_blocks|depth"),
    "heads are none": (set_config(n_heads=0), "n_heads|heads"),
    "shape is another": (set_config(hidden_dim=64), "shape"),
    "weights are cut": (cut, "no whole safetensors file"),
    "weights are empty": (weights_are(b""), "no whole safetensors file"),
    "header is longer than the file": (weights_are(struct.pack("<Q", 2**63) + b"{}"), "no whole safetensors file"),
    "header claims 2^40 elements": (weights_are(header(a=HUGE)), "no whole safetensors file"),
    "header overflows": (weights_are(header(a=HUGE | {"shape": [2**40, 2**40]})), "no whole safetensors file"),
    "header has a negative shape": (weights_are(header(a=HUGE | {"shape": [-1]})), "no whole safetensors file"),
    "header is no JSON": (weights_are(struct.pack("<Q", 4) + b"{{{{"), "no whole safetensors file"),
    "header is deeply nested": (weights_are(struct.pack("<Q", 200_000) + b"[" * 200_000), "no whole safetensors file"),
    "tensors overlap": (
        weights_are(
            header(a={"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}, b={"dtype": "U8", "shape": [4], "data_offsets": [2, 6]})
            + b"123456"
        ),
        "no whole safetensors file",
    ),
    "tensor is missing": (change_weights(lambda t: t.pop("backbone.blocks.1.attn_qkv.weight")), "lack the tensor"),
    "tensor is too many": (change_weights(lambda t: t.update(evil=torch.ones(3))), "'evil'"),
    "tensor has another shape": (
        change_weights(lambda t: t.update({"backbone.blocks.0.norm1.weight": torch.ones(31)})),
        "'backbone.blocks.0.norm1.weight'",
    ),
    "tensor has numbers that aren't": (
        change_weights(lambda t: t.update({"backbone.blocks.0.norm1.weight": torch.ones(32, dtype=torch.int64)})),
        "get plain weights",
    ),
    "weights are a pickle": (pickles_only, "pytorch_model.bin only, .* convert it to model.safetensors"),
    "weights are a pickle called safetensors": (lambda folder: torch.save({}, folder / WEIGHTS), "no whole safetensors file"),
    "weights are missing": (lambda folder: (folder / WEIGHTS).unlink(), "no model.safetensors"),
    "weights are a folder": (empty(WEIGHTS), "not an ordinary file"),
    "weights are a link to nothing": (link(WEIGHTS, "nowhere"), "can't be read"),
    "weights are a link to themselves": (link(WEIGHTS, WEIGHTS), "can't be read"),
    "weights are a link out of the folder": (link_out(WEIGHTS), "leads out of the model's folder"),
    "config is a link out of the folder": (link_out("config.json"), "leads out of the model's folder"),
    "weights are a link to blobs that are not the cache's": (link_into_foreign_blobs, "leads out of the model's folder"),
    "weights are a device": (link(WEIGHTS, "/dev/zero"), "leads out of the model's folder"),
}
if hasattr(os, "mkfifo"):

    def fifo(name: str) -> Damage:
        def damage(folder: Path) -> None:
            (folder / name).unlink(missing_ok=True)
            os.mkfifo(folder / name)

        return damage

    ONE_FILE |= {f"{name} is a pipe that nobody writes into": (fifo(name), "not an ordinary file") for name in ("config.json", WEIGHTS)}


def change_index(change: Callable[[dict[str, Any]], object]) -> Damage:
    def damage(folder: Path) -> None:
        index = json.loads((folder / INDEX).read_text())
        change(index)
        (folder / INDEX).write_text(json.dumps(index))

    return damage


def point(file: object) -> Damage:
    return change_index(lambda index: index["weight_map"].update({"backbone.vocab_embed.embedding": file}))


def cut_a_shard(folder: Path) -> None:
    shard = sorted(folder.glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-1])


def swap_shards(folder: Path) -> None:
    first, second, *_ = sorted(folder.glob("*.safetensors"))
    first.rename(folder / "x")
    second.rename(first)
    (folder / "x").rename(second)


def copy_a_shard_over(folder: Path) -> None:
    first, second, *_ = sorted(folder.glob("*.safetensors"))
    second.write_bytes(first.read_bytes())


SHARDED: dict[str, tuple[Damage, str]] = {
    "shard is cut": (cut_a_shard, "no whole safetensors file"),
    "shard is missing": (lambda folder: min(folder.glob("*.safetensors")).unlink(), "lacks its file model-00001-of-"),
    "shard is there twice": (copy_a_shard_over, "is in two files"),
    "shard is a link out of the folder": (
        lambda folder: link_out(min(folder.glob("*.safetensors")).name)(folder),
        "leads out of the model's folder",
    ),
    "index points out of the folder": (point("../../x.safetensors"), "names the file '../../x.safetensors'"),
    "index points to the root": (point("/etc/x.safetensors"), "names the file '/etc/x.safetensors'"),
    "index points out as Windows writes it": (point("..\\x.safetensors"), "names the file"),
    "index names a pickle": (point("pytorch_model.bin"), "names the file 'pytorch_model.bin'"),
    "index names a number": (point(7), "names no weights"),
    "index names a null byte": (point("a\0.safetensors"), "can't be read|names the file"),
    "index names a tensor that isn't there": (
        change_index(lambda index: index["weight_map"].update(ghost=min(index["weight_map"].values()))),
        "don't agree about the tensor 'ghost'",
    ),
    "index leaves a tensor out": (
        change_index(lambda index: index["weight_map"].pop("backbone.vocab_embed.embedding")),
        "don't agree|lack the tensor",
    ),
    "index has no map": (change_index(lambda index: index.pop("weight_map")), "names no weights"),
    "index has an empty map": (change_index(lambda index: index.update(weight_map={})), "names no weights"),
    "index is no JSON": (lambda folder: (folder / INDEX).write_text("{"), "is not JSON"),
}


def refusal(folder: Path) -> str:
    """The sentence with which a folder is refused; it must be one."""
    with pytest.raises(ValueError) as refused:
        backends.load(folder, device="cpu", dtype="float32")
    said = str(refused.value)
    assert "\n" not in said and said.endswith(".") and len(said) < 600
    return said


def tree(folder: Path) -> dict[str, float]:
    return {str(path): path.lstat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("what", ONE_FILE)
def test_a_bad_folder_is_refused_in_one_sentence(tmp_path: Path, what: str) -> None:
    damage, says = ONE_FILE[what]
    folder = folders.mdlm(tmp_path / "deep" / "bad")
    damage(folder)
    before = tree(tmp_path)
    assert re.search(says, said := refusal(folder)), said
    assert tree(tmp_path) == before


@pytest.mark.parametrize("what", SHARDED)
def test_a_bad_sharded_folder_is_refused_in_one_sentence(tmp_path: Path, what: str) -> None:
    damage, says = SHARDED[what]
    folder = folders.mdlm(tmp_path / "bad", shard_bytes=4000)
    damage(folder)
    before = tree(tmp_path)
    assert re.search(says, said := refusal(folder)), said
    assert tree(tmp_path) == before


def test_swapped_shards_are_still_the_same_model(tmp_path: Path) -> None:
    """The index says where a tensor should be; the files say what it is."""
    folder = folders.mdlm(tmp_path, shard_bytes=4000)
    ids = torch.arange(10)[None]
    before = backends.load(folder, device="cpu", dtype="float32").logits(ids, ids < 9)
    swap_shards(folder)
    assert torch.equal(backends.load(folder, device="cpu", dtype="float32").logits(ids, ids < 9), before)


def test_code_in_the_folder_is_never_run(tmp_path: Path) -> None:
    folder = folders.mdlm(tmp_path / "model", auto_map={"AutoModelForMaskedLM": "modeling_mdlm.MDLM", "AutoConfig": "evil.Config"})
    for name in ("modeling_mdlm.py", "configuration_mdlm.py", "evil.py", "__init__.py", "sitecustomize.py"):
        (folder / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    path, modules = list(sys.path), {name for name in sys.modules if "evil" in name or "modeling_mdlm" in name}
    assert backends.load(folder, device="cpu").vocab_size == 97
    assert not (tmp_path / "ran").exists() and sys.path == path
    assert {name for name in sys.modules if "evil" in name or "modeling_mdlm" in name} == modules


def test_a_pickle_is_not_even_opened(tmp_path: Path) -> None:
    """An object that would run code when it is unpickled lies beside good weights, and alone."""

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    folder = folders.mdlm(tmp_path / "model")
    torch.save(Evil(), folder / "pytorch_model.bin")
    torch.save(Evil(), folder / "training_args.bin")
    assert backends.load(folder, device="cpu").vocab_size == 97
    (folder / WEIGHTS).unlink()
    assert "pytorch_model.bin" in refusal(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["llada2_moe", "sdar", "LLaDA_MoE", "llama", "gpt2"])
def test_other_families_are_refused_with_those_that_can_be_loaded(tmp_path: Path, kind: str) -> None:
    folder = folders.mdlm(tmp_path, model_type=kind)
    said = refusal(folder)
    assert kind.lower() in said and "LLaDA" in said and "Dream" in said and "BERT" in said


@given(st.binary(max_size=200))
def test_any_bytes_as_a_config_are_refused_in_one_sentence(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "config.json").write_bytes(data)
    refusal(folder)


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_as_weights_are_refused_in_one_sentence(tmp_path_factory: pytest.TempPathFactory, data: bytes, framed: bool) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "config.json").write_text(json.dumps(folders.MDLM))
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(data)) + data if framed else data)
    refusal(folder)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/../../secret", "\0"])
def test_names_that_lead_out_of_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    folder = Folder(folders.mdlm(tmp_path / "model"))
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "model" / "a").mkdir()
    with pytest.raises(LoadError):
        folder.file(name)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("~nobody-of-this-name/model", "There is no model called"),
        ("a" * 5000, "There is no model called"),
        ("a/../b", "There is no model called"),
        ("a\nb", "There is no model called"),
        ("", "There is no model called ''"),
        (__file__, "test_hostile.py is a file; give the folder that it lies in."),
    ],
)
def test_names_that_are_no_folder_and_no_model_are_refused(name: str, says: str) -> None:
    with pytest.raises(LoadError, match=re.escape(says)) as refused:
        backends.load(name)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 600


def test_a_folder_of_any_name_is_one_line_in_a_sentence(tmp_path: Path) -> None:
    assert refusal(folders.mdlm(tmp_path / "☃\n名前", model_type="quux")).startswith("☃ 名前 is of the family 'quux'")


def test_weights_that_are_no_numbers_are_a_sentence(tmp_path: Path) -> None:
    folder = make_llada(tmp_path)
    change_weights(lambda t: t["model.transformer.ln_f.weight"].fill_(torch.nan))(folder)
    with pytest.raises(ValueError, match=r"answers with what is no number: .*\.$"):
        list(engine.fill(backends.load(folder, device="cpu"), "It was [[3 tokens]] here.", engine.Settings(steps=2)))


def test_config_fields_are_read_strictly(tmp_path: Path) -> None:
    folders.mdlm(tmp_path, zero=0, flag=True, half=0.5, text="x", none=None)
    folder = Folder(tmp_path, "it")
    assert (folder.integer("hidden_dim"), folder.integer("none", 3), folder.number("half"), folder.flag("flag")) == (32, 3, 0.5, True)
    assert folder.only("text", "y", "x") == "x" and folder.only("absent", "y", "x") == "y"
    for read, says in [
        (lambda: folder.integer("zero"), "config.json of it has 0 for 'zero', where Lacuna can use a whole number from 1 to 16777216."),
        (lambda: folder.integer("absent"), "has no 'absent', where"),
        (lambda: folder.integer("flag"), "has true for 'flag'"),
        (lambda: folder.integer("half"), "has 0.5 for 'half'"),
        (lambda: folder.number("text"), "has \"x\" for 'text'"),
        (lambda: folder.flag("zero"), "where Lacuna can use true or false."),
        (lambda: folder.only("flag", 1), "where Lacuna can use 1."),
    ]:
        with pytest.raises(LoadError) as refused:
            read()
        assert says in str(refused.value)
