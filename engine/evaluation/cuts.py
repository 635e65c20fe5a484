"""Gaps cut from held-out documents: a word, three words, a phrase, a sentence, each with the text around it."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from engine.canvas import Canvas, Window
from engine.denoiser import Denoiser
from engine.draft import Draft, Gap, Length
from engine.spacing import straighten

_WORD = r"[^\W\d_]+(?:['’-][^\W\d_]+)*"
KINDS = {
    "word": re.compile(rf"(?<= ){_WORD}(?=[ ,.;:!?])"),
    "3 words": re.compile(rf"(?<= ){_WORD} {_WORD} {_WORD}(?=[ ,.;:!?])"),
    "phrase": re.compile(rf"(?<=[,;:] ){_WORD}(?: {_WORD}){{3,9}}(?=[,;:.!?])"),
    "sentence": re.compile(r"(?<=[.!?] )[A-Z][^.!?\"“”\n]{24,180}[.!?](?= [A-Z])"),
}
"""What is cut: a word; three words in a row; all of 4 to 10 words between two signs; a whole sentence between two others."""
_ABBREVIATION = re.compile(r"(?:\b(?:Mr|Mrs|Ms|Dr|St|Prof|Rev|Capt|Col|Gen|etc|vs|No)|\b[A-Z]|\.[a-z])\.\s*$")
AROUND = 480
"""Characters of given text kept on each side at most."""
LEAST = 40
"""And at least."""
_TRIES = 12


@dataclass(frozen=True, slots=True)
class Cut:
    """A gap with what a person wrote there."""

    id: str
    document: int
    source: str
    kind: str
    left: str
    truth: str
    right: str

    def draft(self, length: Length | None) -> Draft:
        """The draft that asks for it; no length is the automatic one."""
        return Draft((self.left, Gap(length), self.right))

    def window(self, model: Denoiser, text: str) -> Window:
        """The canvas with `text` in the gap, and where its tokens stand."""
        canvas = Canvas(model, self.draft(None))
        ids = self.tokens(model, text)
        return canvas.window([(0, 0, len(ids))], [ids])

    def tokens(self, model: Denoiser, text: str) -> list[int]:
        """The tokens of a text in the gap, as the model would write them."""
        space = Canvas(model, self.draft(None)).spans[0].takes_space
        return model.encode((" " if space else "") + straighten(text.strip()))


def cut_gaps(texts: Sequence[tuple[str, str]], count: int, seed: int) -> list[Cut]:
    """`count` gaps of each kind from (source, text) documents, fewer where they have none to give.

    The kinds take turns, each going through the documents in a random order of its own, so that no document gives two gaps of
    a kind before all gave one; the first gaps are the same however many are asked for.
    """
    turns = [_cuts_of(kind, texts, count, seed) for kind in KINDS]
    return [cut for turn in range(count) for found in turns for cut in found[turn : turn + 1]]


def _cuts_of(kind: str, texts: Sequence[tuple[str, str]], count: int, seed: int) -> list[Cut]:
    rng = random.Random(f"{seed} {kind}")
    order = rng.sample(range(len(texts)), len(texts))
    found: list[Cut] = []
    seen: set[tuple[int, int]] = set()
    fruitless = 0
    while len(found) < count and fruitless < 2 * len(order):
        for document in order:
            at = _place(kind, texts[document][1], rng)
            fruitless += 1
            if at is None or (document, at[0]) in seen or len(found) == count:
                continue
            fruitless = 0
            seen.add((document, at[0]))
            source, text = texts[document]
            left, right = _left(text[: at[0]]), _right(text[at[1] :])
            found.append(Cut(f"{kind} {len(found)}", document, source, kind, left, text[at[0] : at[1]], right))
    return found


def _place(kind: str, text: str, rng: random.Random) -> tuple[int, int] | None:
    """A gap of this kind after a random place of a text, with enough text on both sides."""
    for _ in range(_TRIES):
        where = rng.randrange(max(1, len(text)))
        match = KINDS[kind].search(text, max(LEAST, where), min(len(text), where + 2000))
        if match is None or len(text) - match.end() < LEAST:
            continue
        if kind == "sentence" and (_ABBREVIATION.search(text[: match.start()][-12:]) or _ABBREVIATION.search(match[0])):
            continue
        return match.span()
    return None


def _left(text: str) -> str:
    return text if len(text) <= AROUND else text[-AROUND:].partition(" ")[2]


def _right(text: str) -> str:
    return text if len(text) <= AROUND else text[:AROUND].rpartition(" ")[0]
