"""Vocabularies of every kind: whole characters in cells, words counted as they will be written, and 150,000 tokens in no time."""

from __future__ import annotations

import gzip
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import engine
from engine.canvas import Canvas
from engine.draft import Draft, words
from engine.spacing import stands_apart
from engine.vocabulary import Vocabulary, vocabulary
from engine.word_count import WordCount
from engine.wordings import apart_moves
from tests.counts import examples
from tests.pieces import Pieces
from tests.scripted import Scripted

GOLDEN = Path(__file__).parent / "golden/tokenizers"


def unpacked(name: str, home: Path) -> Path:
    folder = home / name
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    for path in (GOLDEN / name).iterdir():
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        (folder / path.name.removesuffix(".gz")).write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory) -> Scripted:
    return Scripted(unpacked("gpt2", tmp_path_factory.mktemp("vocabularies")))


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Scripted:
    return Scripted(unpacked("bert-base-uncased", tmp_path_factory.mktemp("vocabularies")))


def test_what_the_kinds_bring(gpt2, bert):
    byte_level, word_pieces, small, toy = (vocabulary(model) for model in (gpt2, bert, Pieces(), engine.load("toy")))
    assert byte_level.carries_spaces and byte_level.glued is None and small.glued is None and toy.glued is None
    assert not word_pieces.carries_spaces and not toy.carries_spaces and word_pieces.glued is not None
    vocab = gzip.decompress((GOLDEN / "bert-base-uncased/vocab.txt.gz").read_bytes()).decode().split("\n")
    found = set(word_pieces.glued.nonzero()[:, 0].tolist())
    assert {i for i, piece in enumerate(vocab) if piece.startswith("##") and piece[2:].isalnum()} <= found
    assert all(vocab[i].startswith("##") for i in found)
    assert not word_pieces.partial.any() and byte_level.partial.sum() > 200


def test_no_word_stands_twice_in_a_row(gpt2, bert):
    for model, word in ((gpt2, " house"), (bert, "house")):
        (i,) = model.encode(word)
        known = vocabulary(model)
        assert not known.neighbours.fit(i, i) and known.neighbours.clash_after(i) is not None
    known = vocabulary(bert)
    (part,) = (i for i in known.fragment.nonzero()[:, 0].tolist() if known.texts[i] == "ing")
    assert known.neighbours.fit(part, part)


def test_words_are_written_from_their_beginning(gpt2):
    known = vocabulary(gpt2)
    after = known.neighbours.clash_after(gpt2.mask_id)
    assert after is not None
    kept = {" house", " House", ",", "s", "5", "\u30ab", "\n"}  # 's' may end "it's"; some scripts have no spaces
    for text in ("ing", "ability", "house", "House", *kept):
        (token, *rest) = gpt2.encode(text)
        assert rest or bool(after[token]) == (text not in kept), text


def test_a_quote_waits_for_what_it_closes_where_words_bring_their_spaces(gpt2, bert):
    for model, waits in ((gpt2, True), (bert, False)):
        after = vocabulary(model).neighbours.clash_after(model.mask_id)
        (quote,) = model.encode('"')
        assert (after is not None and bool(after[quote])) is waits


def test_no_word_is_run_into_what_stands_before_it(gpt2, bert):
    known = vocabulary(gpt2)
    (stop,), (comma,), (dash,) = (gpt2.encode(sign) for sign in (".", ",", "—"))
    name, word, they = (next(i for i, s in enumerate(known.texts) if s == wanted) for wanted in ("Yes", "ab", " They"))
    letter, capital, digit, mac = (next(i for i, s in enumerate(known.texts) if s == wanted) for wanted in ("m", "S", "5", " Mac"))
    for left, right in ((stop, name), (stop, word), (comma, word), (they, name), (they, capital), (they, digit)):
        after, before = known.neighbours.clash_after(left), known.neighbours.clash_before(right)
        assert not known.neighbours.fit(left, right) and after is not None and after[right] and before is not None and before[left]
    apart = [(stop, letter), (stop, capital), (stop, digit), (comma, digit), (they, word), (mac, name), (dash, name), (name, stop)]
    for left, right in apart:
        after, before = known.neighbours.clash_after(left), known.neighbours.clash_before(right)
        assert known.neighbours.fit(left, right) and not (after is not None and after[right]) and not (before is not None and before[left])
    kana = next(i for i, s in enumerate(known.texts) if len(s) > 1 and all("\u30a0" <= char <= "\u30ff" for char in s))
    assert known.neighbours.fit(comma, kana)  # no spaces between words there
    by_pieces = vocabulary(bert)  # decoding puts the spaces there
    assert by_pieces.neighbours.fit(bert.encode(".")[0], bert.encode("yes")[0])


def shown(model: Scripted, draft: str, ids: list[int]) -> list[str]:
    return Canvas(model, Draft.parse(draft)).texts(0, ids)


@given(st.text(st.sampled_from("ab “”’—🙂門été👩‍👩‍👧سلام"), max_size=8))
def test_every_cell_shows_whole_characters(gpt2, says):
    ids = gpt2.encode("x" + says + "x")
    cells = shown(gpt2, "été [[]] y", ids)
    assert len(cells) == len(ids) and "\ufffd" not in "".join(cells)
    wanted = " ".join(f"x{says}x".replace("”", '"').replace("“", '"').replace("’", "'").split())
    found = "".join(cells).strip().replace("”", '"').replace("“", '"').replace("’", "'")
    assert found == wanted
    for end in range(len(ids)):  # with the rest still masked, no cell takes back a character or shows a broken one
        partly = shown(gpt2, "été [[]] y", ids[:end] + [gpt2.mask_id] * (len(ids) - end))
        assert "\ufffd" not in "".join(partly) and all(text == "" for text in partly[end:])


