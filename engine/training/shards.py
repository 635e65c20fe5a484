"""A corpus as files of token ids with an index: made once, in order, in bounded memory; taken up again where it was stopped.

A shard holds whole documents of one source, each led by the document token. `index.json` names the shards with their
source, documents, tokens and digest, and says what the corpus was made from and what was left out.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

from engine.spacing import as_learned
from engine.tokenizer import Tokenizer
from engine.training.corpus import CorpusError, documents, source_of, training_documents
from engine.training.dedup import Deduplicator, Marked, mark

FORMAT = "lacuna-shards-1"
INDEX, TOKENIZER = "index.json", "tokenizer.model"
SHARD_TOKENS = 2**23
"""A shard is closed with the document that takes it to this many tokens (16 MiB)."""
READ = 3
"""Which way of reading texts shards were made with; others are made again. 2: signs as `signs.Plain` reads them. 3: white space as `lines`
does."""
MAPPED = 2**18
"""Tokens from which on a shard is mapped: a folder of a thousand notes has as many shards, and a process may not open so many files."""
INDEX_EVERY = 1.0
"""Seconds between two writings of the index while shards come: it names all of them each time."""
TASK_CHARACTERS = 1_000_000
"""Text that is tokenised at once by one process."""
WORTH_PROCESSES = 20_000_000
"""Bytes of input from which on more processes pay for their start."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of the corpus."""

    file: str
    source: str
    documents: int
    tokens: int
    sha256: str
    read: tuple[int, int]
    """How far the input was read when it was closed: which file, and how many of its documents."""


