"""Gaps cut out of documents, with what a person wrote there: what lengths are learned from, and what is measured.

Two ways to cut. `mixed_cuts` cuts as writers do, kinds by their shares (MIX), around each gap from a sentence to a page of whole
sentences; now and then nothing stands on one side, because a draft begins or ends with the gap, or a second gap is near. Lengths
are learned from these and measured on them. `even_cuts` cuts as many gaps of each of four kinds that are alike in themselves (EVEN),
one a text, given text on both sides: infilling is measured on these, so that its tables are of the same gaps for every setting.
"""

from __future__ import annotations

import math
import random
import re
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from engine.canvas import Canvas, Window
from engine.denoiser import Denoiser
from engine.draft import Draft, Gap, Length
from engine.lengths import gap_windows
from engine.training.corpus import CorpusError, documents

MIX = {"word": 0.27, "words": 0.27, "phrase": 0.16, "rest": 0.06, "sentence": 0.18, "sentences": 0.06}
"""Kinds of gaps that writers cut, and how often.

word: one; words: 2 to 16, log-uniform, anywhere in a paragraph; phrase: what stands between two signs of a sentence; rest: from
within a sentence to its end; sentence: a whole one; sentences: 2 to 4 of a paragraph.
"""
CONTEXT = (60, 1600)
"""Characters of text around such a gap, log-uniform between these, before it is rounded up to whole sentences."""
OPEN_END, OPEN_START = 0.1, 0.05
"""How often the text around stops, or begins, at a gap that ends, or begins, a sentence."""
SECOND = 0.15
"""How often another word or a few words near are cut out, too."""
DOCUMENT = 20_000
"""Characters of a document that such gaps are cut from, so that no book is more than its share."""
TRIES = 8
"""Places that are tried for a gap of the kind drawn, so that no kind is rarer than it shall be because it is harder to find."""

_LETTERS = r"[^\W\d_]+(?:['’-][^\W\d_]+)*"
EVEN = {
    "word": re.compile(rf"(?<= ){_LETTERS}(?=[ ,.;:!?])"),
    "3 words": re.compile(rf"(?<= ){_LETTERS} {_LETTERS} {_LETTERS}(?=[ ,.;:!?])"),
    "phrase": re.compile(rf"(?<=[,;:] ){_LETTERS}(?: {_LETTERS}){{3,9}}(?=[,;:.!?])"),
    "sentence": re.compile(r"(?<=[.!?] )[A-Z][^.!?\"“”\n]{24,180}[.!?](?= [A-Z])"),
}
"""A word; three words in a row; all of 4 to 10 words between two signs; a whole sentence of 26 to 182 characters between two others."""
AROUND, LEAST = 480, 40
"""Characters of given text on each side of such a gap: at most, and at least."""
EVEN_TRIES = 12
"""Places of a document that are tried before the next document's turn."""

