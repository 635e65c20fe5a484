"""The published MDLM implementation, replayed: network, SUBS, losses, and whole sampler runs from its own random draws."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from engine import backends
from engine.denoiser import Denoiser
from engine.draws import Weights
from engine.forward import mask, nelbo, subs_log_probs
from engine.reverse import denoise
from engine.schedules import LogLinear
from tests.sampled import published

FOLDER = Path(__file__).parent / "golden/mdlm_dit"
CONDITIONED = Path(__file__).parent / "golden/mdlm_dit_timecond"
LOSS = load_file(FOLDER / "loss.safetensors")
RUNS = {name: load_file(FOLDER / f"sampler_{name}.safetensors") for name in ("ddpm", "ddpm_cache")}
SCHEDULE = LogLinear(1e-3)
ATOL = 1e-4


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Denoiser]:
    """The network without (notc) and with (tc) time conditioning: the same weights under two configs."""
    conditioned = tmp_path_factory.mktemp("mdlm_dit_timecond")
    shutil.copy(CONDITIONED / "config.json", conditioned)
    shutil.copy(FOLDER / "model.safetensors", conditioned)
    return {kind: backends.load(folder, device="cpu", dtype="float32") for kind, folder in (("notc", FOLDER), ("tc", conditioned))}


kinds = pytest.mark.parametrize("kind", ["notc", "tc"])


class Recorded:
    """A denoiser that notes what it is asked."""

    def __init__(self, model: Denoiser) -> None:
        self.model, self.inputs = model, []

    def __getattr__(self, name):
        return getattr(self.model, name)

    def logits(self, ids: Tensor, positions: Tensor, *, t: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
        self.inputs.append(ids.clone())
        return self.model.logits(ids, positions, t=t, attend=attend)


class ToldLevel(Recorded):
    """A denoiser whose network is told a noise level of our choice, whatever the time. In its change of variables the
    reference feeds the network the uniform that the time was made from.
    """

    def __init__(self, model: Denoiser, levels: Tensor) -> None:
        super().__init__(model)
        self.times = SCHEDULE.time_of_move_chance(-torch.expm1(-levels))

    def logits(self, ids: Tensor, positions: Tensor, *, t: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
        return super().logits(ids, positions, t=self.times, attend=attend)


@kinds
@pytest.mark.parametrize("case", range(6))
def test_raw_logits_and_subs(models, kind, case):
    model = models[kind]
    golden = load_file((CONDITIONED if kind == "tc" else FOLDER) / "io.safetensors")
    ids, t = golden[f"ids_{case}"], golden[f"t_{case}"]
    torch.testing.assert_close(SCHEDULE.sigma(t), golden[f"sigma_{case}"], rtol=1e-4, atol=1e-6)
    everywhere = torch.ones_like(ids, dtype=torch.bool)
    logits = model.logits(ids, everywhere, t=t)
    torch.testing.assert_close(logits.view(golden[f"logits_{case}"].shape), golden[f"logits_{case}"], rtol=0, atol=ATOL)

    masked = ids == model.mask_id
    ours = subs_log_probs(model.logits(ids, masked, t=t), [model.mask_id])
    theirs = golden[f"logprobs_subs_{case}"]
    assert (ours[:, model.mask_id] == -torch.inf).all()
    torch.testing.assert_close(ours[:, : model.mask_id], theirs[masked][:, : model.mask_id], rtol=0, atol=ATOL)
    # The other half of SUBS, carrying tokens over, is that the loop asks for masked positions only.
    assert torch.equal(theirs.argmax(-1)[~masked], ids[~masked])


def at_variant(name: str) -> tuple[Tensor, Tensor, Tensor]:
    """(times, move chances, densities) at which the reference evaluated this variant of the loss."""
    t = LOSS["t"]
    if name == "subs_T1000":
        t = (t * 1000).int() / 1000 + 1 / 1000
    if name in ("subs_importance", "subs_changeofvar"):
        first = torch.log1p(-torch.exp(torch.tensor(-1e-3)))  # log move chance at the reference's sigma_min
        low = float(SCHEDULE.time_of_move_chance(first.exp()))
        t, density = SCHEDULE.importance(t, low=low)
        # The reference leaves out the log move chance at t = 1, -0.001 of the 6.9 in the constant weight.
        return t, SCHEDULE.move_chance(t), density * ((SCHEDULE.move_chance(torch.ones(())).log() - first) / -first)
    return t, SCHEDULE.move_chance(t), torch.ones_like(t)


@kinds
@pytest.mark.parametrize("name", ["subs_ct", "subs_T1000", "subs_importance", "subs_changeofvar"])
def test_losses_at_the_saved_times_and_masks(models, kind, name):
    model = models[kind]
    golden = {key: LOSS[f"{kind}.{name}.{key}"] for key in ("xt", "move_chance", "per_token", "nlls", "loss")}
    x0, uniforms, real = LOSS["x0"], LOSS["uniform_for_mask"], LOSS["attention_mask"].bool()
    t, move_chance, density = at_variant(name)
    torch.testing.assert_close(move_chance, golden["move_chance"][:, 0], rtol=1e-5, atol=1e-6)
    assert torch.equal(mask(x0, golden["move_chance"][:, 0], mask_id=model.mask_id, uniforms=uniforms), golden["xt"])

    if name == "subs_changeofvar":
        model = ToldLevel(model, LOSS["t"])
    # The reference masks and attends to padding too; only its mean leaves padding out.
    ours = nelbo(model, x0, t=t, schedule=SCHEDULE, density=density, uniforms=uniforms)
    assert torch.equal(ours.masked, golden["xt"] == model.mask_id)
    torch.testing.assert_close(ours.per_token, golden["per_token"], rtol=1e-4, atol=ATOL)
    torch.testing.assert_close(ours.per_token * real, golden["nlls"], rtol=1e-4, atol=ATOL)
    torch.testing.assert_close((ours.per_token * real).sum() / real.sum(), golden["loss"], rtol=1e-5, atol=ATOL)


class SavedNoise:
    """The reference's race: the token, or staying masked, with the largest q / -log(u) wins.

    Its race has one more runner than a draw of a token: the mask. Whether it beats the best token is what our ancestral
    sampler decides by a clock; sigmoid(best's lead) is that clock, for the difference of two Gumbel variables is logistic.
    """

    def __init__(self, uniforms: Tensor, mask_id: int) -> None:
        self.uniforms, self.mask_id = uniforms.double(), mask_id

    def tokens(self, step: int, positions: Tensor, weights: Weights) -> Tensor:
        log_weights = weights.whole()
        if step == len(self.uniforms):  # the reference's noise removal: the likeliest of what is left
            self.lead = torch.zeros(len(log_weights)).double()
            return log_weights.argmax(-1)
        gumbel = -torch.log(1e-10 - torch.log(self.uniforms[step][positions] + 1e-10))
        best = (torch.log_softmax(log_weights.double(), -1) + gumbel).max(-1)
        self.lead = gumbel[:, self.mask_id] - best.values
        return best.indices

    def clocks(self, step: int, positions: Tensor) -> Tensor:
        return torch.sigmoid(self.lead)


def needed(inputs: Sequence[Tensor], mask_id: int, *, reuse: bool) -> list[Tensor]:
    """Those of the reference's calls that can change anything: masks are left, and (for reuse) the canvas is new.

    Rows that are done are left out of a call.
    """
    calls: list[Tensor] = []
    last: Tensor | None = None
    for x in inputs:
        if (x == mask_id).any() and not (reuse and last is not None and torch.equal(x, last)):
            calls.append(x[(x == mask_id).any(-1)])
        last = x
    return calls


@pytest.mark.parametrize(("sampler", "name"), [(s, key.removesuffix(".final")) for s in RUNS for key in RUNS[s] if key.endswith(".final")])
def test_whole_runs_from_the_saved_draws(models, sampler, name):
    """The reference's K steps from 1 to 1e-5 and its noise removal are K + 1 steps of our loop, the last one to t = 0.

    Its ddpm masks by 1 - exp(-sigma) = 0.999 t, its ddpm_cache by t: the chance to stay is s / t in both.
    """
    model = models[name.split("_")[0]]
    run = {key: RUNS[sampler][f"{name}.{key}"] for key in ("uniform", "x_after", "final", "forward_inputs")}
    steps, shape = len(run["x_after"]), run["final"].shape
    x = RUNS[sampler].get(f"{name}.x_init", torch.full(shape, model.mask_id))
    writable = x == model.mask_id
    recorded = Recorded(model)
    times = torch.cat([torch.linspace(1, 1e-5, steps + 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)])
    settings = published("MDLM ancestral", steps=steps + 1)
    noise = SavedNoise(run["uniform"], model.mask_id)
    moves = list(denoise(recorded, x, writable=writable, settings=settings, times=times, noise=noise))

    for step, expected in enumerate([*run["x_after"], run["final"]]):
        got = moves[min(step, len(moves) - 1)].x
        assert torch.equal(got, expected), f"step {step}"
    assert len(recorded.inputs) <= settings.steps
    expected_calls = needed(list(run["forward_inputs"]), model.mask_id, reuse=not model.time_conditioned)
    assert len(recorded.inputs) == len(expected_calls)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(recorded.inputs, expected_calls, strict=True))
