"""One evaluation: a model, its texts and where figures are kept; the sheet or the report that is made of them."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import engine
from engine.backends import EMBEDDED, load
from engine.checkpoint import CheckpointError
from engine.denoiser import Denoiser
from engine.evaluation import blind, card, lengths, verdict
from engine.evaluation.grid import Size, rows
from engine.evaluation.infilling import Infilling, Result
from engine.evaluation.likelihood import Judge
from engine.evaluation.nelbo import evaluate, figures_of, read
from engine.evaluation.order import left_to_right
from engine.evaluation.report import Report, markdown
from engine.evaluation.store import Store, fingerprint_of_model
from engine.memory import dtype_of
from engine.model import DiT
from engine.settings import Settings, recommended
from engine.training.corpus import CorpusError, files_of
from engine.training.gaps import EVEN, even_cuts, mixed_cuts
from engine.training.shards import digest
from engine.training.twin import Twin

GAPS: dict[Size, int] = {"quick": 4, "card": 12, "full": 8}
"""Gaps of each kind that are filled."""
LENGTHS: dict[Size, tuple[int, int]] = {"quick": (120, 30), "card": (1_000, 150), "full": (1_000, 300)}
"""Gaps whose lengths are guessed, of all kinds together, and on how many of them CAL is tried."""
IN_ORDER: dict[Size, int] = {"quick": 64, "card": 768, "full": 1_536}
"""Tokens that are asked for from left to right, where there is a twin; each costs a row."""
LONGEST_ROW = 1024
"""Tokens in a row where nobody gives a number, for models that could read more: the memory of a row grows with its square."""
QUICK_CHARACTERS = 1_000
"""Characters of each document that a quick report reads, and that the card's sample holds: the test suite measures it again."""

IN_ALL = ("tokens", "from")
"""What a checkpoint tells of all of its training; the rest is of its last run alone."""


