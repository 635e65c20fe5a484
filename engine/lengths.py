"""How many cells a gap gets: what the writer asked for, or what the model thinks fits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from statistics import median

import torch
from torch import Tensor

from engine.canvas import Canvas
from engine.constraints import Edges, WordCount
from engine.denoiser import Denoiser
from engine.draft import Draft, Gap
from engine.forward import subs_log_probs
from engine.text import is_wordlike
from engine.vocabulary import vocabulary

CANDIDATES = (1, 2, 3, 5, 8, 12, 18, 26)
"""Lengths in tokens that are tried for a gap without a length."""
DEFAULT = 6
"""Length in tokens that a gap has before anything is known: until its turn comes, and where the model sees no difference."""
SPREAD = 0.8
"""How far lengths usually lie from that, in octaves. A small model's confidence alone says little, and short gaps would win."""
FREE = 48
"""Length in tokens of a draft that is one gap and nothing else."""
CONTEXT = 128
"""Tokens of the canvases that lengths are compared on."""

Rules = Callable[[Denoiser, Canvas, int, int], tuple[Edges, WordCount]]
"""(model, canvas, span, size) -> what the span's cells may hold."""

SAMPLE = (
    "The path along the river was still wet from the night, and she walked slowly, with one hand on the fence. On the other "
    "side two men were mending a boat. They had not seen her yet. She thought about what her father would have said, and "
    "then about the letter in her pocket, which nobody else had read. It was nearly nine o'clock when she came to the bridge."
)
"""Plain prose, to learn how many tokens a model spends on a word."""


def decide_lengths(model: Denoiser, canvas: Canvas, rules: Rules) -> list[int]:
    """Cells for every span. Lengths that nobody gave are estimated one after the other, each in one batched call."""
    options = [_options(model, canvas, i, rules) for i in range(len(canvas.spans))]
    sizes = [found[0] if len(found) == 1 else min(found, key=lambda n: abs(n - DEFAULT)) for found in options]
    for i, found in enumerate(options):
        if len(found) > 1:
            sizes[i] = _estimate(model, canvas, sizes, i, found)
    return sizes


def tokens_of_words(model: Denoiser, count: int) -> int:
    """Tokens for this many words: as many as plain words take, and one for a sign every dozen words.

    No more, because cells left over when the words are all there can only lengthen a word, and spoil it (DECISIONS).
    """
    plain = median(len(model.encode(" " + word.strip(".,;"))) for word in SAMPLE.split())
    return round(plain * count) + count // 12


def _options(model: Denoiser, canvas: Canvas, i: int, rules: Rules) -> list[int]:
    """Lengths to choose from for a span: one when there is nothing to choose."""
    span = canvas.spans[i]
    if span.was:
        return [max(1, canvas.rewritten_tokens(i))]
    length = span.length
    if length is None:
        if len(canvas.spans) == 1 and not any(map(is_wordlike, span.before + span.after)):
            return [FREE]
        return list(CANDIDATES)
    if length.unit == "tokens":
        return _between(length.low, length.high)
    low, high = (_reachable(model, canvas, i, tokens_of_words(model, n), rules) for n in (length.low, length.high))
    return _between(low, high)


def _between(low: int, high: int) -> list[int]:
    """A few lengths from low to high, evenly spread by their ratio."""
    if low == high:
        return [low]
    count = min(len(CANDIDATES), high - low + 1)
    return sorted({round(math.exp(math.log(low) + (math.log(high) - math.log(low)) * k / (count - 1))) for k in range(count)})


def _reachable(model: Denoiser, canvas: Canvas, i: int, usual: int, rules: Rules) -> int:
    """The first length from `usual` up that can hold the words asked for."""
    class_of = vocabulary(model).class_of
    for size in range(usual, 2 * usual + 16):
        edges, count = rules(model, canvas, i, size)
        if count.reachable(edges.classes(class_of, size)):
            return size
    raise ValueError("This model's tokens can't spell the words that a gap asks for.")


