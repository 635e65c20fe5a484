"""`python launch.py fill`: fill a draft on the command line."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import IO, Any, NoReturn, get_args

from engine import sampler_help, schedule_names
from engine.draft import Draft, DraftError
from engine.settings import DTYPES, HELP, Choice, Rounding, Scores, Settings, SettingsError, Words, recommended

DONE, FAILED, WRONG, STOPPED = 0, 1, 2, 130
BOM = "\ufeff"


class _Wrong(ValueError):
    """The command line or the draft is wrong; one sentence."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _Wrong(f"{message[:1].upper()}{message[1:]}; see fill --help.")


def main(arguments: list[str]) -> int:
    """Fill a draft and print or keep it: 0 done, 1 failed, 2 wrong draft or setting, 130 interrupted; errors are one sentence on stderr."""
    try:
        return _run(parser().parse_args(arguments))
    except KeyboardInterrupt:
        return STOPPED
    except BrokenPipeError:
        # Nobody reads on: a quiet end, also for what Python would still flush at its own end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (DraftError, SettingsError, _Wrong) as error:
        print(error, file=sys.stderr)
        return WRONG
    except (ValueError, OSError, MemoryError, RuntimeError) as error:
        print(_failure(error), file=sys.stderr)
        return FAILED


def _failure(error: Exception) -> str:
    from engine.backends.room import is_out_of_memory

    if is_out_of_memory(error):
        return (
            "There is not enough memory to fill this: close other programs, or try --candidates 1, --dtype int8 or, on a GPU, --device cpu."
        )
    return f"The draft could not be filled: {' '.join(str(error).split()) or type(error).__name__}"


def _run(options: argparse.Namespace) -> int:
    source, bom = _read(options)
    draft = Draft.parse(source)
    if options.out is not None:
        if options.json:
            raise _Wrong("--out keeps the filled text and --json prints every step: give one of the two.")
        _keep(options.out, None)  # what can't be written is told before the work, not after it
    if options.guesses and not options.json:
        raise _Wrong("--guesses says more in the steps that --json prints: give both.")
    given = {field.name: getattr(options, field.name) for field in fields(Settings) if hasattr(options, field.name)}

    from engine.backends import load
    from engine.cli_hub import progress_bar
    from engine.filling import check, fill_events

    check(draft, Settings.of(given))
    with progress_bar(sys.stderr) as tell:
        model = load(options.model, device=options.device, dtype=options.dtype, revision=options.revision, progress=tell)
    out = sys.stdout.buffer
    event: dict[str, Any] = {}
    for event in _progress(fill_events(model, draft, recommended(model, given), guesses=options.guesses)):
        if options.json:
            _write(out, json.dumps(event, ensure_ascii=False) + "\n")
    if note := event.get("note"):
        print(note, file=sys.stderr)
    if not options.json:
        typed = options.file is None and options.draft != "-"  # what was read from a file ends as the file does
        text = bom + event["text"] + ("\n" if typed and not event["text"].endswith("\n") else "")
        if options.out is None:
            _write(out, text)
        else:
            _keep(options.out, text)
    return DONE