class Session:
    """One run of the command."""

    def __init__(self, args: argparse.Namespace, command: str) -> None:
        """`args`: the options of `main.parser`; `command`: how the report tells them."""
        self.args, self.command = args, command
        if args.card is not None:
            card.check(args.card)
        self.size: Size = "quick" if args.quick else "card" if args.card is not None else "full"
        self.seconds: dict[str, float] = {}
        files = files_of(args.data)
        with self.timed("loading"):
            self.model: Denoiser = load(args.model, device=args.device, dtype=args.dtype)
            self.weight = _weight(self.model)
            self.dtype = dtype_of(self.model) or "float32"
            if getattr(self.model, "answers", False):
                raise ValueError(f"{self.model.name} answers people, and would be measured by what it is told, too; name a base model.")
            self.length = args.length or min(self.model.max_length, LONGEST_ROW)
            self.characters = QUICK_CHARACTERS if args.quick else None
            self.texts = read(self.model, files, self.length, self.characters)
        told = [(path.name, digest(path)) for path in files]
        about = [fingerprint_of_model(args.model, self.model.name), self.dtype, told, self.length, self.characters, args.seed, _code()]
        kept = None if args.out is None else args.out / "cache"
        self.store = Store(kept, about)
        self.judge = None
        if args.twin is not None:
            self.judge = Judge(self._twin(args.twin), Store(kept, [about, fingerprint_of_model(str(args.twin), "twin")]))

    def _twin(self, folder: Path) -> Twin:
        """The twin in the model's own place and precision; ValueError when they don't read the same tokens."""
        at = self.weight
        twin = Twin.load(folder) if at is None else Twin.load(folder, device=at.device, dtype=at.dtype)
        if (proto := getattr(getattr(self.model, "tokenizer", None), "proto", None)) != twin.tokenizer.proto or proto is None:
            raise CheckpointError(
                f"{self.model.name} and the twin {twin.name} have different tokenizers; train the twin with the model's own."
            )
        return twin

    @contextmanager
    def timed(self, part: str, *, kept: bool = False) -> Iterator[None]:
        """Note how long a part took, and say so. kept: with what earlier calls spent on it, whose records it reads."""
        began = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - began
            self.seconds[part] = self.store.seconds(part, spent) if kept else spent
        if part != "loading":
            print(f"{part}: {spent:.0f} s", file=sys.stderr)

    def bound(self) -> dict[str, Any]:
        """The figures of held-out text."""
        args = self.args
        return figures_of(
            self.model,
            self.texts,
            self.store,
            length=self.length,
            seed=args.seed,
            passes=args.passes,
            rows_at_once=args.rows,
            judge=self.judge,
        )

    def infilling(self, count: int) -> Infilling:
        """`count` gaps of each kind, cut from the documents."""
        cuts = even_cuts([(text.source, text.text) for text in self.texts], count, self.args.seed)
        if not cuts:
            raise CorpusError("The texts are too short to cut gaps from; name longer ones, or leave --out away.")
        return Infilling(self.model, cuts, self.store, seed=self.args.seed, judge=self.judge)

    def lengths(self) -> dict[str, Any]:
        """How near automatic lengths come."""
        gaps, cal_gaps = LENGTHS[self.size]
        # Not the seed that a head is trained with: on the same texts its own gaps would come again.
        cuts = mixed_cuts([(text.source, text.text) for text in self.texts], gaps, self.args.seed + 1)
        return lengths.measure(self.model, cuts, self.store, cal_gaps=cal_gaps, seed=self.args.seed)

    def write_sheet(self, count: int) -> None:
        """The blind sheet: gaps of all kinds, as writers leave them, at their true lengths, so that length tells nothing."""
        found = self.infilling(-(-count // len(EVEN)))
        writers = {self.model.name: [fill["text"] for fill in found.measure(rows("quick", recommended(self.model))[0]).fills]}
        if self.judge is not None:
            writers[f"twin {self.judge.twin.name}"] = [fill["text"] for fill in found.by_twin().fills]
        items = blind.draw(found.cuts, writers, count, self.args.seed)
        blind.write(items, self.args.out)
        print(f"{len(items)} passages are in {self.args.out / blind.SHEET}, their key in {self.args.out / blind.KEY}.")

    def write_report(self) -> Report:
        """Everything, into --out and, when asked, onto the card."""
        args = self.args
        report: Report = {
            "model": self.model.name,
            "command": self.command,
            "size": self.size,
            "seed": args.seed,
            "dtype": self.dtype,
            "characters": self.characters,
            "trained": training_of(args.model, self.model),
            "seconds": self.seconds,
        }
        with self.timed("NELBO and guesses" + ("" if self.judge is None else ", and the twin's cost"), kept=True):
            report["nelbo"] = self.bound()
        if self.judge is not None:
            with self.timed("left to right", kept=True):
                asked = left_to_right(self.model, self.judge, self.texts, count=IN_ORDER[self.size], seed=args.seed, rows_at_once=args.rows)
                report["nelbo"]["twin"]["left_to_right"] = asked
        found = self.infilling(args.gaps or GAPS[self.size])
        with self.timed("infilling", kept=True):
            report["infilling"] = self._rows(found)
        with self.timed("lengths", kept=True):
            report["lengths"] = self.lengths()
        if args.card is not None:
            with self.timed("sample and fills of the card"):
                precise = load(args.model, device=args.device, dtype="float32")
                sample = evaluate(precise, [args.sample], seed=args.seed, passes=args.passes, characters=QUICK_CHARACTERS)
                card.write(args.card, report, sample, card.unchosen(self.model, found.cuts))
        if args.out is not None:
            from engine.evaluation import figures

            with self.timed("pictures"):
                figures.draw(report, args.out)
            args.out.mkdir(parents=True, exist_ok=True)
            (args.out / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
            (args.out / "report.md").write_text(markdown(report), encoding="utf-8")
        return report

    def _rows(self, found: Infilling) -> dict[str, Any]:
        kinds_here = {cut.kind for cut in found.cuts}
        table = rows(self.size, recommended(self.model))
        left_out = {row.name: "the texts have no such gaps." for row in table if kinds_here.isdisjoint(row.kinds)}
        table = [row for row in table if row.name not in left_out]
        human = {kinds: found.human(kinds) for kinds in {row.kinds for row in table}}
        results: list[Result] = []
        for row in table:
            try:
                results.append(found.measure(row))
            except ValueError as error:
                left_out[row.name] = str(error)
        default = results[0]
        said = ["", *(verdict.verdict(result, human[result.row.kinds]) for result in results[1:])]
        chosen = verdict.best(results, said, default, human[default.row.kinds])
        best = "the default stands" if chosen is default else f"{chosen.row.name} should be the default"
        if self.judge is not None:
            results.append(found.by_twin())
            said.append("")
        people = human[default.row.kinds]
        kinds = {kind: sum(cut.kind == kind for cut in found.cuts) for kind in dict.fromkeys(cut.kind for cut in found.cuts)}
        told = settings_told(default.row.settings)
        lines = [{**line_of(people), "verdict": "", "repeats": False}]
        for result, words in zip(results, said, strict=True):
            lines.append({**line_of(result), "verdict": words, "repeats": verdict.repeats_itself(result)})
        return {
            "gaps": kinds,
            "default": ", ".join(f"{name} {value}" for name, value in told.items()),
            "settings": told,
            "truth": found.truth_costs(),
            "human_long": next((line_of(human[result.row.kinds]) for result in results if result.row.factor == "steps"), None),
            "rows": lines,
            "best": best,
            "left_out": left_out,
        }


def _code() -> str:
    """A digest of the engine's own code: what another version of it wrote is not taken for this one's."""
    root = Path(engine.__file__).parent
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(root.rglob("*.py")))).hexdigest()


def _weight(model: Denoiser) -> Tensor | None:
    """One of the network's weights, to tell where it computes and in what; none of a model without a network."""
    net = getattr(model, "network", None)
    return next((p for p in net.parameters() if p.is_floating_point()), None) if isinstance(net, nn.Module) else None


def line_of(result: Result) -> dict[str, Any]:
    """A result as plain JSON values."""
    row = result.row
    return {
        "factor": row.factor,
        "value": row.value,
        "automatic": row.automatic,
        "kinds": list(row.kinds),
        "settings": settings_told(row.settings),
        "figures": result.figures,
        "difference": result.difference,
        "by_kind": result.by_kind,
    }


def settings_told(settings: Settings) -> dict[str, Any]:
    """All settings but the seed, by name."""
    return {name: getattr(settings, name) for name in settings.__slots__ if name != "seed"}


def training_of(name: str | None, model: Denoiser) -> dict[str, str]:
    """What the checkpoint tells of its training, and the computing that it took at most (6 a parameter and token, embedding aside): a
    network that was smaller at first took less.
    """
    folder = EMBEDDED if name is None else Path(name)
    try:
        record = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("trained") or {}
    except (OSError, ValueError):
        return {}
    told = {
        key if key in IN_ALL else f"{key}, last run": f"{value:,}" if isinstance(value, int) else str(value)
        for key, value in record.items()
        if isinstance(value, int | float | str)
    }
    net = getattr(model, "network", None)
    if isinstance(net, nn.Module):
        if isinstance(net, DiT):  # as it was trained: when a fill computes, some of its numbers lie in others (engine.backends.folded)
            with torch.device("meta"):
                net = DiT(net.config)
        parameters = sum(p.numel() for p in net.parameters())
        embedded = sum(m.weight.numel() for m in net.modules() if isinstance(m, nn.Embedding))
        told["parameters"] = f"{parameters:,}"
        if isinstance(record.get("tokens"), int):
            told["compute"] = f"at most {6 * (parameters - embedded) * record['tokens']:.2g} operations"
    return told
