"""Gaps cut from documents, and what texts in them cost."""

from __future__ import annotations

import math
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import engine
from engine.backends.toy import Toy
from engine.evaluation.likelihood import any_order_nats
from engine.forward import subs_log_probs
from engine.training.corpus import documents
from engine.training.gaps import AROUND, EVEN, LEAST, MIX, Cut, Page, beginnings, even_cuts, mixed_cuts

TEXTS = [("sample", text) for text in documents(Path(__file__).parent / "data" / "dev_sample.txt")]
CUTS = even_cuts(TEXTS, 20, seed=0)


@pytest.mark.parametrize("kind", EVEN)
def test_a_gap_is_what_its_kind_says_and_stands_where_it_was_cut(kind: str) -> None:
    own = [cut for cut in CUTS if cut.kind == kind]
    assert len(own) == 20
    for cut in own:
        assert cut.left + cut.truth + cut.right in TEXTS[cut.document][1]
        assert LEAST <= len(cut.left) <= AROUND and LEAST - 1 <= len(cut.right) <= AROUND
        assert engine.Draft((cut.left, engine.Gap(), cut.right)).marks
        count = len(engine.words(cut.truth))
        assert {"word": count == 1, "3 words": count == 3, "phrase": 4 <= count <= 10, "sentence": count >= 2}[kind]
        if kind == "sentence":
            assert cut.truth[0].isupper() and cut.truth[-1] in ".!?" and cut.left.rstrip()[-1] in ".!?"
    assert len({cut.document for cut in own}) == 20, "no document gives two before all gave one"


def test_the_first_gaps_are_the_same_however_many_are_asked_for() -> None:
    assert even_cuts(TEXTS, 3, seed=0) == CUTS[:12]
    assert even_cuts(TEXTS, 3, seed=1) != CUTS[:12]


@pytest.mark.parametrize("text", ["", "short", "no signs here " * 40, "\n\n" * 100, "👩‍🚀 " * 200, "لم يكن أحد هناك " * 50])
def test_texts_with_nothing_to_cut_give_nothing_they_cannot_give(text: str) -> None:
    for cut in even_cuts([("odd", text)], 3, seed=0):
        assert cut.left + cut.truth + cut.right in text


@pytest.mark.parametrize("kind", MIX)
def test_gaps_are_cut_out_of_the_text_and_nothing_is_lost(kind: str) -> None:
    rng = np.random.default_rng(0)
    page, found = Page(TEXTS[0][1]), 0
    for _ in range(200):
        if cut := page.cut(kind, rng):
            found += 1
            woven = "".join(text for pair in zip(cut.given, (*cut.gaps, ""), strict=True) for text in pair)
            assert woven in TEXTS[0][1]
            gap = cut.gaps[cut.asked]
            assert gap and gap == gap.strip()
            words = len(engine.words(gap))
            assert {"word": words == 1, "words": words >= 2}.get(kind, True)
            if kind in ("sentence", "sentences"):
                assert gap[-1] in ".!?…\"'”’)" or cut.given[cut.asked + 1][:1] in ("", "\n"), "up to a stop, or to the paragraph's end"
    assert found > 20


@given(text=st.text(st.characters(blacklist_categories=("Cs", "Cc"), whitelist_characters="\n."), max_size=400), seed=st.integers(0, 99))
def test_any_text_can_be_cut(text: str, seed: int) -> None:
    for cut in Page(text).cuts(np.random.default_rng(seed), 3):
        assert "".join(cut.gaps).strip() and len(cut.given) == len(cut.gaps) + 1
        assert len(cut.draft().marks) == len(cut.gaps)


