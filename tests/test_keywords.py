"""Gaps that must hold certain words: they do, as whole words, wherever the model wants them, in the length asked for."""

from __future__ import annotations

import re
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor

import engine
from engine.backends.toy import Toy
from engine.draft import Draft, DraftError, Gap, Length, words
from engine.filling import fill, stream
from engine.frames import Cell
from engine.marks import forms
from engine.settings import Settings
from engine.spacing import straighten
from engine.text import bare_words
from tests import wild
from tests.test_fill import assemble

KEYWORDS = ("silver", "old moon", "naïve", "3.5", "Anna’s", "I", "well-kept", "O'Hara, too", "walk|walked|walking on")
GIVEN = ("", "The lamp ", "word", "(", "He said “", "\n", "é 🙂 ", "So: ")


@st.composite
def gaps(draw: st.DrawFn) -> Gap:
    keywords = tuple(draw(st.lists(st.sampled_from(KEYWORDS), min_size=1, max_size=3)))
    bans = ("walk", "walking on") if draw(st.booleans()) else ()
    choices = [[form for form in forms(keyword) if form not in bans] for keyword in keywords]
    held = [
        sum(min(map(size, choice)) for choice in choices) for size in (lambda form: len(words(form)), lambda form: 1 + len(form.encode()))
    ]
    unit: Literal["words", "tokens"] | None = draw(st.sampled_from(["words", "tokens", None]))
    if unit is None:
        return Gap(None, keywords, bans)
    low, more = draw(st.integers(0, 12)), draw(st.sampled_from([0, 0, 4]))
    high = max(low, 1) + more + held[unit == "tokens"]
    return Gap(Length(max(1, high - more), high, unit), keywords, bans)


@st.composite
def drafts(draw: st.DrawFn) -> Draft:
    parts: list[str | Gap] = [draw(st.sampled_from(GIVEN))]
    for _ in range(draw(st.integers(1, 2))):
        parts += [draw(gaps()), draw(st.sampled_from([" when", ".", ", and then ", "” he said", ")", "\nword", " "]))]
    return Draft(tuple(part for part in parts if part != ""))


def check(draft: Draft, settings: Settings, model: Toy) -> None:
    cells: dict[int, Cell] = {}
    frames = []
    for frame in fill(model, draft, settings):
        cells |= {cell.id: cell for cell in frame.cells}
        assert frame.text == assemble(draft, cells)
        frames.append(frame)
    assert not any(cell.state == "masked" for cell in cells.values())
    for number, mark in enumerate(draft.marks):
        assert isinstance(mark, Gap)
        mine = sorted((cell for cell in cells.values() if cell.gap == number), key=lambda cell: cell.index)
        pinned = [cell for cell in mine if cell.state == "pinned"]
        held = [cell.text for cell in pinned if cell.text not in (" ", ".")]
        assert len(held) == len(mark.keywords)
        for keyword in set(mark.keywords):
            assert sum(text in forms(keyword) for text in held) == mark.keywords.count(keyword)
        assert pinned == [cell for cell in frames[0].cells if cell.gap == number and cell.state == "pinned"]
        text = "".join(cell.text for cell in mine)
        found = bare_words(text)
        for keyword in held:
            wanted = bare_words(keyword)
            assert any(found[at : at + len(wanted)] == wanted for at in range(len(found))), (text, keyword)
        if mark.length and mark.length.unit == "words":
            assert mark.length.low <= len(words(text)) <= mark.length.high
        elif mark.length:
            count = len(mine) - len(pinned) + sum(len(model.encode(" " + straighten(keyword))) for keyword in held)
            assert mark.length.low <= count <= mark.length.high
    assert list(fill(model, draft, settings)) == frames


def test_random_drafts_with_keywords(long: bool) -> None:
    models = {(length, tame): wild.Wild(length, tame=tame) for length in (64, 512) for tame in (False, True)}

    @hypothesis_settings(max_examples=4_000 if long else 150)
    @given(drafts(), wild.settings, st.sampled_from([64, 512]), st.booleans())
    def run(draft: Draft, settings: Settings, max_length: int, tame: bool) -> None:
        check(draft, settings, models[max_length, tame])

    run()


def filled(model: Toy, draft: str, **settings: object) -> str:
    *_, last = fill(model, draft, Settings.of(settings))
    return last.text


def test_a_keyword_stands_where_the_model_expects_it() -> None:
    class Expecting(Toy):
        """Sure of one letter at one place of the canvas, whatever stands around."""

        def logits(self, ids: Tensor, positions: Tensor, **_: object) -> Tensor:
            found = torch.zeros(int(positions.sum()), self.vocab_size)
            found[(positions.nonzero()[:, 1] == 15).nonzero(), ord("X")] = 9.0
            return found

    text = filled(Expecting(), "So it was [[12 tokens: X]].", temperature=0.0)
    assert text.index("X") == 15 and text.index(" X ") == 14
    places = {filled(Toy(), "So it was [[30 tokens: lamp]].", seed=seed).index("lamp") for seed in range(8)}
    assert len(places) > 3  # another seed, another place