@given(st.lists(st.integers(0, 50255), max_size=12))
def test_no_broken_character_ever_stands_in_a_text(gpt2, ids):
    text = "".join(shown(gpt2, "it was [[]] y", ids))
    assert "\ufffd" not in text
    text.encode("utf-8")


@settings(max_examples=examples(300))
@given(st.lists(st.one_of(st.integers(999, 1200), st.integers(0, 30521)), min_size=1, max_size=10))
def test_words_of_a_vocabulary_without_spaces_are_decoded_in_cells(bert, ids):
    ids = [i for i in ids if i not in set(bert.suppressed)]
    cells = shown(bert, "[[]]", ids)
    assert "".join("".join(cells).split()) == "".join(bert.decode(ids).split())
    glued = vocabulary(bert).glued
    if ids and glued is not None and not glued[ids[0]]:
        wanted = bert.decode(ids)
        assert "".join(cells).replace("’", "'").strip() == " ".join(wanted.split())


@pytest.mark.parametrize(
    ("draft", "says", "text"),
    [
        ("It was [[]] when", "an old house , quite large", "It was an old house, quite large when"),
        ("It was[[]]when", "quiet", "It was quiet when"),
        ("It was[[]]", ", so he said", "It was, so he said"),
        ("He said “[[]]” and", "don ' t go", "He said “don’t go” and"),
        ("He said, “[[]] she went.", 'no . "', "He said, “no.” she went."),
        ("a well-[[]] house", "known", "a well-known house"),
        ("the [[]] was", "unbelievably gooseflesh", "the unbelievably gooseflesh was"),
        ("([[]])", "so", "(so)"),
        ("it cost $[[]], or so", "5", "it cost $5, or so"),
    ],
)
def test_words_and_signs_stand_as_a_writer_would_write_them(bert, draft, says, text):
    canvas = Canvas(bert, Draft.parse(draft))
    ids = bert.encode(says)
    assert canvas.text([canvas.texts(0, ids)], [[False] * len(ids)]) == text


MIXED = ["house", "s", "5", "555", ".", ",", '"', "'", "-", "(", ")", "$", "/", "—", "o", "clock", "門", "×", "ing", "½"]


@settings(max_examples=examples(400))
@given(st.lists(st.tuples(st.sampled_from(MIXED), st.booleans()), max_size=7))
def test_words_are_counted_as_they_will_be_written(tokens):
    """Where the tokens bring no spaces, the automaton that counts words agrees with the text that comes out."""
    texts, glued = [text for text, _ in ALL], [part for _, part in ALL]
    text, state, count = "", 0, 0
    for token in tokens:
        token = (token[0], token[1] and token[0][0].isalnum())
        i = ALL.index(token)
        text += (" " if not glued[i] and stands_apart(text, texts[i]) else "") + texts[i]
        state, added = MOVES[CLASS_OF[i]][state]
        count += added
    assert count == len(words(text))
    assert state % 2 == text.count('"') % 2


ALL = [(text, part) for text in MIXED for part in (False, True) if not part or text[0].isalnum()]
CLASS_OF, MOVES = apart_moves([text for text, _ in ALL], [part for _, part in ALL])


@pytest.mark.parametrize("wanted", [1, 3, 6])
def test_a_gap_of_so_many_words_gets_them(bert, wanted):
    bert.wish = []
    for seed in range(3):
        *_, last = engine.fill(
            bert, f"It was [[{wanted}]] when the door opened.", engine.Settings(steps=3, seed=seed, temperature=1.5, top_p=1.0)
        )
        found = last.text.removeprefix("It was").removesuffix("when the door opened.")
        assert found.startswith(" ") and found.endswith(" ") and len(words(found)) == wanted, found


def test_counting_stays_cheap(bert):
    """The words of a vocabulary without spaces fall into few classes with few states."""
    known = vocabulary(bert)
    assert len(known.classes) < 120 and len(known.classes[0]) < 64
    rule = WordCount(known.classes, 12, 12)
    everything = tuple(range(len(known.classes)))
    began = time.process_time()
    assert rule.permitted([everything] * 20) is not None
    assert time.process_time() - began < 2


class Large:
    """A model with as many tokens as Qwen's vocabulary, the pieces of GPT-2 over and over."""

    name = "large"
    time_conditioned: bool = False
    max_length = 512

    def __init__(self, pieces: list[bytes], size: int) -> None:
        self._pieces = [pieces[i % len(pieces)] for i in range(size)]
        self.vocab_size, self.mask_id, self.suppressed = size, size - 1, [size - 1]

    def decode(self, ids) -> str:
        return b"".join([self._pieces[i] for i in ids]).decode("utf-8", "replace")


def test_a_vocabulary_of_152_000_tokens_is_read_in_a_moment(gpt2):
    pieces = [gpt2.tokenizer._texts[i] for i in range(50256)]
    large = Large(pieces, 152_064)
    began = time.process_time()
    known = Vocabulary(large)  # type: ignore[arg-type]
    assert time.process_time() - began < 3
    assert known.carries_spaces and known.class_of.shape == (152_064,) and known.writable.dtype == torch.bool
