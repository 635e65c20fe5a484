"""Published sampler runs on LLaDA's network, token by token: LLaDA's own, Fast-dLLM's and dllm's, each named by its settings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from engine.draws import Weights
from engine.pace import Pace
from engine.schedules import SCHEDULES
from tests.sampled import GOLDEN, Asked, after_prompt, check, distinct, model_of, published, replay, runs_of

MODEL = model_of("llada")
SHARED, RUNS = runs_of("llada", "sampler_llada")
FAST_SHARED, FAST = runs_of("llada", "sampler_fastdllm")
DRAWN_SHARED, DRAWN = runs_of("llada", "sampler_llada_stochastic")
DLLM_SHARED, DLLM = runs_of("llada", "sampler_dllm_infill")
DOCS = Path(__file__).parent.parent / "docs/SAMPLERS.md"
NEW = 24
"""Tokens after the prompt in all of LLaDA's and Fast-dLLM's runs."""


def numbers(name: str) -> dict[str, float]:
    """cfg0.5.steps12.block8 -> {"cfg": 0.5, "steps": 12, "block": 8}"""
    return {key: float(value) for key, value in re.findall(r"([a-z]+)(\d+(?:\.\d+)?)", name)}


def start(shared: dict[str, Tensor], name: str) -> Tensor:
    return after_prompt(shared["prompt_b2" if name.startswith("batch2") else "prompt"], NEW, MODEL.mask_id)


@pytest.mark.parametrize("name", RUNS)
def test_llada(name: str) -> None:
    """Low-confidence remasking, in blocks and with guidance. Without guidance a step is one call, of half as many rows."""
    about = numbers(name)
    model = Asked(MODEL)
    x = start(SHARED, name)
    settings = published("LLaDA with guidance", steps=int(about["steps"]), block_length=int(about["block"]), guidance=about["cfg"])
    moves = replay(model, x, settings)
    check(moves, x, RUNS[name]["x_trace"])
    assert model.calls == len(moves)


@pytest.mark.parametrize("name", FAST)
def test_fast_dllm(name: str) -> None:
    """Its threshold and factor without a cache, whose approximations are not ours; with neither it is LLaDA's."""
    kind = name.split(".block")[0].removeprefix("none.")
    block = int(name.rpartition("block")[2])
    if kind.startswith("thr"):
        settings = published("Fast-dLLM threshold", threshold=float(kind.removeprefix("thr")), block_length=block)
    elif kind.startswith("factor"):
        settings = published("Fast-dLLM factor", factor=float(kind.removeprefix("factor")), block_length=block)
    else:
        settings = published("LLaDA in blocks of 32", steps=12, block_length=block)
    model = Asked(MODEL)
    x = start(FAST_SHARED, name)
    moves = replay(model, x, settings)
    check(moves, x, FAST[name]["x_trace"])
    assert model.calls == int(FAST[name]["nfe"])


