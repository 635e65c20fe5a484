"""Figures of fills: published examples, hand-made cases, and errors that behave like errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.evaluation import metrics

WORDS = st.lists(st.sampled_from(["a", "b", "c", "the", "of"]), max_size=12)


def bleu(fill: list[str], truth: list[str], order: int) -> float:
    return float(metrics.bleu(np.array(metrics.bleu_counts(fill, truth)), order))


def test_bleu_is_that_of_the_papers_and_of_nltks_documentation() -> None:
    # Papineni et al. 2002, section 2.1: clipped, "the" counts twice.
    counts = metrics.bleu_counts(["the", "the", "the", "the", "the", "the", "the"], ["the", "cat", "is", "on", "the", "mat"])
    assert counts[2:4] == [2, 7]
    # nltk.translate.bleu_score.SmoothingFunction, the figure without smoothing.
    fill = "It is a guide to action which ensures that the military always obeys the commands of the party"
    truth = "It is a guide to action that ensures that the military will forever heed Party commands"
    assert bleu(fill.split(), truth.split(), 4) == pytest.approx(0.4118, abs=5e-5)


def test_bleu_punishes_brevity_and_has_no_mercy_without_a_match() -> None:
    assert bleu(["a", "b"], ["a", "b", "c", "d"], 2) == pytest.approx(np.exp(1 - 4 / 2))
    assert bleu(["a", "c"], ["a", "b"], 2) == 0
    assert bleu([], ["a"], 2) == 0


def test_bleu_of_a_corpus_sums_counts_before_it_divides() -> None:
    pairs = [(["a", "b", "c", "d"], ["a", "b", "c", "d"]), (["x", "y"], ["x", "z"])]
    summed = np.sum([metrics.bleu_counts(*pair) for pair in pairs], axis=0)
    assert float(metrics.bleu(summed, 2)) == pytest.approx(np.sqrt(5 / 6 * 3 / 4))


@given(WORDS, WORDS)
def test_bleu_is_a_share_and_one_for_the_truth_and_nothing_of_other_words(fill: list[str], truth: list[str]) -> None:
    found = bleu(fill, truth, 2)
    assert 0 <= found <= 1 + 1e-9
    if found > 1 - 1e-9:  # "a b a c a" and "a c a b a" are alike to it
        assert sorted(fill) == sorted(truth)
    if len(truth) > 1:
        assert bleu(truth, truth, 2) == pytest.approx(1)


def test_words_are_found_at_their_own_place_whatever_their_case_and_signs() -> None:
    assert metrics.words_found("The Old, house", "the old “mill”") == (2, 3)
    assert metrics.words_found("", "two words") == (0, 2)
    assert metrics.words_found("old the", "the old") == (0, 2)
    assert metrics.same("it’s — late!", "It's late") and not metrics.same("it is late", "it's late")


def test_a_word_of_some_length_is_said_again_by_the_fill_alone() -> None:
    fill = metrics.pieces("The letter and the letters, a letter; Letter to the lamp and the lamp")
    assert metrics.said_again(fill) == (2, 4)  # letter, letters, letter, Letter
    assert metrics.said_again(metrics.pieces("to be or not")) == (0, 0)


def test_a_stutter_is_a_word_again_within_three_words() -> None:
    passage = metrics.pieces("he went to the house, the old house by the sea")
    assert passage[5] == ","
    assert metrics.stutters(passage, 3, 7) == (3, 3)  # the house, the
    assert metrics.stutters(passage, 0, 3) == (0, 3)
    assert metrics.stutters(passage, 5, 6) == (0, 0)


def test_repeated_ngrams_are_those_touching_the_fill_that_stand_elsewhere_too() -> None:
    passage = ["of", "the", "sea", "and", "of", "the", "sky"]
    assert metrics.repeated(passage, 3, 4, 2) == (0, 2)
    assert metrics.repeated(passage, 4, 6, 2) == (1, 3)
    assert metrics.repeated(passage, 0, 2, 2) == (1, 2)
    assert metrics.repeated([], 0, 0, 2) == (0, 0)


def test_distinct_counts_kinds_over_all_texts_together() -> None:
    counts = metrics.incidence([["a", "b"], ["b", "c", "a", "b"]], 1)
    assert float(metrics.distinct(counts.sum(0))) == pytest.approx(3 / 6)
    assert np.isnan(metrics.distinct(metrics.incidence([["a"], []], 2).sum(0))), "of no pairs of words none can be new"
    assert np.isnan(metrics.share(np.zeros(2))) and metrics.share(np.array([0.0, 3.0])) == 0


def test_the_bootstrap_knows_the_error_of_a_mean_and_draws_documents_whole() -> None:
    values = np.random.default_rng(1).normal(size=200)
    items = np.stack((values, np.ones(200)), -1)
    value, error = metrics.with_error(metrics.Bootstrap(range(200), 2000).draw(items, metrics.share))
    assert value == pytest.approx(values.mean())
    assert error == pytest.approx(values.std() / np.sqrt(200), rel=0.08)
    # Four copies of each document's item say no more than one.
    fourfold = metrics.Bootstrap(np.repeat(range(200), 4).tolist(), 2000).draw(np.repeat(items, 4, axis=0), metrics.share)
    assert metrics.with_error(fourfold) == pytest.approx((value, error))


def test_rows_pair_so_a_constant_gain_has_no_error() -> None:
    bootstrap = metrics.Bootstrap(range(50))
    items = np.stack((np.random.default_rng(2).random(50), np.ones(50)), -1)
    gain = bootstrap.draw(items + np.array([0.25, 0]), metrics.share) - bootstrap.draw(items, metrics.share)
    assert metrics.with_error(gain) == pytest.approx((0.25, 0))


def test_the_error_of_variety_does_not_come_from_drawing_a_text_twice() -> None:
    counts = metrics.incidence([[f"word {i}"] for i in range(40)], 1)
    assert metrics.with_error(metrics.Bootstrap(range(40)).draw(counts, metrics.distinct)) == (1.0, 0.0)
