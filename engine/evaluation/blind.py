"""A shuffled reading sheet for a human judge, its key apart, and the score of an answered one."""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.training.gaps import Cut

SHEET, KEY = "blind.md", "blind-key.tsv"
PERSON = "person"
Counts = dict[str, dict[str, tuple[int, int]]]
_SHOWN = 260
"""Characters of given text on each side."""
_INSTRUCTIONS = """\
# Who wrote it?

Each passage holds one part in **bold**: some are what the author wrote, the others were filled in by a machine that never saw
it. Read the passage once and write P (the person) or M (a machine) after its `answer:`. Don't open the key before you are done.
Then `python launch.py evaluate --score FOLDER`, with the folder that holds this sheet and its key, counts.
"""


class BlindError(ValueError):
    """A sheet can't be scored; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Item:
    """One passage of the sheet."""

    cut: Cut
    author: str
    """PERSON or the name of what filled it."""
    text: str


def draw(cuts: Sequence[Cut], writers: Mapping[str, Sequence[str]], count: int, seed: int) -> list[Item]:
    """Up to `count` passages, each gap once, its text by a person or one of the writers (name -> fills, one a cut).

    Every kind of gap has an equal share of the passages, and every author an equal share of each kind.
    """
    rng = random.Random(f"blind {seed}")
    authors, kinds = [PERSON, *writers], list(dict.fromkeys(cut.kind for cut in cuts))
    by_kind = [rng.sample(own, len(own)) for own in ([i for i, cut in enumerate(cuts) if cut.kind == kind] for kind in kinds)]
    in_turn = [i for turn in itertools.zip_longest(*by_kind) for i in turn if i is not None]
    rank = {i: place for own in by_kind for place, i in enumerate(own)}
    items = []
    for i in in_turn[:count]:
        # The kinds begin with different authors, so that the odd passages of each don't add up to one's advantage.
        name = authors[(rank[i] + kinds.index(cuts[i].kind)) % len(authors)]
        items.append(Item(cuts[i], name, cuts[i].truth if name == PERSON else writers[name][i]))
    rng.shuffle(items)
    return items


def write(items: Sequence[Item], folder: Path) -> None:
    """The sheet, and the key beside it."""
    sheet, key = [_INSTRUCTIONS], ["number\tauthor\tgap\tkind\tthe author's words"]
    for number, item in enumerate(items, 1):
        left, right = item.cut.left[-_SHOWN:], item.cut.right[:_SHOWN]
        left = left if left == item.cut.left else "… " + left.partition(" ")[2]
        right = right if right == item.cut.right else right.rpartition(" ")[0] + " …"
        sheet.append(f"## {number}\n\n{_plain(left)}{_bold(item.text)}{_plain(right)}\n\nanswer:\n")
        key.append(f"{number}\t{item.author}\t{item.cut.id}\t{item.cut.kind}\t{' '.join(item.cut.truth.split())}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SHEET).write_text("\n".join(sheet), encoding="utf-8")
    (folder / KEY).write_text("\n".join(key) + "\n", encoding="utf-8")


def score(folder: Path) -> Counts:
    """Author -> kind of gap -> (passages taken for a person's, passages answered); BlindError when there is nothing to count."""
    try:
        sheet = (folder / SHEET).read_text(encoding="utf-8")
        lines = (folder / KEY).read_text(encoding="utf-8").splitlines()[1:]
    except OSError as error:
        raise BlindError(f"{folder} has no {SHEET} with its {KEY}; write them with --blind first.") from error
    except UnicodeDecodeError as error:
        raise BlindError(f"{SHEET} or {KEY} in {folder} is not UTF-8 text; save it as UTF-8.") from error
    if not all(re.match(r"\d+\t[^\t]*\t[^\t]*\t[^\t]+", line) for line in lines):
        raise BlindError(f"{KEY} in {folder} is not as --blind wrote it; write both files again.")
    found = {
        int(number): answer.strip()[:1].upper() for number, answer in re.findall(r"^## (\d+)\n.*?^answer:([^\n]*)", sheet, re.M | re.S)
    }
    counts: Counts = {}
    for line in lines:
        number, author, _, kind = line.split("\t")[:4]
        if (answer := found.get(int(number), "")) in ("P", "M"):
            own = counts.setdefault(author, {})
            taken, answered = own.get(kind, (0, 0))
            own[kind] = taken + (answer == "P"), answered + 1
    if not counts:
        raise BlindError(f"No passage in {folder / SHEET} is answered yet; write P or M after each `answer:`.")
    return counts


def told(counts: Counts) -> str:
    """The score as lines for a person, with Wilson's 95 % interval, and what it is by kind of gap."""
    lines = []
    for author, kinds in sorted(counts.items(), key=lambda pair: pair[0] != PERSON):
        taken, answered = map(sum, zip(*kinds.values(), strict=True))
        low, high = wilson(taken, answered)
        who = "the authors' own words" if author == PERSON else author
        each = ", ".join(f"{kind} {t} of {n}" for kind, (t, n) in sorted(kinds.items()))
        share = f"{taken / answered:.0%}, 95 % interval {low:.0%} to {high:.0%}"
        lines.append(f"{who}: {taken} of {answered} taken for a person's ({share}): {each}")
    return "\n".join(lines)


def wilson(hits: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """The interval of a share (Wilson 1927)."""
    share = hits / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def _plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_\[\]<>#])", r"\\\1", text)


def _bold(text: str) -> str:
    inner = text.strip()
    if not inner:
        return "**[nothing]**"
    start = len(text) - len(text.lstrip())
    return f"{text[:start]}**{_plain(inner)}**{text[start + len(inner) :]}"
