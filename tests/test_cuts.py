"""Gaps cut from documents, and what texts in them cost."""

from __future__ import annotations

import math
from itertools import permutations
from pathlib import Path

import pytest
import torch

import engine
from engine.backends.toy import Toy
from engine.evaluation.cuts import AROUND, KINDS, LEAST, Cut, cut_gaps
from engine.evaluation.likelihood import any_order_nats
from engine.forward import subs_log_probs
from engine.training.corpus import documents

TEXTS = [("sample", text) for text in documents(Path(__file__).parent / "data" / "dev_sample.txt")]
CUTS = cut_gaps(TEXTS, 20, seed=0)


@pytest.mark.parametrize("kind", KINDS)
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
    assert cut_gaps(TEXTS, 3, seed=0) == CUTS[:12]
    assert cut_gaps(TEXTS, 3, seed=1) != CUTS[:12]


@pytest.mark.parametrize("text", ["", "short", "no signs here " * 40, "\n\n" * 100, "👩‍🚀 " * 200, "لم يكن أحد هناك " * 50])
def test_texts_with_nothing_to_cut_give_nothing_they_cannot_give(text: str) -> None:
    for cut in cut_gaps([("odd", text)], 3, seed=0):
        assert cut.left + cut.truth + cut.right in text


def cut_of(left: str, truth: str, right: str) -> Cut:
    return Cut("one", 0, "s", "word", left, truth, right)


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
