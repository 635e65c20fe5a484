"""Train the SentencePiece tokenizer: BPE with byte fallback, identity normalisation, our control pieces."""

from __future__ import annotations

import io
from collections.abc import Iterator

import sentencepiece

from engine.tokenizer import DOCUMENT, MASK, Tokenizer


def train_tokenizer(texts: Iterator[str], vocab_size: int) -> Tokenizer:
    """A tokenizer of `vocab_size` pieces learned from documents; a paragraph is one training sentence."""
    paragraphs = (p for text in texts for p in text.split("\n") if p and "\u2581" not in p)
    proto = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=paragraphs,
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
    return Tokenizer(proto.getvalue())
