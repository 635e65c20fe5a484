"""Known words: a list that knows how words begin, and fills that hold no others."""

from __future__ import annotations

import lzma
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import engine
from engine.lexicon import LARGEST, LETTERS, Lexicon
from engine.spelling import Beside, speller
from tests.pieces import PIECES, Pieces

WORDS = st.text("abé", min_size=1, max_size=5)


@given(st.lists(WORDS), WORDS)
def test_a_lexicon_knows_its_words_and_how_they_begin(words: list[str], asked: str) -> None:
    lexicon = Lexicon(words)
    assert (asked in lexicon) == (asked in words)
    assert lexicon.begins(asked) == any(word.startswith(asked) for word in words)
    assert list(lexicon.going_on(asked)) == sorted({word for word in words if word.startswith(asked)})


def test_words_are_runs_of_letters_of_any_case_that_stand_often_enough() -> None:
    texts = ["Don't! The Well-kept garden; the ÉTUDE no. 4b.", "an étude, the don"]
    assert Lexicon.of(texts, least=2).words == ("don", "the", "étude")
    assert Lexicon.of(["e\u0301tude"]).words == ("étude",)  # however a draft writes its accents
    assert "kept" in Lexicon.of(texts) and "4b" not in Lexicon.of(texts) and "b" in Lexicon.of(texts)


def test_a_list_of_words_is_read_as_it_was_written_and_a_damaged_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "words.txt.xz"
    Lexicon(["zebra", "étude", "apple"]).save(path)
    assert Lexicon.load(path).words == ("apple", "zebra", "étude")
    assert lzma.decompress(path.read_bytes()).decode() == "apple\nzebra\nétude"
    path.write_bytes(path.read_bytes()[:-9])
    for damaged in (path.read_bytes(), b"apple\nzebra", lzma.compress(b"\xff\xfe"), lzma.compress(bytes(LARGEST + 1))):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged"):
            Lexicon.load(path)


SYLLABLES = ["ka", "to", "mi", "Ka", ",", ".", "—", '"', "-", *(" " + s for s in ("ka", "to", "mi", "Ka"))]
KNOWN = Lexicon(["kato", "mi", "tokami", "to", "mitomi", "kami"])