def test_a_gap_may_be_nothing_but_its_keywords() -> None:
    assert filled(Toy(), "It was [[2: quite still]] there.") == "It was quite still there."
    assert filled(Toy(), "It was[[1: still]]there.") == "It was still there."
    both = filled(Toy(), "[[2: quite, still]]")
    assert sorted(both.split(" ")) == ["quite", "still"]
    assert filled(Toy(), "一[[9 tokens: 漢字漢]]二") == "一漢字漢二"


@pytest.mark.parametrize("seed", range(4))
def test_words_are_counted_and_keywords_whole_beside_scripts_without_spaces(seed: int) -> None:
    for draft, count in (("He bought [[2: silver, 東京]] today.", 2), ("She saw [[3: 東京]] again.", 3)):
        found = words(filled(Toy(), draft, seed=seed))
        assert len(found) == count + 3 and "東京" in found


def test_many_keywords_have_room_in_a_long_gap() -> None:
    keywords = [f"w{n}" for n in range(60)]
    model = Toy()
    text = filled(model, f"So it was [[600 tokens: {', '.join(keywords)}]] there.", steps=2)
    assert sorted(word for word in text.split() if word in keywords) == sorted(keywords)
    assert model.calls < 60  # not one reading for each


@pytest.mark.parametrize(
    ("draft", "sentence"),
    [
        (
            "a\n[[1: two words]] b",
            "Line 2, column 1: This gap may hold 1 word at most, and its keywords are 2",
        ),
        (
            "a [[3 tokens: lamp]] b",
            "Line 1, column 3: This gap may hold 3 tokens at most, and its keywords take 5",
        ),
    ],
)
def test_a_gap_that_is_too_short_for_its_keywords_is_one_sentence(draft: str, sentence: str) -> None:
    with pytest.raises(DraftError) as error:
        next(fill(Toy(), draft))
    assert str(error.value) == f"{sentence}: make it longer, or take one out."


def test_a_keyword_comes_before_a_list_of_banned_words() -> None:
    text = filled(Toy(), "It was [[6: lamp]] there.", bans=("lamp", "the"))
    assert bare_words(text).count("lamp") == 1 and "the" not in bare_words(text)


def test_a_reader_may_leave_before_the_first_frame() -> None:
    """A page of gaps with keywords is laid out gap by gap, and nothing runs ahead of the reader."""
    model = Toy()
    draft = "It was [[8 tokens: a, b]] when. " * 6
    parts = stream(model, draft, Settings(steps=2))
    asked = []
    while (frame := next(parts)) is None:
        asked.append(model.calls)
    assert frame.step == 0 and len(asked) == 6 and asked == sorted(set(asked))
    assert [part for part in stream(Toy(), draft, Settings(steps=2)) if part is not None] == list(fill(Toy(), draft, Settings(steps=2)))


@pytest.mark.parametrize(
    ("draft", "text"),
    [
        ("The rain had stopped. Nobody came to the old house, and it was [[2: quite still]]", "quite still."),
        ("The rain had stopped. It was [[2: quite still]] The lamp was not lit.", "It was quite still. The lamp"),
        ("The rain had stopped. It was [[1: still!]]\n", "!\n"),
        ("The rain had stopped. It was [[2: quite still]], and late.", "quite still, and"),
        ("To do [[1: tea]]", "To do tea"),
    ],
)
def test_a_keyword_that_ends_a_sentence_gets_its_stop(draft: str, text: str) -> None:
    assert text in filled(Toy(), draft) and ".." not in filled(Toy(), draft)


@pytest.mark.parametrize(
    ("draft", "holds"),
    [
        ("HE WAS [[3: silver]] AND WENT HOME.", r"HE WAS [^a-z]*SILVER[^a-z]* AND WENT HOME\."),
        ("He sat still. [[2: silver]] was what he liked.", r"He sat still\. (Silver \S+|\S+ silver) was what he liked\."),
        ("he sat still. [[1: silver]] was what he liked. he said so.", r"he sat still\. silver was what he liked\. he said so\."),
        ("It rained. [[3: silver]] The river rose and sank.", r"It rained\. .*[Ss]ilver.*[.!?] The river rose and sank\."),
        ("It cost [[2: 1,000]] pounds.", r"It cost .*1,000.* pounds\."),
    ],
)
def test_a_keyword_is_written_as_its_place_asks(model: engine.Denoiser, draft: str, holds: str) -> None:
    """In the draft's capitals, with a capital where it begins a sentence, with the stop of a sentence that it is the end of."""
    for seed in range(3):
        *_, last = fill(model, draft, engine.recommended(model, {"seed": seed, "candidates": 1, "revise": 0}))
        assert re.fullmatch(holds, last.text), last.text


