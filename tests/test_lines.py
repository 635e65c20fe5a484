"""Line ends that only break lines, no-break spaces and tabs: the model reads spaces, and the draft keeps what it has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import engine
from engine.canvas import Canvas
from engine.draft import Draft
from engine.lines import INSIDE, joined, with_spaces
from engine.spelling import speller

MAIL = "The old man walked down the road and\n[[4]] to the river, where he sat\ndown upon a stone."


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("the old man went down the road,\nand sat upon a stone", "the old man went down the road, and sat upon a stone"),
        ("the old man went down the road\r\nand sat", "the old man went down the road and sat"),
        ("the old man went down the road.\nand sat", "the old man went down the road.\nand sat"),
        ("the old man went down the road\nAnd sat", "the old man went down the road\nAnd sat"),
        ("the old man went down the road\n\nand sat", "the old man went down the road\n\nand sat"),
        ("the old man went down the road\n  and sat", "the old man went down the road\n  and sat"),
        ("milk\neggs\nbread", "milk\neggs\nbread"),
    ],
)
def test_a_line_end_that_breaks_a_sentence_is_read_as_a_space(text: str, read: str) -> None:
    assert joined(text) == read


@given(st.text("aB,. \n\r-", max_size=200), st.sampled_from(["", INSIDE]))
def test_only_line_ends_become_spaces(text: str, before: str) -> None:
    assert joined(text, before=before).split() == text.split()


def test_a_line_that_a_gap_is_all_of_stays_one() -> None:
    assert joined("\nto the river", before=INSIDE) == " to the river"
    assert joined("\nto the river") == "\nto the river"


@pytest.mark.parametrize(
    ("before", "after", "seen"),
    [
        ("It was\u00a0", " when", "It was "),
        ("Name:\t", "\n", "Name: "),
        ("and so they all went down to the\n", " and", "and so they all went down to the "),
        ("and so they all went down to the\r\n", " and", "and so they all went down to the "),
        ("They all went home.\n", " and", "They all went home.\n"),
        ("Chapter One\n", " it was", "Chapter One\n"),
        ("Milk\n", "\neggs", "Milk "),
        ("eggs\n", "\nMilk", "eggs "),
        ("\n", "\neggs", "\n"),
    ],
)
def test_what_stands_for_a_space_before_a_gap_is_one(before: str, after: str, seen: str) -> None:
    assert with_spaces(before, after) == seen


@pytest.mark.parametrize(
    "draft",
    [
        MAIL,
        MAIL.replace("\n", "\r\n"),
        "It was late, and the children had\n[[]] before the fire, which\nwas nearly out.",
        "The old man sat by the fire. It was\u00a0[[3]] when the door opened.",
        "Name:\t[[2]]\nTown:\t[[1]]\n",
    ],
)
def test_a_gap_behind_what_stands_for_a_space_begins_with_a_word(model: engine.Denoiser, draft: str) -> None:
    known = speller(model, draft)
    assert known is not None
    settings = engine.recommended(model, {"steps": 4, "candidates": 1, "revise": 0})
    *_, frame = engine.fill(model, draft, settings)
    given = [part for part in Draft.parse(draft).parts if isinstance(part, str)]
    at = 0
    for part in given:  # the draft has what it had
        at = frame.text.index(part, at) + len(part)
    canvas = Canvas(model, Draft.parse(draft))
    for span in canvas.spans:
        assert span.takes_space
    window = canvas.window([(0, 0, 3)], [[model.mask_id] * 3 for _ in canvas.spans])
    first = min(window.cells)
    assert not model.decode(window.ids[1:first]).endswith((" ", "\n", "\t", "\u00a0"))


def test_code_keeps_its_lines(model: engine.Denoiser) -> None:
    draft = "```\nwhile the_lamp_is_lit and the_door_is_open and\nnot late:\n    [[]]\n```"
    canvas = Canvas(model, Draft.parse(draft))
    window = canvas.window([(0, 0, 2)], [[model.mask_id] * 2])
    assert canvas.spans[0].code and "and\nnot late" in model.decode(window.ids[1:])