class Syllables(Pieces):
    """Writes syllables at random, and knows some words that they make."""

    name = "syllables"
    mask_id, vocab_size = len(SYLLABLES), len(SYLLABLES) + 1
    suppressed: Sequence[int] = (len(SYLLABLES),)

    def __init__(self, seed: int, lexicon: Lexicon | None) -> None:
        super().__init__()
        self.lexicon = lexicon
        self._chance = torch.Generator().manual_seed(seed)

    def encode(self, text: str) -> list[int]:
        ids, at = [], 0
        while at < len(text):
            piece = max((p for p in SYLLABLES if text.startswith(p, at)), key=len, default=None)
            ids.append(SYLLABLES.index(piece or "-"))
            at += len(piece or "-")
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(SYLLABLES[i] for i in ids)

    def logits(self, ids: Tensor, positions: Tensor, *, t: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
        return torch.randn(int(positions.sum()), self.vocab_size, generator=self._chance)


def strange(text: str) -> set[str]:
    """The words of a text that neither the list nor the draft holds."""
    return {word.casefold() for word in LETTERS.findall(text)} - set(KNOWN.words)


DRAFTS = ["To [[{} tokens]] mi.", "“[[{} tokens]]” mi to", "[[{} tokens]]", "kato,[[{} tokens]]—to"]


@given(
    st.integers(0, 2**20),
    st.sampled_from(DRAFTS),
    st.integers(1, 12),
    st.integers(1, 12),
    st.sampled_from(["confidence", "random", "left_to_right"]),
)
def test_fills_hold_known_words_only(seed: int, draft: str, size: int, steps: int, sampler: str) -> None:
    settings = engine.Settings(sampler=sampler, steps=steps, seed=seed, revise=3, temperature=1.0, top_p=1.0)
    *_, last = engine.fill(Syllables(seed, KNOWN), draft.format(size), settings)
    for word in LETTERS.finditer(last.text):
        whole, behind = word[0].casefold(), last.text[word.end() :]
        cut = KNOWN.begins(whole) and re.match('[.,—-]?["”]', behind)  # where quotes must pair, a word may be left without its end
        assert whole in KNOWN or cut, last.text


def test_a_word_with_a_capital_is_whole_though_its_left_side_is_not_written_yet() -> None:
    model = Syllables(0, KNOWN)
    by = speller(model, "")
    assert by is not None
    last = by.fits(by.beside([model.mask_id, model.mask_id], 1, lambda _: True, model.mask_id))
    first = by.fits(by.beside([model.mask_id] * 3, 1, lambda _: True, model.mask_id))
    assert not last[SYLLABLES.index("Ka")] and last[SYLLABLES.index("ka")] and first[SYLLABLES.index("Ka")]


LETTERS_BESIDE = st.sampled_from(["", "", "", "to", "ka", "kat", "mi", "tom", "x"])


@given(LETTERS_BESIDE | st.none(), LETTERS_BESIDE | st.none(), st.integers(0, 2), st.sampled_from(["", "", "mi", "to"]))
def test_a_token_fits_where_each_word_that_it_is_a_part_of_is_known_or_can_be(
    left: str | None, right: str | None, room: int, beyond: str
) -> None:
    beside = Beside(left, right, room, beyond if room == 1 else "")
    by = speller(Syllables(0, KNOWN), "")
    assert by is not None
    pieces = [piece for piece in SYLLABLES if piece.isalpha()]

    def may_be(word: str) -> bool:
        if room == 0:
            return word in KNOWN.words
        longer = [known for known in KNOWN.words if known.startswith(word)]
        if room == 2:
            return bool(longer)
        return word in KNOWN.words or any(word + piece.lower() + beside.beyond in longer for piece in pieces)

    for token, text in enumerate(SYLLABLES):
        unknown = left is None and not text[0].isupper()  # a capital begins a word, whatever comes to stand before it
        runs = [
            run for run in re.split(r"([a-z]+)", ("#" if unknown else left or "") + text.lower() + ("#" if right is None else right)) if run
        ]
        words = [run for run in runs if run.isalpha()]
        last = runs[-1].isalpha()
        *inner, final = words if last else [*words, ""]
        if unknown and (text[0].isalpha() or "#" in text):
            inner = inner[1:] if len(words) > 1 or not last else inner
            final = "" if len(words) == 1 else final
        if right is None and text[-1].isalpha():
            inner = inner[:-1]
        fits = all(word in KNOWN.words for word in inner) and (not final or may_be(final))
        assert bool(by.fits(beside)[token]) == fits, (text, beside)


def test_pieces_add_up_to_anything_where_the_writer_says_so_or_no_list_is_told() -> None:
    draft = "To [[12 tokens]] mi."
    free = engine.Settings(words="any")
    assert any(strange([*engine.fill(Syllables(seed, KNOWN), draft, free)][-1].text) for seed in range(5))
    assert any(strange([*engine.fill(Syllables(seed, None), draft)][-1].text) for seed in range(5))


def test_words_of_the_draft_are_known_too() -> None:
    model = Syllables(0, KNOWN)
    known, own = speller(model, "to mi"), speller(model, "Tomika")
    assert known is not None and own is not None
    token = SYLLABLES.index("ka")
    for beside, fits in ((Beside("tomi", ""), True), (Beside("tom", "", 2), False), (Beside("to", ""), False)):
        assert not known.fits(beside)[token]
        assert bool(own.fits(beside)[token]) == fits


def test_a_word_that_begins_or_ends_in_given_text_is_the_writers() -> None:
    model = Syllables(0, KNOWN)
    by = speller(model, "")
    assert by is not None
    ids = model.encode(" ka to")
    ids = [ids[0], model.mask_id, ids[1]]
    assert by.beside(ids, 1, lambda at: at == 1, model.mask_id) == Beside(None, "")
    assert by.fits(Beside(None, ""))[SYLLABLES.index("ka")] and not by.fits(Beside("", ""))[SYLLABLES.index("ka")]


class Clerk(Pieces):
    """Writes signs more gladly than words; knows a list of words."""

    lexicon = Lexicon(["the", "old", "house"])

    def logits(self, ids: Tensor, positions: Tensor, *, t: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
        signs = [float(not any(char.isalnum() for char in piece)) * 5.0 for piece in PIECES]
        return torch.tensor([*signs, 0.0]).expand(int(positions.sum()), -1).clone()


@pytest.mark.parametrize(
    ("draft", "signs"),
    [
        ("the house [[{} tokens]] was old", set()),
        ("the (old) house [[{} tokens]] was old", set()),
        ("the (old house [[{} tokens]] was) old", {"(", ")"}),
        ("the ’old’ house’s [[{} tokens]] was old", {" '"}),
        ("he said, ‘[[{} tokens]]’ and was old", {" '"}),
        ("’Tis the house’s [[{} tokens]] ’em was old", set()),
    ],
)
@pytest.mark.parametrize("size", [6, 40])
def test_a_fill_has_no_signs_that_the_draft_lacks_but_those_of_all_prose(draft: str, size: int, signs: set[str]) -> None:
    before, _, after = draft.partition("[[{} tokens]]")

    def written(**told: Any) -> set[str]:
        settings = engine.Settings(temperature=1.0, top_p=1.0, steps=40, seed=3, repetition=0.0, **told)
        *_, last = engine.fill(Clerk(), draft.format(size), settings)
        fill = last.text[len(before) : len(last.text) - len(after)].replace("‘", "'").replace("’", "'")
        return {sign for sign in ("(", ")", " '") if sign in fill}

    assert written() <= signs
    if size == 40:
        assert bool(written()) is bool(signs) and written(words="any")


def test_dollars_are_the_drafts_and_stops_are_everybodys() -> None:
    class Dear(Clerk):
        def decode(self, ids: Sequence[int]) -> str:
            return "".join("$" if i == PIECES.index("3") else PIECES[i] for i in ids)

    plain, dear = speller(Dear(), "the house"), speller(Dear(), "the $ house")
    assert plain is not None and dear is not None
    assert PIECES.index("3") in plain.foreign.tolist() and PIECES.index("3") not in dear.foreign.tolist()
    everybodys = {PIECES.index(piece) for piece in (",", ".", "?", "!", '"', "'", "—", "-", ";", ":", " —", "the", " the", "\n")}
    assert not everybodys & set(plain.foreign.tolist())


def test_figures_are_written_where_the_draft_has_some() -> None:
    plain, dated = speller(Clerk(), "the house was old"), speller(Clerk(), "the house was 3")
    assert plain is not None and dated is not None
    figures = {PIECES.index("3"), PIECES.index(" ")}  # the space alone stands before figures
    assert figures <= set(plain.foreign.tolist()) and not figures & set(dated.foreign.tolist())


class Talker(Pieces):
    """Writes double quotes and words without a space before them more gladly than anything."""

    lexicon = Lexicon(["the", "a", "old", "house", "was", "quiet", "and", "he", "said", "lamp"])

    def __init__(self, seed: int, quote: str) -> None:
        super().__init__()
        self._chance, self._quote = torch.Generator().manual_seed(seed), quote

    def logits(self, ids: Tensor, positions: Tensor, *, t: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
        found = torch.randn(int(positions.sum()), self.vocab_size, generator=self._chance)
        found[:, PIECES.index(self._quote)] += 3.0
        found[:, : PIECES.index(" the")] += 2.0
        return found


@given(st.integers(0, 2**16), st.sampled_from(["confidence", "random", "left_to_right"]), st.integers(1, 10), st.integers(0, 2))
def test_no_double_quote_is_glued_to_the_words_on_both_its_sides(seed: int, sampler: str, steps: int, revise: int) -> None:
    settings = engine.Settings(sampler=sampler, steps=steps, seed=seed, temperature=1.0, top_p=1.0, revise=revise)
    *_, last = engine.fill(Talker(seed, '"'), "the old house, [[10 tokens]] was quiet", settings)
    assert not re.search(r'[\w.,;:!?]"\w', last.text), last.text
