"""The shape that the code must keep: who may import whom, how long a file may be, what may not be written anywhere."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# The engine from the bottom up. A module may import those of its own line and of the lines above it, without circles.
LAYERS = (
    "text cpu lines signs lexicon marks frames settings denoiser schedules ngrams attention caches model length_head tokenizer hub",
    "notation spacing neighbours casing style source wordings context forward reveal_order samplers draws checkpoint",
    "draft vocabulary word_count rarity repetition pace growth step reverse backends",
    "spelling adjoining edges layout",
    "spans",
    "shown canvas constraints memory phrases reading",
    "revision",
    "lengths cells rules bans",
    "keywords resumption",
    "filling",
    "cli_hub cli training evaluation",
)
LEVEL = {f"engine.{name}": level for level, names in enumerate(LAYERS) for name in names.split()}
LONGEST = 400
SKIPPED_FOLDERS = {"__pycache__", "runs", "scratch", "node_modules"}
TEXT_SUFFIXES = {".py", ".js", ".css", ".html", ".md", ".toml", ".txt", ".json", ".svg", ".yml", ".sh", ""}


def files(*suffixes: str) -> list[Path]:
    """The checkout's files with these suffixes, without what a run leaves behind."""
    found = []
    for folder in [ROOT, *(path for path in ROOT.iterdir() if path.is_dir() and (not path.name.startswith(".") or path.name == ".ci"))]:
        for path in folder.glob("*") if folder == ROOT else folder.rglob("*"):
            if path.is_file() and path.suffix in suffixes and not SKIPPED_FOLDERS & set(path.relative_to(ROOT).parts):
                found.append(path)
    return sorted(found)


def module(path: Path) -> str:
    """engine/backends/toy.py -> engine.backends.toy"""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module(path): path for path in files(".py")}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}
ENGINE = sorted(name for name in MODULES if name.partition(".")[0] == "engine")
APP = sorted(name for name in MODULES if name.partition(".")[0] == "app")


def imports(name: str) -> Iterator[str]:
    """What a module imports, anywhere in it: modules of ours by their own name, and also each `module.name` of a from-import."""
    package = name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parent, *([node.module] if node.module else [])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield full if full in MODULES else base


def part(name: str) -> str:
    """engine.backends.toy -> engine.backends: the unit that has a layer."""
    return ".".join(name.split(".")[:2])


def test_there_is_something_to_read() -> None:
    assert {"engine.reverse", "engine.training.train", "app.main", "launch", "tests.conftest"} <= set(MODULES)


@pytest.mark.parametrize("name", ENGINE)
def test_engine_knows_nothing_of_the_app(name: str) -> None:
    foreign = {"gradio", "gradio_client", "starlette", "fastapi", "app", "launch", "environment", "bench", "tests"}
    assert {found.partition(".")[0] for found in imports(name)} & foreign == set()


@pytest.mark.parametrize("name", APP)
def test_app_speaks_only_to_the_engines_front_door(name: str) -> None:
    found = set(imports(name))
    assert {one.partition(".")[0] for one in found} & {
        "torch",
        "numpy",
        "sentencepiece",
        "safetensors",
        "launch",
        "tests",
        "bench",
    } == set()
    assert {one for one in found if one.startswith("engine.")} == set()


@pytest.mark.parametrize("name", [name for name in ENGINE if name != "engine"])
def test_engine_modules_import_only_what_lies_below(name: str) -> None:
    assert part(name) in LEVEL, f"give {part(name)} a place in LAYERS"
    above = {found for found in imports(name) if found.startswith("engine.") and LEVEL.get(part(found), -1) > LEVEL[part(name)]}
    assert above == set()


def test_engine_imports_make_no_circle() -> None:
    graph = {name: {found for found in imports(name) if found in ENGINE and found not in (name, "engine")} for name in ENGINE}
    assert len(list(TopologicalSorter(graph).static_order())) == len(ENGINE)


def test_every_layer_name_is_a_module() -> None:
    assert set(LEVEL) - {part(name) for name in ENGINE} == set()


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        (
            "import engine; engine.Draft.parse('a [[3]] b').segments(); engine.Settings(); engine.sampler_help(); "
            "engine.schedule_names(); dir(engine)",
            {"torch", "gradio", "numpy", "sentencepiece"},
        ),
        ("import engine; engine.fill, engine.SAMPLERS, engine.load", {"gradio", "starlette", "fastapi", "matplotlib"}),
        ("import app.main", {"torch", "sentencepiece", "safetensors"}),
        ("import launch", {"torch", "gradio", "numpy", "pip", "venv"}),
    ],
)
def test_imports_cost_no_more_than_they_must(statement: str, unwanted: set[str]) -> None:
    code = f"{statement}; import sys; print(*sorted({unwanted!r} & sys.modules.keys()))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.stdout.strip(), result.returncode) == ("", 0), result.stderr


@pytest.mark.parametrize("path", files(".py", ".js", ".css"), ids=lambda path: str(path.relative_to(ROOT)))
def test_file_fits_in_a_head(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


# Written in pieces, so that this file does not hold what it looks for.
FORBIDDEN = {
    "a path of somebody's machine": r"(?<![\w.:])/(?:work|root|home/\w+|Users/\w+)/",
    "a package registry": "py" + r"pi\.(?:org|python)|files\.pythonhosted" + r"|registry\.npmjs|anaconda\.org",
    "remote code from the hub": "trust_remote" + r"_code\s*=\s*True",
    "an unsafe way to read a file": r"\bimport " + r"pickle\b|\bpickle\.loads?\(|allow_" + r"pickle\s*=\s*True|\bjoblib\b|\bdill\b",
    "a merge that was left half done": r"^(?:<{7}|>{7}) ",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_nothing_forbidden_is_written_anywhere(what: str) -> None:
    pattern = re.compile(FORBIDDEN[what], re.MULTILINE)
    texts = {path: path.read_text(encoding="utf-8", errors="replace") for path in files(*TEXT_SUFFIXES)}
    assert len(texts) > 20
    assert [f"{path.relative_to(ROOT)}: {found[0]}" for path, text in texts.items() if (found := pattern.search(text))] == []


@pytest.mark.parametrize("name", [name for name in MODULES if name != "tests.test_architecture"])
def test_checkpoints_are_read_without_running_them(name: str) -> None:
    """torch.load unpickles: only `weights_only=True` keeps it from running what a file says."""
    calls = (node for node in ast.walk(TREES[name]) if isinstance(node, ast.Call))
    loads = [call for call in calls if isinstance(call.func, ast.Attribute) and ast.unparse(call.func) == "torch.load"]
    assert all(any(key.arg == "weights_only" and ast.unparse(key.value) == "True" for key in call.keywords) for call in loads)


@pytest.mark.parametrize("name", [*ENGINE, *APP, "launch", "environment"])
def test_everything_public_says_what_it_does(name: str) -> None:
    def undocumented(body: list[ast.stmt], prefix: str) -> Iterator[str]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                overrides = any(ast.unparse(mark).endswith(("override", "overload", ".setter")) for mark in node.decorator_list)
                if not ast.get_docstring(node) and not overrides:
                    yield prefix + node.name
                if isinstance(node, ast.ClassDef):
                    yield from undocumented(node.body, f"{prefix}{node.name}.")

    assert list(undocumented(TREES[name].body, "")) == []
    assert ast.get_docstring(TREES[name]), "the module itself says nothing"
