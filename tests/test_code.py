"""Gaps in program code: indentation, brackets and quotes stay as the model wrote them; prose stays prose."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

import engine
from engine.canvas import Canvas
from engine.draft import Draft
from engine.source import in_code
from tests import page as on_page
from tests.checkpoints import CODE, byte_level, make_llada, save_tokenizer
from tests.scripted import Scripted

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scripted")
    save_tokenizer(folder, byte_level(600))
    (folder / "config.json").write_text("{}")
    return folder


def written(home: Path, draft: str, says: str, size: int | None = None) -> str:
    """The draft with its gap, `[[N]]`, filled by a model that says this."""
    model = Scripted(home, says)
    draft = draft.replace("N", f"{size or len(model.wish)} tokens")
    *_, last = engine.fill(model, draft, engine.Settings(steps=1, sampler="confidence", choice="deterministic"))
    return last.text


@pytest.mark.parametrize(
    ("draft", "says", "text"),
    [
        ("def f(xs):\n    n = 0\n[[N]]\n    return n\n", "    for x in xs:\n        n += x[0] * (1 - n)", None),
        ("def f(xs):\n    n = 0\n    [[N]]\n    return n\n", " for x in xs:\n        n += 1", "for x in xs:\n        n += 1"),
        ("def f(x):[[N]]\n\nprint(f(3))\n", '\n    if x:\n\n        return ""\n    return x', None),
        ("x = foo([[N]])\ny = 2\n", "'left', rate=0.5", None),
        ("x = foo([[N]])\ny = 2\n", '["left", {}]', None),
        ("x = foo[[N]]\ny = 2\n", "()", None),
        ("name = '“é”'\nx = foo([[N]])\ny = 2\n", "'it', \"s\"", None),
        ("func f() {\n\tx := [[N]]\n}\n", " g(1)\n\treturn x", "g(1)\n\treturn x"),
        ("x = [[N]]\r\ny = 3\r\n", " {\n    'a': 1,\n}", "{\r\n    'a': 1,\r\n}"),
        ("Run this:\n\n```\n[[N]]\n```\n", 'ls -l  "$HOME"', None),
        ('{\n  "a": [[N]],\n  "b": 2\n}\n', " [1,  2]", "[1,  2]"),
    ],
)
def test_a_fill_in_code_is_what_the_model_wrote(home, draft, says, text):
    assert written(home, draft, says) == draft.replace("[[N]]", says if text is None else text)


def shown(home: Path, draft: str, says: str) -> str:
    """The draft with its gap's cells holding these tokens, whatever the rules for them say."""
    model = Scripted(home)
    canvas = Canvas(model, Draft.parse(draft))
    tokens = model.encode(says)
    return canvas.text([canvas.texts(0, tokens)], [[False] * len(tokens)])


def test_blanks_at_the_end_of_a_line_are_left_out(home):
    assert shown(home, "x = [[]]\ny = 3\n", " 1 \n  ") == "x = 1\ny = 3\n"
    assert shown(home, "x = foo([[]])\ny = 3\n", " 1 ") == "x = foo( 1 )\ny = 3\n"


def test_prose_keeps_its_manners(home):
    said = ' the  old "house" \n'
    assert shown(home, "It was [[]] when the “door”  opened.", said) == "It was the old “house” when the “door”  opened."
    verse = "the tide\n    was late\n\n\n\n and\tcold"
    assert shown(home, "So it was.\n[[]]\nAnd so it went.\n", verse) == "So it was.\nthe tide\n    was late\n\nand cold\nAnd so it went.\n"


