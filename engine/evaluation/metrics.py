"""Figures of fills as pure functions of texts: words found again, BLEU, repetition, variety; and errors by document."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from engine.text import bare_words, fold

_PIECE = re.compile(r"\w+(?:['-]\w+)*|[^\w\s]")
ORDERS = 4
NEAR = 3
"""A stutter is a word seen again within this many words."""
LONG = 5
"""Letters from which on a word is mostly about something, and a person seldom says it twice in a sentence."""


def pieces(text: str) -> list[str]:
    """The folded words and signs of a text, each on its own: what n-grams are made of."""
    return _PIECE.findall(fold(text))


def ngrams(sequence: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """The n-grams of a sequence, in order."""
    return [tuple(sequence[i : i + n]) for i in range(len(sequence) - n + 1)]


def words_found(fill: str, truth: str) -> tuple[int, int]:
    """(true words that the fill has at their own place, counted from its start; true words): case and edge signs aside."""
    found, wanted = bare_words(fill), bare_words(truth)
    return sum(a == b for a, b in zip(found, wanted, strict=False)), len(wanted)


def same(fill: str, truth: str) -> bool:
    """Whether the fill is the truth, word for word."""
    return bare_words(fill) == bare_words(truth)


def bleu_counts(fill: Sequence[str], truth: Sequence[str]) -> list[int]:
    """What BLEU needs of a pair, to be summed over a corpus: both lengths, then for n = 1 to 4 the n-grams that match, each
    at most as often as the truth has it, and all n-grams (Papineni et al. 2002).
    """
    counts = [len(fill), len(truth)]
    for n in range(1, ORDERS + 1):
        ours, theirs = Counter(ngrams(fill, n)), Counter(ngrams(truth, n))
        counts += [sum((ours & theirs).values()), max(0, len(fill) - n + 1)]
    return counts


def bleu(counts: np.ndarray, order: int) -> np.ndarray:
    """(..., 10) summed counts -> (...) BLEU of that order in [0, 1]: the geometric mean of the clipped precisions times
    the brevity penalty, without smoothing; 0 where some n-gram never matched.
    """
    counts = np.asarray(counts, dtype=float)
    matched, total = counts[..., 2 : 2 + 2 * order : 2], counts[..., 3 : 3 + 2 * order : 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.log(matched / total).mean(-1)
        brevity = np.minimum(0.0, 1 - counts[..., 1] / counts[..., 0])
        score = np.exp(precision + brevity)
    return np.where(matched.all(-1), score, 0.0)


def stutters(passage: Sequence[str], start: int, end: int) -> tuple[int, int]:
    """(words of passage[start:end] that stand again within NEAR words of themselves, words there); signs don't count."""
    places = [i for i, piece in enumerate(passage) if piece[0].isalnum()]
    words = [passage[i] for i in places]
    inside = [k for k, i in enumerate(places) if start <= i < end]
    again = sum(words[k] in words[max(0, k - NEAR) : k] + words[k + 1 : k + 1 + NEAR] for k in inside)
    return again, len(inside)


def said_again(fill: Sequence[str]) -> tuple[int, int]:
    """(words of LONG letters or more that the fill has said before, all of them)."""
    words = [piece for piece in fill if len(piece) >= LONG]
    return len(words) - len(set(words)), len(words)


def repeated(passage: Sequence[str], start: int, end: int, n: int) -> tuple[int, int]:
    """(n-grams touching passage[start:end] that stand elsewhere in the passage too, all that touch it)."""
    grams = ngrams(passage, n)
    often = Counter(grams)
    touching = grams[max(0, start - n + 1) : end]
    return sum(often[gram] > 1 for gram in touching), len(touching)


def incidence(texts: Sequence[Sequence[str]], n: int) -> np.ndarray:
    """(texts, kinds of n-grams): how often each text has each, for `distinct`."""
    found = [Counter(ngrams(text, n)) for text in texts]
    kinds = {gram: i for i, gram in enumerate(dict.fromkeys(gram for own in found for gram in own))}
    counts = np.zeros((len(texts), len(kinds)), dtype=np.float32)
    for row, own in enumerate(found):
        for gram, often in own.items():
            counts[row, kinds[gram]] = often
    return counts


def distinct(counts: np.ndarray) -> np.ndarray:
    """(..., kinds) summed counts -> (...) kinds there are over n-grams there are: distinct-n (arXiv 1510.03055)."""
    return _over((counts > 0).sum(-1), counts.sum(-1))


class Bootstrap:
    """Standard errors by drawing whole documents again; the same draws for every row, so that rows pair.

    Sums are drawn with replacement. Variety can't be: a document drawn twice has nothing new, so there half of the documents
    are drawn without, whose figures spread as those of all of them do (delete-half jackknife, Shao and Wu 1989).
    """

    def __init__(self, documents: Sequence[int], draws: int = 400, seed: int = 0) -> None:
        """`documents`: which document each item is from."""
        names, owner = np.unique(np.asarray(documents), return_inverse=True)
        rng, count = np.random.default_rng(seed), len(names)
        chosen = rng.integers(0, count, size=(draws, count))
        often = np.stack([np.bincount(row, minlength=count) for row in chosen])
        halves = np.stack([rng.permutation(count) < count - count // 2 for _ in range(draws)])
        self._weights, self._halves = (np.concatenate((np.ones((1, len(owner))), drawn[:, owner])) for drawn in (often, halves))

    def draw(self, items: np.ndarray, figure: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """(items, k) sums of each item -> (1 + draws,) figures of their totals: of all as they are first, then of every draw."""
        weights = self._halves if figure is distinct else self._weights
        return np.asarray(figure(weights @ np.asarray(items, dtype=float)), dtype=float)


def with_error(drawn: np.ndarray) -> tuple[float, float]:
    """A figure and its standard error, from what `Bootstrap.draw` gave or from the difference of two such."""
    return float(drawn[0]), float(np.nanstd(drawn[1:], ddof=1))


def share(totals: np.ndarray) -> np.ndarray:
    """(..., 2) -> (...) the first over the second; NaN where there is nothing to have a share of."""
    return _over(totals[..., 0], totals[..., 1])


def _over(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.where(whole > 0, part / np.maximum(whole, 1e-9), np.nan)


def ratio_by_document(totals: np.ndarray, sizes: np.ndarray) -> tuple[float, float | None]:
    """sum(totals) / sum(sizes) of (documents,) each, and its standard error with the documents as the independent units.

    The error is the ratio estimator's (Cochran 1977, section 6.4); None from one document.
    """
    ratio, count = float(totals.sum() / sizes.sum()), len(totals)
    if count < 2:
        return ratio, None
    residuals = totals - ratio * sizes
    return ratio, float(math.sqrt(count / (count - 1) * (residuals**2).sum()) / sizes.sum())


def mean_by_document(values: np.ndarray, documents: np.ndarray) -> tuple[float, float | None]:
    """The mean of (N,) values and its standard error when those of one document, named by `documents`, depend on each other."""
    _, owners = np.unique(documents, return_inverse=True)
    return ratio_by_document(np.bincount(owners, weights=values), np.bincount(owners).astype(float))
