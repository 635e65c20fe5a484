"""Every family of published models: a small random checkpoint in the hub's layout, loaded and filled with on the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

import engine
from app.service import Service
from tests import checkpoints, encoders, folders
from tests.adapted import THINKS, make_a2d, make_eurobert, make_illada
from tests.page import desk, fill, load_by_path, masked, open_draft, serving, text

DRAFT = "The lamp in the hall had [[4 tokens]] low, and Anna [[]] by the window. 👩‍👩‍👧 مرحبا"
GIVEN = ("The lamp in the hall had ", " low, and Anna ", " by the window. 👩‍👩‍👧 مرحبا")
DIT = {"hidden_dim": 32, "n_blocks": 2, "n_heads": 2, "model_length": 192, "cond_dim": 8}


def with_gpt2(folder: Path, config: Callable[[int], dict[str, Any]]) -> Path:
    """A DiT in the layout of MDLM and its relatives, with GPT-2's kind of tokenizer; `config` is given the number of its tokens."""
    folder.mkdir()
    count = encoders.gpt2_files(folder, first=[], last=["<|endoftext|>"])
    shapes = folders.mdlm_shapes({**DIT, "vocab_size": count + 1})
    return folders.write(folder, config(count), shapes)


def mdlm(folder: Path) -> Path:
    return with_gpt2(folder, lambda count: folders.MDLM | DIT | {"vocab_size": count + 1})


def bd3lm(folder: Path) -> Path:
    fixed = {"model_type": "bd3lm", "block_size": 4, "cross_attn": True, "adaln": True, "causal": False}
    return with_gpt2(folder, lambda count: {**DIT, **fixed, "vocab_size": count + 1})


def sedd(folder: Path) -> Path:
    shape = {"hidden_size": 32, "n_blocks": 2, "n_heads": 2, "length": 192, "cond_dim": 8, "scale_by_sigma": True}
    return with_gpt2(folder, lambda count: {"graph": {"type": "absorb"}, "noise": {"type": "loglinear"}, "model": shape, "tokens": count})


FAMILIES: dict[str, Callable[[Path], Path]] = {
    "mdlm": mdlm,
    "bd3lm": bd3lm,
    "sedd": sedd,
    "llada": checkpoints.make_llada,
    "llada-instruct": lambda folder: checkpoints.make_llada(folder, chat=checkpoints.CHAT, kv_heads=2, shards=2),
    "dream": checkpoints.make_dream,
    "dreamon": lambda folder: checkpoints.make_dream(folder, expand=True),
    "a2d-diffusion-mdlm": lambda folder: make_a2d(folder, chat=THINKS),
    "illada": make_illada,
    "eurobert": make_eurobert,
    "bert": encoders.make_bert,
    "distilbert": encoders.make_distilbert,
    "electra": encoders.make_electra,
    "albert": encoders.make_albert,
    "roberta": encoders.make_roberta,
    "xlm-roberta": encoders.make_xlm_roberta,
    "modernbert": encoders.make_modernbert,
}


@pytest.fixture(scope="module")
def page(browser) -> Iterator[Page]:
    with serving(Service(engine.load, "toy")) as (url, _), desk(browser, url) as page:
        open_draft(page, DRAFT)
        page.get_by_role("slider", name="Care").fill("1")  # 6 steps
        yield page


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_of_the_family_is_loaded_by_its_path_and_fills(page, tmp_path, family):
    folder = FAMILIES[family](tmp_path / f"tiny-{family}")
    load_by_path(page, str(folder))
    expect(page.get_by_role("status", name="Model")).to_contain_text(f"tiny-{family} · CPU")
    page.keyboard.press("Escape")
    fill(page)
    words = text(page)
    assert masked(page).count() == 0, page.locator(".say").inner_text()
    at = 0
    for given in GIVEN:
        assert given in words[at:], words
        at = words.index(given, at) + len(given)
    assert words.startswith(GIVEN[0]) and words.endswith(GIVEN[-1])
    assert "\ufffd" not in words and "<|" not in words and "[MASK]" not in words


def test_what_does_not_fit_is_offered_in_fewer_bits(page):
    def tight(route: Route) -> None:  # the list as it would be on a machine with less memory
        answer = route.fetch(max_retries=3)  # a kept connection may be closed by the server just then; only that is tried again
        listed = answer.json()
        listed["free"], listed["models"][0]["memory"] = 4e9, 5e9
        route.fulfill(response=answer, json=listed)

    page.route("**/lacuna/models", tight)
    page.get_by_title("Choose a model").click()
    page.get_by_role("button", name="Use in int8 lacuna").click()
    expect(page.get_by_role("status", name="Model")).to_contain_text("CPU · int8")
    page.keyboard.press("Escape")
    page.unroute_all(behavior="wait")  # the list may be on its way once more
    fill(page)
    assert masked(page).count() == 0
