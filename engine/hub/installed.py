"""Models on this machine: the hub's cache in the layout that all its tools share, and folders. Nothing here needs a network or torch."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
EMBEDDED = ROOT / "assets" / "model"
"""The model that came with the checkout."""
FOLDERS = ROOT / "models"
"""Model folders in here are offered beside those of the hub's cache."""

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".msgpack", ".h5")
"""How names of weights end that can run code, or that no library of ours reads: never fetched, never opened."""
TOKENIZER_FILES = {
    "tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "vocab.txt", "spiece.model", "sentencepiece.bpe.model",
}  # fmt: skip
NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)
REVISION = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)*", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")


def pickles_in(names: Iterable[str]) -> list[str]:
    """Those of some files' names that are weights which are never read, what most likely is the model's own first."""
    return sorted((name for name in names if name.endswith(PICKLES)), key=lambda name: (PICKLES.index(Path(name).suffix), name))


def embedded_name() -> str:
    """What the embedded model calls itself; empty when it is missing."""
    return str(read_json(EMBEDDED / CONFIG).get("name", ""))


def folder_of(name: str | Path | None) -> Path | None:
    """The folder that a name or a path means, None being the embedded model; None where there is none: it can only be a name on the hub."""
    if name is None:
        return EMBEDDED
    try:
        path = Path(name).expanduser()
        return path if str(name) and path.is_dir() else None
    except (OSError, RuntimeError):  # longer than a path can be, or the home of a user whom there isn't
        return None


def home() -> Path:
    """The hub's cache."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def home_of(name: str) -> Path:
    """Where the cache keeps a model: `blobs`, `refs` and `snapshots` are in it."""
    return home() / ("models--" + name.replace("/", "--"))


def is_name(name: str) -> bool:
    """Whether this could be a model's name on the hub; anything else can only be a folder."""
    return bool(NAME.fullmatch(name)) and ".." not in name and "--" not in name


def is_revision(revision: str) -> bool:
    """Whether this could be a branch, tag or commit; nothing else may become a path."""
    return bool(REVISION.fullmatch(revision)) and ".." not in revision and len(revision) < 200


def snapshot(name: str, revision: str | None = None) -> Path | None:
    """The cached folder of a model's revision, whole or not. Without one: main if it is whole, else the newest whole one, else main."""
    folder = home_of(name)
    if revision and COMMIT.fullmatch(revision):
        return folder / "snapshots" / revision
    main = None
    with suppress(OSError, UnicodeDecodeError):
        commit = (folder / "refs" / (revision or "main")).read_text(encoding="ascii").strip()
        main = folder / "snapshots" / commit if COMMIT.fullmatch(commit) else None
    if revision or (main and is_whole(main)):
        return main
    whole = [path for path in _folders(folder / "snapshots") if is_whole(path)]  # a tool that asked for one file has moved main on
    return max(whole, key=lambda path: path.stat().st_mtime, default=main)


def whole_snapshot(name: str, revision: str | None = None) -> Path | None:
    """The cached folder of a model's revision; None unless all of it is there."""
    folder = snapshot(name, revision)
    return folder if folder and is_whole(folder) else None


def is_whole(folder: Path) -> bool:
    """Whether a folder holds a config and all of its weights."""
    if not is_file(folder / CONFIG):
        return False
    if is_file(folder / WEIGHTS):
        return True
    shards = shards_of(folder / INDEX)
    return bool(shards) and all(is_file(folder / shard) for shard in shards)


def is_file(path: Path) -> bool:
    """Whether there is a file that can be looked at: one in a folder that this user may not enter counts as none."""
    try:
        return path.is_file()
    except OSError:  # before Python 3.14
        return False


def shards_of(index: Path) -> set[str]:
    """The files that an index names; empty when there is no sound index."""
    where = read_json(index).get("weight_map")
    if not isinstance(where, dict):
        return set()
    names = {name for name in where.values() if isinstance(name, str) and is_shard(name)}
    return names if names == set(where.values()) else set()


def is_shard(name: str) -> bool:
    """Whether an index may name this file: safetensors, and in the model's own folder."""
    return re.fullmatch(r"[\w-][\w.-]*\.safetensors", name, re.ASCII) is not None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of at most 64 MB; empty when it can't be read."""
    with suppress(OSError, ValueError, RecursionError):
        if path.is_file() and path.stat().st_size < 64 * 2**20:
            found = json.loads(path.read_text(encoding="utf-8"))
            return found if isinstance(found, dict) else {}
    return {}


def cached() -> Iterator[tuple[str, Path]]:
    """Names and folders of the whole models in the cache, by name."""
    for folder in _folders(home()):
        kind, *parts = folder.name.split("--")
        if kind == "models" and 1 <= len(parts) <= 2 and (found := snapshot("/".join(parts))) and is_whole(found):
            yield "/".join(parts), found


def folders() -> Iterator[Path]:
    """The whole models in FOLDERS."""
    yield from (folder for folder in _folders(FOLDERS) if is_whole(folder))


def size(folder: Path) -> int:
    """Bytes of a model's files; links are followed."""
    return sum(map(_bytes, _files(folder)))


def weights(folder: Path) -> int:
    """Bytes of a model's safetensors."""
    return sum(map(_bytes, _files(folder, ".safetensors")))


def parameters(folder: Path) -> int:
    """How many numbers a model's weights hold, from the headers of its safetensors."""
    return sum(map(_numbers, _files(folder, ".safetensors")))


def _bytes(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0


def _numbers(path: Path) -> int:
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length)) if length < 100 * 2**20 else {}
        return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return 0


def _files(folder: Path, ending: str = "") -> list[Path]:
    """The files of a folder whose names end so."""
    return [path for path in _entries(folder) if path.name.endswith(ending) and is_file(path)]


def _folders(parent: Path) -> list[Path]:
    return [path for path in _entries(parent) if os.path.isdir(path)]


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # none there, or one that this user may not read
        return []
