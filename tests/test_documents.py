"""What the documents name is there: files and modules in backticks, where their links lead, commands with their options, fields."""

from __future__ import annotations

import importlib
import itertools
import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest

import launch
from app import main as app
from bench import run as bench
from engine import cli
from engine.evaluation import main as evaluation
from engine.frames import Cell, Frame, Result
from engine.hub.installed import is_name
from engine.training import length_head, recipe
from engine.training.options import arguments

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("README.md", "CHANGELOG.md", "docs/DECISIONS.md", "docs/SAMPLERS.md", "docs/GPU.md", "assets/model/README.md")
DOCUMENTS = [ROOT / name for name in NAMES]
RECORD = sorted((ROOT / "docs" / "record").glob("*.md"))
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
FOLDERS, SUFFIXES = "app|assets|bench|docs|engine|tests", "css|js|json|md|model|png|py|safetensors|svg|toml|txt|xz"
FILE = re.compile(rf"(?<![\w/.])(?:{FOLDERS})/[\w/.-]+\.(?:{SUFFIXES})\b")
NAME = re.compile(r"(?<![\w/.])(?:app|engine)(?:\.[a-zA-Z_]\w*)+")
LINK = re.compile(r"\]\(([^)\s]+)\)|^\[[^\]]+\]:\s+(\S+)", re.MULTILINE)
COMMAND = re.compile(r"(?:python3?|torchrun [^`\n]*?) launch\.py(?![\w.])([^`\n]*)|-m (engine\.[\w.]+)( [^`\n]*)")
ENDS = {*"<>|&;()"}
PARSERS = {"app": app.parser, "fill": cli.parser, "train-lengths": length_head.parser, "evaluate": evaluation.parser, "bench": bench.parser}


def commands(text: str) -> list[tuple[str, list[str]]]:
    """The command lines in a document: a module that is run, or nothing for launch.py, and what it is told.

    Words in capitals stand for something of the reader's, here for 1.
    """
    found = []
    for told, module, rest in COMMAND.findall(re.sub(r"\\\n|^#.*", " ", text, flags=re.MULTILINE)):
        lexer = shlex.shlex(told or rest, posix=True, punctuation_chars=True)
        lexer.whitespace_split, lexer.commenters = True, "#"
        words = itertools.takewhile(lambda word: not ENDS & {*word}, lexer)
        found.append((module, [re.sub(r"^[A-Z]+$", "1", word) for word in words if word not in ("$@", "...")]))
    return found


def read(module: str, told: list[str]) -> None:
    """Read a command line as the command would, but run nothing; SystemExit or ValueError for an option that it hasn't got."""
    if module:
        importlib.import_module(module).parser().parse_args(told)
        return
    command, _, rest = launch.understand(told)
    if not rest or "--help" in rest or command in ("help", "version", "test"):
        return
    if command in PARSERS:
        PARSERS[command]().parse_args(rest)
    elif command == "train":
        recipe.parser().parse_args(rest) if "--recipe" in rest else arguments(rest, None)
    elif command == "download":
        assert len(rest) == 1 and is_name(rest[0])
    else:
        pytest.fail(f"{command} takes no options")


def there(name: str) -> bool:
    """Whether a dotted name is a module, or a word of the module that it would be in: `engine.fill`, `engine.hub`."""
    path, *rest = name.split(".")
    while rest and any((ROOT / path / f"{rest[0]}{end}").exists() for end in (".py", "/__init__.py")):
        path = f"{path}/{rest.pop(0)}"
    module = next(file for file in (ROOT / f"{path}.py", ROOT / path / "__init__.py") if file.exists())
    return not rest or re.search(rf"\b{rest[0]}\b", module.read_text(encoding="utf-8")) is not None


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_stands_in_backticks_is_there(document: Path) -> None:
    said = " ".join(re.findall(r"`([^`\n]+)`", FENCED.sub("", document.read_text(encoding="utf-8"))))
    assert [name for name in FILE.findall(said) if not (ROOT / name).exists()] == []
    assert [name for name in NAME.findall(said) if not there(name)] == []


@pytest.mark.parametrize("document", DOCUMENTS + RECORD, ids=lambda path: path.name)
def test_links_lead_to_files_and_headings(document: Path) -> None:
    text = FENCED.sub("", document.read_text(encoding="utf-8"))
    for target in (inline or defined for inline, defined in LINK.findall(re.sub(r"`[^`\n]*`", "", text))):
        if not re.match(r"\w+:", target):
            name, _, heading = target.partition("#")
            file = document.parent / name if name else document
            assert file.exists(), target
            titles = re.findall(r"^#+ (.*)", file.read_text(encoding="utf-8"), re.MULTILINE) if heading else []
            assert not heading or heading in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, target


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "docs" / "record" / "gpu-session.md"], ids=lambda path: path.name)
def test_commands_have_the_options_that_documents_give_them(document: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for module, told in commands(document.read_text(encoding="utf-8")):
        try:
            read(module, told)
        except (SystemExit, ValueError) as error:
            pytest.fail(f"{module or 'launch.py'} {shlex.join(told)}: {error} {capsys.readouterr().err}")


def test_the_commands_of_the_documents_are_found() -> None:
    found = commands((ROOT / "README.md").read_text(encoding="utf-8"))
    assert {launch.understand(told)[0] for module, told in found if not module} >= {*launch.COMMANDS} - {"bench"}
    assert len(found) > 20 and ("engine.training.words", ["--model", "runs/new/model", "--data", "corpus/"]) in found
    with pytest.raises(SystemExit):
        read("", ["evaluate", "--data", "x", "--speed"])


def test_the_readme_tells_every_field_of_a_message() -> None:
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("| message | field |")[2].partition("\n\n")[0]
    told = set(re.findall(r"`(\w+)`", table))
    assert told >= {field.name for kind in (Frame, Cell) for field in fields(kind)} - {"others"} | Result().done().keys()
    assert told >= {"waiting", "score", "error", "line", "column"}
