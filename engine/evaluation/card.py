"""The generated part of a model's card, and the figures beside it that the test suite holds it to."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.denoiser import Denoiser
from engine.draft import Draft
from engine.evaluation.lengths import WAYS
from engine.evaluation.nelbo import short
from engine.evaluation.report import BASE, BOUND_HEAD, Report, bound_row, in_order, infilling_rows, lengths_section, pm, table
from engine.filling import fill
from engine.training.gaps import Cut

START, END = "<!-- figures: written by launch.py evaluate --card -->", "<!-- end of the figures -->"
CARD, FIGURES = "README.md", "evaluation.json"
DRAFTS = (
    "The keeper climbed the stairs with [[5]], and the wind leaned on the glass like [[]].",
    "“I do not think so,” said [[]], and she went out of the room.",
    "Thank you for your letter. [[]] I shall write again when I am home.",
    "It is easier to [[3]] than to [[3]].",
)
"""Filled for the card as they are, with the first gaps cut from the documents: nobody chose them."""
FILLS = 10


class CardError(ValueError):
    """A card can't be written; the message is one sentence."""


def check(folder: Path) -> None:
    """Raise CardError unless the folder's card has a place for the figures."""
    try:
        text = (folder / CARD).read_text(encoding="utf-8")
    except OSError as error:
        raise CardError(
            f"There is no card {folder / CARD}; write one with the lines {START} and {END} where the figures belong."
        ) from error
    if text.count(START) != 1 or text.count(END) != 1 or text.index(START) > text.index(END):
        raise CardError(f"{folder / CARD} needs the line {START} and after it {END}, once each, to say where the figures belong.")


def write(folder: Path, report: Report, sample: dict[str, Any], fills: Sequence[tuple[str, str, str]]) -> None:
    """Put the figures into the card between its two marks, and into evaluation.json; the rest of the card stays."""
    check(folder)
    path = folder / CARD
    text = path.read_text(encoding="utf-8")
    before, after = text.partition(START)[0], text.partition(END)[2]
    path.write_text(f"{before}{START}\n\n{block(report, sample, fills)}\n\n{END}{after}", encoding="utf-8")
    kept: dict[str, Any] = {"dev": report["nelbo"], "sample": sample, "trained": report["trained"], "dtype": report["dtype"]}
    if "infilling" in report:
        rows = [row for row in report["infilling"]["rows"] if row["factor"] in BASE]
        kept["infilling"] = {row["factor"]: row["figures"] for row in rows}
    if "lengths" in report:
        kept["lengths"] = {way: report["lengths"]["all"][way] for way in WAYS if way in report["lengths"]["all"]}
    (folder / FIGURES).write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def block(report: Report, sample: dict[str, Any], fills: Sequence[tuple[str, str, str]]) -> str:
    """The Markdown between the marks."""
    dev = report["nelbo"]
    parts = [
        f"`{report['command']}`, {dev['passes']} draw of masks a row, seed {dev['seed']}, {report['dtype']} (the sample in float32).",
        f"{dev['documents']} documents that are in no training file, {dev['characters']:,} characters, {dev['tokens']:,} tokens.",
        "The NELBO is an upper bound; every ± is one standard error, clustered by document.\n",
        *bound(dev, sample),
    ]
    if "infilling" in report:
        found = report["infilling"]
        counts = ", ".join(f"{count} x {kind}" for kind, count in found["gaps"].items())
        parts += [
            f"Gaps cut from the dev set ({counts}) and filled with the page's default settings:\n",
            infilling({row["factor"]: row["figures"] for row in found["rows"] if row["factor"] in BASE}),
        ]
        parts += ["\n`python launch.py evaluate --help` says what the columns mean.\n"]
    if "lengths" in report:
        parts += ["How far automatic lengths are off:\n", *lengths_section(report["lengths"]), ""]
    parts += [
        f"### {len(fills)} fills that nobody chose\n",
        "Fixed drafts, then the first gaps that seed 0 cuts from the dev set, with automatic lengths and default settings at seed 0.\n",
    ]
    for before, after, truth in fills:
        parts.append(f"- {before}\\\n  {after}" + (f"\\\n  (the author: *{truth}*)" if truth else ""))
    return "\n".join(parts)


def bound(dev: dict[str, Any], sample: dict[str, Any]) -> list[str]:
    """The NELBO by source, what is guessed right, and the twin beside it."""
    rows = [bound_row("**dev set**", dev), bound_row("beginnings in `tests/data/`", sample)]
    rows += [bound_row(short(name), row) for name, row in dev["sources"].items()]
    guesses = (
        ", ".join(f"{value:.1%} at {float(share):.0%} masked" for share, value in part["masked_accuracy"].items()) for part in (dev, sample)
    )
    parts = [table(BOUND_HEAD, rows), "\nMasked tokens guessed right, dev set: {}. Sample: {}.\n".format(*guesses)]
    if twin := dev.get("twin"):
        perplexity, bits, ratio = (pm((twin[name], twin[name + "_stderr"])) for name in ("perplexity", "bits_per_char", "ratio"))
        parts += [f"An autoregressive twin of the same shape, on the same rows: perplexity {perplexity}, {bits} bits a character."]
        parts += [f"**The model's perplexity over the twin's: {ratio}.**\n"]
        parts += [f"{in_order(twin['left_to_right'])}\n"] if "left_to_right" in twin else []
    return parts


def infilling(figures: dict[str, Any]) -> str:
    """The table of BASE's rows, from the figures of each."""
    rows = [{"figures": found, "verdict": ""} for found in figures.values()]
    return infilling_rows(rows, [BASE[factor] for factor in figures])


def unchosen(model: Denoiser, cuts: Sequence[Cut]) -> list[tuple[str, str, str]]:
    """(given text, filled text, the author's words) of FILLS drafts; the filled words are bold."""
    found = [(f"`{draft}`", _filled(model, Draft.parse(draft)), "") for draft in DRAFTS]
    for cut in cuts[: FILLS - len(DRAFTS)]:
        left, right = " ".join(cut.left[-160:].partition(" ")[2].split()), " ".join(cut.right[:120].rpartition(" ")[0].split())
        whole = _filled(model, cut.draft())
        inside = whole[whole.index("**") : whole.rindex("**") + 2] if "**" in whole else ""
        space, tail = cut.left[-1:].isspace(), cut.right[:1].isspace()
        found.append((f"`… {left} [[]] {right} …`", f"… {left}{' ' * space}{inside}{' ' * tail}{right} …", cut.truth))
    return found


def _filled(model: Denoiser, draft: Draft) -> str:
    """The draft with its gaps filled at seed 0, what was written in bold."""
    *_, last = fill(model, draft)
    pattern = "".join(re.escape(part) if isinstance(part, str) else r"(\s*)(.*?)(\s*)" for part in draft.parts)
    found = re.fullmatch(pattern, last.text, re.DOTALL)
    assert found is not None, "given text never changes"
    written = iter(zip(*[iter(found.groups())] * 3, strict=True))
    parts = (part if isinstance(part, str) else "{}**{}**{}".format(*next(written)) for part in draft.parts)
    return "".join(parts)
