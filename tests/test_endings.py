"""Gaps at the ends of paragraphs and drafts: they end a sentence; and white space that a draft has otherwise than the model's texts."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

import engine
from engine.canvas import Canvas
from engine.draft import Draft
from engine.lines import evened
from engine.spacing import GAP_SIGN, ends_paragraph, line_of
from engine.vocabulary import vocabulary

STORY = "The rain had stopped before noon. Nobody came to the house, and the lamp was not lit."
LINE = "She went down the stairs and "
STOPPED = re.compile(r"[.!?…:]\"?$")


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
        ("Mr. Carter put on his hat and walked down to the ", f"{STORY}\n\n", "", 2),
        ("Thank you very much for your kind letter about the ", "Dear Ms. Carter,\n\n", "", 2),
        ("Chapter Two: The House on the ", f"{STORY}\n\n", "\n\nThe rain", 0),
        ("The Long Winter of the Old ", f"{STORY}\n\n", "\n\nThe rain", 0),
        ("Subject: the meeting on next ", "", "\n", 0),
        ("Kind regards and best wishes, ", f"{STORY}\n\n", "", 0),
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


@pytest.mark.parametrize(
    "draft",
    [
        "The sun came up and the world lay still.\nAnd all the ships that waited in [[2]]\nPut out to sea.",
        "Anna: Are you there?\nBen: I was just on the way to [[1]]\nAnna: Good.",
        "The rain was over, and the lamp that stood on the sill\nwas not lit. She went downstairs with [[2]]\nMr. Carter, who had it.",
    ],
)
def test_a_single_line_end_ends_no_verse_message_or_line_of_a_broken_text(model: engine.Denoiser, draft: str) -> None:
    assert Canvas(model, Draft.parse(draft)).spans[0].ends_sentence == 0


@pytest.mark.parametrize(
    ("draft", "quotes"),
    [
        ('He shook his head at them.\n\n"I never saw him before in my life, and I hope\nthat I never will," she said, and [[]]', None),
        ('He is tall, and the board is 12" wide, and so is [[]]', None),
        ('She looked up. "You have never [[2]] and never [[3]]', None),
        ('She looked up. "You have never [[1 tokens]]', None),
        ('She looked up. "You have never [[3]]', 1),
    ],
)
def test_only_a_saying_that_is_surely_open_is_closed(model: engine.Denoiser, draft: str, quotes: int | None) -> None:
    assert Canvas(model, Draft.parse(draft)).spans[-1].quotes == quotes


def test_no_white_space_takes_long(model: engine.Denoiser) -> None:
    began = time.process_time()
    for blanks in (" " * 100_000, "\n" * 100_000, " \n" * 50_000, "\u00a0" * 100_000):
        Canvas(model, Draft.parse(f"The lamp{blanks}was [[3]] and{blanks}still.{blanks}"))
    assert time.process_time() - began < 5  # quadratic it would be minutes


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
        plain.replace("She sat", "    She sat").replace(" [[3]] ", "  [[3]]\t"),
        "  \n" + plain,
    ]
    seen = [Canvas(model, Draft.parse(draft)).window([(0, 0, 3)], [[model.mask_id] * 3]) for draft in [plain, *drafts]]
    assert all(window == seen[0] for window in seen[1:])


def test_signs_that_no_text_of_the_models_holds_are_left_out(model: engine.Denoiser) -> None:
    read = vocabulary(model).prose
    assert read("It was **very** late 🏃‍♀️😂 and #dark.\n## Home\nNo.") == "It was very late and dark.\n\nHome\n\nNo."
    assert read("**[[ is no mark, and 20 °C is\nno signs") == "**[[ is no mark, and 20 C is no signs"
    assert read("*It* was *late* ") == "*It was late "
    assert read("one #") == "one #"  # a gap may lean on it
    for kept in ("Zoë à Łódź, naïve", "(a) [b] {c}"[:7], "—“Yes,” 5 % of $3 & £4…", "中文。مرحبا، नमस्ते।"):
        assert read(f"x {kept} x").count(" ") >= kept.count(" ") and all(sign.isalpha() <= (sign in read(f"x {kept} x")) for sign in kept)


@given(st.text("ab #*😂\n\t", max_size=60))
def test_leaving_signs_out_keeps_letters_and_parts_no_word_anew(model: engine.Denoiser, text: str) -> None:
    left = vocabulary(model).plain.without_unknown(text)
    assert [c for c in left if c.isalpha()] == [c for c in text if c.isalpha()]
    assert left[:1] == text[:1].replace("\t", " ") or left[:1] == text[:1]
    assert left[-1:] == text[-1:].replace("\t", " ") or left[-1:] == text[-1:]


@pytest.mark.parametrize(
    ("draft", "figures"),
    [
        ("She was born [[6 tokens]], and died on 4 May 1950.", True),
        ("In 1850 the town\nhad [[]]. It grew.", True),
        ("The bill was $300. He [[4]]. She left at 9.", False),
        ("1. Do not run.\n2. [[]]\n3. Walk backwards.", False),
        ("Thank you for the slides. [[]] Could you look at page 4?", False),
        ("Then [[~ 12 men]] came.", True),
        ("It cost $[[1]] at the shop.", True),
        ("It grew by [[1]] % and no more.", True),
    ],
)
def test_figures_are_written_in_sentences_that_have_some(model: engine.Denoiser, draft: str, figures: bool) -> None:
    assert Canvas(model, Draft.parse(draft)).spans[0].figures == figures
    for seed in range(0 if figures else 2):
        *_, frame = engine.fill(model, draft, engine.recommended(model, {"candidates": 1, "seed": seed}))
        assert sum(map(str.isdecimal, frame.text)) == sum(map(str.isdecimal, re.sub(r"\[\[.*?\]\]", "", draft)))


def test_what_stands_around_a_gap_is_read_alike_on_both_its_sides(model: engine.Denoiser) -> None:
    def shown(draft: str) -> tuple[str, str]:
        canvas = Canvas(model, Draft.parse(draft))
        window = canvas.window([(0, 0, 3)], [[model.mask_id] * 3 for _ in canvas.spans])
        return model.decode(window.ids[1 : min(window.cells)]), model.decode(window.ids[max(window.cells) + 1 :])

    assert shown("The old man walked down the road and \n[[4]]\nto the river, where he sat.") == (
        "The old man walked down the road and",
        " to the river, where he sat.",
    )
    assert shown("She sat.\n    [[4]]\nnobody came.") == ("She sat.\n\n", "\n\nnobody came.")
    assert shown(f"{STORY}\n{' ' * 60}[[4]]\n\nNobody came.")[0].endswith("lit.\n\n")
    assert shown("He waited  – [[3]], and left.")[0] == "He waited—"
    assert shown('He turned. "You have never [[4]]"')[1] == "\n\n"
    assert shown("    [[4]] it was late.")[0] == ""


def test_a_fill_parts_its_paragraphs_as_the_draft_does(model: engine.Denoiser) -> None:
    ids = model.encode("The rain stopped.\n\nNobody spoke.")
    alone = f"The keeper lit the lamp. [[{len(ids)} tokens]]\n"
    assert "".join(Canvas(model, Draft.parse(alone)).texts(0, ids)) == "The rain stopped.\n\nNobody spoke."
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


def test_no_sentence_ends_with_the_initial_of_a_name(model: engine.Denoiser) -> None:
    known = vocabulary(model)
    ends = {text for text, barred in zip(known.texts, known.title.tolist(), strict=True) if barred}
    assert {" M", " Mr", " Mrs"} <= ends and not {" I", " me", "M", " OK"} & ends
    last = Canvas(model, Draft.parse("We regret to inform you that [[1]].")).spans[0]
    assert last.after == "."
    *_, frame = engine.fill(model, "We regret to inform you that [[1]].", engine.recommended(model, {"seed": 0}))
    assert not re.search(r" [A-HJ-Z]\.$", frame.text)


def test_a_line_is_looked_at_as_far_as_it_matters_and_ends_with_any_kind_of_line_end() -> None:
    """With a thousand gaps on one line the texts between them are not all read for each."""
    taken: list[str] = []

    def texts() -> Iterator[str]:
        for _ in range(1000):
            taken.append("ten letters")
            yield taken[-1]

    assert line_of(texts(), 100, backwards=True) == "ten letters" * 10 and len(taken) == 10
    for end in ("\n", "\r", "\r\n"):
        assert line_of([f"before{end}line"], 100, backwards=True) == "line" == line_of([f"line{end}behind"], 100, backwards=False)
