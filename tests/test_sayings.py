"""A saying ends in a stop, and its last token brings the quote behind it, as texts are cut: a quote by itself tells that no stop came."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

import engine
from engine.canvas import Canvas
from engine.draft import Draft
from engine.lengths import gap_windows
from engine.spacing import closing_quote


@pytest.mark.parametrize(
    ("draft", "quote"),
    [
        ("He turned. “[[]]” She left.", '"'),
        ('He turned. "[[]]" she said.', '"'),
        ("He turned. ‘[[]]’ She left. ‘Oh,’ he said.", "'"),
        ("“I never [[]]” She shut the door.", '"'),
        ("“I never [[]]” she said.", '"'),
        ("“I never [[]]”", '"'),
        ("“I never [[]]”—he stopped.", '"'),
        ("“[[]],” she said.", ""),
        ("“I never [[]].” She left.", ""),
        ("The sign said “Keep [[]]” in red.", ""),
        ("the so-called “[[]]” of old", ""),
        ("He turned. “[[1 tokens]]” She left.", ""),
        ('`say("[[]]")`', ""),
        ("He went [[]] away.", ""),
    ],
)
def test_where_a_saying_ends(model: engine.Denoiser, draft: str, quote: str) -> None:
    assert Canvas(model, Draft.parse(draft)).spans[0].brings_quote == quote


def test_a_model_of_other_tokens_is_left_alone() -> None:
    toy = engine.load("toy")
    assert closing_quote("He turned. “", "” She left.", quoted=True) == '"'
    assert Canvas(toy, Draft.parse("He turned. “[[]]” She left.")).spans[0].brings_quote == ""


def test_the_model_sees_no_quote_where_its_last_token_brings_one(model: engine.Denoiser) -> None:
    canvas = Canvas(model, Draft.parse("He turned. “[[]]” She left."))
    ids = canvas.encode(0, "I am not sure.")
    assert model.decode(ids[-1:]) == '."'
    window = canvas.window([(0, 0, len(ids))], [ids])
    assert model.decode(window.ids[1:]) == 'He turned. "I am not sure." She left.'
    assert canvas.texts(0, ids)[-1] == "." and "".join(canvas.texts(0, ids)) == "I am not sure."
    [asked] = gap_windows(model, canvas, [1], [0])  # whoever asks for a length has no last token yet
    assert model.decode([i for i in asked.ids[1:] if i != model.mask_id]) == 'He turned. "" She left.'


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("mark", ["", "6", "4-8", "6 tokens", "~ I am very tired", ": tired"])
def test_a_saying_ends_in_one_stop(model: engine.Denoiser, mark: str, seed: int) -> None:
    before, after = "She looked up at him. “", "” He said nothing."
    plain = replace(engine.recommended(model), seed=seed, steps=8, candidates=1, revise=0)  # one try, as a preset has it
    cells: dict[int, engine.Cell] = {}
    for last in engine.fill(model, f"{before}[[{mark}]]{after}", plain):
        cells |= {cell.index: cell for cell in last.cells}
    assert last.text.startswith(before) and last.text.endswith(after)
    said = last.text[len(before) : len(last.text) - len(after)]
    assert mark == ": tired" or re.search(r"\w(?:[.!?—,]|\.\.\.)$", said), said
    assert not re.search(r"[.,!?—]’|’[.,!?—]|[“”\"]", said), said
    if mark == "6":
        assert len(engine.words(said)) == 6
    assert not any('"' in text for text, _ in cells[max(cells)].alternatives)  # a click puts it into the draft


def test_a_rewrite_of_one_word_has_room_for_its_stop(model: engine.Denoiser) -> None:
    canvas = Canvas(model, Draft.parse("He turned. “[[~ No]]” She left."))
    assert canvas.rewritten_tokens(0) == 2
