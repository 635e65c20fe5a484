"""What counts as saying it again, by its definition, and what the setting does to a fill."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import engine
from engine.backends.toy import Toy
from engine.rarity import ISLAND, Words, against_echoes, echoes, form_of, said_by, words_of
from engine.reading import Reader, Reading
from engine.repetition import BESIDE, REACH, discouraged, repeats
from engine.reverse import denoise
from tests.pieces import PIECES, Pieces

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
    assert all(values["repetition"] == values["presence"] == 0.0 for values in engine.PUBLISHED.values())


def test_a_fill_with_it_is_as_reproducible_as_without() -> None:
    draft = "It was [[12 tokens]] when the [[8 tokens]] opened."
    texts = {tuple(f.text for f in engine.fill(Toy(), draft, engine.Settings(seed=3, repetition=2.0))) for _ in range(2)}
    assert len(texts) == 1


@given(st.data())
def test_words_that_the_fill_says_nearby_are_lowered_by_how_rare_they_are(data: st.DataObject) -> None:
    x = torch.tensor(data.draw(st.lists(st.integers(0, MASK), min_size=1, max_size=80)))
    said = torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(x), max_size=len(x)))) & (x != MASK)
    words = Words(torch.linspace(0, 1, MASK + 1), torch.arange(MASK + 1) // 2)
    log_probs = torch.zeros(int((x == MASK).sum()), MASK + 1)
    found = against_echoes(log_probs, x[None], said[None], (x == MASK)[None], words, 2.0)
    for row, place in zip(found, (x == MASK).nonzero()[:, 0].tolist(), strict=True):
        near = {int(x[j]) // 2 for j in range(len(x)) if said[j] and abs(j - place) <= REACH and float(words.rarity[x[j]]) > 0}
        assert row.tolist() == pytest.approx([-2.0 * float(words.rarity[token]) * (token // 2 in near) for token in range(MASK + 1)])


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_what_a_fill_says_is_what_is_written_and_the_given_words_between_it(written: list[bool]) -> None:
    found = said_by(torch.tensor([written]))[0].tolist()
    for place, own in enumerate(written):
        left = any(written[max(0, place - ISLAND) : place])
        right = any(written[place + 1 : place + 1 + ISLAND])
        assert found[place] == (own or (left and right))


def test_forms_of_a_word_are_one_word() -> None:
    assert form_of(" Letters") == form_of("letter") == form_of(" letter")
    assert len({form_of(word) for word in ("was", "wa", "his", "hi", "is", "i", "glass", "glas", "bus", "bu", "new", "news")}) == 12


class Storyteller(Pieces):
    """Would write " lamp" everywhere, and " the" and " was" nearly as gladly; has seen lamps in few texts."""

    def logits(self, ids: Tensor, positions: Tensor, *, t: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
        values = torch.full((self.vocab_size,), -6.0)
        values[[PIECES.index(" the"), PIECES.index(" was")]] = 4.0
        told = bool((ids != self.mask_id).any())
        for word, wish in ((" lamp", 4.5), (" house", 3.0), (" quiet", 2.0)):
            values[PIECES.index(word)] = wish if told else -6.0
        return values.expand(int(positions.sum()), -1).clone()


def test_rare_words_are_those_that_the_model_hardly_expects_where_it_sees_nothing() -> None:
    words = words_of(Storyteller())
    rare = {PIECES[token] for token in words.rarity.nonzero()[:, 0].tolist()}
    assert {" lamp", " house"} <= rare and not rare & {" the", " was", "ing", "s", ",", " ,", "\n"}
    assert words.kind[PIECES.index("lamp")] == words.kind[PIECES.index(" lamp")] != words.kind[PIECES.index(" house")]


@pytest.mark.parametrize("how", [{}, {"revise": 2}, {"candidates": 3}, {"revise": 2, "candidates": 3, "guidance": 1.0}])
def test_a_fill_holds_no_rare_word_twice(how: dict[str, float]) -> None:
    draft = "the old lamp was [[9 tokens]] and so"
    base = {"steps": 9, "choice": "deterministic", "repetition": 1.0, **how}
    for presence, lamps in ((0.0, True), (20.0, False)):
        *_, last = engine.fill(Storyteller(), draft, engine.Settings.of({**base, "presence": presence}))
        fill = last.text[len("the old lamp was ") : -len(" and so")].split()
        assert (fill.count("lamp") > 1) is lamps, fill
        assert lamps or "lamp" in fill  # that the draft has one doesn't matter


def test_what_is_said_twice_reads_worse_and_is_doubted_if_another_word_is_nearly_as_good() -> None:
    model, lamp, house = Storyteller(), PIECES.index(" lamp"), PIECES.index(" house")
    x = torch.tensor([[*model.encode("the old"), lamp, PIECES.index(" was"), lamp, *model.encode(" so")]])
    written = torch.zeros_like(x, dtype=torch.bool)
    written[0, 2:5] = True
    blank = x.masked_fill(written, model.mask_id)

    def reading(row: Tensor, presence: float) -> Reading:
        return Reader(model, blank, written, refresh=1, repetition=0.0, presence=presence).read(row, None)[0]

    rare = float(words_of(model).rarity[lamp])
    plain, strict = reading(x, 0.0), reading(x, 3.0)
    assert rare > 0.2 and float(plain.worth.sum() - strict.worth.sum()) == pytest.approx(6 * rare)
    assert plain.doubts == pytest.approx([0.0, 0.5, 0.0])  # " lamp" is best, and " the" and " was" are half a nat behind it
    assert strict.doubts == pytest.approx([3 * rare - 0.5, 0.5, 3 * rare - 0.5])
    once = x.clone()
    once[0, 4] = house
    assert float(reading(once, 3.0).worth[2]) == pytest.approx(float(plain.worth[2]))


def test_words_in_several_pieces_are_told_apart_by_all_of_them() -> None:
    model = Storyteller()
    known = {piece: PIECES.index(piece) for piece in (" lamp", "s", "ing", " the", " house")}
    x = torch.tensor([[known[piece] for piece in (" lamp", "ing", " the", " lamp", " lamp", "s", " house", " lamp", "ing")]])[0]
    said = torch.ones_like(x, dtype=torch.bool)
    rare = float(words_of(model).rarity[known[" lamp"]])
    assert echoes(model, x, said).tolist() == pytest.approx([1.0, 0, 0, rare, 1.0, 0, 0, 1.0, 0])


def test_a_keyword_is_said_by_the_fill_and_a_common_word_costs_nothing_whatever_its_capital() -> None:
    *_, last = engine.fill(
        Storyteller(),
        "the old [[9 tokens: lamp]] and so",
        engine.Settings(steps=10, choice="deterministic", repetition=1.0, presence=20.0),
    )
    assert last.text.count("lamp") == 1

    class Capitals(Storyteller):
        def decode(self, ids: Sequence[int]) -> str:
            return "".join(" The" if i == PIECES.index(" quiet") else PIECES[i] for i in ids)

    words = words_of(Capitals())
    assert float(words.rarity[PIECES.index(" quiet")]) == 0.0 == float(words.rarity[PIECES.index(" the")])
