"""`python -m engine.training.piece`: a model folder in parts of a few megabytes and back, to bring it from a machine on loan.

A run on a machine that is given back ends with `split`; `join` puts the model together elsewhere, where `train --init MODEL --done
TOKENS` goes on from it. Where the machine stays, the same `train` command goes on exactly, and nothing of this is needed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

MANIFEST = "parts.json"


class PieceError(ValueError):
    """Parts do not make a whole; the message is one sentence."""


def split(folder: Path, out: Path, size: int) -> list[Path]:
    """Write the files of a folder as parts of at most `size` bytes and a manifest with digests; the files written."""
    files = sorted(path for path in folder.glob("*") if path.is_file())
    if not files:
        raise PieceError(f"There is no model in {folder}.")
    data = b"".join(path.read_bytes() for path in files)
    out.mkdir(parents=True, exist_ok=True)
    parts = [out / f"part-{number:03}" for number in range(-(-len(data) // size))]
    for number, path in enumerate(parts):
        path.write_bytes(data[number * size : (number + 1) * size])
    told = {
        "parts": [path.name for path in parts],
        "files": [[path.name, path.stat().st_size] for path in files],
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    (out / MANIFEST).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return [*parts, out / MANIFEST]


def join(parts: Path, folder: Path) -> None:
    """Put the files that `split` cut up into a folder; PieceError when a part is missing or changed."""
    try:
        told = json.loads((parts / MANIFEST).read_text(encoding="utf-8"))
        data = b"".join((parts / Path(name).name).read_bytes() for name in told["parts"])
        files = [(Path(name).name, int(size)) for name, size in told["files"]]
        whole = hashlib.sha256(data).hexdigest() == told["sha256"] and sum(size for _, size in files) == len(data)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PieceError(f"The parts in {parts} are not all there; fetch them again.") from error
    if not whole:
        raise PieceError(f"A part in {parts} is damaged; fetch them again.")
    folder.mkdir(parents=True, exist_ok=True)
    for name, size in files:
        (folder / name).write_bytes(data[:size])
        data = data[size:]


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="python -m engine.training.piece", description=__doc__)
    add = made.add_argument
    add("what", choices=("split", "join"))
    add("source", type=Path)
    add("target", type=Path)
    add("--size", type=float, default=15.0, help="MiB of a part at most")
    return made


def main(argv: list[str]) -> int:
    """Split or join; 2 with a sentence when that cannot be done."""
    args = parser().parse_args(argv)
    try:
        if args.what == "join":
            join(args.source, args.target)
        else:
            for path in split(args.source, args.target, int(args.size * 2**20)):
                print(path, path.stat().st_size)
    except (PieceError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
