"""The command line of `train`, and its defaults, which depend on what is trained: a new model, a twin, or one's own texts."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

from engine.checkpoint import STORED

NEW = {"muon_rate": 0.02, "adam_rate": 3e-3, "hold": 0.55, "held_out": 0.0}
DEPTH = 6
"""Blocks of a new model."""
WIDTH, HEADS, MLP_RATIO = 320, 5, 4
ACTIVATION: Literal["relu2"] = "relu2"
"""The shape of a new model's blocks."""
STAGES = "0:24x128,0.12:48x128,0.5:24x256"
"""The batches of a new model."""
TOKENS = 30e6
"""What a new model is trained on, where neither tokens nor minutes are given."""
VOCABULARY = 8192
"""Pieces of a new tokenizer."""
TUNING = {"muon_rate": 0.003, "adam_rate": 4e-4, "hold": 0.2, "held_out": 0.1}
"""With --init: small rates, falling soon, and a tenth of the texts kept apart to see what it did."""


def _default(name: str) -> str:
    """What an option is when left out, for its help."""
    return f"{NEW[name]}; with --init and no --done {TUNING[name]}"


def above_zero(text: str) -> float:
    """A number above 0, as argparse reads one."""
    return _number(float, text, lambda value: 0 < value < float("inf"), "give a number above 0")


def share(text: str) -> float:
    """A number from 0 to below 1."""
    return _number(float, text, lambda value: 0 <= value < 1, "give a share from 0 to below 1")


def whole(text: str) -> int:
    """A whole number above 0."""
    return _number(int, text, lambda value: value >= 1, "give a whole number above 0")


def seed(text: str) -> int:
    """A number that chance begins from."""
    return _number(int, text, lambda value: 0 <= value < 2**63, "give a whole number from 0 to 2^63 - 1")


def zero_or_more(text: str) -> float:
    """A finite number from 0 on."""
    return _number(float, text, lambda value: 0 <= value < float("inf"), "give a number from 0 on")


Number = TypeVar("Number", int, float)


