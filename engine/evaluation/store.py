"""What was measured already: one line of JSON an item, so that a report that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from engine.hub import folder_of

Record = dict[str, Any]


def digest(value: object) -> str:
    """A short name for plain JSON values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def fingerprint_of_model(name: str | None, told: str) -> str:
    """Which weights a model has: from its folder's config.json (ours holds the digest of the weights) and its files' sizes.

    The settings that are recommended for it don't count: whoever changes them keeps what was measured under others.
    """
    folder = folder_of(name)
    if folder is None or not folder.is_dir():
        return digest([told])
    sizes = sorted((path.name, path.stat().st_size) for path in folder.iterdir() if path.suffix == ".safetensors")
    config = folder / "config.json"
    known = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {"told": told}
    return digest([{name: value for name, value in known.items() if name != "settings"}, sizes])


class Store:
    """Records by what they are of, in memory and, when a folder is given, as files in it."""

    def __init__(self, folder: Path | None, about: object) -> None:
        """`about`: whatever all records depend on, such as the model, the data and the seed; others are never read."""
        self._folder, self._about = folder, about

    def records(self, key: object, ids: Sequence[str], compute: Callable[[int], Record], label: str) -> list[Record]:
        """The record of each id under `key`: as it was kept, or `compute(index)` and kept at once. Shows its progress."""
        path = None if self._folder is None else self._folder / f"{digest([self._about, key])}.jsonl"
        kept = _read(path)
        missing = [i for i, name in enumerate(ids) if name not in kept]
        if path is not None and missing:
            path.parent.mkdir(parents=True, exist_ok=True)
        for i in tqdm(missing, desc=label, file=sys.stderr, leave=False):
            kept[ids[i]] = {"id": ids[i], **compute(i)}
            if path is not None:
                with open(path, "a", encoding="utf-8") as stream:
                    stream.write(json.dumps(kept[ids[i]], ensure_ascii=False) + "\n")
        return [kept[name] for name in ids]

    def seconds(self, part: str, spent: float) -> float:
        """Note that so many seconds were spent on a part of what is measured; all that calls have spent on it, stopped ones too."""
        if self._folder is None:
            return spent
        path = self._folder / f"{digest([self._about, 'seconds', part])}.txt"
        with suppress(OSError, ValueError):
            spent += float(path.read_text(encoding="ascii"))
        self._folder.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{spent}\n", encoding="ascii")
        return spent


def _read(path: Path | None) -> dict[str, Record]:
    """The records of a file; a last line that was cut off is dropped from it."""
    if path is None or not path.is_file():
        return {}
    whole = path.read_bytes()
    end = whole.rfind(b"\n") + 1
    if end < len(whole):
        os.truncate(path, end)
    lines = [json.loads(line) for line in whole[:end].splitlines()]
    return {line["id"]: line for line in lines}
