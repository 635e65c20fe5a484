"""The model that comes with the checkout: what its card says is what it does."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import engine
from engine import checkpoint
from engine.backends import EMBEDDED
from engine.evaluation import card
from engine.evaluation.nelbo import evaluate
from engine.evaluation.report import pm
from engine.evaluation.session import training_of
from engine.lexicon import Lexicon
from engine.rarity import words_of
from engine.settings import recommended
from engine.training.corpus import documents

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "tests" / "data" / "dev_sample.txt"
README = (ROOT / "README.md").read_text(encoding="utf-8")
CARD = (EMBEDDED / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    """What `evaluate` printed when the model was made: over the whole dev set, and over the sample of it that is here."""
    read: dict[str, Any] = json.loads((EMBEDDED / "evaluation.json").read_text(encoding="utf-8"))
    return read


def test_it_is_really_trained_and_small_enough_to_ship(model: engine.Denoiser, figures: dict[str, Any]) -> None:
    held = checkpoint.load(EMBEDDED)
    assert f"{held.trained['tokens']:,}" in CARD
    whole = f"{sum(p.numel() for p in held.model.parameters()):,}"
    assert whole in CARD and training_of(None, model)["parameters"] == whole, "however it is computed"
    assert figures["dev"]["bits_per_char"] <= 1.60
    assert sum(p.stat().st_size for p in EMBEDDED.iterdir()) <= 48e6


def test_the_sample_row_of_the_card_is_what_evaluate_finds(model: engine.Denoiser, figures: dict[str, Any]) -> None:
    claimed = figures["sample"]
    found = evaluate(model, [SAMPLE], seed=claimed["seed"], passes=claimed["passes"], characters=claimed.get("read_characters"))
    for name in ("nats_per_token", "perplexity", "bits_per_char", "nats_per_token_stderr"):
        assert found[name] == pytest.approx(claimed[name], rel=2e-3)
    for share, guessed in claimed["masked_accuracy"].items():
        assert found["masked_accuracy"][share] == pytest.approx(guessed, abs=2e-3)
    assert (found["tokens"], found["documents"]) == (claimed["tokens"], claimed["documents"])


def test_the_card_says_the_figures(figures: dict[str, Any]) -> None:
    """Line by line, as the command writes them."""
    block = CARD.partition(card.START)[2].partition(card.END)[0]
    lines = set(block.splitlines())
    told = [*card.bound(figures["dev"], figures["sample"]), card.infilling(figures["infilling"])]
    assert [line for part in told for line in part.splitlines() if line not in lines] == []
    assert len(lines) > 20
    ways, whole = figures["lengths"], figures["lengths"]["head"]["gaps"]
    cells = [f"{pm(way['tokens'], 1, 2)} ({pm(way['octaves'], 1, 2)})" if way["gaps"] == whole else "" for way in ways.values()]
    row = next(line for line in lines if line.startswith("| **all** |"))
    assert row.endswith(" | ".join(["", *cells, ""]).rstrip()) and f"| {whole} |" in row


def test_the_readme_says_how_large_the_model_is_and_what_it_has_read() -> None:
    held = checkpoint.load(EMBEDDED)
    sizes = [sum(p.numel() for name, p in held.model.named_parameters() if part in name) for part in ("", "ngrams")]
    whole, neighbours, tokens = (f"{count / 1e6:.1f} million" for count in (*sizes, held.trained["tokens"]))
    said = f"({whole} parameters, {neighbours} of them a table of neighbours; {tokens} tokens of training"
    assert said in README


@pytest.mark.long  # on another kind of machine rounding differs a little, so a word may, too
def test_the_readme_shows_what_the_model_writes(model: engine.Denoiser) -> None:
    shown = README.partition("## What the embedded model writes")[2].partition("\n## ")[0]
    drafts = re.findall(r"^`(.*\[\[.*)`\n\n((?:^ *- .*\n)+)", shown, re.MULTILINE)
    assert len(drafts) > 4
    for draft, fills in drafts:
        *_, last = engine.fill(model, draft, engine.recommended(model, {"seed": 0}))
        assert [last.text, *(other.text for other in last.others)] == re.findall(r"- (.*)", fills), draft


def test_the_card_has_a_place_for_the_figures_of_the_next_weights() -> None:
    card.check(EMBEDDED)


def test_the_card_names_every_group_of_sources_and_the_licence() -> None:
    assert "CC BY-SA 4.0" in CARD
    for group in (
        "Standard Ebooks",
        "Project Gutenberg",
        "ELTeC",
        "OpenStax",
        "SCP",
        "African Storybook",
        "Topical-Chat",
        "Wikipedia",
        "Changelog",
    ):
        assert group in CARD


def test_it_knows_which_words_are_rare(model: engine.Denoiser) -> None:
    rarity = words_of(model).rarity
    for word, rare in (
        (" the", False),
        (" The", False),
        (" said", False),
        (" and", False),
        (" lantern", True),
        (" muscle", True),
        ("ing", False),
    ):
        token = model.encode(word)[0]
        assert bool(rarity[token] > 0.5) is rare, word


def test_it_fills_real_drafts_in_whole_words(model: engine.Denoiser) -> None:
    for text in list(documents(SAMPLE))[::3]:
        left, right = text[:600].rsplit(" ", 1)[0], text[700:1200].split(" ", 1)[1]
        *_, last = engine.fill(model, engine.Draft((left + " ", engine.Gap(engine.Length(5, 5, "words")), " " + right)))
        assert last.text.startswith(left + " ") and last.text.endswith(" " + right)
        written = last.text[len(left) + 1 : len(last.text) - len(right) - 1]
        assert len(engine.words(written)) == 5
        assert re.fullmatch(r"\S(.*\S)?", written) and "  " not in written and "\ufffd" not in written
        assert model.lexicon is not None
        assert not Lexicon.of([written]).without(model.lexicon | Lexicon.of([left, right])).words


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_year_stands_apart_from_the_word_before(model: engine.Denoiser, seed: int) -> None:
    """Its pieces are single figures, and the space before them is a piece of its own."""
    before, after = "She was born ", ", and died on 4 May 1950."
    *_, last = engine.fill(model, f"{before}[[6 tokens]]{after}", replace(recommended(model), seed=seed))
    filled = last.text[len(before) : len(last.text) - len(after)]
    assert re.search(r"(?<![\w-])\d{4}$", filled), filled
