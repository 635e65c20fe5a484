"""What the documents name is there: files and modules in backticks, and where their links lead."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / name for name in ("README.md", "docs/DECISIONS.md", "docs/SAMPLERS.md", "docs/GPU.md")]
RECORD = sorted((ROOT / "docs" / "record").glob("*.md"))
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
FOLDERS, SUFFIXES = "app|assets|bench|docs|engine|tests", "css|js|json|md|model|png|py|safetensors|svg|toml|txt|xz"
FILE = re.compile(rf"(?<![\w/.])(?:{FOLDERS})/[\w/.-]+\.(?:{SUFFIXES})\b")
NAME = re.compile(r"(?<![\w/.])(?:app|engine)(?:\.[a-zA-Z_]\w*)+")
LINK = re.compile(r"\]\(([^)\s]+)\)|^\[[^\]]+\]:\s+(\S+)", re.MULTILINE)


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
