"""Documents from plain or .xz text files."""

from __future__ import annotations

import fnmatch
import lzma
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from engine.spacing import straighten

SEPARATOR = "<|doc|>"
"""The line between two documents of a corpus file."""


_SEPARATORS = re.compile(rf"^{re.escape(SEPARATOR)}$", re.MULTILINE)


SUFFIXES = {".txt", ".md", ".xz"}


class CorpusError(ValueError):
    """A corpus file cannot be used; the message is one sentence."""


def unusable(error: OSError, path: Path | None) -> str:
    """The sentence for a file or folder that the system refuses; `path` where it doesn't say which."""
    return f"{error.filename or path} can't be read or written: {error.strerror or error}."


def files_of(paths: Sequence[Path]) -> list[Path]:
    """The text files named, folders opened (their .txt, .md and .xz files, sorted); CorpusError when there are none."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file() and not p.name.startswith("."))
        elif path.is_file():
            found.append(path)
        else:
            raise CorpusError(f"There is no file or folder {path}; name text files (plain or .xz) or a folder of them.")
    if not found:
        raise CorpusError(f"No .txt, .md or .xz file lies in {', '.join(map(str, paths))}; put your texts there.")
    return found


def documents(path: Path) -> Iterator[str]:
    """The documents of a file: the texts between `<|doc|>` lines, stripped of outer white space, empty ones left out."""
    open_text = lzma.open if path.suffix.lower() == ".xz" else open
    held: list[str] = []
    try:
        with open_text(path, "rt", encoding="utf-8-sig") as stream:
            for lines in _blocks_of_lines(stream):
                if "\0" in lines:
                    raise CorpusError(f"{path.name} is not UTF-8 text; save it as UTF-8.")
                first, *others = _SEPARATORS.split(lines)
                held.append(first)
                for other in others:
                    if text := "".join(held).strip():
                        yield text
                    held = [other]
    except OSError as error:
        raise CorpusError(f"{path.name} cannot be read: {error.strerror or error}.") from error
    except (lzma.LZMAError, EOFError) as error:
        raise CorpusError(f"{path.name} is not a whole .xz file; copy it again.") from error
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path.name} is not UTF-8 text; save it as UTF-8.") from error
    if text := "".join(held).strip():
        yield text


def _blocks_of_lines(stream: TextIO) -> Iterator[str]:
    """The text of a file in blocks that end where a line does: some times faster than line by line."""
    rest = ""
    while block := stream.read(2**20):
        lines, end, tail = block.rpartition("\n")
        if end:
            yield rest + lines + end
            rest = tail
        else:
            rest += tail
    yield rest


def training_documents(path: Path) -> Iterator[str]:
    """The documents of a file with straight quotes and LF; what signs a vocabulary lacks is for `Vocabulary.read` to say."""
    return map(straighten, documents(path))


def source_of(path: Path) -> str:
    """The source that a file belongs to: its name without a number and suffixes (train-essays-00.txt.xz: train-essays)."""
    return re.sub(r"[-_. ]?\d*((\.(txt|md|xz))+)$", "", path.name, flags=re.IGNORECASE) or path.name


def weight_of(source: str, weights: Sequence[tuple[str, float]]) -> float:
    """How often a source's tokens are drawn for each time that others are: that of the first name pattern that matches, else 1."""
    return next((weight for pattern, weight in weights if fnmatch.fnmatch(source, pattern)), 1.0)


def sample(files: Sequence[Path], weights: Sequence[tuple[str, float]], characters: float) -> Iterator[str]:
    """The first documents of each file, up to about this many characters times its source's weight."""
    for path in files:
        left = characters * weight_of(source_of(path), weights)
        for text in training_documents(path):
            if left <= 0:
                break
            yield text
            left -= len(text)


def spread(files: Sequence[Path], weights: Sequence[tuple[str, float]], share: float) -> Iterator[str]:
    """Paragraphs from everywhere in each file, this share of them times its source's weight, in even distances."""
    for path in files:
        owed = 0.0
        for text in training_documents(path):
            for paragraph in text.split("\n"):
                owed += share * weight_of(source_of(path), weights)
                if owed >= 1 and paragraph:
                    yield paragraph
                    owed %= 1