def _estimate(model: Denoiser, canvas: Canvas, sizes: Sequence[int], i: int, options: Sequence[int]) -> int:
    """The best of several lengths for span i, the others as they are: calibrated confidence weighed against what is usual."""
    bias = length_bias(model)
    usual = DEFAULT if canvas.spans[i].length is None else math.sqrt(options[0] * options[-1])
    scores = {
        size: math.log(found / bias(size)) - (math.log2(size / usual) / SPREAD) ** 2 / 2
        for size, found in zip(options, _confidence(model, canvas, sizes, i, options), strict=True)
    }
    return max(scores, key=scores.__getitem__)


def _confidence(model: Denoiser, canvas: Canvas, sizes: Sequence[int], i: int, options: Sequence[int]) -> list[float]:
    """For each length the mean probability of the best guesses for the span's cells, all masked (CAL, arXiv 2602.00476)."""
    windows = []
    for size in options:
        tried = [size if k == i else n for k, n in enumerate(sizes)]
        group = next(g for g in canvas.windows(tried) if any(k == i for k, _, _ in g))
        windows.append(canvas.window(group, [[model.mask_id] * n for n in tried], min(canvas.room, CONTEXT)))
    longest = max(len(w.ids) for w in windows)
    ids = torch.full((len(windows), longest), model.mask_id)
    attend, positions = torch.zeros_like(ids, dtype=torch.bool), torch.zeros_like(ids, dtype=torch.bool)
    for row, w in enumerate(windows):
        ids[row, : len(w.ids)] = torch.tensor(w.ids)
        attend[row, : len(w.ids)] = True
        positions[row, [p for p, (k, _) in w.cells.items() if k == i]] = True
    log_probs = subs_log_probs(model.logits(ids, positions, attend=attend), model.suppressed)
    best: Tensor = log_probs.amax(-1).exp().cpu()
    return [float(part.mean()) for part in best.split(positions.sum(-1).tolist())]


def length_bias(model: Denoiser) -> Callable[[int], float]:
    """The model's mean confidence by length, whatever the context: `model.length_bias`, or what is typical where it has none.

    A dict from lengths in tokens to confidences (see `fit_length_bias`); between them, and on beyond the last ones, it is a
    power of the length.
    """
    known: dict[str, float] = getattr(model, "length_bias", None) or TYPICAL_BIAS
    points = sorted((math.log(int(size)), math.log(value)) for size, value in known.items())

    def bias(size: int) -> float:
        x = math.log(size)
        (x0, y0), (x1, y1) = next((pair for pair in pairwise(points) if x <= pair[1][0]), points[-2:])
        return math.exp(y0 + (y1 - y0) * (x - x0) / (x1 - x0))

    return bias


def fit_length_bias(model: Denoiser, texts: Iterable[str], *, gaps: int = 64, context: int = 80) -> dict[str, float]:
    """The mean confidence of a model in gaps of each of the candidate lengths, measured where words were cut out of given texts.

    At most `gaps` gaps are cut, spread over the texts, of 1 to 16 words each, with `context` words around them.
    """
    logs: list[list[float]] = []
    for text in texts:
        runs = text.split(" ")
        for at in range(context // 2, len(runs) - context // 2, context):
            if len(logs) == gaps:
                break
            cut = 1 + len(logs) % 16
            left, right = runs[at - context // 2 : at], runs[at + cut : at + context // 2]
            canvas = Canvas(model, Draft((" ".join(left) + " ", Gap(), " " + " ".join(right))))
            logs.append([math.log(c) for c in _confidence(model, canvas, [DEFAULT], 0, CANDIDATES)])
    if not logs:
        raise ValueError(f"There is too little text to learn from: a length bias needs texts of at least {context} words.")
    means = (sum(column) / len(logs) for column in zip(*logs, strict=True))
    return {str(size): math.exp(mean) for size, mean in zip(CANDIDATES, means, strict=True)}


TYPICAL_BIAS = {"1": 0.19, "2": 0.18, "3": 0.14, "5": 0.115, "8": 0.093, "12": 0.08, "18": 0.071, "26": 0.065}
"""Of a small model."""
