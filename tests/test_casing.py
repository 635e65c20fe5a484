"""Drafts in small letters, or in capitals: read in sentence case, and filled as they are written."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

import engine
from engine.canvas import Canvas
from engine.casing import Case
from engine.draft import Draft
from engine.spacing import GAP_SIGN
from engine.vocabulary import vocabulary

NAMES = {"london": "London", "ii": "II", "éva": "Éva"}
ORDINARY, SMALL, NAMED, CAPITALS = Case(), Case(small=True, names=False), Case(small=True), Case(capitals=True)
MESSAGE = "i went to the market in london yesterday. it was cold and i bought [[3]] for my mother. she said [[]]"
HEADLINE = "STORM OVER LONDON\n\nTHE ROADS WERE CLOSED AND NOBODY COULD [[2]] THE CITY. THE MAYOR SAID THAT [[]]"


def same_letter(a: str, b: str) -> bool:
    """Whether these differ in nothing but case."""
    return a.lower() == b.lower() or a.upper() == b.upper()


def filled(model: engine.Denoiser, draft: str, seed: int) -> str:
    """The draft, filled."""
    *_, frame = engine.fill(model, draft, engine.recommended(model, {"seed": seed, "candidates": 2}))
    return frame.text


@pytest.mark.parametrize(
    ("text", "case"),
    [
        ("", ORDINARY),
        ("The house was cold. Nobody came.", ORDINARY),
        ("the house was cold", ORDINARY),  # a line out of the middle of something
        ("the house was cold. nobody came.", SMALL),
        ("he said no. she left.", SMALL),
        ("then i left", SMALL),
        ("then i'm off", SMALL),
        ("i met Anna. then we left.", NAMED),
        ("london was cold. i missed you. Anna left. we stayed.", NAMED),
        ("Anna: hi. i'm late", NAMED),
        ("i have no TV. it broke.", SMALL),
        ("i met Anna. Then we left.", ORDINARY),
        (f"{GAP_SIGN} Who is there? cried Anna. {GAP_SIGN} Is it you? she asked.", ORDINARY),
        ("the rest, i.e. the sum", ORDINARY),
        ("the i-th of them, (i) and a[i]", ORDINARY),
        ("the house, e.g. mr. brown. ", ORDINARY),
        ("well... maybe... later", ORDINARY),
        ("1. milk\n2. bread", ORDINARY),
        ("we left.\r\n\r\nthey stayed", SMALL),
        (f"the sea is wide\nthe night is long\nand {GAP_SIGN}", SMALL),
        ("iPhones are dear. eBay is not.", ORDINARY),
        (f"STORM OVER {GAP_SIGN}", CAPITALS),
        (f"CHAPTER ONE\n\n{GAP_SIGN}", ORDINARY),  # a heading
        (f"SUBJECT: {GAP_SIGN}\nRECIPIENT: {GAP_SIGN}", ORDINARY),
        (f"NASA {GAP_SIGN}", ORDINARY),
        (f"我在IBM和NASA研究DNA{GAP_SIGN}", ORDINARY),
        (f"ΚΑΛΗΜΕΡΑ ΚΟΣΜΕ {GAP_SIGN}", CAPITALS),
    ],
)
def test_a_draft_tells_which_letters_it_is_written_in(text: str, case: Case) -> None:
    assert Case.of(text) == case


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("i think i'll go. it's late", "I think I'll go. It's late"),
        ("is it? yes! (he thought.) no", "Is it? Yes! (He thought.) no"),
        ('"come in," she said. "it is open."', '"Come in," she said. "It is open."'),
        ("we saw mr. brown in london", "We saw mr. brown in London"),
        ("one\r\n\r\ntwo, three", "One\r\n\r\nTwo, three"),
        ("i'll go. we'll see. 'i won't'", "I'll go. We'll see. 'I won't'"),
        ("so do i. a world war ii (i)", "So do I. A world war II (i)"),
        ("the i-th, i.e. that one", "The i-th, i.e. that one"),
    ],
)
def test_small_letters_are_read_in_sentence_case(text: str, read: str) -> None:
    assert SMALL.read(text, NAMES) == read
    assert CAPITALS.read(text.upper(), NAMES) == read


def test_each_line_of_a_headline_begins_a_sentence_and_no_verse_in_small_letters() -> None:
    assert CAPITALS.read("STORM CLOSES ROADS\nMAYOR OF LONDON SPEAKS", NAMES) == "Storm closes roads\nMayor of London speaks"
    assert SMALL.read("the sea is wide,\nthe night is long") == "The sea is wide,\nthe night is long"


def test_no_text_takes_long() -> None:
    began = time.process_time()
    for part in (" ", "\n", " \n", ". ", '"', "(", "i ", "'i' ", "mr. ", "a.a", "1. "):
        for case in (SMALL, CAPITALS):
            case.read(f"still.{part * 50_000}")
        Case.of(f"still.{part * 50_000}")
    assert time.process_time() - began < 10  # quadratic it would be minutes


@given(text=st.text(), case=st.sampled_from([ORDINARY, SMALL, NAMED, CAPITALS]), within=st.booleans())
def test_nothing_but_the_case_of_letters_changes(text: str, case: Case, within: bool) -> None:
    read = case.read(text, NAMES, within=within)
    assert len(read) == len(text)
    assert all(map(same_letter, text, read))
    written = [case.written(text[:at], char, text[at + 1 :]) for at, char in enumerate(text)]
    assert all(len(char) == 1 for char in written) and all(map(same_letter, text, written))
    assert Case().read(text, NAMES) == text


@pytest.mark.parametrize(
    ("case", "written"),
    [
        (ORDINARY, "He said that I met Anna. She left."),
        (SMALL, "he said that i met anna. she left."),
        (NAMED, "he said that i met Anna. she left."),
        (CAPITALS, "HE SAID THAT I MET ANNA. SHE LEFT."),
    ],
)
def test_what_is_written_has_the_letters_of_the_draft(case: Case, written: str) -> None:
    text = "He said that I met Anna. She left."
    assert "".join(case.written(text[max(0, at - 8) : at], char, text[at + 1 : at + 7]) for at, char in enumerate(text)) == written


@pytest.mark.parametrize("seed", range(3))
def test_a_fill_of_a_message_in_small_letters_has_no_capital(model: engine.Denoiser, seed: int) -> None:
    text = filled(model, MESSAGE, seed)
    assert not any(map(str.isupper, text)), text
    assert text.startswith("i went to the market in london yesterday. it was cold and i bought ")


@pytest.mark.parametrize("seed", range(3))
def test_a_fill_of_a_headline_has_no_small_letter(model: engine.Denoiser, seed: int) -> None:
    text = filled(model, HEADLINE, seed)
    assert not any(map(str.islower, text)), text


def test_the_model_reads_sentence_case_and_the_page_what_was_typed(model: engine.Denoiser) -> None:
    canvas = Canvas(model, Draft.parse(HEADLINE))
    sizes = [3, 4]
    seen = model.decode([i for i in canvas.window([(0, 0, 3), (1, 0, 4)], [[model.mask_id] * n for n in sizes]).ids if i != model.mask_id])
    assert "Storm over London\n\nThe roads were closed and nobody could the city. The mayor said that" in seen.replace("  ", " ")
    assert "".join(item for item in canvas.items if isinstance(item, str)) == HEADLINE.replace("[[2]]", "").replace("[[]]", "")
    tokens = model.encode(" leave it")
    assert "".join(canvas.texts(0, tokens)) == "LEAVE IT"
    assert "".join(canvas.texts(0, tokens, read=True)) == "leave it"
    assert canvas.encode(0, "LEAVE LONDON") == model.encode(" leave London")


def test_a_rewrite_of_a_whole_draft_keeps_its_letters(model: engine.Denoiser) -> None:
    canvas = Canvas(model, Draft.parse("[[~ the house was cold. nobody came. ]]"))
    assert canvas.style.case == SMALL
    assert canvas.spans[0].was == "The house was cold. Nobody came."


def test_keywords_of_a_headline_are_read_in_small_letters_and_shown_as_typed(model: engine.Denoiser) -> None:
    canvas = Canvas(model, Draft.parse("STORM OVER LONDON. THE MAYOR [[: SILVER]] THE CITY."))
    assert canvas.as_read("SILVER") == "silver"
    text = filled(model, "STORM OVER LONDON. THE MAYOR [[: SILVER, PARIS]] THE CITY.", 0)
    assert "SILVER" in text and "PARIS" in text
    assert not any(map(str.islower, text)), text


def test_a_headline_gets_no_stop_and_a_sentence_in_capitals_does(model: engine.Denoiser) -> None:
    headline, sentence = (Canvas(model, Draft.parse(f"{text} [[2]]")) for text in ("STORM OVER THE CITY OF LONDON", "IT RAINED. THE RIVER"))
    assert headline.spans[0].ends_sentence == 0 < sentence.spans[0].ends_sentence


def test_code_keeps_its_letters(model: engine.Denoiser) -> None:
    code = "for i in range(3):\n    print([[2 tokens]])\n    y = a[i]\n\nthen i left. it was late.\nnobody came."
    canvas = Canvas(model, Draft.parse(code))
    assert canvas.spans[0].code and canvas.style.case == ORDINARY and canvas.given[0].startswith("for i in")


def test_what_else_the_model_might_write_is_shown_in_the_letters_of_the_draft(model: engine.Denoiser) -> None:
    *_, frame = engine.fill(model, HEADLINE, engine.recommended(model, {"steps": 4, "candidates": 1, "revise": 0}))
    texts = [text for cell in frame.cells for text, _ in cell.alternatives]
    assert texts and not any(map(str.islower, "".join(texts)))


def test_names_are_found_whatever_stands_beside_them(model: engine.Denoiser) -> None:
    names = vocabulary(model).names
    assert SMALL.read("i'll be in paris, we'll call london's dna lab", names) == "I'll be in Paris, we'll call London's DNA lab"


def test_models_that_read_drafts_as_they_are_get_no_other_letters() -> None:
    toy = engine.load("toy")
    assert not vocabulary(toy).evened
    assert Canvas(toy, Draft.parse(HEADLINE)).style.case == ORDINARY


@pytest.mark.parametrize(
    ("draft", "holds"),
    [
        (
            "STORM OVER LONDON\n\nTHE ROADS WERE [[3: silver]] AND CLOSED.\n\nShe read it and [[3]].",
            r"STORM OVER LONDON\n\n[^a-z]+SILVER[^a-z]+\n\nShe read it and .*[a-z].*",
        ),
        (
            "Dear all,\n\nURGENT: PLEASE [[2]] BEFORE YOU LEAVE.\n\nThank you.",
            r"Dear all,\n\nURGENT: PLEASE [^a-z]+ BEFORE YOU LEAVE\.\n\nThank you\.",
        ),
        ("[[~ It was {{late}}.\n\nTHE OLD {{HOUSE}} WAS QUIET AND COLD]]", r"[^\n]*late[^\n]*\n\n[^a-z]*HOUSE[^a-z]*"),
        ("He worked for NASA [[2]] years.", r"He worked for NASA .*[a-z].* years\."),
    ],
)
def test_a_line_in_capitals_is_filled_in_capitals_and_the_others_are_not(model: engine.Denoiser, draft: str, holds: str) -> None:
    for seed in range(2):
        assert re.fullmatch(holds, filled(model, draft, seed)), filled(model, draft, seed)
