"""Every family from a folder in hub layout to filled drafts: given text as it was, words as people write them."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import engine
from engine import backends
from engine.backends.mdlm import MDLM
from engine.denoiser import Denoiser
from engine.hub.families import FAMILIES
from tests.adapted import make_a2d, make_eurobert, make_illada
from tests.checkpoints import make_dream, make_llada
from tests.diffusers import make_bd3lm, make_mdlm, make_sedd
from tests.encoders import ENCODERS

MAKE: dict[str, Callable[..., Path]] = {
    **ENCODERS,
    "mdlm": make_mdlm,
    "bd3lm": make_bd3lm,
    "sedd": make_sedd,
    "llada": make_llada,
    "dream": make_dream,
    **{f"a2d-{base}": partial(make_a2d, base=base) for base in ("qwen3", "qwen2", "llama")},
    "illada": make_illada,
    "eurobert": make_eurobert,
}
DRAFTS = {
    "a gap among signs of many kinds": ("🙂 قال المعلم: “It was ", "[[]]", " when the door — the old one — opened,” نعم.\r\n\tAnd so on."),
    "a number of words": ("The keeper climbed the stairs with ", "[[3]]", ", and the wind leaned on the glass 🧑‍🚀."),
    "a number of tokens": ("def f(x):\n    return ", "[[5 tokens]]", "\n# naïve café\n"),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Denoiser]:
    home = tmp_path_factory.mktemp("families")
    return {kind: backends.load(make(home / kind), device="cpu", dtype="float32") for kind, make in MAKE.items()}


families = pytest.mark.parametrize("kind", MAKE)


def filled(model: Denoiser, draft: str, seed: int = 1) -> str:
    return list(engine.fill(model, draft, engine.Settings(steps=6, seed=seed)))[-1].text


def test_every_family_that_can_be_loaded_is_here():
    assert set(MAKE) == set(FAMILIES) - {"lacuna-dit-1"}


@families
@pytest.mark.parametrize("what", DRAFTS)
def test_a_gap_is_filled_and_the_given_text_is_as_it_was(models, kind, what):
    left, gap, right = DRAFTS[what]
    text = filled(models[kind], left + gap + right)
    assert text.startswith(left) and text.endswith(right)
    words = text[len(left) : len(text) - len(right)]
    assert words and "##" not in words and "�" not in words and not re.search(r"[<\[](mask|MASK|pad|unk|cls|sep|\|)", words)
    assert " ," not in words and " ." not in words
    if gap == "[[3]]":
        assert len(engine.words(words)) == 3


@families
def test_a_rewrite_keeps_its_pins(models, kind):
    left, right = "Below, the sea was ", ". He had stopped counting 🌊 years ago."
    text = filled(models[kind], f"{left}[[~ {{{{black}}}} and quite {{{{patiently نعم 🙂}}}} so]]{right}")
    assert text.startswith(f"{left}black ") and text.endswith(right) and " patiently نعم 🙂" in text


@families
def test_a_run_repeats_itself(models, kind):
    draft = "".join(DRAFTS["a number of words"])
    assert filled(models[kind], draft, 3) == filled(models[kind], draft, 3)


@pytest.mark.parametrize("kind", ["mdlm", "bd3lm", "sedd"])
def test_gpt2_families_have_the_mask_behind_the_tokens_and_the_ends_they_were_trained_with(models, kind):
    model = models[kind]
    end = model.mask_id - 1
    assert model.mask_id == model.vocab_size - 1 and {end, model.mask_id} <= set(model.suppressed)
    ids = model.encode("The lamp")
    assert end not in model.encode("<|endoftext|>") and model.decode([end, *ids, model.mask_id]) == "The lamp"
    if kind == "mdlm":
        assert all(model.frame(ids, starts=s, ends=e) == ([end, *ids, end], 1) for s in (True, False) for e in (True, False))
    else:
        assert model.frame(ids, starts=True, ends=True) == ([end, *ids], 1)
        assert model.frame(ids, starts=False, ends=True) == (ids, 0)


def test_a_short_canvas_of_mdlm_is_made_longer_by_masks_that_nobody_fills(models):
    model = models["mdlm"]
    end, gap = model.mask_id - 1, [model.mask_id] * 2
    canvas, put = model.frame([5, *gap, 7], starts=True, ends=True)
    assert (canvas, put) == ([end, 5, *gap, 7, *[model.mask_id] * 58, end], 1)
    long = [5, *gap] * 40
    assert model.frame(long, starts=True, ends=True) == ([end, *long, end], 1)
    frames = list(engine.fill(model, "It was [[2 tokens]] so.", engine.Settings(steps=2)))
    assert [cell.state for cell in frames[0].cells] == ["masked"] * 2
    assert {cell.id for frame in frames for cell in frame.cells} == {0, 1}


def test_an_mdlm_trained_without_ends_is_known_by_its_name(tmp_path):
    model = backends.load(make_mdlm(tmp_path / "mdlm-noeos-owt"), device="cpu")
    assert isinstance(model, MDLM)
    ids = model.encode("The lamp")
    assert model.frame(ids, starts=True, ends=True) == ([model.mask_id - 1, *ids], 1)
    assert model.frame(ids, starts=False, ends=True) == (ids, 0)


@pytest.mark.parametrize("make", [make_mdlm, make_bd3lm, make_sedd])
def test_a_folder_without_a_tokenizer_still_predicts(make, tmp_path):
    import torch

    whole, mute = (
        backends.load(make(tmp_path / "whole"), device="cpu"),
        backends.load(make(tmp_path / "mute", tokenizer=False), device="cpu"),
    )
    ids = torch.tensor([[5, whole.mask_id, 7, whole.mask_id]])
    masked = ids == whole.mask_id
    torch.testing.assert_close(mute.logits(ids, masked), whole.logits(ids, masked))
    with pytest.raises(backends.LoadError, match="has no tokenizer"):
        mute.encode("a")
    with pytest.raises(backends.LoadError, match="has no tokenizer"):
        list(engine.fill(mute, "It was [[3]] so.", engine.Settings()))
