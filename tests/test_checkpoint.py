"""Checkpoints come back as they were written; anything truncated, foreign or tampered with is refused with a sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine import checkpoint
from engine.checkpoint import Checkpoint, CheckpointError
from engine.lexicon import Lexicon
from engine.model import DiT, ModelConfig
from engine.training.tokenizer import train_tokenizer


def small(**changes: Any) -> Checkpoint:
    tokenizer = train_tokenizer(iter(["a small text, and another small text; that will do. " * 20]), 300)
    torch.manual_seed(0)
    model = DiT(ModelConfig(**{"vocab_size": 300, "width": 16, "depth": 2, "heads": 2, "max_length": 32} | changes))
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return Checkpoint(model, tokenizer, "small", {"1": 0.5, "8": 0.25}, {"tokens": 7}, settings={"guidance": 0.5})


@pytest.mark.parametrize("changes", [{}, {"tied": True}, {"cond_width": 8, "time_conditioning": True, "biases": True, "norm": "layer"}])
def test_a_checkpoint_comes_back_as_written(tmp_path: Path, changes: dict[str, Any]) -> None:
    written = small(**changes)
    checkpoint.save(written, tmp_path, torch.float32)
    read = checkpoint.load(tmp_path)
    ids = torch.randint(0, 300, (2, 9))
    where = torch.tensor([0, 4, 17])
    assert torch.equal(written.model(ids, where), read.model(ids, where))
    assert (read.name, read.length_bias, read.trained) == ("small", {"1": 0.5, "8": 0.25}, {"tokens": 7})
    assert read.settings == {"guidance": 0.5}
    checkpoint.set_settings(tmp_path, {"steps": 8})
    assert checkpoint.load(tmp_path).settings == {"steps": 8}
    assert read.tokenizer.proto == written.tokenizer.proto
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors", "tokenizer.model"]
    (mine := tmp_path / "mine").touch()
    assert {p.stat().st_mode for p in tmp_path.iterdir()} == {mine.stat().st_mode}, "whoever may read a new file may read the weights"


def test_a_list_of_words_goes_with_the_weights_and_is_refused_when_changed(tmp_path: Path) -> None:
    checkpoint.save(replace(small(), lexicon=Lexicon(["lamp", "lantern"])), tmp_path)
    read = checkpoint.load(tmp_path)
    assert read.lexicon is not None and read.lexicon.words == ("lamp", "lantern")
    Lexicon(["lamp"]).save(tmp_path / "words.txt.xz")
    with pytest.raises(CheckpointError, match=r"words\.txt\.xz in .* is not the file"):
        checkpoint.load(tmp_path)
    (tmp_path / "words.txt.xz").unlink()
    with pytest.raises(CheckpointError, match=r"has no words\.txt\.xz; copy it again"):
        checkpoint.load(tmp_path)
    checkpoint.save(small(), tmp_path)
    assert checkpoint.load(tmp_path).lexicon is None


def edit_config(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        change(config)
        (folder / "config.json").write_text(json.dumps(config))

    return edit


def truncate(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-9])


def flip_a_weight(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["head.weight"][0, 0] += 1
    save_file(tensors, folder / "model.safetensors")


def a_huge_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((2**40).to_bytes(8, "little") + b"{}")


@pytest.mark.parametrize(
    "damage, sentence",
    [
        (truncate("model.safetensors"), "truncated or changed"),
        (truncate("tokenizer.model"), "damaged|truncated or changed"),
        (flip_a_weight, "truncated or changed"),
        (a_huge_header, "truncated or changed"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no model.safetensors"),
        (lambda folder: (folder / "config.json").unlink(), "no readable config.json"),
        (lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe{"), "not JSON"),
        (lambda folder: (folder / "config.json").write_text("[]"), "not a Lacuna model"),
        (edit_config(lambda c: c.update(format="other")), "not a Lacuna model"),
        (edit_config(lambda c: c.update(auto_map={"AutoModel": "evil.py"})), "'auto_map'"),
        (edit_config(lambda c: c["model"].update(experts=8)), "'experts'"),
        (edit_config(lambda c: c.update(settings={"guidance": -1.0})), "settings .* Guidance must be"),
        (edit_config(lambda c: c.update(settings={"trust": True})), "no setting called 'trust'"),
        (edit_config(lambda c: c.update(settings=["steps"])), "settings"),
        (edit_config(lambda c: c["model"].pop("heads")), "incomplete"),
        (edit_config(lambda c: c["model"].update(width=2**40)), "width"),
        (edit_config(lambda c: c["model"].update(heads=3)), "heads"),
        (edit_config(lambda c: c["model"].update(activation="swish")), "swish"),
        (edit_config(lambda c: c["model"].update(depth=3)), "lack the tensor"),
        (edit_config(lambda c: c["model"].update(depth=1)), "does not have"),
        (edit_config(lambda c: c["model"].update(mlp_ratio=2)), "shape"),
        (edit_config(lambda c: c["model"].update(vocab_size=301)), "do not belong together"),
    ],
)
def test_a_bad_folder_is_refused_with_one_sentence(tmp_path: Path, damage: Callable[[Path], object], sentence: str) -> None:
    checkpoint.save(small(), tmp_path)
    damage(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(tmp_path)
    assert re.search(sentence, str(caught.value))
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_tensors_that_do_not_fit_are_refused_even_when_the_digest_is_right(tmp_path: Path) -> None:
    checkpoint.save(small(), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["norm.weight"] = torch.ones(17)
    save_file(tensors, tmp_path / "model.safetensors")
    digest = checkpoint._digest(tmp_path / "model.safetensors")
    edit_config(lambda c: c["sha256"].update({"model.safetensors": digest}))(tmp_path)
    with pytest.raises(CheckpointError, match="norm"):
        checkpoint.load(tmp_path)
