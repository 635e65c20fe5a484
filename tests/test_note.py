"""A draft in a language that the model's texts lack: it is filled, and whoever reads is told what to expect."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Page, expect

import engine
from engine.backends.toy import TEXT, Toy
from engine.cli import main
from engine.lexicon import Lexicon
from tests.page import fill, open_draft, serving, visit

GERMAN = "Am Morgen ging er langsam die Straße hinunter, und niemand sah ihn. In der Küche brannte [[2]], und er dachte an seine Mutter."
FRENCH = "Le matin, il descendit lentement la rue [[2]] et personne ne le vit. Il pensait à sa mère, qui avait téléphoné hier."
RUSSIAN = "Утром он медленно пошёл по улице [[2]], и никто его не видел."
CHINESE = "早上他慢慢地走下街道，没有人看见他。[[2 tokens]]他想起他的母亲和昨天的信。"
ENGLISH = "In the morning he walked slowly down the street, and nobody [[2]] him. He thought of his mother, who had called the day before."
NAMES = "Aelindra of Vaelthor raised the Shardblade of Kythos, and [[2]] fell back before the gates of Nar-Dhuul. Then King Thorvak spoke."


class Reader(Toy):
    lexicon = Lexicon.of([TEXT])


def note(model: engine.Denoiser, draft: str) -> str:
    return next(iter(engine.fill(model, draft, engine.recommended(model, {"steps": 2, "candidates": 1, "revise": 0})))).note


@pytest.mark.parametrize("draft", [GERMAN, FRENCH, RUSSIAN, CHINESE])
def test_a_draft_in_another_language_is_told(model: engine.Denoiser, draft: str) -> None:
    assert note(model, draft).startswith("The model knows few of the words")


@pytest.mark.parametrize(
    "draft", [ENGLISH, ENGLISH.upper().replace("[[2]]", "[[3]]"), NAMES, "Hm, [[2]]", "[[2]]", "", "Straße [[1]]", "ENGLISH: 1917 [[1]]"]
)
def test_one_in_the_models_own_language_or_of_a_few_words_is_not(model: engine.Denoiser, draft: str) -> None:
    assert note(model, draft) == ""


def test_a_long_draft_is_judged_by_what_stands_near_its_gaps(model: engine.Denoiser) -> None:
    german, english = (draft.replace("[[2]]", "ein Licht") * 20 for draft in (GERMAN, ENGLISH))
    assert note(model, f"{german}\n\n{english}{ENGLISH}{english}\n\n{german}") == ""
    assert note(model, f"{english}\n\n{german}{GERMAN}{german}\n\n{english}") != ""


def test_the_words_of_ones_own_texts_are_no_strange_ones() -> None:
    lexicon = Lexicon.of(["der alte Mann ging in das Haus und die Tür war offen"])
    assert lexicon.strange("die Tür in das alte Haus war offen") == 0
    assert lexicon.strange("the door of the old house stood open") > 0.9


def test_the_command_line_says_it_beside_the_fill(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--steps", "2", "--candidates", "1", "--revise", "0", "--json", GERMAN]) == 0
    out, err = capfd.readouterr()
    assert "knows few of the words" in err
    assert "knows few of the words" in json.loads(out.splitlines()[-1])["note"]
    assert "note" not in json.loads(out.splitlines()[0])


def test_the_page_says_it_when_all_is_settled(new_page) -> None:
    with serving(Reader) as (url, _):
        page: Page = new_page()
        visit(page, url)
        open_draft(page, GERMAN)
        fill(page)
        told = page.locator(".say")
        expect(told).to_contain_text("The model knows few of the words around the gaps")
        page.set_viewport_size({"width": 390, "height": 844})
        assert told.evaluate("(line) => line.scrollWidth <= line.clientWidth"), "it is not cut off"
        page.set_viewport_size({"width": 1280, "height": 800})
        open_draft(page, TEXT.replace("burned low", "burned [[2]]"))
        fill(page)
        expect(told).to_contain_text("all settled")
        expect(told).not_to_contain_text("knows few")
