"""`python launch.py bench`: what each decision about speed is worth, as ratios of times taken in turns in one run.

Absolute times belong to the machine; a ratio of two things timed alternately mostly belongs to the code.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from engine import attention, checkpoint
from engine.backends import EMBEDDED, load
from engine.backends.dit import ContextDiT, DiTDenoiser, LengthwiseDiT
from engine.denoiser import Denoiser
from engine.filling import fill
from engine.hub.installed import embedded_name, folder_of
from engine.lengths import SAMPLE
from engine.samplers import SAMPLERS
from engine.settings import Settings, recommended
from engine.training.options import whole

Row = dict[str, Any]


def in_turns(first: Callable[[], object], second: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Median seconds of each, called alternately so that whatever else the machine does slows both."""
    first(), second()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for call, kept in zip((first, second), times, strict=True):
            began = time.perf_counter()
            call()
            kept.append(time.perf_counter() - began)
    return statistics.median(times[0]), statistics.median(times[1])


def step(model: Denoiser, length: int, masks: int, *, all_rows: bool = False) -> Callable[[], object]:
    """One denoiser call on a canvas of `length` tokens with `masks` of them masked, in the middle."""
    ids = torch.tensor([(model.encode(SAMPLE) * length)[:length]])
    start = (length - masks) // 2
    ids[0, start : start + masks] = model.mask_id
    positions = torch.ones_like(ids, dtype=torch.bool) if all_rows else ids == model.mask_id
    return lambda: model.logits(ids, positions)


class Former(DiTDenoiser):
    """A network of ours as it computed at first: every block whole for every place, each operation by itself, torch's fused attention,
    matrices laid out anew at every call.
    """

    @classmethod
    def of(cls, model: DiTDenoiser, folder: Path) -> Former:
        """The same model, from its folder, in the same dtype."""
        net = checkpoint.load(folder).model.to(model.device, model.network.embedding.weight.dtype)
        return cls(net, model.tokenizer, name=model.name, mask_id=model.mask_id, document_id=model.document_id)

    def network_rows(self, ids: Tensor, positions: Tensor, sigma: Tensor | None, attend: Tensor | None, *_: Any) -> Tensor:
        """(N, V) float32; nothing is kept, and there is no guidance."""
        with patch.object(attention, "PLAIN_SCORES", 0):  # none are short enough for plain products
            states = self.network.states(ids, sigma, attend)
        rows: Tensor = self.network.head(states.flatten(0, 1)[positions.flatten()])
        return rows.float()


def draft(gap: str, words: int = 160) -> str:
    """A draft of about that many words with one gap in its middle."""
    text = (SAMPLE + " ") * (words // len(SAMPLE.split()) + 1)
    middle = text.index(" ", len(text) // 2)
    return f"{text[:middle]} {gap}{text[middle:]}"


def measure(name: str | None, device: str, rounds: int) -> list[Row]:
    """All comparisons on one model."""
    model, precise = load(name, device=device), load(name, device=device, dtype="float32")
    length = min(256, model.max_length)
    rows: list[Row] = []

    def compare(what: str, slow: Callable[[], object], fast: Callable[[], object]) -> None:
        before, after = in_turns(slow, fast, rounds)
        rows.append({"what": what, "before_ms": 1e3 * before, "after_ms": 1e3 * after, "ratio": before / after})

    compare(f"last block and head on 32 masks, not on all {length} tokens", step(model, length, 32, all_rows=True), step(model, length, 32))
    compare("automatic dtype, not float32", step(precise, length, 32), step(model, length, 32))
    compare("canvas of 64 tokens, not 256", step(model, length, 16), step(model, min(64, length), 16))
    settings = {sampler: Settings(sampler=sampler, steps=32) for sampler in SAMPLERS}
    text = draft("[[32 tokens]]")
    folder = EMBEDDED if name == embedded_name() else folder_of(name)
    if isinstance(model, DiTDenoiser) and type(model) in (ContextDiT, LengthwiseDiT) and folder is not None:
        former = Former.of(model, folder)
        compare(
            f"32 tokens, {length} context, 32 steps: as now, not as at first",
            lambda: list(fill(former, text, settings["confidence"])),
            lambda: list(fill(model, text, settings["confidence"])),
        )
    best = recommended(model)
    if best != Settings():
        compare(
            "32 tokens as the page fills them: in plain settings, not as recommended",
            lambda: list(fill(model, text)),
            lambda: list(fill(model, text, Settings())),
        )
    if best.candidates > 1:
        phrase, alone = draft("[[12 tokens]]"), replace(best, candidates=1)
        compare(
            f"12 tokens as the page fills them: one fill, not {best.candidates} side by side",
            lambda: list(fill(model, phrase)),
            lambda: list(fill(model, phrase, alone)),
        )
    for sampler in SAMPLERS:
        if sampler != "confidence":
            compare(
                f"a fill of 32 tokens in 32 steps: {sampler}, not confidence",
                lambda: list(fill(model, text, settings["confidence"])),
                lambda sampler=sampler: list(fill(model, text, settings[sampler])),  # type: ignore[misc]
            )
    novel = draft("[[12 tokens]]", 20_000)
    excerpt = draft("[[12 tokens]]", 2_000)
    compare("the same gap in 2,000 words, not 20,000", lambda: list(fill(model, novel)), lambda: list(fill(model, excerpt)))
    return rows


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="launch.py bench", description=__doc__)
    add = made.add_argument
    add("--model", help="a model folder; the embedded model when left out")
    add("--device", default="auto", help="auto, cpu, cuda or mps")
    add("--rounds", type=whole, default=7, help="times that each is taken (%(default)s)")
    add("--json", action="store_true", help="print a list of JSON objects instead of a table")
    return made


def main(argv: list[str]) -> int:
    """Print a table, or JSON."""
    args = parser().parse_args(argv)
    try:
        rows = measure(args.model, args.device, args.rounds)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps(rows))
        return 0
    wide = max(len(row["what"]) for row in rows)
    print(f"{'':{wide}}{'before':>10}{'after':>10}{'ratio':>8}")
    for row in rows:
        print(f"{row['what']:{wide}}{row['before_ms']:>7.0f} ms{row['after_ms']:>7.0f} ms{row['ratio']:>7.2f}x")
    return 0
