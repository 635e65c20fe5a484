"""Signs that a model's texts wrote otherwise: read as the model knows them, written as the draft does."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import engine
from engine.canvas import Canvas
from engine.denoiser import Denoiser
from engine.draft import Draft, Gap, Length
from engine.signs import Plain
from engine.spacing import begins_sentence, ends_sentence
from engine.style import Signs, Style
from engine.vocabulary import vocabulary

LEARNED = Plain(["—", "...", " a", "a", ".", "-", '"', " "])
"""A vocabulary whose texts had one dash, without spaces, and no ellipsis."""
DRAFTS = {
    "—": "He came—late—and sat.",
    " — ": "He came — late — and sat.",
    " – ": "He came – late – and sat.",
    " -- ": "He came -- late -- and sat.",
}


@pytest.mark.parametrize("draft", DRAFTS.values(), ids=DRAFTS)
def test_dashes_are_read_as_the_model_knows_them(model: Denoiser, draft: str) -> None:
    assert vocabulary(model).read(draft) == DRAFTS["—"]
    assert not vocabulary(model).partial[model.encode(vocabulary(model).read(draft))].any()


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("1914–18, London–Paris", "1914-18, London-Paris"),
        ("“What –” he said", '"What—" he said'),
        ("So… what", "So... what"),
        ("ten\u00a0miles", "ten miles"),
        ("– Yes.\n– No.", "— Yes.\n— No."),
        ("he came –\nand sat – ", "he came—\nand sat— "),
        ("i--; use --help --- <!-- so -->", "i--; use --help --- <!-- so -->"),
        ("he came--late--and sat", "he came—late—and sat"),
        ("ten\u202fmiles\u202f", "ten miles\u202f"),
        ("", ""),
        (" ", " "),
    ],
)
def test_what_else_is_read_otherwise_and_what_is_not(model: Denoiser, text: str, read: str) -> None:
    assert vocabulary(model).read(text) == read


@given(st.text(alphabet="ab. —–-…\"' \n\u00a0", max_size=30))
def test_reading_twice_is_reading_once_and_keeps_the_last_space(text: str) -> None:
    read = LEARNED.read(text)
    assert LEARNED.read(read) == read
    assert read.endswith(" ") == text.endswith(" ")
    assert not set(read[:-1]) & set("–…\u00a0")


@given(st.text(max_size=30))
def test_a_vocabulary_that_has_the_signs_reads_them_as_they_are(text: str) -> None:
    rich = Plain([*"—–…ﬁﬂﬀ\u00a0\u2007\u2009\u202f\u2010\u2011\u2212", " —", " a", "--"])
    assert rich.read(text) == text


@pytest.mark.parametrize(("form", "draft"), DRAFTS.items(), ids=DRAFTS)
def test_a_fill_has_the_dashes_of_its_draft_and_is_read_back_without_them(model: Denoiser, form: str, draft: str) -> None:
    canvas = Canvas(model, Draft((draft + " She", Gap(), " it then.")))
    tokens = model.encode(' said—"No"—and shut')
    written = "".join(canvas.texts(0, tokens))
    assert written == f' said{form}"No"{form}and shut'
    assert vocabulary(model).read(written) == ' said—"No"—and shut'


@pytest.mark.parametrize("form", DRAFTS)
def test_a_gap_behind_a_dash_has_the_one_space_that_the_draft_has(model: Denoiser, form: str) -> None:
    draft = f"He paused{form}[[5 tokens]]{form}and went on with the letter."
    for seed in range(3):
        result = engine.Result()
        for frame in engine.fill(model, draft, engine.recommended(model, {"seed": seed})):
            result.take(frame)
        written = result.text.removeprefix(f"He paused{form}").removesuffix(f"{form}and went on with the letter.")
        assert written == written.strip() != "" and len(written) < len(result.text) - 30
        first = min(result.cells.values(), key=lambda cell: cell.index)
        assert vocabulary(model).texts[first.token][:1] != " ", "as after a dash in the model's texts"


def test_dashes_at_the_edges_of_what_is_quoted_or_given_bring_no_space_too_many() -> None:
    signs = Signs.of(DRAFTS[" – "])
    for before, rest, written in (
        ("said", "and", " – "),
        ("said ", "and", "– "),
        ('"', "and", "– "),
        ('"No', '"', " –"),
        ("so", "", " –"),
        ("so", ", then", " –"),
        ("", "and", "– "),
        ('so"', '"Yes', " – "),
        ("cost", "$5", " – "),
        ("so", "*really", " – "),
    ):
        assert signs.between(before, rest) == written, (before, rest)


@pytest.mark.parametrize("mark", ["**", "*", "_", "***", "~~", "__"])
@pytest.mark.parametrize("asked", [Gap(), Gap(Length(2, 2)), Gap(None, ("silver",))])
def test_signs_that_emphasise_a_whole_gap_stand_around_its_words_and_are_not_read(model: Denoiser, mark: str, asked: Gap) -> None:
    draft = Draft((f"She was the {mark}", asked, f"{mark} of the house, and *everybody* knew it."))
    plain = Draft(("She was the ", asked, " of the house, and *everybody* knew it."))
    settings = engine.recommended(model, {"steps": 2, "candidates": 1, "revise": 0})
    (*_, emphasised), (*_, bare) = (list(engine.fill(model, each, settings)) for each in (draft, plain))
    start, end = f"She was the {mark}", f"{mark} of the house, and *everybody* knew it."
    assert emphasised.text.startswith(start) and emphasised.text.endswith(end)
    assert emphasised.text == bare.text.replace("She was the ", start, 1).replace(" of the house", f"{mark} of the house", 1)


@pytest.mark.parametrize("around", [("2*", "*3"), ("- *", "**"), ("x *", "*y"), ("so **", " it is")])
def test_signs_that_emphasise_something_else_are_read(model: Denoiser, around: tuple[str, str]) -> None:
    assert Canvas(model, Draft((around[0], Gap(), around[1]))).given == list(around)


def test_the_form_of_a_dash_is_taken_from_prose_and_from_beside_gaps() -> None:
    gap = "\ufffc"
    for text, form in (
        ("– Yes.\n– No.\n", " – "),
        (f"He paused – {gap} – and went", " – "),
        ("Use the class my-block--big here.", "—"),
        ("| -- | -- |\n|---|---|", "—"),
        ("He came--late--and sat.", "—"),  # two words, to whoever counts them
        ("no dash", "—"),
    ):
        assert Signs.of(text).dash == form, text


def test_three_stops_are_the_ellipsis_of_a_draft_that_has_one(model: Denoiser) -> None:
    canvas = Canvas(model, Draft(("So… and ", Gap(), ".")))
    assert "".join(canvas.texts(0, model.encode(" well... then"))) == "well… then"
    plain = Canvas(model, Draft(("So... and ", Gap(), ".")))
    assert "".join(plain.texts(0, model.encode(" well... then"))) == "well... then"
    style = Style.of("So…")
    assert "".join(style.write("." * k, ".", "." * (2 - k)) for k in range(3)) == "…"
    assert "".join(style.write("." * min(k, 3), ".", "." * (3 - k)) for k in range(4)) == "....", "four are an ellipsis behind a full stop"


def test_sentences_begin_and_end() -> None:
    for text in (" She closed it.", " The door", " It's so", " But Jack", " In the end", " However, he"):
        assert begins_sentence(text), text
    for text in ("She", " the", " The Times", " In London", " Jack", "", ", She", "\nShe", " A", " “Then", ' "But why'):
        assert not begins_sentence(text), text
    assert all(map(ends_sentence, ("so.", "so!”", 'so?" ', "so…"))) and not any(map(ends_sentence, ("so", "so,", "", '"so"')))


@pytest.mark.parametrize("length", ["", "3", "12", "9 tokens"])
def test_a_fill_before_a_new_sentence_ends_its_own(model: Denoiser, length: str) -> None:
    draft = f"Nobody had answered her. The old man [[{length}]] She closed the door again."
    for seed in range(3):
        *_, last = engine.fill(model, draft, engine.recommended(model, {"seed": seed}))
        written = last.text.partition("old man")[2].partition(" She closed the door again.")[0]
        assert ends_sentence(written), last.text
        assert length != "3" or len(written.split()) == 3


def test_a_range_of_words_has_room_for_the_most_and_a_stop(model: Denoiser, monkeypatch: pytest.MonkeyPatch) -> None:
    longest = torch.arange(128.0).log_softmax(-1)
    monkeypatch.setattr(model, "gap_lengths", lambda canvas, gap, attend=None: longest.expand(len(canvas), -1))
    for right, cells in ((" and closed the door.", 5), (" She closed the door.", 6)):
        frame = next(iter(engine.fill(model, f"The old man [[4-5]]{right}", engine.Settings())))
        assert len(frame.cells) == cells


@pytest.mark.parametrize("seed", range(3))
def test_no_sentence_begins_in_the_middle_of_another(model: Denoiser, seed: int) -> None:
    known = vocabulary(model)
    for left, right, fits in (
        (" as", " They", False),
        (",", " Then", False),
        (".", " They", True),
        (" as", " they", True),
        (" to", " She", True),
    ):
        tokens = [model.encode(text)[0] for text in (left, right)]
        assert known.neighbours.fit(tokens[0], tokens[1]) == fits
    assert known.neighbours.fit(model.encode(" at")[0], model.encode(" Once")[0], given=True), "the writer may do so"
    *_, last = engine.fill(model, "It was late. [[24]] Then he went home.", engine.recommended(model, {"seed": seed}))
    words = last.text.split()
    for before, word in itertools.pairwise(words):
        assert word not in ("They", "Then", "When", "If", "This") or before[-1] in '.!?":;—', last.text


def test_three_stops_inside_a_word_stay_three() -> None:
    """Who counts takes "yes...I" for one word, and "yes…I" for two."""
    signs = Signs(ellipsis="…")
    assert [signs.stop("yes", "..I"), signs.stop("yes.", ".I"), signs.stop("yes..", "I")] == [".", ".", "."]
    assert [signs.stop("yes", ".. I"), signs.stop("yes.", ". I"), signs.stop("yes..", " I")] == ["…", "", ""]