@pytest.mark.parametrize(
    ("draft", "code"),
    [
        ("x = [[]]", True),
        ("print([[]])", True),
        ("for i in range([[]]):\n    pass", True),
        ("def f(x):\n    [[]]\n    return y", True),
        ("#include [[]]", True),
        ("SELECT [[]]\nFROM books WHERE x = 1", True),
        ("@property\ndef f(self):\n    return [[]]", True),
        ("We met on 3.4.2024 and [[]]", False),
        ("We met at 12:30:15 and [[]]", False),
        ("It is all on www.example.com, where [[]]", False),
        ("Write to anna.b.smith@mail.org and [[]]", False),
        ("@anna, she said that the old [[]]", False),
        ("WHERE THE SEA IS [[2]]", False),
        ("FROM THE DESK OF [[2]]", False),
        ("The U.S.A is [[2]] and so is A.A.Milne.", False),
        ("a || [[]]", True),
        ("if (x > 0) {\n  [[]]\n}", True),
        ("SELECT [[]]\nFROM books", True),
        ("Call `foo([[]])` first, and then have a cup of tea.", True),
        ("Before.\n```\n[[]]\n```\nAfter.", True),
        ("```\nx = 1\n```\n\nAnd so it was that [[]] came to the house.", False),
        ("It was [[]] when the door opened.", False),
        ("“I do not think so,” said [[]], and she went; then", False),
        ("Dear Ann,\n\n[[]]\n\nYours,\nBob", False),
        ("for a while [[]] he said:", False),
        ("if it was [[]], then\nshe said:", False),
        ("return to [[]]", False),
        ("class struggle and [[]]", False),
        ("- milk\n- [[]]\n- eggs", False),
        ("([[]])", False),
        ("Call me (555) [[]]", False),
        ("see fig. (a) and [[]]", False),
        ("[[]]", False),
        ("", False),
    ],
)
def test_what_is_code_is_told_from_the_lines_around(draft, code):
    before, _, after = draft.partition("[[]]")
    assert (in_code(before, after) or "```\n[[" in draft) == code
    if "[[]]" in draft:
        canvas = Canvas(engine.load("toy"), Draft.parse(draft))
        assert canvas.spans[0].code == code


def test_real_prose_is_never_taken_for_code_and_code_mostly_is():
    prose = (ROOT / "tests/data/dev_sample.txt").read_text(encoding="utf-8")
    cuts = range(100, len(prose) - 100, len(prose) // 300)
    assert not any(in_code(prose[max(0, at - 3000) : at], prose[at + 30 : at + 3000]) for at in cuts)
    source = (ROOT / "engine/spacing.py").read_text(encoding="utf-8")
    cuts = range(100, len(source) - 100, len(source) // 100)
    assert sum(in_code(source[:at], source[at + 30 :]) for at in cuts) > 0.9 * len(cuts)


@pytest.mark.parametrize(
    ("line", "code"), [("if (a " * 20_000, False), ("a[" + "b" * 60_000, False), ("for " * 20_000, False), ("x=[1];f(x);" * 6_000, True)]
)
def test_a_line_without_end_takes_no_time(line, code):
    began = time.process_time()
    assert in_code(f"{line}\n{line}", f"{line}\n{line}") == code
    assert time.process_time() - began < 2


def test_a_function_keeps_its_lines_through_the_command_line(tmp_path):
    folder = make_llada(tmp_path / "m")
    before, after = CODE.split("    for name, price in items:\n        if price > 0:\n", 1)
    draft = tmp_path / "total.py"
    draft.write_bytes(f"{before}[[14 tokens]]\n{after}".encode())
    command = [sys.executable, "-m", "engine.cli", "--model", str(folder), "--device", "cpu", "--dtype", "float32", "--file", str(draft)]
    done = subprocess.run([*command, "--seed", "5", "--steps", "4"], cwd=ROOT, capture_output=True, timeout=120, check=True)
    found = done.stdout.decode()
    assert found.startswith(before) and found.endswith("\n" + after) and "\ufffd" not in found
    model = engine.load(folder, device="cpu", dtype="float32")
    *_, last = engine.fill(model, draft.read_text(encoding="utf-8"), engine.Settings(seed=5, steps=4))
    assert last.text == found


def test_a_function_keeps_its_lines_on_the_page(home, browser):
    before, after = CODE.split("    for name, price in items:\n", 1)
    says = "    for name, price in items.values():\n        if name == 'left':\n            break"
    model = Scripted(home, says)
    with on_page.serving(lambda: model) as (url, _), on_page.desk(browser, url) as page:
        on_page.visit(page, url)
        on_page.open_draft(page, f"{before}[[{len(model.wish)} tokens]]\n{after}")
        on_page.fill(page)
        assert on_page.text(page) == f"{before}{says}\n{after}"


def test_nothing_is_written_apart_from_the_sign_that_opens_code(model: engine.Denoiser) -> None:
    for draft in ("Type `[[1]]` to begin.", "Call `f([[1]])` twice.", "<p>[[3]]</p>"):
        *_, last = engine.fill(model, draft, engine.Settings(seed=0))
        before, _, _ = draft.partition("[[")
        assert last.text.startswith(before) and not last.text[len(before)].isspace(), last.text
