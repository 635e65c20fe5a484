"""On a GPU (`python launch.py test --cuda`): the same answers as on the CPU, and training that learns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import engine
from engine.evaluation.nelbo import evaluate
from engine.training import train

pytestmark = pytest.mark.cuda
DRAFT = "The keeper climbed the stairs with [[5]], and [[~ the {{wind}} leaned on the glass]]."


def test_logits_on_the_gpu_are_those_on_the_cpu() -> None:
    there, here = engine.load(device="cuda", dtype="float32"), engine.load(device="cpu", dtype="float32")
    ids = torch.tensor([here.encode("The keeper climbed the stairs with a lamp in his hand.")])
    positions = torch.zeros_like(ids, dtype=torch.bool)
    ids[0, 3:6], positions[0, 3:6] = here.mask_id, True
    assert torch.allclose(there.logits(ids, positions), here.logits(ids, positions), atol=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_fill_on_the_gpu_is_whole_and_repeatable(dtype: str) -> None:
    model = engine.load(device="cuda", dtype=dtype)
    first, again = (list(engine.fill(model, DRAFT, engine.Settings(seed=3))) for _ in range(2))
    assert first == again
    assert engine.MASKED_TEXT not in first[-1].text and "wind" in first[-1].text


def test_training_on_the_gpu_learns(tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("The cat sat on the mat and looked at the dog. " * 400, encoding="utf-8")
    small = ["--vocab", "300", "--width", "64", "--depth", "2", "--heads", "2", "--stages", "0:16x32", "--tokens", "200000"]
    assert train.main(["--data", str(texts), "--out", str(tmp_path / "run"), "--device", "cuda", *small]) == 0
    assert evaluate(engine.load(tmp_path / "run" / "model", device="cuda"), [texts])["nats_per_token"] < 1.0