@pytest.mark.parametrize(
    "draft",
    [
        "She opened the door of the old house and saw [[: silver]]",
        "She opened the door of the old house and saw [[6 tokens: silver]]",
        "She opened the door and [[8 tokens: silver, moon]] He went out of the room.",
        "He came home. The evening was cold, and [[: lamp, rain]]",
        "They went down to the harbour, where [[10-12 tokens: boats]] She said nothing.",
    ],
)
def test_a_single_cell_behind_a_keyword_can_end_its_sentence_or_not(model: engine.Denoiser, draft: str) -> None:
    for seed in range(4):
        *_, last = engine.fill(model, draft, engine.Settings(seed=seed, candidates=1, revise=0, steps=4))
        held = draft.partition(":")[2].partition("]]")[0].split(",")
        assert all(keyword.strip() in last.text for keyword in held) and engine.MASKED_TEXT not in last.text


@pytest.mark.parametrize("seed", range(6))
def test_of_a_keywords_forms_one_is_held(seed: int) -> None:
    model = Toy()
    text = filled(model, "So [[30 tokens: walk|walked|walking, moon|moons, silver]] there.", seed=seed)
    found = bare_words(text)
    assert [sum(word in found for word in kind) for kind in (("walk", "walked", "walking"), ("moon", "moons"), ("silver",))] == [1, 1, 1]


def test_the_form_is_the_one_that_the_model_expects() -> None:
    class Expecting(Toy):
        """Sure of one letter wherever it is asked."""

        def logits(self, ids: Tensor, positions: Tensor, **_: object) -> Tensor:
            found = torch.zeros(int(positions.sum()), self.vocab_size)
            found[:, [ord(" "), ord("X")]] = 9.0
            return found

    assert " X " in filled(Expecting(), "So it was [[12 tokens: a|X|b]].", temperature=0.0)
    assert " XX X " in filled(Expecting(), "So it was [[12 tokens: a|XX X|Xb]].", temperature=0.0)  # a longer one is not less likely
    assert "a|b" in filled(Toy(), r"So it was [[12 tokens: a\|b]].").split()
    drawn = {
        word for seed in range(12) for word in filled(Toy(), "So it was [[20 tokens: aa|bb]].", seed=seed).split() if word in ("aa", "bb")
    }
    assert drawn == {"aa", "bb"}


def test_a_form_that_does_not_fit_or_is_banned_is_not_taken() -> None:
    for seed in range(6):
        assert filled(Toy(), "It was [[1: very big house|dog]] there.", seed=seed) == "It was dog there."
        assert " dog" in filled(Toy(), "It was [[4 tokens: very big house|dog]] there.", seed=seed)
        assert "walked" in filled(Toy(), "It was [[12 tokens: walk|walked|walk on; walk]] there.", seed=seed)
        two = words(filled(Toy(), "It was [[3: very big house|dog, quite still|old]] there.", seed=seed))[2:-1]
        assert len(two) == 3 and ("dog" in two) and ("old" in two or {"quite", "still"} <= set(two))


@pytest.mark.parametrize(
    ("draft", "sentence"),
    [
        ("[[1: two words|three more words]]", "keywords are 2"),
        ("[[1: two words|dog; dog]]", "keywords are 2"),
        (f"[[: {'|'.join(['a'] * 2001)}]]", "at most 2000 phrases"),
        ("[[: walk||walked]]", "both sides of `|`"),
        ("[[: |walked]]", "both sides of `|`"),
        ("[[: walk|walked; walk, walked]]", "must contain “walk|walked” and must not contain “walk”"),
    ],
)
def test_forms_that_can_not_be_are_one_sentence(draft: str, sentence: str) -> None:
    with pytest.raises(DraftError, match=re.escape(sentence)):
        filled(Toy(), draft)


def test_forms_are_printed_as_they_are_read_and_a_run_goes_on_with_the_one_it_took() -> None:
    assert str(Draft.parse("a [[5: walk | walked, lamp; b]] c")) == "a [[5: walk | walked, lamp; b]] c"
    draft = "So [[24 tokens: walk|walked|walking]] there."
    *_, last = fill(Toy(), draft, Settings(seed=3, steps=3))
    first = next(iter(fill(Toy(), draft, Settings(seed=3, steps=3))))
    (kept,) = (cell.text for cell in first.cells if cell.state == "pinned" and cell.text.strip())
    *_, other = fill(Toy(), draft, Settings(seed=4, steps=3), start=first.cells)
    assert kept in bare_words(last.text) and kept in bare_words(other.text)
