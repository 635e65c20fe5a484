"""Gaps cut out of texts as writers cut them: a word, a few words, a phrase, the rest of a sentence, sentences.

What lengths are learned from and measured on. Around each stands text of its document, from a sentence to a page, in whole
sentences; now and then nothing stands on one side, because a draft begins or ends with the gap, or a second gap is near.
"""

from __future__ import annotations

import math
import re
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from engine.canvas import Canvas, Window
from engine.denoiser import Denoiser
from engine.draft import Draft, Gap
from engine.lengths import gap_windows
from engine.spacing import straighten
from engine.training.corpus import CorpusError, documents

SHARES = {"word": 0.27, "words": 0.27, "phrase": 0.16, "rest": 0.06, "sentence": 0.18, "sentences": 0.06}
"""Kinds of gaps and how often each is cut.

word: one; words: 2 to 16, log-uniform, anywhere in a paragraph; phrase: what stands between two signs of a sentence; rest: from
within a sentence to its end; sentence: a whole one; sentences: 2 to 4 of a paragraph.
"""
CONTEXT = (60, 1600)
"""Characters of text around a gap, log-uniform between these, before it is rounded up to whole sentences."""
OPEN_END, OPEN_START = 0.1, 0.05
"""How often the text around stops, or begins, at a gap that ends, or begins, a sentence."""
SECOND = 0.15
"""How often another word or a few words near are cut out, too."""
DOCUMENT = 20_000
"""Characters of a document that gaps are cut from, so that no book is more than its share."""

_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s)\s+(?=[\"'“‘(\[—]*[A-Z0-9])")
_WORD = re.compile(r"[^\W_]+(?:['’.,-][^\W_]+)*")
_SIGNS = re.compile(r"[,;:()—–]")


@dataclass(frozen=True, slots=True)
class Cut:
    """A text with gaps: given texts and, between them, what was cut out."""

    kind: str
    given: tuple[str, ...]
    gaps: tuple[str, ...]
    asked: int
    """Which of the gaps is of this kind; another one is only there to be in the way."""

    @property
    def draft(self) -> Draft:
        """The draft that a writer would have written, its gaps without lengths."""
        parts: list[str | Gap] = [self.given[0]]
        for text in self.given[1:]:
            parts += [Gap(), text]
        return Draft(tuple(parts))


class Page:
    """A document with its sentences and words, to cut gaps out of; `sentences` may be empty."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sentences: list[tuple[int, int]] = []
        """(start, end) offsets, in reading order."""
        self._paragraphs: list[tuple[int, int]] = []
        """The first and the last sentence's index of each sentence's paragraph."""
        for start, end in _paragraphs(text):
            starts = [start, *(start + found.end() for found in _SENTENCE_END.finditer(text[start:end]))]
            spans = [(a, a + len(text[a:b].rstrip())) for a, b in zip(starts, [*starts[1:], end], strict=True)]
            first = len(self.sentences)
            self.sentences += spans
            self._paragraphs += [(first, first + len(spans) - 1)] * len(spans)

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
        return Cut(kind, tuple(given), tuple(gaps), asked)

    def _place(self, kind: str, s: int, rng: np.random.Generator) -> tuple[int, int] | None:
        """The offsets of a gap of this kind in, or from, sentence s."""
        start, end = self.sentences[s]
        last = self._paragraphs[s][1]
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


def cuts(text: str, rng: np.random.Generator, count: int) -> Iterator[Cut]:
    """Up to `count` gaps of a document, their kinds drawn by SHARES."""
    page = Page(text)
    if not page.sentences:
        return
    kinds, shares = list(SHARES), np.array(list(SHARES.values()))
    for kind in rng.choice(kinds, size=count, p=shares / shares.sum()):
        for _ in range(8):  # so that no kind is rarer than it shall be because it is harder to find
            if found := page.cut(str(kind), rng):
                yield found
                break


def gaps_of(files: Sequence[Path], count: int, seed: int, characters: float = 3e6) -> list[tuple[int, Cut]]:
    """About `count` gaps with the number of their document, spread over the first `characters` of each file."""
    texts: list[str] = []
    for file in tqdm(files, desc="Reading", unit=" files", file=sys.stderr, leave=False):
        left = characters
        for text in documents(file):
            texts.append(text[:DOCUMENT])
            left -= len(texts[-1])
            if left <= 0:
                break
    if not texts:
        raise CorpusError("The files hold no text to cut gaps from; name files with documents in them.")
    rng = np.random.default_rng(seed)
    sizes = np.array([len(text) for text in texts], dtype=float)
    shares = rng.multinomial(count, sizes / sizes.sum())
    return [(d, cut) for d, (text, share) in enumerate(zip(texts, shares, strict=True)) for cut in cuts(text, rng, int(share))]


def true_counts(model: Denoiser, canvas: Canvas, cut: Cut) -> list[int]:
    """How many tokens each gap of a cut held."""
    return [
        len(model.encode((" " if span.takes_space else "") + straighten(words))) for span, words in zip(canvas.spans, cut.gaps, strict=True)
    ]


def window_of(model: Denoiser, cut: Cut, *, known: bool) -> tuple[Window, int]:
    """The canvas that a head reads, and the true token count; `known`: whether another gap stands there with its true length."""
    canvas = Canvas(model, cut.draft)
    counts = true_counts(model, canvas, cut)
    sizes = [count if known and i != cut.asked else 1 for i, count in enumerate(counts)]
    return gap_windows(model, canvas, sizes, [cut.asked])[0], counts[cut.asked]


def _paragraphs(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for gap in [*re.finditer(r"\s*\n\s*\n\s*", text), None]:
        end = gap.start() if gap else len(text.rstrip())
        if end > start:
            yield start, end
        start = gap.end() if gap else end
