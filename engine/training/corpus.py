"""Documents from plain or .xz text files."""

from __future__ import annotations

import fnmatch
import lzma
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from engine.hub.installed import WEIGHTS
from engine.spacing import straighten

SEPARATOR = "<|doc|>"
"""The line between two documents of a corpus file."""


_SEPARATORS = re.compile(rf"^{re.escape(SEPARATOR)}$", re.MULTILINE)


SUFFIXES = {".txt", ".md", ".xz"}
FORMATTED = {".doc", ".docx", ".epub", ".htm", ".html", ".odt", ".pages", ".pdf", ".rtf", ".tex"}
"""Files that hold text among other things, some of which can be read as text."""


class CorpusError(ValueError):
    """A corpus file cannot be used; the message is one sentence."""


def unusable(error: OSError, path: Path | None) -> str:
    """The sentence for a file or folder that the system refuses; `path` where it doesn't say which."""
    return f"{error.filename or path} can't be read or written: {error.strerror or error}."


def files_of(paths: Sequence[Path], *, out: Path | None = None) -> list[Path]:
    """The text files named, folders opened: their .txt, .md and .xz files, sorted, without hidden ones, those of models, and what lies
    in a run's own folder `out`. CorpusError when there are none, or one that is named is no plain text.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += [p for p in _within(path, out) if p.suffix.lower() in SUFFIXES]
        elif path.is_file() and path.suffix.lower() in FORMATTED:
            raise CorpusError(f"{path.name} is no plain text; save it as plain text (.txt, UTF-8).")
        elif path.is_file():
            found.append(path)
        else:
            raise CorpusError(f"There is no file or folder {path}; name text files (plain or .xz) or a folder of them.")
    if not found:
        raise CorpusError(f"No .txt, .md or .xz file lies in {', '.join(map(str, paths))}; put your texts there.")
    return found


def unread(paths: Sequence[Path], *, out: Path | None = None) -> str:
    """A sentence on files in the folders named that hold text but are no plain text; empty where there are none."""
    found = Counter(p.suffix.lower() for path in paths if path.is_dir() for p in _within(path, out) if p.suffix.lower() in FORMATTED)
    told = ", ".join(f"{count} {suffix}" for suffix, count in sorted(found.items()))
    return f"Files left out, for they are no plain text (save them as .txt, UTF-8): {told}." if found else ""


def _within(folder: Path, out: Path | None) -> list[Path]:
    """The files below a folder, sorted: none that are hidden, or in a hidden folder, none of a model, none of the run itself."""
    own = None if out is None else out.resolve()

    def wanted(path: Path) -> bool:
        if any(part.startswith(".") for part in path.relative_to(folder).parts) or not path.is_file():
            return False
        return not (path.parent / WEIGHTS).is_file() and (own is None or own not in path.resolve().parents)

    return sorted(path for path in folder.rglob("*") if wanted(path))


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