def test_the_example_of_the_docs_is_a_published_run(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(import torch\n.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    prompt = f"prompt = torch.tensor({SHARED['prompt'].tolist()})"
    placed = re.sub(r"prompt = .*", prompt, example.replace('"models/llada"', repr(str(GOLDEN / "llada"))))
    exec(placed.replace("[0, 6:]", f"[0, {SHARED['prompt'].shape[1]}:]"), {})
    trace = RUNS["cfg0.5.steps12.block8"]["x_trace"][1:, 0, -NEW:]
    assert capsys.readouterr().out.splitlines() == [str(canvas.tolist()) for canvas in trace]


class SavedNoise:
    """LLaDA's draws: the token with the largest exp(logit) / (-log u)^T wins, and random remasking takes the largest uniforms."""

    def __init__(self, uniforms: Tensor) -> None:
        self.uniforms = uniforms.double()

    def tokens(self, step: int, positions: Tensor, weights: Weights) -> Tensor:
        log_weights = weights.whole()
        return (log_weights.double() - torch.log(-torch.log(self.uniforms[step][positions]))).argmax(-1)

    def clocks(self, step: int, positions: Tensor) -> Tensor:
        u = self.uniforms[step]
        return 1 - (u if u.dim() == 2 else u[..., 0])[positions]


@pytest.mark.parametrize("name", DRAWN)
def test_llada_with_chance(name: str) -> None:
    about, run = numbers(name), DRAWN[name]
    steps = {"steps": int(about["steps"]), "block_length": int(about["block"])}
    if "random" in name:
        settings = published("LLaDA random remasking", **steps)
    else:
        settings = published("LLaDA in blocks of 32", choice="stochastic", temperature=about["temp"], **steps)
    x = start(DRAWN_SHARED, name)
    uniforms = run["uniform_f32" if "random" in name else "uniform_f64"]
    check(replay(MODEL, x, settings, noise=SavedNoise(uniforms)), x, run["x_trace"])


def test_a_mask_is_never_written_even_where_it_is_predicted() -> None:
    """LLaDA's own code leaves most masks in its answer when the mask is what the network predicts."""
    tensors = load_file(GOLDEN / "llada/sampler_llada_maskpredicted.safetensors")
    x = after_prompt(tensors["prompt"], NEW, MODEL.mask_id)
    assert (tensors["maskpred.steps12.block8.final"] == MODEL.mask_id).sum() > 12

    def swayed(logits: Tensor) -> Tensor:
        logits = logits.clone()
        logits[:, MODEL.mask_id] = 100.0
        return logits

    for block in (8, 24):
        moves = replay(Asked(MODEL, swayed), x, published("LLaDA in blocks of 32", steps=12, block_length=block))
        assert not (moves[-1].x == MODEL.mask_id).any() and len(moves) == 12
        untouched = replay(MODEL, x, published("LLaDA in blocks of 32", steps=12, block_length=block))
        assert all(torch.equal(a.x, b.x) for a, b in zip(moves, untouched, strict=True)), "nothing else is changed by it"


# dllm fills masks anywhere. Its blocks are windows of the canvas, each with its share of the steps, rounded up.

TABLES = {key.removeprefix("transfer_counts."): DLLM_SHARED[key] for key in DLLM_SHARED if key.startswith("transfer_counts.")}
METHOD = {"linear": "dllm infill, linear", "cosine": "dllm infill, cosine"}


@pytest.mark.parametrize("name", TABLES)
def test_dllm_counts(name: str) -> None:
    schedule, masks, steps = name.split(".")
    left = int(masks.removeprefix("masks"))
    pace = Pace(published(METHOD[schedule], steps=int(steps.removeprefix("steps"))), [left])
    counts = []
    while left:
        counts.append(pace.next(0, left).due)
        left -= counts[-1]
    assert counts == TABLES[name][0].tolist()


@pytest.mark.parametrize("schedule", METHOD)
def test_dllm_schedules(schedule: str) -> None:
    alpha = SCHEDULES[published(METHOD[schedule]).schedule]
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    torch.testing.assert_close(alpha.alpha(t).float(), DLLM_SHARED[f"alpha.{schedule}"], rtol=0, atol=1e-6)
    torch.testing.assert_close(alpha.weight(t)[1:].float(), DLLM_SHARED[f"weight.{schedule}"][1:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in DLLM if name != "suppress"])
def test_dllm_infill(name: str) -> None:
    """Alone and in a batch of three lengths, padded. There rows wait for each other at a block's end; ours don't wait."""
    about = re.fullmatch(r"(\w+)\.(\w+)\.steps(\d+)\.block(\w+)\.cfg([\d.]+)", name)
    assert about is not None
    inputs = [DLLM_SHARED[f"input_{k}"] for k in range(3)]
    rows = inputs if about[1] == "batch" else [inputs[int(about[1].removeprefix("single"))]]
    lengths = torch.tensor([len(row) for row in rows])
    places = torch.arange(int(lengths.max()))
    blocks = places // (len(places) if about[4] == "None" else int(about[4]))
    number = int(blocks[-1]) + 1
    steps = -(-int(about[3]) // number) * number
    settings = published(METHOD[about[2]], steps=steps, guidance=float(about[5]))
    x = DLLM[name]["x_trace"][0]
    moves = replay(MODEL, x, settings, blocks=blocks.expand(len(rows), -1), attend=places < lengths[:, None])
    for b in range(len(rows)):
        theirs = distinct([canvas[b] for canvas in DLLM[name]["x_trace"]])
        ours = distinct([x[b], *(move.x[b] for move in moves)])
        assert len(ours) == len(theirs)
        assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_dllm_suppressed_tokens() -> None:
    run = DLLM["suppress"]
    model = Asked(MODEL, suppressed=sorted({*MODEL.suppressed, *run["tokens"].tolist()}))
    check(replay(model, run["x_trace"][0], published("dllm infill, linear", steps=10)), run["x_trace"][0], run["x_trace"])
