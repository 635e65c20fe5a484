"""A run in pieces on machines on loan, rehearsed on the CPU (docs/GPU.md, docs/record/gpu-session.md): corpus, pieces, parts, on
from weights alone.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import engine
from engine import checkpoint
from engine.forward import token_losses
from engine.model import DiT, ModelConfig
from engine.tokenizer import Tokenizer
from engine.training import machine, piece, train, trainer
from engine.training.crew import Crew
from engine.training.objective import MaskingRecipe
from engine.training.options import TUNING
from engine.training.rows import Rows

ROOT = Path(__file__).resolve().parents[1]
DEV = ROOT / "tests" / "data" / "dev_sample.txt"
TINY = [
    "--width",
    "32",
    "--depth",
    "2",
    "--heads",
    "2",
    "--tied",
    "--stages",
    "0:8x32+4x64",
    "--no-compile",
    "--device",
    "cpu",
    "--seed",
    "5",
]


def test_corpus_pieces_parts_and_on_from_the_weights(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    corpus, run, back = tmp_path / "corpus", tmp_path / "run", tmp_path / "back"
    tokenizer = str(ROOT / "assets" / "model" / "tokenizer.model")
    assert train.main(["--prepare", "--data", str(DEV), "--tokenizer", tokenizer, "--out", str(corpus)]) == 0
    told = ["--data", str(corpus), *TINY, "--tokens", "6144", "--store", "int8"]
    assert train.main([*told, "--out", str(run), "--piece", "0"]) == 0
    assert re.search(r"Paused after 0\.00M tokens", capfd.readouterr().err)
    assert train.main([*told, "--out", str(run), "--tokens", "3072"]) == 0
    capfd.readouterr()
    assert piece.main(["split", str(run / "model"), str(tmp_path / "parts"), "--size", "0.1"]) == 0
    parts = sorted((tmp_path / "parts").iterdir())
    assert len(parts) > 3 and max(path.stat().st_size for path in parts) <= 0.1 * 2**20
    assert piece.main(["join", str(tmp_path / "parts"), str(back)]) == 0
    assert {p.name: p.read_bytes() for p in back.iterdir()} == {p.name: p.read_bytes() for p in (run / "model").iterdir()}
    done = json.loads((back / "config.json").read_text())["trained"]["tokens"]
    assert train.main([*told, "--out", str(tmp_path / "on"), "--init", str(back), "--done", str(done)]) == 0
    on = checkpoint.load(tmp_path / "on" / "model")
    assert on.trained["tokens"] == 6144 and on.trained["epochs"]["dev_sample"] > 0
    assert on.trained["steps"] == (6144 - done) // 256
    assert "tokens a second" in capfd.readouterr().err
    assert engine.load(tmp_path / "on" / "model", device="cpu").max_length == 64
    parts[0].write_bytes(b"x" + parts[0].read_bytes()[1:])
    assert piece.main(["join", str(tmp_path / "parts"), str(back)]) == 2
    parts[1].unlink()
    assert piece.main(["join", str(tmp_path / "parts"), str(back)]) == 2
    assert re.fullmatch(r"A part .* is damaged.*\.\nThe parts .* are not all there.*\.\n", capfd.readouterr().err)


def test_a_loss_in_parts_gives_the_gradients_of_a_loss_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = Tokenizer.load(ROOT / "assets" / "model" / "tokenizer.model")
    stream = np.array(tokenizer.encode(DEV.read_text(encoding="utf-8")), dtype=np.uint16)
    torch.manual_seed(0)
    model = DiT(ModelConfig(tokenizer.vocab_size, 32, 2, 2, 64))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    monkeypatch.setattr(trainer, "computes_in_bf16", lambda device: False)
    gradients = []
    for at_once in (2**28, 37 * tokenizer.vocab_size):
        monkeypatch.setattr(trainer, "LOGITS_AT_ONCE", at_once)
        crew = Crew(0, 1, torch.device("cpu"))
        by = trainer.Trainer(model, Rows([stream], ["dev"]), tokenizer, MaskingRecipe(), crew, seed=0, accumulate=2, compiled=False)
        nats, predicted = by.gradients(0, (8, 32)).tolist()
        by.close()
        assert predicted < by.room((8, 32)) * 2 and nats / predicted > 5
        gradients.append([p.grad for p in model.parameters()])
        model.zero_grad()
    for whole, parts in zip(*gradients, strict=True):
        assert torch.allclose(whole, parts, rtol=1e-4, atol=1e-6) and whole.abs().sum() > 0


@pytest.mark.long  # the compiler takes a minute
@pytest.mark.parametrize("causal", [False, True])
def test_a_compiled_step_gives_the_gradients_of_a_plain_one(causal: bool) -> None:
    found = checkpoint.load(ROOT / "assets" / "model")
    stream = np.array(found.tokenizer.encode(DEV.read_text(encoding="utf-8")), dtype=np.uint16)
    model = DiT(replace(found.model.config, causal=causal))
    model.load_state_dict(found.model.state_dict())
    machine.set_up(torch.device("cpu"))
    gradients = []
    for compiled in (False, True):
        crew = Crew(0, 1, torch.device("cpu"))
        rows = Rows([stream], ["dev"])
        by = trainer.Trainer(model, rows, found.tokenizer, MaskingRecipe(), crew, seed=0, accumulate=1, compiled=compiled)
        by.gradients(0, (4, 256))
        by.close()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
        model.zero_grad()
    assert all(gradient is not None for of_one in gradients for gradient in of_one.values())
    # The two numbers that mix a block's values are sums over all tokens in which nearly everything cancels: they are judged together.
    small = [name for name, plain in gradients[0].items() if plain is not None and plain.numel() <= 2]
    for names in [*([name] for name in gradients[0] if name not in small), small]:
        plain, compiled_one = (torch.cat([of_one[name].flatten() for name in names]) for of_one in gradients)  # type: ignore[union-attr]
        assert (compiled_one - plain).norm() < 0.05 * plain.norm(), names


def test_a_writers_texts_tune_the_embedded_model_from_the_command_line(tmp_path: Path) -> None:
    texts = tmp_path / "my texts"
    texts.mkdir()
    (texts / "one.md").write_text("“The lamp is out again,” said Ada, and wound the clock. " * 12 + "\n\n", encoding="utf-8")
    (texts / "two.txt").write_text(
        "The sea was loud. Ada counted the steps, as she did each night, and the lamp was out again. " * 12, "utf-8"
    )
    command = [sys.executable, str(ROOT / "launch.py"), "train", "--init", str(ROOT / "assets" / "model"), "--data", str(texts)]
    done = subprocess.run(
        [*command, "--device", "cpu", "--tokens", "8192"], cwd=tmp_path, capture_output=True, text=True, timeout=200, env=environment()
    )
    assert done.returncode == 0, done.stderr[-3000:]
    before, after = map(float, re.findall(r"([\d.]+) nats a token before, ([\d.]+) after", done.stderr)[0])
    assert after < before
    assert re.search(r"some [\d.]+ [MG]B of memory\.\n", done.stderr) and re.search(r"[\d.]+ [MG]B of memory at most\.\n", done.stderr)
    assert re.search(r"This takes about \d+ (seconds|minutes)\.", done.stderr)
    folder = re.findall(r"Open it with: python3? launch\.py --model '?(.+?)'?\n", done.stderr)[0]
    assert folder == str(Path("runs") / "my texts" / "model")
    model = engine.load(tmp_path / folder, device="cpu")
    assert model.name == f"{checkpoint.load(ROOT / 'assets' / 'model').name} on my texts"
    held = checkpoint.load(tmp_path / folder)
    assert held.trained["rates"] == [TUNING["muon_rate"], TUNING["adam_rate"]]


def environment() -> dict[str, str]:
    """This one, told to run in the running interpreter."""
    import os

    return {**os.environ, "LACUNA_PYTHON": "this", "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, r"No \.txt, \.md or \.xz file lies in .*"),
        (b" \n\n", r"The texts in .* are empty; write something first"),
        (b"One sentence is all there is.", r"The texts hold \d+ tokens, .* add text"),
        ("Caf\xe9".encode("latin-1"), r"a\.txt is not UTF-8 text; save it as UTF-8"),
        ("Hello there".encode("utf-16-le"), r"a\.txt is not UTF-8 text; save it as UTF-8"),
    ],
)
def test_texts_that_cannot_be_used_are_one_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], content: bytes | None, said: str
) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    if content is not None:
        (texts / "a.txt").write_bytes(content)
    assert train.main(["--init", str(ROOT / "assets" / "model"), "--data", str(texts), "--out", str(tmp_path / "run")]) == 2
    assert re.fullmatch(said + r"\.", capfd.readouterr().err.strip().splitlines()[-1])


def test_int8_weights_are_half_as_large_and_nearly_the_same(tmp_path: Path) -> None:
    """What rounding each row to a 127th of its largest weight costs: the shipped model, its weights moved off their steps."""
    held = checkpoint.load(ROOT / "assets" / "model")
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in held.model.parameters():
            if weight.dim() == 2:
                weight += (torch.rand_like(weight) - 0.5) * weight.abs().amax(dim=1, keepdim=True) / 127
    checkpoint.save(held, tmp_path / "whole")
    checkpoint.save(held, tmp_path / "rounded", torch.int8)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("rounded", "whole")]
    assert sizes[0] < 0.52 * sizes[1]
    ids = torch.tensor(held.tokenizer.encode(DEV.read_text(encoding="utf-8")[:12_000])[:2048]).view(8, 256)
    masked = torch.rand(ids.shape, generator=torch.Generator().manual_seed(0)) < 0.4
    where = masked.view(-1).nonzero()[:, 0]
    rounded = checkpoint.load(tmp_path / "rounded")
    with torch.inference_mode():
        xt = ids.masked_fill(masked, held.tokenizer.mask_id)
        exact, near = held.model(xt, where), rounded.model(xt, where)
    loss, off = (token_losses(logits, ids[masked], mask_id=held.tokenizer.mask_id).mean() for logits in (exact, near))
    assert 0 < (exact - near).square().mean().sqrt() < 0.1 * exact.std()
    assert abs(float(off - loss)) < 0.02
    for name, weight in held.model.state_dict().items():
        if weight.dim() == 2:
            step = weight.abs().amax(dim=1, keepdim=True) / 127
            assert ((rounded.model.state_dict()[name] - weight).abs() <= 0.51 * step + 1e-8).all()
