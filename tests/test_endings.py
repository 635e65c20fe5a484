"""Gaps at the ends of paragraphs and drafts: they end a sentence; and white space that a draft has otherwise than the model's texts."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import engine
from engine.canvas import Canvas
from engine.draft import Draft
from engine.lines import evened
from engine.spacing import GAP_SIGN, ends_paragraph

STORY = "The rain had stopped before noon. Nobody came to the house, and the lamp was not lit."
LINE = "She went down the stairs and "
STOPPED = re.compile(r"[.!?…:]\"?$")


@pytest.fixture(scope="module")
def model() -> engine.Denoiser:
    return engine.load(dtype="float32")


@pytest.mark.parametrize(
    ("line", "above", "after", "cells"),
    [
        ("He sat down. Then ", "", "", 2),
        (LINE, "", "", 2),
        (LINE, "", "\n", 2),
        (LINE, f"{STORY}\n\n", "\n\nNobody", 2),
        (LINE, f"{STORY}\r\n\r\n", "\r\n\r\nNobody", 2),
        ("He ", f"{STORY}\n\n", "\n\nNobody", 8),  # a title may stand there, if it is short
        ("", f"{STORY}\n\n", "", 8),
        ("", f"the end {GAP_SIGN}\n\n", "", 8),
        (f"{LINE}sat by the fire until it was ", f"{STORY}\n", "\nNobody", 2),
        ("The moon was ", f"{STORY}\n", "\nNobody", 0),  # a verse
        ("The old house by the ", "", "\n\nIt was late.", 0),  # a title
        ("The ", "", "", 0),
        ("Yours truly,\n", "", "", 0),
        ("- bread and butter and a bottle of ", f"{STORY}\n\n", "\n", 0),
        ("1. Walk down the road to the ", f"{STORY}\n\n", "", 0),
        ("a bottle of milk for the children and ", "To buy\n\n", "", 0),
        (LINE, "", " and", 0),
        (LINE, "", GAP_SIGN, 0),
        (LINE, "", ".", 0),
    ],
)
def test_the_end_of_a_paragraph_of_prose_is_told_by_what_is_around_it(line: str, above: str, after: str, cells: int) -> None:
    assert ends_paragraph(line, above, after) == cells


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    "draft",
    [
        "She went down the stairs and [[]]",
        "She went down the stairs and [[3]]",
        "The keeper lit the lamp, and the night was [[1]]\n",
        f"{STORY} [[5]]\n\nNobody spoke.",
        f"{STORY}\n\nThe old man [[12]]\r\n\r\nNobody spoke.",
        f"{STORY}\n\n[[10-14]]\n\nNobody spoke.",
        "The rain had stopped. [[~ Nobody {{came}} to the old house.]]",
    ],
)
def test_a_gap_at_the_end_of_a_paragraph_ends_a_sentence(model: engine.Denoiser, draft: str, seed: int) -> None:
    *_, frame = engine.fill(model, draft, engine.recommended(model, {"steps": 8, "candidates": 1, "revise": 0, "seed": seed}))
    before = re.split(r"\[\[", draft)[0]
    fill = frame.text[len(before) :].partition("\r\n\r\n")[0].partition("\n\nNobody")[0].rstrip()
    assert STOPPED.search(fill)
    counted = re.search(r"\[\[(\d+)(?:-(\d+))?\]\]", draft)
    if counted is not None:
        assert int(counted[1]) <= len(fill.split()) <= int(counted[2] or counted[1])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_somebody_says_is_closed_where_nothing_follows(model: engine.Denoiser, seed: int) -> None:
    draft = f'{STORY}\n\n"I do not know," he said. "You have never [[]]'
    *_, frame = engine.fill(model, draft, engine.recommended(model, {"candidates": 1, "seed": seed}))
    assert frame.text.count('"') % 2 == 0 and STOPPED.search(frame.text)


def test_titles_items_and_passages_without_a_stop_get_none(model: engine.Denoiser) -> None:
    for draft in ("The [[3]]\n\nIt was late.", f"{STORY}\n\n- bread and [[2]]\n- milk", f"{STORY} [[~ a {{{{red}}}} lamp]]", "[[12]]"):
        assert not any(span.ends_sentence for span in Canvas(model, Draft.parse(draft)).spans)


@pytest.mark.parametrize("end", ["", "\n", "  \n\n\n"])
def test_a_draft_that_ends_with_a_gap_is_read_with_an_empty_line_behind_it(model: engine.Denoiser, end: str) -> None:
    canvas = Canvas(model, Draft.parse(f"{LINE}[[4 tokens]]{end}"))
    window = canvas.window([(0, 0, 4)], [[model.mask_id] * 4])
    assert model.decode(window.ids[max(window.cells) + 1 :]) == "\n\n"
    given = Canvas(model, Draft.parse(f"{LINE}[[4 tokens]] here"))
    assert model.decode(given.window([(0, 0, 4)], [[model.mask_id] * 4]).ids).endswith("here")
    code = Canvas(model, Draft.parse("```\nif lit(lamp) and not late(hour):\n    [[4 tokens]]"))
    assert max(code.window([(0, 0, 4)], [[model.mask_id] * 4]).cells) == len(code.window([(0, 0, 4)], [[model.mask_id] * 4]).ids) - 1


def test_the_model_reads_white_space_as_its_texts_have_it(model: engine.Denoiser) -> None:
    plain = f"{STORY}\n\nShe sat down. [[3]] She said nothing, for the night was long. Then she slept.\n\nNobody saw her."
    drafts = [
        plain.replace(". ", ".  "),
        plain.replace("\n\n", "\n \n"),
        plain.replace("\n\n", "  \r\n\r\n\r\n"),
        plain.replace("\n\n", "\n\n    "),
        plain.replace("\n\n", "\n\t"),
        plain.replace("\n\n", "\n"),
    ]
    seen = [Canvas(model, Draft.parse(draft)).window([(0, 0, 3)], [[model.mask_id] * 3]) for draft in [plain, *drafts]]
    assert all(window == seen[0] for window in seen[1:])


def test_a_fill_parts_its_paragraphs_as_the_draft_does(model: engine.Denoiser) -> None:
    ids = model.encode("The rain stopped.\n\nNobody spoke.")
    for above, between in ((f"{STORY}\n{STORY}\n", "\n"), (f"{STORY}\r\n{STORY}\r\n", "\r\n"), (f"{STORY}\n\n{STORY}\n\n", "\n\n")):
        texts = Canvas(model, Draft.parse(f"{above}[[{len(ids)} tokens]]")).texts(0, ids)
        assert "".join(texts) == f"The rain stopped.{between}Nobody spoke."


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_verse_begins_with_a_word(model: engine.Denoiser, seed: int) -> None:
    draft = "Roses are red,\nViolets are blue,\n[[]],\nAnd [[]]."
    *_, frame = engine.fill(model, draft, engine.recommended(model, {"candidates": 1, "seed": seed}))
    assert frame.text.split("\n")[2][0].isupper()  # "ing yellow" and "ed by the" stood there when single line ends were read as such


@given(st.text("aB. \n\r\t\u00a0“”'", max_size=120))
def test_evening_a_text_changes_nothing_but_white_space_and_does_all_at_once(text: str) -> None:
    once = evened(text)
    assert once.split() == text.split()
    assert evened(once) == once
    assert "  " not in once and "\n\n\n" not in once and " \n" not in once