@dataclass(slots=True)
class Index:
    """What index.json holds."""

    made_from: str
    """Digest of the inputs with their names, the tokenizer and the excluded texts: another one means another corpus."""
    shards: list[Shard] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    """Tokens left out since the run that finished it began, by reason."""
    whole: bool = False

    @property
    def tokens(self) -> dict[str, int]:
        """Tokens by source."""
        counts: dict[str, int] = {}
        for shard in self.shards:
            counts[shard.source] = counts.get(shard.source, 0) + shard.tokens
        return counts

    def write(self, folder: Path) -> None:
        """Replace index.json, whole or not at all."""
        partial = folder / (INDEX + ".part")
        partial.write_text(json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n", encoding="utf-8")
        os.replace(partial, folder / INDEX)

    @classmethod
    def read(cls, folder: Path) -> Index:
        """The index of a folder of shards; CorpusError when it is none of ours."""
        try:
            held = json.loads((folder / INDEX).read_text(encoding="utf-8"))
            if held.pop("format") != FORMAT:
                raise KeyError("format")
            shards = [Shard(**{**shard, "read": tuple(shard["read"])}) for shard in held.pop("shards")]
            return cls(shards=shards, **held)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorpusError(f"{folder} holds no index of a corpus that this version can read; make it again from the texts.") from error


def is_corpus(paths: Sequence[Path]) -> bool:
    """Whether the data named is a folder that `build` wrote."""
    return len(paths) == 1 and (paths[0] / INDEX).is_file()


def build(
    files: Sequence[Path], tokenizer: Tokenizer, folder: Path, *, exclude: Sequence[Path] = (), processes: int | None = None
) -> Index:
    """Tokenise, deduplicate and write the documents of these files, in their order; a shard that is whole already is kept.

    exclude: files of held-out texts; documents that are mostly in them are left out. processes: None for as many as there
    are cores, where there is enough to do. The result does not depend on it, nor on being stopped in between.
    """
    if tokenizer.vocab_size > 2**16:
        raise CorpusError(f"The tokenizer has {tokenizer.vocab_size} pieces and a shard's tokens have 16 bits; train a smaller one.")
    folder.mkdir(parents=True, exist_ok=True)
    made_from = _digest_of_inputs(files, tokenizer, exclude)
    index = _kept(folder, made_from)
    if index.whole:
        return index
    for path in folder.glob("[0-9]" * 5 + ".bin"):
        if path.name not in {shard.file for shard in index.shards}:
            path.unlink()
    (folder / TOKENIZER).write_bytes(tokenizer.proto)
    break_id = _break(tokenizer)
    filters = Deduplicator(break_id)
    for path in exclude:
        for text in training_documents(path):
            filters.hold_out(np.array(tokenizer.encode(as_learned(text, tokenizer.plain)), dtype=np.uint16))
    for shard in index.shards:
        for document in split(read_shard(folder, shard), tokenizer.document_id):
            filters.remember(mark(document, break_id))
    index.write(folder)
    large = sum(path.stat().st_size for path in files) >= WORTH_PROCESSES
    workers = (processes or min(16, os.cpu_count() or 1)) if large or processes else 1
    start = index.shards[-1].read if index.shards else (0, 0)
    told = time.monotonic()
    for shard in _shards(_encoded(files, start, tokenizer, workers), files, filters, folder, tokenizer.document_id, len(index.shards)):
        index.shards.append(shard)
        if time.monotonic() - told >= INDEX_EVERY:
            index.write(folder)
            told = time.monotonic()
    index.dropped, index.whole = dict(filters.dropped), True
    index.write(folder)
    return index


def made_of(folder: Path, files: Sequence[Path], tokenizer: Tokenizer, exclude: Sequence[Path]) -> bool:
    """Whether a folder's corpus is, or was to become, that of these files; one that can't be read is made again from any."""
    try:
        return Index.read(folder).made_from == _digest_of_inputs(files, tokenizer, exclude)
    except CorpusError:
        return True


def read_shard(folder: Path, shard: Shard) -> np.ndarray:
    """(tokens,) uint16, memory-mapped if there are many; CorpusError when the file is not as long as the index says."""
    path = folder / shard.file
    if not path.is_file() or path.stat().st_size != 2 * shard.tokens:
        raise CorpusError(f"The shard {shard.file} is missing or not whole; make the corpus again with the same command.")
    if shard.tokens < MAPPED:
        return np.fromfile(path, dtype="<u2")
    return np.memmap(path, dtype="<u2", mode="r")


def split(stream: np.ndarray, document_id: int) -> Iterator[np.ndarray]:
    """The documents of a shard, without their document tokens."""
    starts = [*np.flatnonzero(stream == document_id).tolist(), len(stream)]
    for a, b in pairwise(starts):
        yield np.asarray(stream[a + 1 : b])


def _kept(folder: Path, made_from: str) -> Index:
    """What an earlier call left: the shards up to the first that is not whole, or nothing when it was another corpus."""
    try:
        index = Index.read(folder)
    except CorpusError:
        return Index(made_from)
    if index.made_from != made_from:
        return Index(made_from)
    for i, shard in enumerate(index.shards):
        path = folder / shard.file
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != shard.sha256:
            return Index(made_from, index.shards[:i])
    return index


def _digest_of_inputs(files: Sequence[Path], tokenizer: Tokenizer, exclude: Sequence[Path]) -> str:
    told = [[(path.name, digest(path)) for path in paths] for paths in (files, exclude)]
    return hashlib.sha256(json.dumps([READ, *told]).encode() + tokenizer.proto).hexdigest()


def digest(path: Path) -> str:
    """SHA-256 of what a file holds."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


Place = tuple[int, int]
"""(file, documents read of it)."""


def _tasks(files: Sequence[Path], start: Place) -> Iterator[tuple[Place, list[str]]]:
    """Runs of documents of one file, with the place after their last one."""
    for f in range(start[0], len(files)):
        texts: list[str] = []
        room, done = TASK_CHARACTERS, 0
        for done, text in enumerate(documents(files[f]), 1):
            if f == start[0] and done <= start[1]:
                continue
            texts.append(text)
            room -= len(text)
            if room <= 0:
                yield (f, done), texts
                texts, room = [], TASK_CHARACTERS
        if texts:
            yield (f, done), texts


def _break(tokenizer: Tokenizer) -> int | None:
    """The token between two paragraphs, if there is one."""
    ids = tokenizer.encode("\n\n")
    return ids[0] if len(ids) == 1 else None


def _encoded(files: Sequence[Path], start: Place, tokenizer: Tokenizer, workers: int) -> Iterator[tuple[Place, Marked]]:
    """(place, marked ids) of each document, in order; a few tasks are ahead, so that memory stays bounded."""
    if workers == 1:
        for end, texts in _tasks(files, start):
            yield from _placed(end, _encode(texts, tokenizer))
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (tokenizer.proto,))
    try:
        ahead: deque[tuple[Place, Future[list[Marked]]]] = deque()
        for end, texts in _tasks(files, start):
            ahead.append((end, pool.submit(_encode_there, texts)))
            if len(ahead) > 2 * workers:
                place, done = ahead.popleft()
                yield from _placed(place, done.result())
        for place, done in ahead:
            yield from _placed(place, done.result())
    finally:
        pool.shutdown(cancel_futures=True)


def _placed(end: Place, found: Sequence[Marked]) -> Iterator[tuple[Place, Marked]]:
    for i, document in enumerate(found):
        yield (end[0], end[1] - len(found) + i + 1), document


_worker: list[Tokenizer] = []


def _start_worker(proto: bytes) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches all of a console's processes, and the first one answers it
    _worker.append(Tokenizer(proto))


def _encode_there(texts: Iterable[str]) -> list[Marked]:
    return _encode(texts, _worker[0])


def _encode(texts: Iterable[str], tokenizer: Tokenizer) -> list[Marked]:
    """Texts in ids with their hashes."""
    break_id = _break(tokenizer)
    found = []
    for text in texts:
        parts = [np.array(tokenizer.encode(part), dtype=np.uint16) for part in _parts(as_learned(text, tokenizer.plain))]
        found.append(mark(np.concatenate(parts) if parts else np.zeros(0, dtype=np.uint16), break_id))
    return found


def _parts(text: str) -> Iterator[str]:
    """A text in parts that end with paragraphs: a novel in one piece would take many times its own size. Line ends are pieces by
    themselves, so the ids are those of the whole.
    """
    start = 0
    while len(text) - start > TASK_CHARACTERS and (end := text.find("\n", start + TASK_CHARACTERS)) >= 0:
        while end < len(text) and text[end] == "\n":
            end += 1
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def _shards(
    encoded: Iterator[tuple[Place, Marked]], files: Sequence[Path], filters: Deduplicator, folder: Path, document_id: int, number: int
) -> Iterator[Shard]:
    """Write shards, numbered from `number` on, as documents come."""
    lead = np.array([document_id], dtype=np.uint16)
    parts: list[np.ndarray] = []
    held, place, source = 0, (0, 0), ""

    def close() -> Shard:
        name, data = f"{number:05d}.bin", np.concatenate(parts).astype("<u2").tobytes()
        (folder / (name + ".part")).write_bytes(data)
        os.replace(folder / (name + ".part"), folder / name)
        return Shard(name, source, len(parts) // 2, held, hashlib.sha256(data).hexdigest(), place)

    with tqdm(desc="Tokenising", unit=" tokens", unit_scale=True, file=sys.stderr) as bar:
        for now, found in encoded:
            bar.update(len(found.ids))
            bar.set_postfix_str(f"{files[now[0]].name}, file {now[0] + 1} of {len(files)}", refresh=False)
            if parts and (held >= SHARD_TOKENS or source_of(files[now[0]]) != source):
                yield close()
                parts, held, number = [], 0, number + 1
            place, source = now, source_of(files[now[0]])
            if (kept := filters.keep(found)) is not None:
                parts += [lead, kept]
                held += 1 + len(kept)
        if parts:
            yield close()
