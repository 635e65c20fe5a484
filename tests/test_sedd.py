"""SEDD's published implementation, replayed: its log-scores, and its samplers' runs from their own random draws."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from engine import backends
from engine.backends.sedd import SEDD
from engine.denoiser import Denoiser
from engine.draws import Weights
from engine.forward import subs_log_probs
from engine.reverse import denoise
from engine.schedules import LogLinear
from engine.settings import Settings

FOLDER = Path(__file__).parent / "golden/sedd"
IO, RUNS = load_file(FOLDER / "io.safetensors"), load_file(FOLDER / "sampler.safetensors")
SCHEDULE = LogLinear(1e-3)
ATOL = 1e-4


@pytest.fixture(scope="module")
def model() -> SEDD:
    found = backends.load(FOLDER, device="cpu", dtype="float32")
    assert isinstance(found, SEDD) and isinstance(found, Denoiser)
    return found


def time_of(sigma: Tensor) -> Tensor:
    """The time at which log-linear noise has this level."""
    return SCHEDULE.time_of_move_chance(-torch.expm1(-sigma.double()))


CASES = sorted(key.removeprefix("ids_") for key in IO if key.startswith("ids_"))


@pytest.mark.parametrize("case", CASES)
def test_predictions_are_the_scores_in_proportion(model, case):
    """p(x_0 = v | x_t) is the score of v times expm1(sigma), over the sum of all but the mask's."""
    ids, sigma = IO[f"ids_{case}"], IO[f"sigma_{case}"]
    masked = ids == model.mask_id
    ours = subs_log_probs(model.logits(ids, masked, t=time_of(sigma)), model.suppressed)
    scores = IO[f"log_score_{case}"][masked][:, : model.mask_id]
    torch.testing.assert_close(ours[:, : model.mask_id], torch.log_softmax(scores, -1), rtol=0, atol=ATOL)


def test_without_a_time_the_masks_tell_it_and_padding_is_not_counted(model):
    ids = IO["ids_3"].clone()
    masked = ids == model.mask_id
    share = masked.float().mean(-1)
    told = model.logits(ids, masked, t=share)
    torch.testing.assert_close(model.logits(ids, masked), told)
    padded = torch.cat([ids, torch.full((len(ids), 3), model.mask_id)], 1)
    attend = torch.arange(padded.shape[1])[None].expand_as(padded) < ids.shape[1]
    torch.testing.assert_close(model.logits(padded, attend & (padded == model.mask_id), attend=attend), told, rtol=0, atol=ATOL)


