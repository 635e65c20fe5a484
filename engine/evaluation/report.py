"""The report as Markdown that reads as it is, from the very numbers that report.json holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.evaluation.lengths import WAYS
from engine.evaluation.nelbo import short
from engine.evaluation.verdict import RULE
from engine.training.gaps import AROUND, MIX

Report = dict[str, Any]
COLUMNS = (
    ("exact", "exact, %", 100, 1),
    ("words", "words found, %", 100, 1),
    ("bleu2", "BLEU-2", 100, 1),
    ("bleu4", "BLEU-4", 100, 1),
    ("stutter", "stutter, %", 100, 1),
    ("again", "said again, %", 100, 1),
    ("repeat", "repeated 2-grams, %", 100, 1),
    ("distinct1", "distinct-1", 1, 2),
    ("distinct2", "distinct-2", 1, 2),
    ("own", "own nats/token", 1, 2),
    ("twin", "twin's ppl ratio", 1, 2),
    ("calls", "calls", 1, 1),
    ("seconds", "seconds", 1, 2),
)
"""Figure, heading, factor, digits."""
BASE = {
    "human": "the true text",
    "default": "default, true length",
    "length": "default, automatic length",
    "twin": "twin, left side only",
}
"""The rows that every report begins with, by their factor."""
MEANING = """\
- **exact**: the whole gap is what the person wrote, word for word; **words found**: true words at their own place. Case and
  edge signs aside.
- **BLEU-2, BLEU-4** against the true text, phrases and sentences only, unsmoothed, times 100.
- **stutter**: words of the fill seen again within three words; **said again**: words of five letters or more that the fill has
  said before; **repeated 2-grams**: those touching the fill that stand again in
  it or within 20 words on either side.
