"""How many cells a gap gets: what the writer asked for, or what the model thinks fits."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Sequence
from itertools import pairwise
from statistics import median
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from engine.canvas import Canvas, Window
from engine.denoiser import Denoiser, KnowsLengths
from engine.draft import Draft, Gap
from engine.forward import subs_log_probs
from engine.rules import edges
from engine.spacing import ENDS_PARAGRAPH
from engine.text import is_wordlike
from engine.vocabulary import vocabulary
from engine.word_count import WordCount

CANDIDATES = (1, 2, 3, 5, 8, 12, 18, 26)
"""Lengths in tokens that are tried for a gap without a length."""
DEFAULT = 6
"""Length in tokens that a gap has before anything is known: until its turn comes, and where the model sees no difference."""
SPREAD = 0.8
"""How far lengths usually lie from that, in octaves. A small model's confidence alone says little, and short gaps would win."""
BELOW = 0.35
"""The share of a model's belief that lies below its guess. Less than half, for a cell too many costs more than one too few: what is left
when all is said is filled with words that say nothing. Readers of pairs liked such fills better than the median's
(docs/DECISIONS.md, Automatic lengths)."""
AGAIN = (0.2, 0.45)
"""Between these that share is drawn where a gap is filled again: who wants another version may want a shorter or a longer one."""
FREE = 48
"""Length in tokens of a draft that is one gap and nothing else."""
CONTEXT = 128
"""Tokens of the canvases that lengths are compared on."""
ROWS = 32
"""Canvases at once."""

SAMPLE = (
    "The path along the river was still wet from the night, and she walked slowly, with one hand on the fence. On the other "
    "side two men were mending a boat. They had not seen her yet. She thought about what her father would have said, and "
    "then about the letter in her pocket, which nobody else had read. It was nearly nine o'clock when she came to the bridge."
)
"""Plain prose, to learn how many tokens a model spends on a word."""


def decide_lengths(model: Denoiser, canvas: Canvas, *, again: int | None = None) -> Generator[None, None, list[int]]:
    """Cells for every span. Lengths that nobody gave are the model's own guess where it `KnowsLengths`, and CAL's otherwise.

    A model that knows is asked about ROWS gaps at once, none of which is laid out yet. CAL estimates one gap after the other, each in one
    batched call. Yields after each call, so that a caller can leave off; returns the cells. again: the seed of a run that fills once more
    what was filled before; what a model that knows guesses then is left to chance a little (AGAIN).
    """
    bounds = [_bounds(model, canvas, i) for i in range(len(canvas.spans))]
    open_ones = [i for i, (low, high) in enumerate(bounds) if low != high]
    if not open_ones:
        return [low for low, _ in bounds]
    if isinstance(model, KnowsLengths):
        blank = [low if low == high else 1 for low, high in bounds]
        sizes = list(blank)
        for start in range(0, len(open_ones), ROWS):
            some = open_ones[start : start + ROWS]
            for i, log_probs in zip(some, ask(model, canvas, blank, some), strict=True):
                sizes[i] = guess(log_probs, *bounds[i], below=BELOW if again is None else _drawn(again, i))
            yield
        return sizes
    options = [_options(low, high) for low, high in bounds]
    sizes = [min(found, key=lambda n: abs(n - DEFAULT)) for found in options]
    for i in open_ones:
        sizes[i] = cal(model, canvas, sizes, i, options[i], usual=None if bounds[i][1] is not None else DEFAULT)
        yield
    return sizes


def ask(model: KnowsLengths, canvas: Canvas, sizes: Sequence[int], spans: Sequence[int]) -> list[Tensor]:
    """For each of these spans the log-probabilities of 1, 2, ... tokens, in one call for every ROWS of them.

    `sizes`: the length of every span that has one already, 1 for the others.
    """
    windows = gap_windows(model, canvas, sizes, spans)
    found: list[Tensor] = []
    for start in range(0, len(windows), ROWS):
        ids, cells, attend = batch(model, windows[start : start + ROWS])
        found += model.gap_lengths(ids, cells, attend=attend)
    return found


def guess(log_probs: Tensor, low: int, high: int | None, *, below: float = BELOW) -> int:
    """The quantile of the token count from `low` to `high` (None: no limit) below which this share of the probability there lies.

    Half is the median, which errs least on average, whether errors are counted in tokens or in octaves. Where the model gives no
    probability to any count of the range, all there are equally long to it: their geometric mean.
    """
    high = len(log_probs) if high is None else high
    within = log_probs[low - 1 : high].double()
    if not len(within) or not bool(torch.isfinite(within.max())):
        return round(math.sqrt(low * high))
    return low + int((within.softmax(0).cumsum(0) < below).sum())


def _drawn(seed: int, span: int) -> float:
    """A share from AGAIN, a pure function of the seed and the span, of another part of the stream than tokens are drawn from."""
    return float(np.random.Generator(np.random.Philox(key=[seed, span], counter=[0, 0, 1, 0])).uniform(*AGAIN))


def gap_windows(model: Denoiser, canvas: Canvas, sizes: Sequence[int], spans: Sequence[int]) -> list[Window]:
    """Each of these spans, all masked, among the CONTEXT tokens near; other spans are masked, too, as many cells as `sizes` says."""
    masks = [[model.mask_id] * size for size in sizes]
    group_of = {i: group for group in reversed(canvas.windows(sizes)) for i, _, _ in group}
    seen: dict[int, Window] = {}
    found = []
    for i in spans:
        first = group_of[i][0][0]
        if first not in seen:
            seen = {first: canvas.window(group_of[i], masks, whole=True)}
        found.append(_near(seen[first], i))
    return found


