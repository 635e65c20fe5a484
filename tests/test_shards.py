"""The corpus pipeline: the same shards however it is run, nothing twice, nothing held out, sources drawn by their weights."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.backends import EMBEDDED
from engine.tokenizer import Tokenizer
from engine.training import shards
from engine.training.corpus import CorpusError, documents, files_of, source_of
from engine.training.dedup import LONG_PARAGRAPH, Bloom, Deduplicator, mark, shingles
from engine.training.rows import Rows
from engine.training.shards import Index, build, read_shard, split
from tests.counts import examples

DEV = Path(__file__).parent / "data" / "dev_sample.txt"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(EMBEDDED / "tokenizer.model")


@pytest.fixture
def texts(tmp_path: Path) -> list[Path]:
    """Real documents in three files of two sources, plain and packed."""
    folder, held = tmp_path / "texts", list(documents(DEV))
    folder.mkdir()
    third = len(held) // 3
    for name, part in (("a-00.txt", held[:third]), ("a-01.txt", held[third : 2 * third])):
        (folder / name).write_text("\n<|doc|>\n".join(part), encoding="utf-8")
    with lzma.open(folder / "b-00.txt.xz", "wt", encoding="utf-8") as stream:
        stream.write("\n<|doc|>\n".join(held[2 * third :]))
    return files_of([folder])


def all_documents(folder: Path, tokenizer: Tokenizer) -> list[str]:
    index = Index.read(folder)
    return [tokenizer.decode(ids.tolist()) for shard in index.shards for ids in split(read_shard(folder, shard), tokenizer.document_id)]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_document_is_kept_in_order_and_counted(texts: list[Path], tokenizer: Tokenizer, tmp_path: Path) -> None:
    index = build(texts, tokenizer, tmp_path / "out")
    assert all_documents(tmp_path / "out", tokenizer) == list(documents(DEV))
    assert [shard.source for shard in index.shards] == ["a", "b"] and index.whole
    assert sum(shard.documents for shard in index.shards) == len(list(documents(DEV)))
    assert index.tokens == {s.source: s.tokens for s in index.shards} and (tmp_path / "out" / "tokenizer.model").is_file()


def test_stopped_anywhere_or_run_by_processes_it_is_the_same_corpus(
    texts: list[Path], tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_TOKENS", 3000)
    monkeypatch.setattr(shards, "TASK_CHARACTERS", 5000)
    monkeypatch.setattr(shards, "INDEX_EVERY", 0.0)
    build(texts, tokenizer, tmp_path / "once")
    once = contents(tmp_path / "once")
    assert len(once) > 6
    whole_write, calls = Index.write, [0]

    def killed(self: Index, folder: Path) -> None:
        whole_write(self, folder)
        calls[0] += 1
        if calls[0] == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(Index, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        build(texts, tokenizer, tmp_path / "killed")
    monkeypatch.setattr(Index, "write", whole_write)
    first = tmp_path / "killed" / "00000.bin"
    before = first.stat().st_mtime_ns
    assert not Index.read(tmp_path / "killed").whole
    build(texts, tokenizer, tmp_path / "killed")
    assert contents(tmp_path / "killed") == once and first.stat().st_mtime_ns == before
    (tmp_path / "killed" / "00002.bin").write_bytes(b"torn")
    build(texts, tokenizer, tmp_path / "killed")
    assert contents(tmp_path / "killed") == once
    build(texts, tokenizer, tmp_path / "processes", processes=2)
    assert contents(tmp_path / "processes") == once


def test_copies_near_copies_repeated_paragraphs_and_held_out_texts_are_left_out(tokenizer: Tokenizer, tmp_path: Path) -> None:
    real = sorted(documents(DEV), key=len)[-8:]
    base, other, held = real[0], real[1], real[2]
    paragraph = max(real[3].split("\n\n"), key=len)
    assert len(tokenizer.encode(paragraph)) >= LONG_PARAGRAPH
    near = base.replace(" the ", " that ", 3)
    changed = other.split("\n\n")
    with_old_paragraph = "\n\n".join([*changed[:1], paragraph, *changed[1:]])
    corpus = [base, real[3], base, near, with_old_paragraph, held[: len(held) // 2], '"Yes," he said.\n\n"No."', '"No."\n\n"Yes," he said.']
    (tmp_path / "all.txt").write_text("\n<|doc|>\n".join(corpus), encoding="utf-8")
    (tmp_path / "dev.txt").write_text(held, encoding="utf-8")
    index = build([tmp_path / "all.txt"], tokenizer, tmp_path / "out", exclude=[tmp_path / "dev.txt"])
    assert all_documents(tmp_path / "out", tokenizer) == [base, real[3], other, *corpus[-2:]]
    assert set(index.dropped) == {"copies", "near copies", "paragraphs", "held out"}


@given(st.lists(st.lists(st.integers(0, 11), min_size=1, max_size=6), min_size=1, max_size=9), st.integers(0, 17))
@settings(max_examples=examples(200), deadline=None)
def test_what_is_kept_depends_on_what_was_kept_and_on_nothing_else(corpus: list[list[int]], stop: int) -> None:
    # Of twelve paragraphs every third one is long enough to be known again; 1 is what parts them.
    pool = [np.arange(10 + 100 * n, 10 + 100 * n + (40 if n % 3 == 0 else 20), dtype=np.uint16) for n in range(12)]
    texts = [np.concatenate([part for n in chosen for part in (np.array([1], np.uint16), pool[n])][1:]) for chosen in corpus + corpus]
    at_once, stopped = Deduplicator(1), Deduplicator(1)
    kept = []
    for number, text in enumerate(texts):
        if number == stop:
            stopped = Deduplicator(1)
            for known in kept:
                stopped.remember(mark(known, 1))
        one, other = at_once.keep(mark(text, 1)), stopped.keep(mark(text, 1))
        assert (one is None and other is None) or (one is not None and other is not None and one.tolist() == other.tolist())
        if one is not None:
            kept.append(one)


def test_curly_quotes_are_straightened_as_a_draft_is(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "mine.md").write_bytes("“It’s I,” she said.\r\nNo one heard.".encode())
    build([tmp_path / "mine.md"], tokenizer, tmp_path / "out")
    assert all_documents(tmp_path / "out", tokenizer) == ['"It\'s I," she said.\n\nNo one heard.']


def test_signs_are_read_as_a_drafts_are_and_held_out_texts_are_known_by_them(tokenizer: Tokenizer, tmp_path: Path) -> None:
    held, mine = (text.replace(" and", " – and").replace(", ", "… ") for text in sorted(documents(DEV), key=len)[-2:])
    for name, texts in (("all.txt", [held, mine]), ("dev.txt", [held])):
        (tmp_path / name).write_text("\n<|doc|>\n".join(texts), encoding="utf-8")
    build([tmp_path / "all.txt"], tokenizer, tmp_path / "out", exclude=[tmp_path / "dev.txt"])
    (kept,) = all_documents(tmp_path / "out", tokenizer)
    assert kept == tokenizer.plain.read(mine) and "—and" in kept and "... " in kept


def test_sources_are_drawn_by_weight_and_rows_are_whole(texts: list[Path], tokenizer: Tokenizer, tmp_path: Path) -> None:
    index = build(texts, tokenizer, tmp_path / "out")
    rows = Rows.open(tmp_path / "out", [("a", 3.0)])
    drawn = rows.draw(4000, 8, np.random.default_rng(0))
    in_a = {tuple(row) for row in np.lib.stride_tricks.sliding_window_view(rows.streams[0], 8)}
    share = np.mean([tuple(row) in in_a for row in drawn])
    a, b = (index.tokens[source] for source in "ab")
    assert abs(share - 3 * a / (3 * a + b)) < 0.03
    epochs = rows.epochs(3 * a + b)
    assert epochs == {"a": 3.0, "b": 1.0}
    assert np.array_equal(drawn, rows.draw(4000, 8, np.random.default_rng(0)))
    with pytest.raises(CorpusError, match=r"fewer than one row of 10000000.*\.$"):
        rows.draw(1, 10_000_000, np.random.default_rng(0))
    with pytest.raises(CorpusError, match=r"No source is called c.*\.$"):
        Rows.open(tmp_path / "out", [("c", 3.0)])


def test_a_missing_shard_or_a_foreign_index_is_one_sentence(texts: list[Path], tokenizer: Tokenizer, tmp_path: Path) -> None:
    build(texts, tokenizer, tmp_path / "out")
    (tmp_path / "out" / "00000.bin").unlink()
    with pytest.raises(CorpusError, match=r"00000\.bin is missing or not whole.*\.$"):
        Rows.open(tmp_path / "out")
    (tmp_path / "out" / "index.json").write_text(json.dumps({"format": "another"}))
    with pytest.raises(CorpusError, match=r"no index.*\.$"):
        Rows.open(tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "source"),
    [("train-essays-00.txt.xz", "train-essays"), ("chapter12.md", "chapter"), ("1984.txt", "1984.txt"), ("a.b.txt", "a.b")],
)
def test_the_source_is_the_name_without_its_number(name: str, source: str) -> None:
    assert source_of(Path(name)) == source


@settings(max_examples=examples(30))
@given(hashes=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=50))
def test_what_was_added_is_found(hashes: list[int]) -> None:
    bloom, some = Bloom(16), np.array(hashes, dtype=np.uint64)
    assert not bloom.seen(some).any()
    bloom.add(some)
    assert bloom.seen(some).all()


def test_what_was_not_added_is_hardly_ever_found() -> None:
    bloom, rng = Bloom(20), np.random.default_rng(0)
    bloom.add(rng.integers(0, 2**63, 40_000).astype(np.uint64))
    # Four probes into a filter a seventh full: (1 - exp(-4 * 40,000 / 2^20))^4 = 0.0004.
    assert bloom.seen(rng.integers(0, 2**63, 100_000).astype(np.uint64)).mean() < 0.001


def test_shingles_are_those_of_the_tokens_wherever_they_stand() -> None:
    ids = np.random.default_rng(0).integers(0, 8192, 2000).astype(np.uint16)
    assert set(shingles(ids[500:1500])) <= set(shingles(ids))
    assert len(shingles(ids)) == pytest.approx(2000 / 16, rel=0.3) and len(shingles(ids[:5])) == 0


def test_documents_without_paragraph_breaks_are_compared_whole() -> None:
    filters, ids = Deduplicator(None), np.arange(100, dtype=np.uint16)
    found = mark(ids, None)
    assert filters.keep(found) is ids and filters.keep(found) is None and dict(filters.dropped) == {"copies": 100}


@settings(max_examples=examples(60))
@given(
    pieces=st.lists(st.lists(st.integers(3, 60), max_size=6), min_size=1, max_size=6),
    other=st.lists(st.lists(st.integers(3, 60), max_size=6), min_size=1, max_size=6),
)
def test_paragraphs_have_one_hash_wherever_they_stand(pieces: list[list[int]], other: list[list[int]]) -> None:
    def joined(parts: list[list[int]]) -> np.ndarray:
        return np.array([i for n, part in enumerate(parts) for i in ([2] if n else []) + part], dtype=np.uint16)

    hashes: dict[tuple[int, ...], set[int]] = {}
    for parts in (pieces, other, pieces[::-1] + other):
        found = mark(joined(parts), 2)
        # Empty paragraphs are breaks in a row; a leading one has no token of its own to begin at.
        whole = parts[1:] if not parts[0] and len(parts) > 1 else parts
        assert len(found.paragraphs) == len(whole) and found.lengths.sum() == len(found.ids)
        for part, value in zip(whole, found.paragraphs.tolist(), strict=True):
            hashes.setdefault(tuple(part), set()).add(value)
    assert all(len(values) == 1 for values in hashes.values())
    assert len(set.union(*hashes.values())) == len(hashes)
    one, two = ([[3], *parts] for parts in (pieces, other))  # no document begins with a break
    assert (mark(joined(one), 2).whole == mark(joined(two), 2).whole).all() == (one == two)
