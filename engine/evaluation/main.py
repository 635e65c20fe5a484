"""`python launch.py evaluate`: how good a model is, with standard errors, on texts that it was not trained on.

Without --out: the NELBO in nats a token (an upper bound on the true cost), its perplexity and its bits a character, each with a
standard error clustered by document, and the share of masked tokens guessed right; with --lengths how near automatic lengths come
instead. With --out FOLDER: a report (report.md, report.json and pictures) with the infilling of gaps cut from the texts and with
automatic lengths too. What was measured is kept in the folder, so the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from engine.evaluation import blind
from engine.evaluation.report import MEANING, bound_section, lengths_section
from engine.evaluation.session import Session
from engine.training.corpus import unusable
from engine.training.options import seed, whole

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "tests" / "data" / "dev_sample.txt"


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(
        prog="launch.py evaluate",
        description=__doc__,
        epilog="what the columns of a report mean:\n\n" + MEANING.replace("**", ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("--model", help="a model's folder or name; the embedded model when left out")
    add("--data", nargs="+", type=Path, default=[], help="texts in the corpus format, plain or .xz, or folders of them")
    add("--out", type=Path, help="the folder of the report; without it only the NELBO is measured, and printed")
    add("--quick", action="store_true", help="a report in minutes: few gaps, and the beginning of each document")
    add("--twin", type=Path, help="the folder of a causal twin (train --causal): the yardstick, and the judge of fluency")
    add(
        "--card",
        type=Path,
        help="a model's folder: write the figures into its README.md and evaluation.json (fewer rows than a full report)",
    )
    add("--sample", type=Path, default=SAMPLE, help="the texts of the card's second row, which the test suite measures again")
    add("--blind", type=whole, metavar="N", help="write only a shuffled sheet of N passages for a human judge into --out, its key apart")
    add("--score", type=Path, metavar="FOLDER", help="count the answers on such a sheet")
    add("--lengths", action="store_true", help="print how near automatic lengths come, and measure nothing else")
    add("--gaps", type=whole, help="gaps of each kind to fill")
    add("--json", action="store_true", help="print one JSON object instead of a table")
    add("--length", type=whole, help="tokens in a row; the model's own length, 1024 at most, when left out")
    add("--passes", type=whole, default=1, help="draws of masks for the NELBO")
    add("--rows", type=whole, default=16, help="rows in a batch")
    add("--seed", type=seed, default=0)
    add("--device", default="auto")
    add("--dtype", default="auto")
    return made


def main(argv: list[str]) -> int:
    """Measure and write; 2 with one sentence when the model or the data cannot be used."""
    made = parser()
    args = made.parse_args(argv)
    if args.score is None and not args.data:
        made.error("the following arguments are required: --data")
    if args.blind is not None and args.out is None:
        made.error("--blind needs --out, the folder for the sheet")
    try:
        if args.score is not None:
            print(blind.told(blind.score(args.score)))
        elif args.blind is not None:
            Session(args, command_of(args)).write_sheet(args.blind)
        elif args.lengths:
            found = Session(args, command_of(args)).lengths()
            print(json.dumps(found) if args.json else "\n".join(lengths_section(found)))
        elif args.out is None and args.card is None:
            figures = Session(args, command_of(args)).bound()
            print(json.dumps(figures) if args.json else "\n".join(bound_section(figures)))
        else:
            report = Session(args, command_of(args)).write_report()
            told = [*bound_section(report["nelbo"]), "\nAutomatic length:\n", *lengths_section(report["lengths"])]
            print(json.dumps(report) if args.json else "\n".join(told))
    except BrokenPipeError:
        raise
    except OSError as error:
        print(unusable(error, args.out), file=sys.stderr)
        return 2
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def command_of(args: argparse.Namespace) -> str:
    """The command as a reader may repeat it: what differs from the defaults; files by name, for their folders are this machine's, but
    for those in the checkout.
    """
    made = ["python", "launch.py", "evaluate"]
    for action in parser()._actions:
        value = getattr(args, action.dest, None)
        if value is None or value == action.default:
            continue
        made.append(action.option_strings[0])
        if isinstance(value, list):
            names = [path.name for path in value]
            start, end = _shared(names), _shared([name[::-1] for name in names])[::-1]
            made += names if len(names) < 3 or not (start or end) else [f"{start}*{end}"]
        elif value is not True:
            made.append(_named(Path(value)) if isinstance(value, Path) or action.dest == "model" else str(value))
    return " ".join(made)


def _named(path: Path) -> str:
    """A path in the checkout as it is written there; another's last name."""
    full = path.resolve()
    return full.relative_to(ROOT).as_posix() if full.is_relative_to(ROOT) else path.name


def _shared(names: Sequence[str]) -> str:
    """How all of the names begin."""
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in alike)