def _near(window: Window, i: int) -> Window:
    """What stands in a window within CONTEXT tokens around span i; half of them on each side, or more where the other has less. What the
    model is told stands before that.
    """
    cells = [p for p, (k, _) in window.cells.items() if k == i]
    start, end, told = cells[0], cells[-1] + 1, window.told
    spare = max(CONTEXT // 4, CONTEXT - len(cells))
    after = min(len(window.ids) - end, max(spare // 2, spare - (start - told)))
    first = max(told, start - (spare - after))
    ids = window.ids[:told] + window.ids[first : end + after]
    return Window(ids, {p - first + told: window.cells[p] for p in cells}, told)


def batch(model: Denoiser, windows: Sequence[Window]) -> tuple[Tensor, Tensor, Tensor]:
    """(B, L) ids, (B, L) bool the windows' cells, (B, L) bool what is no padding."""
    longest = max(len(w.ids) for w in windows)
    ids = torch.full((len(windows), longest), model.mask_id)
    cells, attend = torch.zeros_like(ids, dtype=torch.bool), torch.zeros_like(ids, dtype=torch.bool)
    for row, w in enumerate(windows):
        ids[row, : len(w.ids)] = torch.tensor(w.ids)
        attend[row, : len(w.ids)] = True
        cells[row, list(w.cells)] = True
    return ids, cells, attend


def tokens_of_words(model: Denoiser, count: int) -> int:
    """Tokens for this many words: as many as plain words take, and one for a sign every dozen words.

    No more, because cells left over when the words are all there can only lengthen a word, and spoil it (DECISIONS, Automatic lengths).
    """
    if model not in _TOKENS_A_WORD:
        _TOKENS_A_WORD[model] = median(len(model.encode(" " + word.strip(".,;"))) for word in SAMPLE.split())
    return round(_TOKENS_A_WORD[model] * count) + count // 12


_TOKENS_A_WORD: WeakKeyDictionary[Denoiser, float] = WeakKeyDictionary()


def _bounds(model: Denoiser, canvas: Canvas, i: int) -> tuple[int, int | None]:
    """The fewest and the most cells that a span may get; None is no limit."""
    span = canvas.spans[i]
    if span.was:
        size = canvas.rewritten_tokens(i)
        return size, size
    length = span.length
    if length is None:
        if len(canvas.spans) == 1 and not any(map(is_wordlike, span.before + span.after)):
            return FREE, FREE
        return 2 if span.brings_quote or span.ends_sentence == ENDS_PARAGRAPH[0] else 1, None
    if length.unit == "tokens":
        return length.low, length.high
    low = reachable(model, canvas, i, length.low)
    return low, low if length.high == length.low else reachable(model, canvas, i, length.high)


def _options(low: int, high: int | None) -> list[int]:
    """The lengths that CAL tries."""
    return [size for size in CANDIDATES if size >= low] if high is None else _between(low, high)


def _between(low: int, high: int) -> list[int]:
    """A few lengths from low to high, evenly spread by their ratio."""
    if low == high:
        return [low]
    count = min(len(CANDIDATES), high - low + 1)
    return sorted({round(math.exp(math.log(low) + (math.log(high) - math.log(low)) * k / (count - 1))) for k in range(count)})


def reachable(model: Denoiser, canvas: Canvas, i: int, words: int) -> int:
    """The first length from the usual one up that can hold so many words, and what else the span has to."""
    class_of, usual = vocabulary(model).class_of, tokens_of_words(model, words)
    if canvas.spans[i].ends_sentence == ENDS_PARAGRAPH[0]:
        usual = max(usual, ENDS_PARAGRAPH[0])
    for size in range(usual, 2 * usual + 16):
        allowed, count = edges(model, canvas, i, size)
        if WordCount(count.classes, words, words, count.quotes).permitted(allowed.classes(class_of, size)) is not None:
            return size
    raise ValueError("This model's tokens can't spell the words that a gap asks for.")


def cal(model: Denoiser, canvas: Canvas, sizes: Sequence[int], i: int, options: Sequence[int], *, usual: float | None) -> int:
    """The best of several lengths for span i, the others as they are: calibrated confidence weighed against what is usual.

    `usual`: a length in tokens; None is the geometric middle of the options.
    """
    bias = length_bias(model)
    usual = math.sqrt(options[0] * options[-1]) if usual is None else usual
    scores = {
        size: math.log(found / bias(size)) - (math.log2(size / usual) / SPREAD) ** 2 / 2
        for size, found in zip(options, confidence(model, canvas, sizes, i, options), strict=True)
    }
    return max(scores, key=scores.__getitem__)


def confidence(model: Denoiser, canvas: Canvas, sizes: Sequence[int], i: int, options: Sequence[int]) -> list[float]:
    """For each length the mean probability of the best guesses for the span's cells, all masked (CAL, arXiv 2602.00476)."""
    tries = ([size if k == i else n for k, n in enumerate(sizes)] for size in options)
    windows = [gap_windows(model, canvas, tried, [i])[0] for tried in tries]
    ids, positions, attend = batch(model, windows)
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
            logs.append([math.log(c) for c in confidence(model, canvas, [DEFAULT], 0, CANDIDATES)])
    if not logs:
        raise ValueError(f"There is too little text to learn from: a length bias needs texts of at least {context} words.")
    means = (sum(column) / len(logs) for column in zip(*logs, strict=True))
    return {str(size): math.exp(mean) for size, mean in zip(CANDIDATES, means, strict=True)}


TYPICAL_BIAS = {"1": 0.19, "2": 0.18, "3": 0.14, "5": 0.115, "8": 0.093, "12": 0.08, "18": 0.071, "26": 0.065}
"""Of a small model."""
