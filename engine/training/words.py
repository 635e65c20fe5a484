"""`python -m engine.training.words --model M --data TEXTS`: put the words that the texts hold beside a model (engine.spelling)."""

from __future__ import annotations

import argparse
import sys
from itertools import chain
from pathlib import Path

from tqdm import tqdm

from engine import checkpoint
from engine.lexicon import Lexicon
from engine.training.corpus import CorpusError, files_of, training_documents, unusable
from engine.training.options import whole


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="python -m engine.training.words", description=__doc__)
    add = made.add_argument
    add("--model", type=Path, required=True, help="the folder of a finished model; the words are put there")
    add("--data", nargs="+", type=Path, required=True, help="texts (.txt, .md, .xz; UTF-8), or folders of them")
    add("--least", type=whole, default=3, help="how often a word must stand in them: rarer ones are mostly slips (%(default)s)")
    return made


def main(argv: list[str]) -> int:
    """Count and write; 2 with a sentence when the texts or the model cannot be used."""
    args = parser().parse_args(argv)
    try:
        texts = tqdm(chain.from_iterable(map(training_documents, files_of(args.data))), unit=" documents")
        lexicon = Lexicon.of(texts, least=args.least)
        checkpoint.set_lexicon(args.model, lexicon)
    except (CorpusError, checkpoint.CheckpointError) as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(unusable(error, args.model), file=sys.stderr)
        return 2
    print(f"{len(lexicon.words)} words, {(args.model / checkpoint.WORDS).stat().st_size / 1e3:.0f} kB.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
