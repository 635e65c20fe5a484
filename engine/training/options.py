"""The command line of `train`, and its defaults, which depend on what is trained: a new model, a twin, or one's own texts."""

from __future__ import annotations

import argparse
from pathlib import Path

from engine.checkpoint import STORED

NEW = {"muon_rate": 0.02, "adam_rate": 3e-3, "hold": 0.55, "held_out": 0.0}
DEPTH = 6
"""Blocks of a new model."""
VOCABULARY = 8192
"""Pieces of a new tokenizer."""
TUNING = {"muon_rate": 0.01, "adam_rate": 1.2e-3, "hold": 0.2, "held_out": 0.1}
"""With --init: small rates, falling soon, and a tenth of the texts kept apart to see what it did."""


def above_zero(text: str) -> float:
    """A number above 0, as argparse reads one."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("give a number above 0")
    return value


def share(text: str) -> float:
    """A number from 0 to below 1."""
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError("give a share from 0 to below 1")
    return value


def whole(text: str) -> int:
    """A whole number above 0."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("give a whole number above 0")
    return value


def seed(text: str) -> int:
    """A number that chance begins from."""
    value = int(text)
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError("give a number from 0 to 2^63 - 1")
    return value


def zero_or_more(text: str) -> float:
    """A finite number from 0 on."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError("give a number from 0 on")
    return value


def arguments(argv: list[str], about: str | None) -> argparse.Namespace:
    """Read the command line; what was left out and depends on the texts stays None."""
    parser = argparse.ArgumentParser(prog="launch.py train", description=about)
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

    add("--recipe", type=Path, help="make a model in several runs, as this file tells; with --data, --exclude, --out and --scale alone")

    corpus = parser.add_argument_group("corpus")
    add = corpus.add_argument
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
        help="how often a source's tokens are drawn (*fiction* 2)",
    )
    add("--held-out", type=share, help="share of the texts that is not trained on, but judged before and after")

    budget = parser.add_argument_group("budget")
    add = budget.add_argument
    add("--tokens", type=above_zero, help="tokens to train on in all (30e6; by the amount of text when tuning)")
    add("--minutes", type=above_zero, help="stop after this much training, decaying the rate in time for it")
    add("--piece", type=zero_or_more, help="pause this many minutes after the start of this call; the same command goes on from there")
    add(
        "--done",
        type=zero_or_more,
        default=0.0,
        help="with --init: the run has this many tokens behind it, and only its weights are at hand",
    )

    recipe = parser.add_argument_group("recipe")
    add = recipe.add_argument
    add("--width", type=whole, default=320)
    add("--depth", type=whole, help=f"blocks ({DEPTH}); with --init, more than the model has are added to it")
    add("--heads", type=whole, default=5)
    add("--tied", action="store_true", help="the head uses the embedding matrix")
    add(
        "--activation",
        choices=("relu2", "gelu", "swiglu"),
        default="relu2",
        help="swiglu has three matrices: --mlp-ratio 3 for about as many weights",
    )
    add("--mlp-ratio", type=whole, default=4)
    add(
        "--value-residual",
        action="store_true",
        help="mix each block's values with the first block's; with --init, this and the next two are added to the model",
    )
    add("--embedding-residual", action="store_true", help="mix each block's input with the embeddings")
    add("--ngrams", type=int, default=0, metavar="ROWS", help="add a table of hashed pairs of neighbours with so many rows (32768)")
    add("--stages", help="from which share of the run on: ROWSxLENGTH, comma-separated; + mixes shapes (0:24x128,0.12:48x128,0.5:24x256)")
    add("--accumulate", type=whole, default=1, help="batches a step")
    add("--muon-rate", type=above_zero)
    add("--adam-rate", type=above_zero)
    add("--hold", type=share, help="share of the run after which the rates fall to zero")
    add("--clip", type=above_zero, default=1.0, help="gradient norm of the parameters that AdamW trains")
    add("--average", type=share, default=0.998, help="share of the averaged weights that a step keeps")
    add(
        "--levels",
        choices=("bell", "learned"),
        default="bell",
        help="where masking levels are drawn from; learned: by the schedule in --init",
    )
    add("--gap-rows", type=share, default=0.0625, help="share of the rows that are masked in runs")
    add("--seed", type=seed, default=0)

    machine = parser.add_argument_group("machine")
    add = machine.add_argument
    add("--device", default="auto")
    add("--no-compile", action="store_true", help="run without torch.compile (it needs a C++ compiler)")
    add("--store", choices=STORED, default="bfloat16", help="numbers that exported weights are kept in")
    add("--save-every", type=above_zero, default=10.0, help="minutes between saved states")
    add("--export-every", type=above_zero, default=60.0, help="minutes between exported models")
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