_ABBREVIATION = re.compile(r"(?:\b(?:Mr|Mrs|Ms|Dr|St|Prof|Rev|Capt|Col|Gen|etc|vs|No)|\b[A-Z]|\.[a-z])\.\s*$")
_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s)\s+(?=[\"'“‘(\[—]*[A-Z0-9])")
_WORD = re.compile(r"[^\W_]+(?:['’.,-][^\W_]+)*")
_SIGNS = re.compile(r"[,;:()—–]")


@dataclass(frozen=True, slots=True)
class Cut:
    """A text with gaps: given texts and, between them, what was cut out."""

    id: str
    """Unlike that of any other cut of the same call."""
    document: int
    """Which of the texts it is from."""
    source: str
    kind: str
    given: tuple[str, ...]
    gaps: tuple[str, ...]
    asked: int = 0
    """Which of the gaps is of this kind; another one is only there to be in the way."""

    @property
    def left(self) -> str:
        """The given text before the gap that is asked for."""
        return self.given[self.asked]

    @property
    def truth(self) -> str:
        """What a person wrote in it."""
        return self.gaps[self.asked]

    @property
    def right(self) -> str:
        """The given text behind it."""
        return self.given[self.asked + 1]

    def draft(self, length: Length | None = None) -> Draft:
        """The draft that a writer would have written; `length` is that of the gap asked for, None the automatic one."""
        parts: list[str | Gap] = [self.given[0]]
        for i, text in enumerate(self.given[1:]):
            parts += [Gap(length if i == self.asked else None), text]
        return Draft(tuple(parts))

    def tokens(self, model: Denoiser, text: str) -> list[int]:
        """The tokens of a text in the gap asked for, as the model would write them."""
        return _tokens(model, Canvas(model, self.draft()), self.asked, text)

    def window(self, model: Denoiser, text: str) -> Window:
        """The canvas of a draft with this gap alone, `text` in it, and where the tokens of the text stand."""
        canvas = Canvas(model, self.draft())
        ids = _tokens(model, canvas, 0, text)
        return canvas.window([(0, 0, len(ids))], [ids])

    def masked(self, model: Denoiser, *, known: bool = False) -> tuple[Window, int]:
        """What a length head reads, the gap as one mask, and how many tokens the gap held.

        known: whether another gap of the draft stands there with its true length, and not as one mask, too.
        """
        canvas = Canvas(model, self.draft())
        counts = [len(_tokens(model, canvas, i, text)) for i, text in enumerate(self.gaps)]
        sizes = [count if known and i != self.asked else 1 for i, count in enumerate(counts)]
        return gap_windows(model, canvas, sizes, [self.asked])[0], counts[self.asked]


class Page:
    """A document with its sentences and words, to cut gaps out of as writers do; `sentences` may be empty."""

    def __init__(self, text: str, document: int = 0, source: str = "") -> None:
        """`document`, `source`: what its cuts are said to be from."""
        self.text, self._document, self._source = text, document, source
        self.sentences: list[tuple[int, int]] = []
        """(start, end) offsets, in reading order."""
        self._paragraph: list[tuple[int, int]] = []
        """The first and the last sentence's index of each sentence's paragraph."""
        for start, end in _paragraphs(text):
            starts = [start, *(start + found.end() for found in _SENTENCE_END.finditer(text[start:end]))]
            spans = [(a, a + len(text[a:b].rstrip())) for a, b in zip(starts, [*starts[1:], end], strict=True)]
            first = len(self.sentences)
            self.sentences += spans
            self._paragraph += [(first, first + len(spans) - 1)] * len(spans)

    def cuts(self, rng: np.random.Generator, count: int) -> Iterator[Cut]:
        """Up to `count` cuts, their kinds drawn by MIX."""
        if not self.sentences:
            return
        shares = np.array(list(MIX.values()))
        for kind in rng.choice(list(MIX), size=count, p=shares / shares.sum()):
            for _ in range(TRIES):
                if found := self.cut(str(kind), rng):
                    yield found
                    break

    def cut(self, kind: str, rng: np.random.Generator) -> Cut | None:
        """A gap of this kind at a random place; None where the place that was drawn has none."""
        s = int(rng.integers(len(self.sentences)))
        found = self._place(kind, s, rng)
        if found is None:
            return None
        start, end = found
        left, right = self._around(start, end, rng)
        given, gaps, asked = [self.text[left:start], self.text[end:right]], [self.text[start:end]], 0
        if rng.random() < SECOND:
            side = int(rng.random() < 0.5)
            words = list(_WORD.finditer(given[side]))[2:-2]
            if len(words) > 4:
                w = int(rng.integers(len(words) - 3))
                a, b = words[w].start(), words[w + int(rng.integers(3))].end()
                gaps.insert(side, given[side][a:b])
                given[side : side + 1] = [given[side][:a], given[side][b:]]
                asked = 1 - side
        return Cut("", self._document, self._source, kind, tuple(given), tuple(gaps), asked)

    def _place(self, kind: str, s: int, rng: np.random.Generator) -> tuple[int, int] | None:
        """The offsets of a gap of this kind in, or from, sentence s."""
        start, end = self.sentences[s]
        last = self._paragraph[s][1]
        words = [(start + w.start(), start + w.end()) for w in _WORD.finditer(self.text[start:end])]
        if not words:
            return None
        if kind == "word":
            return words[int(rng.integers(len(words)))]
        if kind == "words":
            far = self.sentences[last][1]
            words = [(start + w.start(), start + w.end()) for w in _WORD.finditer(self.text[start:far])]
            count, first = round(math.exp(rng.uniform(math.log(1.5), math.log(16.5)))), int(rng.integers(end - start))
            first = bisect_left(words, (start + first, 0))
            if count < 2 or first + count > len(words):
                return None
            return words[first][0], words[first + count - 1][1]
        if kind == "phrase":
            signs = [start, *(start + m.start() for m in _SIGNS.finditer(self.text[start:end])), end]
            p = int(rng.integers(len(signs) - 1))
            inside = [w for w in words if signs[p] <= w[0] and w[1] <= signs[p + 1]]
            return (inside[0][0], inside[-1][1]) if len(signs) > 2 and len(inside) > 1 else None
        if kind == "rest":
            if len(words) < 4:
                return None
            return words[int(rng.integers(1, len(words)))][0], words[-1][1] if rng.random() < 0.5 else end
        more = int(rng.integers(1, 4)) if kind == "sentences" else 0
        return (start, self.sentences[s + more][1]) if s + more <= last else None

    def _around(self, start: int, end: int, rng: np.random.Generator) -> tuple[int, int]:
        """From where to where the text around a gap is kept: whole sentences, or nothing on one side."""
        starts = [a for a, _ in self.sentences]
        ends = [b for _, b in self.sentences]
        wanted, share = CONTEXT[0] * (CONTEXT[1] / CONTEXT[0]) ** rng.random(), rng.random()
        left = starts[max(0, bisect_right(starts, max(0, start - wanted * share)) - 1)]
        right = ends[min(len(ends) - 1, bisect_left(ends, end + wanted * (1 - share)))]
        on_left, on_right = rng.random() < OPEN_START, rng.random() < OPEN_END
        if on_left and start in starts and end < right:
            left = start
        elif on_right and left < start and (end in ends or not _WORD.search(self.text[end : ends[bisect_left(ends, end)]])):
            right = end
        return left, right


def beginnings(files: Sequence[Path], characters: float = 3e6) -> list[tuple[str, str]]:
    """(source, text) of the first documents of each file, DOCUMENT characters of each, until they are `characters` in all."""
    texts: list[tuple[str, str]] = []
    for file in tqdm(files, desc="Reading", unit=" files", file=sys.stderr, leave=False):
        left = characters
        for text in documents(file):
            texts.append((file.name, text[:DOCUMENT]))
            left -= len(texts[-1][1])
            if left <= 0:
                break
    return texts


def mixed_cuts(texts: Sequence[tuple[str, str]], count: int, seed: int) -> list[Cut]:
    """About `count` gaps from (source, text) documents, cut as writers do, spread over the texts by their lengths.

    CorpusError when they have none to give.
    """
    rng = np.random.default_rng(seed)
    sizes = np.array([len(text[:DOCUMENT]) for _, text in texts], dtype=float)
    shares = rng.multinomial(count, sizes / sizes.sum()).tolist() if sizes.any() else []
    pages = (Page(text[:DOCUMENT], d, source) for d, (source, text) in enumerate(texts))
    found = [cut for page, share in zip(pages, shares, strict=False) for cut in page.cuts(rng, share)]
    if not found:
        raise CorpusError("There is no text to cut gaps from; name files with documents of some sentences.")
    return [replace(cut, id=str(number)) for number, cut in enumerate(found)]


def even_cuts(texts: Sequence[tuple[str, str]], count: int, seed: int) -> list[Cut]:
    """`count` gaps of each kind of EVEN from (source, text) documents, fewer where they have none to give.

    The kinds take turns, each going through the documents in a random order of its own, so that no document gives two gaps of
    a kind before all gave one; the first gaps are the same however many are asked for.
    """
    turns = [_cuts_of(kind, texts, count, seed) for kind in EVEN]
    return [cut for turn in range(count) for found in turns for cut in found[turn : turn + 1]]


def _cuts_of(kind: str, texts: Sequence[tuple[str, str]], count: int, seed: int) -> list[Cut]:
    rng = random.Random(f"{seed} {kind}")
    order = rng.sample(range(len(texts)), len(texts))
    found: list[Cut] = []
    seen: set[tuple[int, int]] = set()
    fruitless = 0
    while len(found) < count and fruitless < 2 * len(order):
        for document in order:
            at = _match(kind, texts[document][1], rng)
            fruitless += 1
            if at is None or (document, at[0]) in seen or len(found) == count:
                continue
            fruitless = 0
            seen.add((document, at[0]))
            source, text = texts[document]
            left, right = text[: at[0]], text[at[1] :]
            left = left if len(left) <= AROUND else left[-AROUND:].partition(" ")[2]
            right = right if len(right) <= AROUND else right[:AROUND].rpartition(" ")[0]
            found.append(Cut(f"{kind} {len(found)}", document, source, kind, (left, right), (text[at[0] : at[1]],)))
    return found


def _match(kind: str, text: str, rng: random.Random) -> tuple[int, int] | None:
    """The offsets of a gap of this kind of EVEN behind a random place of a text, with enough text on both sides."""
    for _ in range(EVEN_TRIES):
        where = rng.randrange(max(1, len(text)))
        match = EVEN[kind].search(text, max(LEAST, where), min(len(text), where + 2000))
        if match is None or len(text) - match.end() < LEAST:
            continue
        if kind == "sentence" and (_ABBREVIATION.search(text[: match.start()][-12:]) or _ABBREVIATION.search(match[0])):
            continue
        return match.span()
    return None


def _paragraphs(text: str) -> Iterator[tuple[int, int]]:
    """The (start, end) offsets of what blank lines part."""
    start = 0
    for gap in [*re.finditer(r"\s*\n\s*\n\s*", text), None]:
        end = gap.start() if gap else len(text.rstrip())
        if end > start:
            yield start, end
        start = gap.end() if gap else end


def _tokens(model: Denoiser, canvas: Canvas, gap: int, text: str) -> list[int]:
    return canvas.encode(gap, text.strip())