def _number(kind: Callable[[str], Number], text: str, fits: Callable[[Number], bool], advice: str) -> Number:
    try:
        value = kind(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is none: {advice}") from error
    if not fits(value):
        raise argparse.ArgumentTypeError(advice)
    return value


def _texts(parser: argparse.ArgumentParser) -> None:
    """What is trained on, from what, and into what."""
    add = parser.add_argument
    add("--data", nargs="+", type=Path, required=True, help="texts (.txt, .md, .xz; UTF-8), folders of them, or a corpus made by --prepare")
    add("--out", type=Path, help="folder of the run (runs/ and a name); a run found there is taken up again")
    add(
        "--init",
        type=Path,
        help="start from this model: --init assets/model --data my_texts is all that tuning it needs",
    )
    add("--name", help="what the page calls the model")
    add(
        "--causal",
        action="store_true",
        help="train the autoregressive twin, each token predicted from earlier ones; either kind can begin from the other (--init)",
    )

    add("--recipe", type=Path, help="make a model in several runs, as this file tells; its own options: --recipe FILE --help")


def _corpus(parser: argparse.ArgumentParser) -> None:
    """What a corpus is made of, and how it is weighted."""
    add = parser.add_argument_group("corpus").add_argument
    add("--prepare", action="store_true", help="make the corpus of tokens in --out, and stop; --init or --tokenizer gives the tokenizer")
    add("--tokenizer", type=Path, help="use this tokenizer.model instead of training one")
    add(
        "--vocab",
        type=whole,
        default=0,
        help=f"pieces of a tokenizer that is trained ({VOCABULARY}); with --init and --prepare, more than the model has are added to it",
    )
    add("--exclude", nargs="+", type=Path, default=[], help="held-out texts: documents that are mostly in them are left out")
    add(
        "--weight",
        nargs=2,
        action="append",
        default=[],
        metavar=("SOURCE", "TIMES"),
        help="how often a source's tokens are drawn (*fiction* 2); a source is a file's name without its number and ending",
    )
    add("--held-out", type=share, help=f"share of the texts that is not trained on, but judged before and after ({_default('held_out')})")


def _budget(parser: argparse.ArgumentParser) -> None:
    """How much is trained."""
    add = parser.add_argument_group("budget").add_argument
    add(
        "--tokens",
        type=above_zero,
        help=f"tokens to train on in all ({TOKENS:.0f} without --minutes; by the amount of text when tuning)",
    )
    add(
        "--minutes",
        type=above_zero,
        help="stop after this much training, decaying the rate in time for it; --tokens may end it sooner",
    )
    add("--piece", type=zero_or_more, help="pause this many minutes after the start of this call; the same command goes on from there")
    add(
        "--done",
        type=zero_or_more,
        default=0.0,
        help="with --init: the run has this many tokens behind it, and only its weights are at hand",
    )


def _recipe(parser: argparse.ArgumentParser) -> None:
    """What is trained, and how."""
    add = parser.add_argument_group("recipe").add_argument
    add("--width", type=whole, help=f"numbers a token is to a new model ({WIDTH})")
    add("--depth", type=whole, help=f"blocks ({DEPTH}); with --init, more than the model has are added to it")
    add("--heads", type=whole, help=f"attention heads of a new model ({HEADS})")
    add("--tied", action="store_true", help="the head uses the embedding matrix")
    add(
        "--activation",
        choices=("relu2", "gelu", "swiglu"),
        help="of a new model (relu2); swiglu has three matrices: --mlp-ratio 3 for about as many weights",
    )
    add("--mlp-ratio", type=whole, help=f"how many times as wide a new model's blocks are inside ({MLP_RATIO})")
    add(
        "--value-residual",
        action="store_true",
        help="mix each block's values with the first block's; with --init, this and the next two are added to the model",
    )
    add("--embedding-residual", action="store_true", help="mix each block's input with the embeddings")
    add("--ngrams", type=int, default=0, metavar="ROWS", help="add a table of hashed pairs of neighbours with so many rows (32768)")
    add("--stages", help=f"from which share of the run on: ROWSxLENGTH, comma-separated; + mixes shapes ({STAGES}; less when tuning)")
    add("--accumulate", type=whole, default=1, help="batches a step")
    add("--muon-rate", type=above_zero, help=f"learning rate of the blocks' matrices ({_default('muon_rate')})")
    add("--adam-rate", type=above_zero, help=f"learning rate of all else ({_default('adam_rate')})")
    add("--hold", type=share, help=f"share of the run after which the rates fall to zero ({_default('hold')})")
    add("--clip", type=above_zero, default=1.0, help="gradient norm of the parameters that AdamW trains (%(default)s)")
    add("--average", type=share, default=0.998, help="share of the averaged weights that a step keeps (%(default)s)")
    add(
        "--levels",
        choices=("bell", "learned"),
        default="bell",
        help="where masking levels are drawn from; learned: by the schedule in --init",
    )
    add("--gap-rows", type=share, default=0.0625, help="share of the rows that are masked in runs (%(default)s)")
    add("--seed", type=seed, default=0, help="what chance begins from (%(default)s)")


def _machine(parser: argparse.ArgumentParser) -> None:
    """Where it is trained, and what is kept."""
    add = parser.add_argument_group("machine").add_argument
    add("--device", default="auto", help="cpu, cuda or mps; auto takes what is there")
    add("--no-compile", action="store_true", help="run without torch.compile (it needs a C++ compiler)")
    add("--store", choices=STORED, default="bfloat16", help="numbers that exported weights are kept in")
    add("--save-every", type=above_zero, default=10.0, help="minutes between saved states")
    add("--export-every", type=above_zero, default=60.0, help="minutes between exported models")


def arguments(argv: list[str], about: str | None) -> argparse.Namespace:
    """Read the command line; what was left out and depends on the texts stays None."""
    parser = argparse.ArgumentParser(prog="launch.py train", description=about)
    for group in (_texts, _corpus, _budget, _recipe, _machine):
        group(parser)
    args = parser.parse_args(argv)
    if args.recipe:
        parser.error("write --recipe in full")
    if args.tokenizer and args.init:
        parser.error("--init brings its own tokenizer; leave --tokenizer away")
    if args.done and not args.init:
        parser.error("--done needs --init, the weights that have seen these tokens")
    try:
        args.weight = [(source, float(times)) for source, times in args.weight]
    except ValueError:
        parser.error("--weight needs a source's name and a number: --weight '*fiction*' 2")
    if any(not 0 <= times < float("inf") for _, times in args.weight):
        parser.error("--weight needs a number from 0 on")
    args.tunes = args.init is not None and not args.done
    for name, value in (TUNING if args.tunes else NEW).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    if args.out is None:
        stem = args.data[0].resolve().name.partition(".")[0]
        name = "corpus" if args.prepare else stem if args.tunes else "model"
        args.out = Path("runs") / (f"{name}-twin" if args.causal else name)
    return args
