"""Published sampler runs on Dream's network, token by token: Dream's own, dllm's infilling and DreamOn's variable length."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from engine.draws import Weights
from engine.growth import NEW, Growth
from engine.pace import even_grid
from engine.reverse import denoise
from tests.sampled import Asked, after_prompt, check, distinct, model_of, published, replay, runs_of

MODEL = model_of("dream")
SHARED, RUNS = runs_of("dream", "sampler_dream")
DRAWN_SHARED, DRAWN = runs_of("dream", "sampler_dream_stochastic")
DLLM_SHARED, DLLM = runs_of("dream", "sampler_dllm_infill")
DREAMON_SHARED, DREAMON = runs_of("dream", "sampler_dreamon_varlen")
ATOL = 1e-4


@pytest.mark.parametrize("name", [name for name in RUNS if not name.startswith("confidence_threshold")])
def test_dream(name: str) -> None:
    """With more steps than tokens many steps reveal nothing; they are steps all the same, and no call is made for them."""
    x = after_prompt(SHARED["prompt_b2" if "batch2" in name else "prompt"], 24, MODEL.mask_id)
    model = Asked(MODEL)
    moves = replay(model, x, published(f"Dream {name.partition('.')[0]}", steps=int(name.rpartition("steps")[2])))
    check(moves, x, RUNS[name]["x_trace"])
    assert model.calls == sum(bool(move.revealed.any()) for move in moves)


class SavedNoise:
    """Dream's draws, and a look at the distributions that they were made from."""

    def __init__(self, run: dict[str, Tensor]) -> None:
        self.run = run

    def tokens(self, step: int, positions: Tensor, weights: Weights) -> Tensor:
        log_weights = weights.whole()
        probs, sampled = self.run[f"probs_{step}"], self.run[f"sampled_{step}"]
        ours = torch.softmax(log_weights, -1)
        revealed = torch.ones(len(ours), dtype=torch.bool)
        if f"transfer_uniform_{step}" in self.run:  # there tokens are drawn for those that will be revealed, and for no others
            revealed = self.clocks(step, positions) < 1 - self.stays[step]
        torch.testing.assert_close(ours[revealed], probs, rtol=0, atol=ATOL)
        return torch.zeros(len(ours), dtype=torch.long).masked_scatter(revealed, sampled)

    def clocks(self, step: int, positions: Tensor) -> Tensor:
        return self.run.get(f"transfer_uniform_{step}", torch.zeros(int(positions.sum()))).double()

    @property
    def stays(self) -> list[float]:
        """The chance that a mask stays, at each of Dream's times from 1 to 1e-3; in the last step none does."""
        times = torch.linspace(1, 1e-3, 7)
        return [*(times[1:] / times[:-1]).tolist()[:-1], 0.0]


def test_dream_origin_with_chance() -> None:
    (name,) = (name for name in DRAWN if name.startswith("origin"))
    x = after_prompt(DRAWN_SHARED["prompt"], 24, MODEL.mask_id)
    settings = published("Dream origin", temperature=0.8, top_p=0.9, top_k=40, steps=6)
    check(replay(MODEL, x, settings, noise=SavedNoise(DRAWN[name])), x, DRAWN[name]["x_trace"])


