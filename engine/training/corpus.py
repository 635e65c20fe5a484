"""Documents from plain or .xz text files, and packed rows of tokens to train and evaluate on."""

from __future__ import annotations

import fnmatch
import hashlib
import lzma
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from engine.tokenizer import Tokenizer

SEPARATOR = "<|doc|>"
"""The line between two documents of a corpus file."""


class CorpusError(ValueError):
    """A corpus file cannot be used; the message is one sentence."""


def files_of(paths: Sequence[Path]) -> list[Path]:
    """The text files named, folders opened (their .txt, .md and .xz files, sorted); CorpusError when there are none."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(p for p in path.rglob("*") if p.suffix in {".txt", ".md", ".xz"} and p.is_file())
        elif path.is_file():
            found.append(path)
        else:
            raise CorpusError(f"There is no file or folder {path}; name text files (plain or .xz) or a folder of them.")
    if not found:
        raise CorpusError(f"No .txt, .md or .xz file lies in {', '.join(map(str, paths))}; put your texts there.")
    return found


def documents(path: Path) -> Iterator[str]:
    """The documents of a file: the texts between `<|doc|>` lines, stripped of outer white space, empty ones left out."""
    open_text = lzma.open if path.suffix == ".xz" else open
    lines: list[str] = []
    try:
        with open_text(path, "rt", encoding="utf-8") as stream:
            for line in stream:
                if line.rstrip("\n") != SEPARATOR:
                    lines.append(line)
                elif text := "".join(lines).strip():
                    yield text
                    lines = []
                else:
                    lines = []
    except (lzma.LZMAError, EOFError) as error:
        raise CorpusError(f"{path.name} is not a whole .xz file; copy it again.") from error
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path.name} is not UTF-8 text; save it as UTF-8.") from error
    if text := "".join(lines).strip():
        yield text


class Mixture:
    """Documents drawn file by file in a fixed random order, each group of files read by its weight.

    A weight is the number of times a file's text is used for each time the others' is: 2 reads it twice, 0.5 half of
    its documents. `weights` maps name patterns (`*fiction*`) to it; the first that matches counts, else 1.
    """

    def __init__(self, files: Sequence[Path], weights: Sequence[tuple[str, float]] = (), seed: int = 0) -> None:
        self.files, self.weights, self.seed = list(files), list(weights), seed

    def weight(self, path: Path) -> float:
        """How many times the documents of this file are used."""
        return next((w for pattern, w in self.weights if fnmatch.fnmatch(path.name, pattern)), 1.0)

    def documents(self) -> Iterator[tuple[int, str]]:
        """(file index, document) in file order; a document is used floor(weight) times or once more, by a seeded draw."""
        for f, path in enumerate(self.files):
            weight, rng = self.weight(path), np.random.default_rng([self.seed, f])
            for text in documents(path):
                for _ in range(int(weight + rng.random())):
                    yield f, text


def pack(texts: Iterator[str], tokenizer: Tokenizer) -> Iterator[np.ndarray]:
    """Each document as uint16 ids, led by the document token."""
    for text in texts:
        yield np.array([tokenizer.document_id, *tokenizer.encode(text)], dtype=np.uint16)


def sample(files: Sequence[Path], mixture: Mixture, characters: float) -> Iterator[str]:
    """The first documents of each file, up to about this many characters times the file's weight."""
    for path in files:
        left = characters * mixture.weight(path)
        for text in documents(path):
            if left <= 0:
                break
            yield text
            left -= len(text)


def token_stream(mixture: Mixture, tokenizer: Tokenizer, folder: Path) -> np.ndarray:
    """All documents of a mixture as one memory-mapped stream of uint16 ids, kept in `folder` for the next time."""
    told = repr([(f.name, f.stat().st_size, mixture.weight(f)) for f in mixture.files] + [mixture.seed]).encode() + tokenizer.proto
    path = folder / f"tokens-{hashlib.sha256(told).hexdigest()[:12]}.npy"
    if not path.exists():
        texts = (text for _, text in tqdm(mixture.documents(), desc="Tokenising", unit=" documents", file=sys.stderr))
        partial = path.with_suffix(".part.npy")
        np.save(partial, np.concatenate(list(pack(texts, tokenizer))))
        partial.rename(path)
    stream: np.ndarray = np.load(path, mmap_mode="r")
    return stream