- **distinct-n**: different n-grams over all n-grams of all fills together.
- **own nats/token**: what the fill costs under the model itself, an any-order bound given both sides (lower is likelier, not
  better: see the true text's line).
- **twin's ppl ratio**: the causal twin's perplexity of the fill and the 24 tokens after it, over that of the true text there.
- **calls**: denoiser calls a gap; **seconds** of wall time a gap, on this machine as it was.
"""


def pm(pair: Sequence[float | None], factor: float = 1, digits: int = 3) -> str:
    """A value with its standard error."""
    value, error = pair[0], pair[1]
    if value is None:
        return ""
    return f"{factor * value:.{digits}f}" + ("" if error is None else f" ± {factor * error:.{digits}f}")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its first column left and the others right."""
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def bound_row(name: str, row: dict[str, Any]) -> list[str]:
    """One line of figures of held-out text."""
    cells = (pm((row[k], row[k + "_stderr"])) for k in ("nats_per_token", "perplexity", "bits_per_char"))
    return [name, f"{row['documents']}", f"{row['tokens']:,}", *cells]


BOUND_HEAD = ("", "documents", "tokens", "nats/token", "perplexity", "bits/character")


def bound_section(figures: dict[str, Any]) -> list[str]:
    """The NELBO, its twin's cost, and the guesses."""
    rows = [bound_row("**all**", figures), *(bound_row(short(n), r) for n, r in figures["sources"].items())]
    twin = figures.get("twin")
    told = [table(BOUND_HEAD, rows)]
    if twin:
        rows = [bound_row("**all**", twin), *(bound_row(short(n), r) for n, r in twin["sources"].items())]
        told += [f"\nThe autoregressive twin {twin['name']}, on the same rows:\n", table(BOUND_HEAD, rows)]
        told += [f"\n**Perplexity over the twin's: {pm((twin['ratio'], twin['ratio_stderr']))}** (errors paired by document)."]
        told += [in_order(twin["left_to_right"])] if "left_to_right" in twin else []
    guesses = ", ".join(f"{value:.1%} with {float(share):.0%} masked" for share, value in figures["masked_accuracy"].items())
    return [*told, f"\nMasked tokens guessed right: {guesses}."]


def in_order(found: dict[str, Any]) -> str:
    """What the ratio is where the denoiser is asked from left to right, too."""
    own, twin = (pm((found[k], found[k + "_stderr"])) for k in ("nats_per_token", "twin_nats_per_token"))
    return (
        f"\nThe NELBO is the mean over all orders. Asked strictly from left to right for {found['tokens']:,} of these tokens, what follows "
        f"masked, the same network takes {own} nats a token and its twin {twin}: **{pm((found['ratio'], found['ratio_stderr']))}** times "
        f"the twin's perplexity. In orders drawn by lot it takes {pm(found['any_order'])} nats for the same tokens, {pm(found['worth'])} "
        "more: that much is the order's."
    )


def infilling_rows(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    """The grid: a line a row."""
    columns = [c for c in COLUMNS if any(c[0] in row["figures"] for row in rows)]
    lines = []
    for name, row in zip(names, rows, strict=True):
        cells = [pm(row["figures"].get(key, (None, None)), factor, digits) for key, _, factor, digits in columns]
        lines.append([name + (" †" if row.get("repeats") else ""), *cells, row["verdict"]])
    if not any(line[-1] for line in lines):
        lines = [line[:-1] for line in lines]
    return table(["", *(title for _, title, _, _ in columns), "verdict"][: len(lines[0])], lines)


def markdown(report: Report) -> str:
    """The whole report."""
    figures = report["nelbo"]
    parts = [f"# How good {report['model']} is\n", f"`{report['command']}`\n"]
    about = f"{report['size'].capitalize()} report, seed {report['seed']}, {report['dtype']}."
    parts += [f"{about} Every ± is one standard error; documents are the independent units.\n"]
    if report["trained"]:
        parts += ["## Training\n", table(("", ""), [[k, v] for k, v in report["trained"].items()]) + "\n"]
    passes = "once" if figures["passes"] == 1 else f"{figures['passes']} times"
    told = f"The NELBO in continuous time, an upper bound: every row of at most {figures['row_length']} tokens is masked {passes},"
    parts += ["## Held-out text\n", f"{told} the shares spread evenly over all rows."]
    parts += [f"Only the first {report['characters']:,} characters of each document are read.\n" if report["characters"] else ""]
    parts += [*bound_section(figures), "\n![Bits a character by source](sources.png) ![Loss by masked share](masked.png)\n"]
    if "infilling" in report:
        parts += infilling_section(report)
    if "lengths" in report:
        parts += ["## Automatic length\n", *lengths_section(report["lengths"]), "\n![Automatic and true lengths](lengths.png)\n"]
    parts += [
        "## Time\n",
        "Over all calls that the report took, stopped ones too; loading, pictures and the card in the last one.\n",
    ]
    parts += [table(("part", "seconds"), [[k, f"{v:.0f}"] for k, v in report["seconds"].items()]), ""]
    return "\n".join(parts)


def infilling_section(report: Report) -> list[str]:
    """Gaps cut from the documents, filled under every row of the grid."""
    found = report["infilling"]
    counts = ", ".join(f"{count} x {kind}" for kind, count in found["gaps"].items())
    rows = found["rows"]
    base = [row for row in rows if row["factor"] in BASE]
    parts = [
        "## Infilling\n",
        f"Gaps cut by seed {report['seed']} from the documents above ({counts}) with up to {AROUND} characters on each side.\n",
        MEANING,
    ]
    parts += [f"Default: {found['default']}. The true length is given in tokens. The twin reads the left side alone and keeps its"]
    parts += ["keys and values, so a call is one token.\n"]
    parts += [infilling_rows(base, [BASE[row["factor"]] for row in base]), "\nThe same by kind of gap:\n"]
    cells = [
        ({**row, "figures": row["by_kind"][kind], "verdict": "", "repeats": False}, f"{kind}: {BASE[row['factor']]}")
        for kind in found["gaps"]
        for row in base
    ]
    parts += [infilling_rows([row for row, _ in cells], [name for _, name in cells]), ""]
    costs = found["truth"]
    parts += ["The true text under the model, the any-order bound in nats given both sides:\n"]
    parts += [table(("", "nats/gap", "nats/token"), [[kind, pm(c["gap"], 1, 2), pm(c["token"], 1, 2)] for kind, c in costs.items()]), ""]
    parts += ["### One factor at a time\n", f"Every other setting is the default's; true lengths. {RULE}\n"]
    for factor in dict.fromkeys(row["factor"] for row in rows if row["factor"] not in BASE and row["factor"] != "steps"):
        own = [row for row in rows if row["factor"] == factor]
        first = [row for row in rows if row["factor"] in ("human", "default")]
        told = str(found["settings"].get(factor, ""))  # a published method is no one setting
        names = ["the true text", f"**{told}** (default)" if told else "**default**", *(row["value"] for row in own)]
        parts += [f"**{factor}**\n", infilling_rows([*first, *own], names), ""]
    if steps := [row for row in rows if row["factor"] == "steps"]:
        lines = infilling_rows([{**found["human_long"], "verdict": ""}, *steps], ["the true text", *(row["value"] for row in steps)])
        parts += ["**steps**, on sentences alone\n", lines, "\n![Quality against steps](steps.png)\n"]
    parts += ["![Every row against the default](factors.png)\n"]
    parts += [f"**What the table says: {found['best']}.**\n"]
    if found["left_out"]:
        parts += [*(f"- {name} was left out: {why}" for name, why in found["left_out"].items()), ""]
    return parts


def lengths_section(found: dict[str, Any]) -> list[str]:
    """How long gaps are made, against how long they were."""
    groups = {**found["by_kind"], "**all**": found["all"]}
    if "where CAL was tried" in found:
        groups["where CAL was tried"] = found["where CAL was tried"]
    ways = [way for way in WAYS if way in found["all"]]
    rows = []
    for name, row in groups.items():
        # A way that was tried on fewer gaps than the row is of can't be compared with the others there.
        cells = (
            f"{pm(row[way]['tokens'], 1, 2)} ({pm(row[way]['octaves'], 1, 2)})" if way in row and row[way]["gaps"] == row["gaps"] else ""
            for way in ways
        )
        rows.append([name, f"{row['gaps']}", f"{row['true_mean']:.1f}", *cells])
    told = [
        "Mean absolute error in tokens, in brackets that in octaves (1: twice or half as long). Gaps are cut as writers cut them:",
        ", ".join(f"{kind} {share:.0%}" for kind, share in MIX.items()) + " of all.\n",
        *(f"- **{way}**: {WAYS[way]}" for way in ways),
        "",
        table(("", "gaps", "true mean", *ways), rows),
    ]
    if belief := found.get("belief"):
        inside = ", ".join(f"{share:.1%} of its {nominal} intervals" for nominal, share in belief["inside"].items())
        told += [
            f"\nThe true count costs {belief['nats']:.3f} nats under the head, {belief['marginal_nats'] - belief['nats']:.3f} less than "
            f"under its own average distribution; the truth is in {inside}."
        ]
    return told