@pytest.mark.parametrize("step", range(6))
@pytest.mark.parametrize("name", [name for name in DRAWN if not name.startswith("origin")])
def test_each_step_of_dream_with_chance(name: str, step: int) -> None:
    """Where a nucleus is one token, its score is exactly 1, and of several the reference takes any (torch.topk); ours takes the
    leftmost. So each step is taken from the reference's canvas, and must be the same wherever scores decide.
    """
    run = DRAWN[name]
    settings = published(f"Dream {name.partition('.')[0]}", choice="stochastic", temperature=0.8, top_p=0.9, top_k=40, steps=6)
    x, after = run["x_trace"][step : step + 2]
    masked = (x == MODEL.mask_id)[0]
    move = next(
        iter(
            denoise(
                MODEL, x, writable=x == MODEL.mask_id, settings=settings, noise=SavedNoise(run), first_step=step, times=even_grid(6)[step:]
            )
        )
    )
    probs, sampled = run[f"probs_{step}"], run[f"sampled_{step}"]
    scores = probs.gather(-1, sampled[:, None])[:, 0] if settings.sampler == "confidence" else (probs * (probs + 1e-10).log()).sum(-1)
    ours, theirs = move.revealed[0][masked], (after[0] != MODEL.mask_id)[masked]
    assert ours.sum() == theirs.sum()
    least = scores[theirs].min()
    decided = (scores - least).abs() > ATOL
    assert torch.equal(ours[decided], theirs[decided]) and bool((ours & ~decided).any())
    assert torch.equal(move.x[0][masked][ours], sampled[ours])
    if not (ours != theirs).any():
        assert torch.equal(move.x, after)
    assert step < 2 or torch.equal(ours, theirs), "ties are in the first two steps only"


@pytest.mark.parametrize("name", DLLM)
def test_dllm_infill(name: str) -> None:
    about = re.fullmatch(r"mdlm_rightshift\.(\d)\.steps(\d+)\.block(\w+)", name)
    assert about is not None
    x = DLLM[name]["x_trace"][0]
    blocks = torch.arange(x.shape[1]) // (x.shape[1] if about[3] == "None" else int(about[3]))
    number = int(blocks[-1]) + 1
    settings = published("dllm infill, linear", steps=-(-int(about[2]) // number) * number)
    moves = replay(MODEL, x, settings, blocks=blocks[None])
    ours, theirs = distinct([x, *(move.x for move in moves)]), distinct(list(DLLM[name]["x_trace"]))
    assert len(ours) == len(theirs)
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


EXPAND, END, LONGEST = 125, 120, 30


@pytest.fixture(scope="module")
def dreamon() -> Asked:
    """Dream's network with the published rows for the two tokens in its head."""
    model = model_of("dream")
    head = model.network.head.weight  # type: ignore[attr-defined]
    with torch.no_grad():
        head[END], head[EXPAND] = DREAMON_SHARED["lm_head_row_eos"], DREAMON_SHARED["lm_head_row_expand"]
    return Asked(model, suppressed=[model.mask_id])


@pytest.mark.parametrize("name", DREAMON)
def test_dreamon(dreamon: Asked, name: str) -> None:
    """There the canvas is padded to its greatest length with masks that nothing attends to; ours is as long as it is."""
    about = re.fullmatch(r"(\w+)\.min(\d)\.delete(\d)\.padeos(\d)", name)
    assert about is not None
    run, initial = DREAMON[name], int(about[2])
    prefix, suffix = DREAMON_SHARED["prefix"], DREAMON_SHARED["suffix"]
    x = torch.cat([prefix, torch.full((initial,), MODEL.mask_id), suffix])[None]
    growth = Growth(EXPAND, END if about[3] == "1" else None, LONGEST, budget=16, end_id=END if about[4] == "1" else None)
    sampler = published(f"Dream {about[1]}").sampler
    settings = published("DreamOn", sampler=sampler)
    moves = list(denoise(dreamon, x, writable=x == MODEL.mask_id, settings=settings, growth=growth))
    widths = [x.shape[1], *(move.x.shape[1] for move in moves)]
    assert widths == [*run["window_len"].tolist(), widths[-1]]
    for step, (canvas, theirs) in enumerate(zip([x, *(move.x for move in moves)], run["x_trace"], strict=True)):
        assert torch.equal(canvas[0], theirs[: canvas.shape[1]]), f"step {step}"
    assert torch.equal(moves[-1].x[0], run["final"][0, : widths[-1]])
    assert widths[-1] - len(prefix) - len(suffix) == int(run["num_generation_tokens"])
    for before, move in zip([x, *(move.x for move in moves)], moves, strict=False):
        if move.origin is not None:
            kept = (move.origin[0] != NEW) & ~move.revealed[0] & (move.x[0] != MODEL.mask_id)
            assert torch.equal(move.x[0][kept], before[0][move.origin[0][kept]]), "what stood there still stands, further on"
