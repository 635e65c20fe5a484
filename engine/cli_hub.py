"""`python launch.py models` and `python launch.py download NAME`: published models on the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import IO

from engine.hub import HubError, Progress, download, models
from engine.text import amount, command

DONE, FAILED, STOPPED = 0, 1, 130


def list_models(arguments: list[str]) -> int:
    """Print the models that are here and that can be had, one a line, tab-separated when it goes into a file."""
    parser = argparse.ArgumentParser(prog="launch.py models", description="List the models: installed ones, then those to download.")
    parser.parse_args(arguments)
    head = ("name", "family", "size", "memory", "licence", "installed")
    rows = [
        (info.name, info.family, amount(info.size), amount(info.memory), info.licence or "-", _state(info.installed, info.needs))
        for info in models()
    ]
    if not sys.stdout.isatty():
        print("\n".join("\t".join(row) for row in (head, *rows)))
        return DONE
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    return DONE


def fetch_model(arguments: list[str]) -> int:
    """Download a model: 0 done, 1 failed, 130 interrupted; errors are one sentence on stderr."""
    parser = argparse.ArgumentParser(prog="launch.py download", description="Download a published model into the hub's cache.")
    parser.add_argument("name", metavar="NAME", help="its name on the hub, like kuleshov-group/mdlm-owt")
    parser.add_argument("--revision", metavar="REVISION", help="a branch, a tag or a commit (default: main)")
    options = parser.parse_args(arguments)
    try:
        with closing(download(options.name, options.revision)) as steps, progress_bar(sys.stderr) as tell:
            for step in steps:
                tell(step)
    except KeyboardInterrupt:
        print("Stopped; the next download goes on from here.", file=sys.stderr)
        return STOPPED
    except HubError as error:
        print(error, file=sys.stderr)
        return FAILED
    print(f"{options.name} is on this machine.", file=sys.stderr)
    return DONE


@contextmanager
def progress_bar(stream: IO[str]) -> Iterator[Callable[[Progress], None]]:
    """Show how far a download is, when somebody watches."""
    from tqdm import tqdm

    form = "Fetching {desc}: {n_fmt}B of {total_fmt}B, {rate_fmt} {bar:30}"
    with tqdm(unit="B", unit_scale=True, leave=False, file=stream, disable=None, bar_format=form) as bar:

        def tell(step: Progress) -> None:
            bar.total = step.total
            bar.set_description_str(step.file, refresh=False)
            bar.update(step.done - bar.n)

        yield tell


def _state(here: bool, needs: str) -> str:
    return ("yes" if here else "no") + (f", needs {needs} ({command('extras')})" if needs else "")
