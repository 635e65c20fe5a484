"""What counts as saying it again, by its definition, and what the setting does to a fill."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import engine
from engine.backends.toy import Toy
from engine.repetition import BESIDE, REACH, discouraged, repeats
from engine.reverse import denoise

MASK = 9


def by_definition(x: list[int], place: int) -> set[int]:
    """The tokens that would be repeats at a place of a row whose masks are MASK."""

    def at(i: int) -> int | None:
        return x[i] if 0 <= i < len(x) and x[i] != MASK else None

    found = set()
    for j in range(len(x)):
        if j == place or at(j) is None or abs(j - place) > REACH:
            continue
        before = at(place - 1) is not None and at(place - 1) == at(j - 1)
        behind = at(place + 1) is not None and at(place + 1) == at(j + 1)
        if before or behind or abs(j - place) <= BESIDE:
            found.add(x[j])
    return found


@given(st.lists(st.integers(0, MASK), min_size=1, max_size=90))
def test_repeats_are_what_the_definition_says(x: list[int]) -> None:
    row = torch.tensor(x)
    places = (row == MASK).nonzero()[:, 0]
    index, tokens = repeats(row, row != MASK, places)
    for n, place in enumerate(places.tolist()):
        assert set(tokens[index == n].tolist()) == by_definition(x, place)


def test_each_repeat_is_lowered_once_and_nothing_else_is() -> None:
    log_probs = torch.randn(2, 5).log_softmax(-1)
    log_probs[0, 3] = -torch.inf
    lowered = discouraged(log_probs, torch.tensor([0, 0, 0, 1]), torch.tensor([1, 1, 3, 4]), 2.5)
    expected = log_probs.clone()
    expected[0, 1] -= 2.5
    expected[1, 4] -= 2.5
    assert torch.equal(lowered, expected)


class Parrot:
    """Wants the same token everywhere, the next one a little less, and so on."""

    name, mask_id, vocab_size, max_length, time_conditioned = "parrot", 60, 61, 128, False
    suppressed = (60,)

    def logits(self, ids: Tensor, positions: Tensor, *, t: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
        return (-0.01 * torch.arange(61.0)).expand(int(positions.sum()), 61).clone()


@pytest.mark.parametrize("sampler", ["confidence", "left_to_right", "random", "margin"])
@pytest.mark.parametrize("choice", ["deterministic", "stochastic"])
def test_a_parrot_stops_repeating_itself(sampler: str, choice: str) -> None:
    x = torch.full((1, 40), Parrot.mask_id)
    for repetition, repeated in ((0.0, True), (50.0, False)):
        settings = engine.Settings(sampler=sampler, choice=choice, temperature=0.05, steps=64, repetition=repetition)  # type: ignore[arg-type]
        *_, last = denoise(Parrot(), x, writable=torch.ones_like(x, dtype=torch.bool), settings=settings)  # type: ignore[arg-type]
        row = last.x[0].tolist()
        near = any(row[i] in row[i + 1 : i + 1 + BESIDE] for i in range(40))
        pairs = [tuple(row[i : i + 2]) for i in range(39)]
        again = any(pairs[i] in pairs[i + 1 : i + REACH] for i in range(39))
        assert (near or again) is repeated


def test_published_methods_know_no_repetition() -> None:
    assert all(values["repetition"] == 0.0 for values in engine.PUBLISHED.values())


def test_a_fill_with_it_is_as_reproducible_as_without() -> None:
    draft = "It was [[12 tokens]] when the [[8 tokens]] opened."
    texts = {tuple(f.text for f in engine.fill(Toy(), draft, engine.Settings(seed=3, repetition=2.0))) for _ in range(2)}
    assert len(texts) == 1
