"""The corpus that a run reads, in shards, and the tokenizer that it is cut by: found, trained or given more pieces."""

from __future__ import annotations

import argparse
import sys

from engine.checkpoint import written
from engine.tokenizer import Tokenizer
from engine.training.corpus import CorpusError, files_of, sample, spread, unread
from engine.training.options import VOCABULARY
from engine.training.rows import Rows
from engine.training.run import STATE
from engine.training.shards import TOKENIZER, build, is_corpus, made_of
from engine.training.tokenizer import extend_tokenizer, extends, train_tokenizer

CORPUS = "corpus"
"""The folder of a run's own corpus, in --out."""
SMALL = 12_000_000
"""Bytes of files up to which pieces are added by all of the texts."""
READ = 1 / 12
"""Share of larger ones: some 40 MB of the corpus of the embedded model."""


def prepare(args: argparse.Namespace, tokenizer: Tokenizer | None) -> tuple[Rows, Tokenizer]:
    """The corpus in shards, and the tokenizer: that of the model to begin with, or one that is trained on the texts.

    CorpusError or TokenizerError where they can't be used, or a corpus is another tokenizer's.
    """
    weights = args.weight
    if is_corpus(args.data):
        if args.prepare or args.exclude or args.tokenizer or args.vocab:
            raise CorpusError(f"{args.data[0]} is a corpus already; --prepare, --exclude, --tokenizer and --vocab are for texts.")
        own = Tokenizer.load(args.data[0] / TOKENIZER)
        if tokenizer and not extends(own, tokenizer):
            raise CorpusError(f"The corpus in {args.data[0]} was made with another tokenizer than the model's; make it again with --init.")
        return Rows.open(args.data[0], weights), own
    files = files_of(args.data, out=args.out)
    if told := unread(args.data, out=args.out):
        print(told, file=sys.stderr)
    exclude = files_of(args.exclude) if args.exclude else []
    folder = args.out if args.prepare else args.out / CORPUS
    args.out.mkdir(parents=True, exist_ok=True)
    if tokenizer and args.vocab > tokenizer.vocab_size:
        if not args.prepare:
            raise CorpusError("--vocab gives a model more pieces in a corpus of its own: make that first, with --prepare.")
        print(f"Adding {args.vocab - tokenizer.vocab_size} pieces to the tokenizer.", file=sys.stderr)
        share = 1.0 if sum(path.stat().st_size for path in files) <= SMALL else READ
        tokenizer = extend_tokenizer(tokenizer, spread(files, weights, share), args.vocab)
    elif tokenizer is None:
        path = args.tokenizer or args.out / "tokenizer.model"
        if not args.tokenizer and not path.exists():
            print("Training the tokenizer.", file=sys.stderr)
            proto = train_tokenizer(sample(files, weights, 2_500_000), args.vocab or VOCABULARY).proto
            written(path, lambda partial: partial.write_bytes(proto))
        tokenizer = Tokenizer.load(path)
    other = is_corpus([folder]) and not made_of(folder, files, tokenizer, exclude)
    if other and (args.prepare or (args.out / STATE).is_file()):
        what = "corpus" if args.prepare else "run"
        raise CorpusError(
            f"The {what} in {args.out} began with other texts; to begin again with these, name another --out or delete that folder."
        )
    index = build(files, tokenizer, folder, exclude=exclude)
    if not index.shards:
        raise CorpusError(f"The texts in {', '.join(map(str, args.data))} are empty; write something first.")
    if left_out := ", ".join(f"{tokens} in {reason}" for reason, tokens in sorted(index.dropped.items())):
        print(f"Tokens left out: {left_out}.", file=sys.stderr)
    return Rows.open(folder, weights), tokenizer