def _progress(events: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Pass the events on and count the steps on stderr when somebody watches."""
    from tqdm import tqdm

    with tqdm(unit="step", leave=False, file=sys.stderr, disable=None, bar_format="Filling: {n_fmt}/{total_fmt} {bar:30}") as bar:
        for event in events:
            if "step" in event:
                bar.total = event["steps"]
                bar.update(event["step"] - bar.n)
            yield event


def _write(out: IO[bytes], text: str) -> None:
    out.write(text.encode("utf-8", "replace"))
    out.flush()


def _keep(name: str, text: str | None) -> None:
    """Write a file, whole or not at all; without a text only see whether that can be done."""
    path = Path(os.path.realpath(name))  # what a link leads to is written, and the link stays
    try:
        if not path.parent.is_dir():
            raise _Wrong(f"--out {name} can't be written: there is no folder {path.parent}; make it, or name another one.")
        kind = 0
        with suppress(FileNotFoundError):
            kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise _Wrong(f"--out {name} can't be written: it is a folder; name a file in it.")
        if kind:
            if not stat.S_ISREG(kind):
                raise _Wrong(f"--out {name} can't be written: it is no ordinary file; name another one.")
            path.open("r+b").close()  # a file that may not be changed is not to be replaced either
        partial = path.with_name(f".lacuna-{os.getpid()}.part")
        try:
            with partial.open("wb") as file:
                _write(file, text or "")
            if text is not None:
                if kind:
                    shutil.copymode(path, partial)
                os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise _Wrong(f"--out {name} can't be written: {error.strerror}; name another file.") from error


def _read(options: argparse.Namespace) -> tuple[str, str]:
    """The draft and its byte order mark, if it has one."""
    if (options.draft is None) == (options.file is None):
        raise _Wrong("Give either a draft or --file with the name of one; - reads the draft from standard input.")
    if options.file is None and options.draft != "-":
        return options.draft, ""
    name = options.file or "-"
    if name == "-":
        name, data = "Standard input", sys.stdin.buffer.read()
    else:
        try:
            data = Path(name).read_bytes()
        except OSError as error:
            raise _Wrong(f"{name} can't be read: {error.strerror}.") from error
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _Wrong(
            f"{name} is not UTF-8 text: the byte 0x{data[error.start]:02x} in line {line} is no character; save it as UTF-8."
        ) from error
    return (text[1:], BOM) if text.startswith(BOM) else (text, "")


def parser() -> argparse.ArgumentParser:
    """The options; what is wrong with them is one sentence."""
    made = _Parser(
        prog="launch.py fill",
        description="Fill the gaps of a draft and print it. A gap is [[]] or ___; [[7]] is seven words, [[5-12]] five to twelve, "
        "[[12 tokens]] twelve tokens, [[5-12: must hold; never this]] one with keywords and banned words, "
        "[[~ these words {{but not these}}]] a passage to rewrite.",
        allow_abbrev=False,
    )
    made.add_argument("draft", nargs="?", metavar="DRAFT", help="the text with its gaps; - reads it from standard input")
    made.add_argument("--file", metavar="FILE", help="read the draft from this file (UTF-8)")
    made.add_argument("--out", metavar="FILE", help="write the filled text to this file, byte for byte, whole or not at all")
    made.add_argument("--json", action="store_true", help="print one JSON object a line: every frame, then the result")
    help_of_guesses = "with --json: of open places, too, tell what the model would write there"
    made.add_argument("--guesses", action="store_true", help=help_of_guesses)
    made.add_argument("--model", metavar="MODEL", help="a folder or a name on the hub; the embedded model by default")
    made.add_argument("--revision", metavar="REVISION", help="the model's branch, tag or commit on the hub (default: main)")
    made.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    made.add_argument("--dtype", default="auto", choices=DTYPES, help="int8 or int4 keep large models small")
    help_of_ban = "a word or phrase that is never written; may be given several times"
    made.add_argument("--ban", metavar="WORD", action="append", dest="bans", default=[], help=help_of_ban)
    names = {"sampler": sampler_help(), "schedule": schedule_names(), "choice": get_args(Choice), "rounding": get_args(Rounding)}
    names |= {"scores": get_args(Scores), "words": get_args(Words)}
    for field in (field for field in fields(Settings) if field.name != "bans"):
        known = f": {', '.join(names[field.name])}" if field.name in names else ""
        usual = f" (default {field.default}, or as the model's makers found best)" if field.default != "" else ""
        text = f"{HELP[field.name]}{known}{usual}"
        made.add_argument(
            "--" + field.name.replace("_", "-"), dest=field.name, type=type(field.default), default=argparse.SUPPRESS, help=text
        )
    return made


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
