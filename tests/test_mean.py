"""The mean of several models' weights: what it holds, what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine import checkpoint
from engine.checkpoint import Checkpoint, CheckpointError
from engine.model import DiT, ModelConfig
from engine.training import mean
from engine.training.tokenizer import train_tokenizer

TEXTS = ["The lamp was lit, and the old house was quiet.", "She went down to the river and never came back."] * 20


def model(seed: int, *, width: int = 32, vocab: int = 300, causal: bool = False) -> Checkpoint:
    tokenizer = train_tokenizer(iter(TEXTS), vocab)
    torch.manual_seed(seed)
    net = DiT(ModelConfig(vocab_size=tokenizer.vocab_size, width=width, depth=1, heads=1, max_length=64, causal=causal))
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return Checkpoint(net, tokenizer, f"model-{seed}", trained={"tokens": 100 * seed})


def saved(held: Checkpoint, folder: Path) -> Path:
    checkpoint.save(held, folder, torch.float32)
    return folder


def test_every_weight_is_the_mean_by_shares_and_all_else_the_first_ones(tmp_path: Path) -> None:
    folders = [saved(model(seed), tmp_path / str(seed)) for seed in (1, 2, 3)]
    assert mean.main(["--models", *map(str, folders), "--shares", "2", "1", "1", "--out", str(tmp_path / "m"), "--store", "float32"]) == 0
    first, second, third, made = (checkpoint.load(folder) for folder in (*folders, tmp_path / "m"))
    for name, weight in made.model.state_dict().items():
        parts = [held.model.state_dict()[name] for held in (first, second, third)]
        assert torch.allclose(weight, parts[0] / 2 + parts[1] / 4 + parts[2] / 4, atol=1e-6), name
    assert made.name == "model-1" and made.trained == {"tokens": 100, "mean": [[100, 0.5], [200, 0.25], [300, 0.25]]}


def test_models_alike_have_themselves_as_mean_whatever_the_shares() -> None:
    for shares in ([1.0, 1.0], [5.0, 0.0], [0.1, 0.9]):
        made = mean.mean([model(4), model(4)], shares)
        for name, weight in made.model.state_dict().items():
            assert torch.allclose(weight, model(4).model.state_dict()[name], atol=1e-7), (name, shares)


def test_a_mean_without_sense_is_refused_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = model(1)
    for other, said in (
        (model(2, width=64), "different networks"),
        (model(2, causal=True), "different networks"),
        (replace(model(2), tokenizer=train_tokenizer((text.upper() for text in TEXTS), 300)), "cut texts differently"),
    ):
        with pytest.raises(CheckpointError, match=said):
            mean.mean([one, other], [1, 1])
    for shares in ([1.0], [0.0, 0.0], [2.0, -1.0], []):
        with pytest.raises(CheckpointError, match="2 models need as many shares"):
            mean.mean([one, model(2)], shares)
    folders = [str(saved(model(seed), tmp_path / str(seed))) for seed in (1, 2)]
    assert mean.main(["--models", *folders, "--shares", "1", "--out", str(tmp_path / "m")]) == 2
    assert mean.main(["--models", folders[0], str(tmp_path / "nowhere"), "--out", str(tmp_path / "m")]) == 2
    heard = capsys.readouterr().err
    assert heard.count("\n") == 2 and "Traceback" not in heard and not (tmp_path / "m").exists()
