"""Finding a back end, and the toy that the other tests lean on."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import engine
from engine import backends
from engine.backends import EMBEDDED, pick_device, precision
from engine.backends.toy import MASK, VISIBLE, Toy
from engine.denoiser import Denoiser
from engine.settings import LARGE
from tests import folders


def test_toy_is_found_by_name():
    model = backends.load("toy")
    assert isinstance(model, Toy) and isinstance(model, Denoiser)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"name_or_path": "no/such-model"}, "no/such-model is not whole on this machine, and the network is switched off"),
        ({"name_or_path": "./no/such/folder"}, "There is no model called './no/such/folder': give a folder"),
        ({"device": "abacus"}, "The device 'abacus' can't be used here"),
        ({"dtype": "float31"}, "There is no dtype 'float31'; choose auto, float32, bfloat16, float16, int8, int4"),
    ],
)
def test_what_cannot_be_loaded_is_refused_in_one_sentence(arguments, says, tmp_path):
    with pytest.raises(backends.LoadError, match=says) as refused:
        backends.load(**{"name_or_path": tmp_path, **arguments})
    assert "\n" not in str(refused.value) and str(refused.value).endswith(".")


def test_a_folder_without_a_model_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"\.$"):
        backends.load(tmp_path)


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("pays", [False, True])
@pytest.mark.parametrize("published", [torch.float32, torch.bfloat16])
def test_on_a_cpu_what_was_published_in_float32_keeps_its_precision(tmp_path, monkeypatch, published, native, pays):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": native})
    monkeypatch.setattr(precision, "bf16_pays", lambda: pays)
    model = engine.load(folders.mdlm(tmp_path, dtype=published), device="cpu")
    assert engine.dtype_of(model) == ("bfloat16" if native and pays and published == torch.bfloat16 else "float32")


def test_whether_bfloat16_pays_is_measured_where_it_is_native_and_not_asked_of_large_models(monkeypatch):
    asked: list[torch.dtype] = []

    def seconds(_: nn.Module, x: Tensor) -> float:
        asked.append(x.dtype)
        return 2.0 if x.dtype == torch.bfloat16 else 1.0

    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    monkeypatch.setattr(precision, "_seconds", seconds)
    precision.bf16_pays.cache_clear()
    try:
        cpu = torch.device("cpu")
        assert not precision.computes_in_bf16(cpu, 10**6) and not precision.computes_in_bf16(cpu)
        once = len(asked)
        assert not precision.computes_in_bf16(cpu, 10**6) and len(asked) == once  # for all models
        assert precision.computes_in_bf16(cpu, LARGE)
        monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
        assert not precision.computes_in_bf16(cpu, LARGE)
    finally:
        precision.bf16_pays.cache_clear()


@pytest.mark.parametrize("pays", [False, True])
@pytest.mark.parametrize("busy", [0, 8, 17])
def test_a_machine_that_is_busy_for_a_while_answers_the_same(monkeypatch, pays, busy):
    asked: list[torch.dtype] = []

    def seconds(_: nn.Module, x: Tensor) -> float:
        asked.append(x.dtype)
        return (1.0 if (x.dtype == torch.bfloat16) is pays else 1.5) * (9.0 if busy <= len(asked) < busy + 8 else 1.0)

    monkeypatch.setattr(precision, "_seconds", seconds)
    precision.bf16_pays.cache_clear()
    try:
        assert precision.bf16_pays() is pays
    finally:
        precision.bf16_pays.cache_clear()


def test_a_missing_embedded_model_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(backends, "EMBEDDED", tmp_path / "gone")
    with pytest.raises(backends.LoadError, match="embedded model is missing"):
        backends.load()


@given(st.text())
def test_toy_encodes_any_text(text):
    model = Toy()
    assert model.decode(model.encode(text)) == text
    assert model.frame(model.encode(text), starts=True, ends=True) == (model.encode(text), 0)


@given(st.lists(st.integers(0, 256), min_size=1, max_size=12), st.data())
def test_toy_looks_at_its_neighbours_only_and_not_at_padding(ids, data):
    model, x = Toy(), torch.tensor([ids])
    place = data.draw(st.integers(0, len(ids) - 1))
    where = torch.zeros_like(x, dtype=torch.bool)
    where[0, place] = True
    here = model.logits(x, where)
    assert here.shape == (1, model.vocab_size) and torch.isfinite(here).all()
    other = torch.full_like(x, 65)
    other[0, max(0, place - 1) : place + 2] = x[0, max(0, place - 1) : place + 2]
    assert torch.equal(model.logits(other, where), here)
    padded = torch.cat([x, torch.full((1, 3), 65)], 1)
    attend = torch.arange(padded.shape[1])[None] < len(ids)
    assert torch.equal(model.logits(padded, torch.cat([where, torch.zeros(1, 3, dtype=torch.bool)], 1), attend=attend), here)
    assert (model.calls, model.tokens) == (3, 3 * len(ids) + 3)


def test_toy_knows_its_paragraph_and_writes_ascii():
    model = Toy()
    x = torch.tensor([[ord("t"), MASK, ord("e")]])
    assert chr(int(model.logits(x, x == MASK)[0, :256].argmax())) == "h"
    assert set(range(257)) - set(model.suppressed) == VISIBLE and max(VISIBLE) < 128


def test_a_device_that_can_not_add_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a GPU is that is there, and for which this PyTorch has no kernels."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    ones = torch.ones

    def without_kernels(*shape: int, device: str) -> torch.Tensor:
        if device in ("mps", "cuda"):
            raise RuntimeError("no kernel image is available for execution on the device")
        return ones(*shape, device=device)

    monkeypatch.setattr(torch, "ones", without_kernels)
    assert pick_device("auto").type == "cpu" == pick_device("cpu").type
    with pytest.raises(backends.LoadError, match="The device 'mps' can't be used here; try cpu"):
        pick_device("mps")


def test_a_folder_has_no_revisions() -> None:
    with pytest.raises(backends.LoadError, match="A folder has no revisions"):
        engine.load(str(EMBEDDED), revision="v1")