class WithMass:
    """A denoiser that keeps the mass of its last predictions: what scores times expm1(sigma) add up to, the mask's left out.

    A perfect network's is 1. SEDD's samplers unmask in proportion to it; ours normalise it away.
    """

    def __init__(self, model: SEDD) -> None:
        self.model = model

    def __getattr__(self, name):
        return getattr(self.model, name)

    def logits(self, ids: Tensor, positions: Tensor, *, t: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
        found = self.model.logits(ids, positions, t=t, attend=attend)
        level = torch.expm1(self.model.noise_level(ids, t, attend)).double().repeat_interleave(positions.sum(-1))
        self.mass = found[:, : self.model.mask_id].double().logsumexp(-1).exp() * level
        return found


class SavedRace:
    """SEDD's draw: of the tokens and of staying masked, the largest probability / -log(u) wins.

    A token's probability is its share of the mass times the step's rate of unmasking, which is all that its two samplers differ in.
    """

    def __init__(self, model: WithMass, uniforms: list[Tensor], rates: list[float]) -> None:
        self.model, self.uniforms, self.rates = model, uniforms, rates

    def tokens(self, step: int, positions: Tensor, weights: Weights) -> Tensor:
        log_weights = weights.whole()
        last = step == len(self.uniforms) - 1
        clocks = 1e-10 - torch.log(self.uniforms[step][positions] + 1e-10)
        mask_id = self.model.mask_id
        leave = (self.rates[step] * self.model.mass)[:, None] * log_weights[:, :mask_id].double().exp()
        best = (leave / clocks[:, :mask_id]).max(-1)
        # The race of the last step is run without the mask.
        self.leaves = torch.ones(len(leave)).bool() if last else best.values > (1 - leave.sum(-1)) / clocks[:, mask_id]
        return best.indices

    def clocks(self, step: int, positions: Tensor) -> Tensor:
        return torch.where(self.leaves, 0.0, 1.0).double()


@pytest.mark.parametrize("predictor", ["analytic", "euler"])
def test_infilling_runs_from_the_saved_draws(model, predictor):
    """Both published samplers are our `ancestral` loop but for the model's mass: given tokens fixed, K steps from 1 to 1e-5, then all.

    In a step from t to s of log-linear noise a mask leaves with chance (e^d - 1) / expm1(sigma) times the mass, d = sigma(t) - sigma(s)
    (analytic), or sigma'(t) (t - s) / expm1(sigma) times it (Euler).
    """
    run = {key.removeprefix(f"{predictor}.infill."): tensor for key, tensor in RUNS.items() if key.startswith(f"{predictor}.infill.")}
    states = [run[f"x_after_{k}"] for k in range(sum(key.startswith("x_after_") for key in run))]
    times = torch.cat([torch.linspace(1, 1e-5, len(states), dtype=torch.float64), torch.zeros(1, dtype=torch.float64)])
    sigma = SCHEDULE.sigma(times)
    if predictor == "analytic":
        gone = torch.expm1(sigma[:-1] - sigma[1:])
    else:
        gone = (times[:-1] - times[1:]) * (1 - 1e-3) / (1 - (1 - 1e-3) * times[:-1])
        gone[-1] = torch.expm1(sigma[-2])
    rates = (gone / torch.expm1(sigma[:-1])).tolist()
    x = torch.full(states[0].shape, model.mask_id)
    x[:, RUNS["infill.locs"]] = RUNS["infill.ids"]

    weighing = WithMass(model)
    noise = SavedRace(weighing, [run[f"uniform_{k}"] for k in range(len(states))], rates)
    settings = Settings(sampler="ancestral", steps=len(states), temperature=1.0, choice="stochastic", top_p=1.0, repetition=0.0)
    moves = list(denoise(weighing, x, writable=x == model.mask_id, settings=settings, times=times, noise=noise))
    for step, expected in enumerate(states):
        assert torch.equal(moves[min(step, len(moves) - 1)].x, expected), f"step {step}"
    assert torch.equal(moves[-1].x, run["final"])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"graph": {"type": "uniform"}}, "where Lacuna can use"),
        ({"model": {"hidden_size": 64}}, "no 'n_blocks'"),
        ({"noise": 3, "model": "small"}, "has no object 'model'"),
        ({"tokens": 2**40}, "for 'tokens'"),
    ],
)
def test_a_folder_that_is_another_graph_or_half_a_config_is_refused(changes, says, tmp_path):
    config = json.loads((FOLDER / "config.json").read_text()) | changes
    (tmp_path / "config.json").write_text(json.dumps(config))
    shutil.copy(FOLDER / "model.safetensors", tmp_path)
    with pytest.raises(backends.LoadError, match=says) as refused:
        backends.load(tmp_path, device="cpu")
    assert "\n" not in str(refused.value)


def test_a_network_whose_output_is_the_score_itself(model, tmp_path):
    """scale_by_sigma false: the same weights mean scores (V - 1) expm1(sigma) times as large."""
    config = json.loads((FOLDER / "config.json").read_text())
    config["model"]["scale_by_sigma"] = False
    (tmp_path / "config.json").write_text(json.dumps(config))
    shutil.copy(FOLDER / "model.safetensors", tmp_path)
    plain = backends.load(tmp_path, device="cpu", dtype="float32")
    assert isinstance(plain, SEDD)
    ids, sigma = IO["ids_3"], IO["sigma_3"]
    masked = ids == model.mask_id
    larger = (torch.expm1(sigma) * (model.vocab_size - 1)).log().repeat_interleave(masked.sum(-1))[:, None]
    ours, scaled = plain.logits(ids, masked, t=time_of(sigma)), model.logits(ids, masked, t=time_of(sigma))
    tokens = slice(0, model.mask_id)
    torch.testing.assert_close(ours[:, tokens], (scaled + larger)[:, tokens], rtol=0, atol=ATOL)
    assert torch.equal(ours[:, model.mask_id], torch.zeros(len(ours)))
