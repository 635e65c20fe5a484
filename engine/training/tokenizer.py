"""The SentencePiece tokenizer: trained on texts, or one that is there given more pieces."""

from __future__ import annotations

import heapq
import io
import re
import struct
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise

import sentencepiece

from engine.tokenizer import DOCUMENT, MASK, Tokenizer, TokenizerError

_WORD = re.compile(r"\u2581?(?:[^\W\d_]|')+|\u2581?[^\w\s\u2581]+")
"""What merges stay inside: letters with their apostrophes, or signs, each with the space before it. Digits stay single."""
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
LONGEST = 20
"""Characters of a piece that is made."""


def train_tokenizer(texts: Iterator[str], vocab_size: int) -> Tokenizer:
    """A BPE tokenizer of `vocab_size` pieces learned from documents, with byte fallback, identity normalisation and our control pieces.

    A paragraph is one training sentence. TokenizerError where the texts don't hold so many.
    """
    proto = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_paragraphs(texts),
            model_writer=proto,
            vocab_size=vocab_size,
            model_type="bpe",
            byte_fallback=True,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            split_digits=True,
            control_symbols=[MASK, DOCUMENT],
            user_defined_symbols=["\n\n", "\n"],
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            character_coverage=0.9998,
            max_sentence_length=20000,
            num_threads=2,
            minloglevel=2,
        )
    except (RuntimeError, ValueError) as error:
        raise TokenizerError(
            f"The texts are too few for a tokenizer of {vocab_size} pieces: add text, give a smaller --vocab, or --init with a model."
        ) from error
    return Tokenizer(proto.getvalue())


def extend_tokenizer(tokenizer: Tokenizer, texts: Iterator[str], vocab_size: int) -> Tokenizer:
    """The tokenizer with its merges gone on with, on documents, until it has `vocab_size` pieces; those that it has keep their ids.

    Byte-pair encoding (arXiv 1508.07909) of each word as the tokenizer cuts it: the two neighbours that stand together most often become
    a piece, again and again. TokenizerError where the texts don't hold so many.
    """
    counts = Counter(word for text in _paragraphs(texts) for word in _WORD.findall(text.replace(" ", "\u2581")))
    words = [(tokenizer.pieces(word.replace("\u2581", " ")), count) for word, count in counts.items()]
    words = [(pieces, count) for pieces, count in words if len(pieces) > 1 and not any(_BYTE.fullmatch(piece) for piece in pieces)]
    known = {tokenizer.piece(i) for i in range(tokenizer.vocab_size)}
    wanted = vocab_size - tokenizer.vocab_size
    merged = _merges(words, known, wanted)
    if len(merged) < wanted:
        raise TokenizerError(f"The texts give {len(merged)} pieces more, not {wanted}: give more text or a smaller --vocab.")
    # Protocol buffers that are joined are merged, and repeated fields go on: what is appended are pieces. Of the merges that fit,
    # SentencePiece makes the one with the highest score first.
    lowest = min(tokenizer.score(i) for i in range(tokenizer.vocab_size))
    return Tokenizer(tokenizer.proto + b"".join(_field(piece, lowest - k) for k, piece in enumerate(merged, 1)))


def extends(larger: Tokenizer, smaller: Tokenizer) -> bool:
    """Whether a tokenizer is another one with pieces added (`extend_tokenizer`), or that one itself."""
    return larger.proto.startswith(smaller.proto)


def _paragraphs(texts: Iterator[str]) -> Iterator[str]:
    return (p for text in texts for p in text.split("\n") if p and "\u2581" not in p)


def _merges(words: list[tuple[list[str], int]], known: set[str], wanted: int) -> list[str]:
    """The pieces that byte-pair encoding makes next of words with their counts, `wanted` of them or as many as there are."""
    pairs: Counter[tuple[str, str]] = Counter()
    found: dict[tuple[str, str], set[int]] = defaultdict(set)
    for at, (pieces, count) in enumerate(words):
        for pair in pairwise(pieces):
            pairs[pair] += count
            found[pair].add(at)
    # Pairs of equal counts come by name, so that any order of the texts gives the same pieces.
    queue = [(-count, pair) for pair, count in pairs.items()]
    heapq.heapify(queue)
    merged: list[str] = []
    while queue and len(merged) < wanted:
        count, best = heapq.heappop(queue)
        if -count != pairs[best]:  # it was counted anew since, and stands in the queue again
            continue
        piece = "".join(best)
        if len(piece) > LONGEST:
            continue
        if piece not in known:
            known.add(piece)
            merged.append(piece)
        touched = set()
        for at in found.pop(best):
            pieces, count = words[at]
            joined = _joined(pieces, best)
            words[at] = joined, count
            for pair in pairwise(pieces):
                pairs[pair] -= count
                touched.add(pair)
            for pair in pairwise(joined):
                pairs[pair] += count
                found[pair].add(at)
                touched.add(pair)
        for pair in touched:
            if pairs[pair] > 0 and pair != best:
                heapq.heappush(queue, (-pairs[pair], pair))
    return merged


def _joined(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    """Pieces of a word with each such pair made one, from the left."""
    joined: list[str] = []
    for piece in pieces:
        if joined and (joined[-1], piece) == pair:
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined


def _field(piece: str, score: float) -> bytes:
    """A piece as the field of SentencePiece's ModelProto: pieces = 1 {piece = 1, score = 2}, a normal piece by default."""
    text = piece.encode()
    inner = b"\x0a" + bytes([len(text)]) + text + b"\x15" + struct.pack("<f", score)
    return b"\x0a" + bytes([len(inner)]) + inner