def test_the_kinds_come_in_their_shares_and_drafts_may_begin_or_end_with_a_gap() -> None:
    rng = np.random.default_rng(1)
    found = [cut for _, text in TEXTS for cut in Page(text).cuts(rng, 60)]
    for kind, share in MIX.items():
        assert sum(cut.kind == kind for cut in found) / len(found) == pytest.approx(share, abs=0.05)
    assert 0.01 < sum(not cut.given[-1] for cut in found) / len(found) < 0.1
    assert 0.005 < sum(not cut.given[0] for cut in found) / len(found) < 0.25
    assert 0.08 < sum(len(cut.gaps) == 2 for cut in found) / len(found) < 0.2


def test_gaps_are_the_same_from_files_and_from_their_documents() -> None:
    path = Path(__file__).parent / "data" / "dev_sample.txt"
    found = mixed_cuts(beginnings([path], 1e9), 90, seed=1)
    assert found == mixed_cuts([(path.name, text) for _, text in TEXTS], 90, seed=1) != mixed_cuts(beginnings([path], 1e9), 90, seed=2)
    assert len({cut.id for cut in found}) == len(found) > 80
    assert all(cut.truth in TEXTS[cut.document][1] for cut in found)


@pytest.mark.parametrize("known", [False, True])
def test_a_length_head_reads_one_mask_and_is_told_the_count(known: bool) -> None:
    toy = Toy()
    for cut in mixed_cuts(TEXTS, 200, seed=0):
        window, count = cut.masked(toy, known=known)
        assert count == len(cut.tokens(toy, cut.truth)) > 0 and len(window.cells) == 1
        others = [len(text) for i, text in enumerate(cut.gaps) if i != cut.asked]
        masks = window.ids.count(toy.mask_id)
        assert masks == 1 or (others and masks <= 1 + (others[0] + 1 if known else 1))


def cut_of(left: str, truth: str, right: str) -> Cut:
    return Cut("one", 0, "s", "word", (left, right), (truth,))


def test_a_model_that_knows_nothing_pays_the_log_of_its_vocabulary_for_every_token() -> None:
    class Uniform(Toy):
        def logits(self, ids: torch.Tensor, positions: torch.Tensor, **_: object) -> torch.Tensor:
            return torch.zeros(int(positions.sum()), self.vocab_size)

    for truth in ("ten letters", "a sentence that is longer than the stages are many"):
        nats, tokens = any_order_nats(Uniform(), cut_of("on the left ", truth, " and the right"), truth)
        assert tokens == len(truth)
        assert nats == pytest.approx(tokens * math.log(256), rel=1e-5)


def test_the_bound_is_the_mean_over_all_orders() -> None:
    toy = Toy()
    cut = cut_of("out in the ", "old", " harbour")
    window = cut.window(toy, cut.truth)
    places = list(window.cells)
    ids = torch.tensor([window.ids])

    def chain(order: tuple[int, ...]) -> float:
        cost = 0.0
        for k, place in enumerate(order):
            x, asked = ids.clone(), torch.zeros_like(ids, dtype=torch.bool)
            x[0, list(order[k:])] = toy.mask_id
            asked[0, place] = True
            cost -= float(subs_log_probs(toy.logits(x, asked), [toy.mask_id])[0, ids[0, place]])
        return cost

    exact = [chain(order) for order in permutations(places)]
    found = [any_order_nats(toy, cut, cut.truth, seed=seed)[0] for seed in range(400)]
    assert sum(found) / len(found) == pytest.approx(sum(exact) / len(exact), rel=0.03)
    # Jensen: the bound is no less than the cost under the mixture of all orders.
    assert sum(exact) / len(exact) >= -math.log(sum(math.exp(-cost) for cost in exact) / len(exact))


def test_stages_spare_calls_without_a_bias() -> None:
    toy = Toy()
    cut = next(cut for cut in CUTS if cut.kind == "phrase")
    whole = sum(any_order_nats(toy, cut, cut.truth, stages=200, seed=seed)[0] for seed in range(60)) / 60
    spared = sum(any_order_nats(toy, cut, cut.truth, stages=4, seed=seed)[0] for seed in range(300)) / 300
    assert spared == pytest.approx(whole, rel=0.05)
