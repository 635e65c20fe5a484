"""`python -m engine.training.reveal_order`: teach a finished model which of its tokens to reveal first.

Gaps are cut out of texts as infilling is measured on them, the model fills them at their true lengths by its own loop, and at every
step each masked place is an example: what the step knows of it, and whether the token chosen there is the one that a person wrote.
The first half of the gaps is filled by confidence, the second by the order learned from the first, so that what is learned is of the
states that the order itself leads to (DAgger, arXiv 1011.0686). The network stays as it is.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from engine import checkpoint
from engine.backends import LoadError, load
from engine.backends.dit import DiTDenoiser
from engine.denoiser import Denoiser
from engine.draws import SeededNoise, tempered
from engine.hub.installed import CONFIG
from engine.lengths import batch
from engine.repetition import against_repeats
from engine.reveal_order import FEATURES, HIDDEN, SIZES, RevealOrder, Row, echo, features, rising, score
from engine.reverse import denoise
from engine.settings import Settings
from engine.training.corpus import CorpusError, files_of, unusable
from engine.training.gaps import Cut, beginnings, even_cuts
from engine.training.options import seed, whole

GAPS, CHECKED = 200, 60
"""Of each kind of EVEN: to learn from, and to measure on."""
ROWS = 16
"""Gaps that are filled together."""
PASSES, BATCH, RATE = 40, 1024, 1e-2
NARROW = 0.01
"""A feature that spreads less tells nothing, and isn't stretched further."""
DIGITS = 5
"""Digits after the point that are kept of a number."""
ORDERS = {"probability": "odds", "margin": "margin", "entropy": "surprisal"}
"""The orders that a learned one is compared with, each by the feature that it follows."""


@dataclass(frozen=True)
class Examples:
    """Masked places at every step of fills, with the token that was drawn for them, and with the likeliest one."""

    seen: Tensor
    """(N, FEATURES) float32."""
    right: Tensor
    """(N,) bool: whether the token is the one that was cut out there."""
    states: Tensor
    """(N,) long: examples with one number are of one step of one gap, and of one way to choose tokens."""
    documents: Tensor
    """(N,) long: which document each is from."""

    def of(self, chosen: Tensor) -> Examples:
        """Those that a mask (N,) names."""
        return Examples(self.seen[chosen], self.right[chosen], self.states[chosen], self.documents[chosen])

    def __add__(self, other: Examples) -> Examples:
        """Both, the states of the other numbered on."""
        states = torch.cat((self.states, other.states + int(self.states.max()) + 1))
        seen, right = torch.cat((self.seen, other.seen)), torch.cat((self.right, other.right))
        return Examples(seen, right, states, torch.cat((self.documents, other.documents)))


def examples(model: Denoiser, cuts: Sequence[Cut], settings: Settings, label: str) -> Examples:
    """What the places of these gaps look like while they are filled under these settings. Shows its progress."""
    windows = [(cut.window(model, cut.truth), cut.document) for cut in cuts]
    # Alike in length, so that rows are done together; a row's chance depends on its number alone.
    windows.sort(key=lambda pair: (len(pair[0].cells), len(pair[0].ids)))
    seen, right, states, documents = [], [], [], []
    number = 0
    for start in tqdm(range(0, len(windows), ROWS), desc=label, unit=" batches", file=sys.stderr, leave=False):
        part = windows[start : start + ROWS]
        truth, cells, attend = batch(model, [window for window, _ in part])
        x = truth.masked_fill(cells, model.mask_id)
        noise = SeededNoise(settings.seed, start)
        for k, move in enumerate(denoise(model, x, writable=cells, settings=settings, noise=noise, attend=attend)):
            log_probs, known = move.log_probs.cpu(), (x != model.mask_id) & attend
            weights = against_repeats(log_probs, x, known, move.positions, settings.repetition)
            drawn = noise.tokens(k, move.positions, tempered(weights, settings))
            chances = log_probs.gather(-1, drawn[:, None])[:, 0].exp()
            best, wanted = log_probs.argmax(-1), truth[move.positions]
            rows, places = move.positions.nonzero(as_tuple=True)
            for b in rows.unique().tolist():
                mine, row = rows == b, Row(x[b], known[b], cells[b], attend[b])
                found = features(drawn[mine], chances[mine], log_probs[mine], places[mine], row)
                likeliest = found.clone()
                likeliest[:, FEATURES.index("odds")] = found[:, FEATURES.index("best")]
                likeliest[:, FEATURES.index("echo")] = echo(best[mine], places[mine], row)
                seen += [found.float(), likeliest.float()]
                right += [drawn[mine] == wanted[mine], best[mine] == wanted[mine]]
                states += [torch.full((len(found),), number), torch.full((len(found),), number + 1)]
                documents.append(torch.full((2 * len(found),), part[b][1]))
                number += 2
            x = move.x
    return Examples(torch.cat(seen), torch.cat(right), torch.cat(states), torch.cat(documents))


def learn(data: Examples, *, seed: int) -> RevealOrder:
    """The score whose cross-entropy on a tenth of the documents, which are not learned from, is the least of all passes'.

    CorpusError when there are too few documents.
    """
    rng = np.random.default_rng([seed, 1])
    held_out = held(data, seed)
    known, check = data.of(~held_out), data.of(held_out)
    mean, spread = known.seen.mean(0), known.seen.std(0, correction=0).clamp(min=NARROW)
    numbers = _beginning(seed).requires_grad_()
    optimiser = torch.optim.Adam([numbers], lr=RATE)
    steps = PASSES * -(-len(known.seen) // BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / steps)
    best, kept = math.inf, numbers.detach().clone()
    inputs, checked = (known.seen - mean) / spread, (check.seen - mean) / spread
    for _ in (bar := tqdm(range(PASSES), desc="Learning", unit=" passes", file=sys.stderr, leave=False)):
        for chosen in torch.from_numpy(rng.permutation(len(inputs))).split(BATCH):
            loss = F.binary_cross_entropy_with_logits(score(numbers, inputs[chosen]), known.right[chosen].float())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            with torch.no_grad():
                numbers.copy_(rising(numbers))
        with torch.no_grad():
            nats = float(F.binary_cross_entropy_with_logits(score(numbers, checked), check.right.float()))
        bar.set_postfix_str(f"{nats:.4f} nats")
        if nats < best:
            best, kept = nats, numbers.detach().clone()
    return _of_features(kept.double(), mean.double(), spread.double())


def held(data: Examples, seed: int) -> Tensor:
    """(N,) bool: the examples of a tenth of the documents; CorpusError when these are none or all."""
    rng = np.random.default_rng([seed, 2])
    found = torch.from_numpy(rng.random(int(data.documents.max()) + 1) < 0.1)[data.documents]
    if not bool(found.any()) or bool(found.all()):
        raise CorpusError("There is too little text to learn an order from; name files with a few dozen documents.")
    return found


def compared(data: Examples, order: RevealOrder) -> dict[str, tuple[float, float]]:
    """For each way to order the places of a state: how often the first one is right, and the share of pairs in the right order.

    Both over states with places to choose between: the first over all of them, the second over the pairs of a right and a wrong
    place in each (the area under the curve within a state), a tie counting half.
    """
    columns = {name: data.seen[:, FEATURES.index(feature)] for name, feature in ORDERS.items()}
    columns["entropy"] = -columns["entropy"]
    columns["learned"] = order.score(data.seen.double())
    found = {}
    groups = [group for group in torch.split(torch.arange(len(data.states)), torch.bincount(data.states).tolist()) if len(group) > 1]
    for name, values in columns.items():
        first, ordered, pairs = 0, 0.0, 0
        for group in groups:
            mine, right = values[group], data.right[group]
            first += int(right[mine.argmax()])
            gap = mine[right][:, None] - mine[~right]
            ordered += float((gap > 0).sum()) + float((gap == 0).sum()) / 2
            pairs += gap.numel()
        found[name] = (first / max(1, len(groups)), ordered / max(1, pairs))
    return found


def fit(
    folder: Path, files: Sequence[Path], *, check: Sequence[Path] = (), gaps: int = GAPS, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Teach the model in a folder an order and put it there; the figures of `compared` on other texts.

    These are gaps of the files in `check`, filled by confidence, or else those of the documents held out, by which the best pass was taken.
    CorpusError when the files hold too little text.
    """
    model = load(folder)
    if not isinstance(model, DiTDenoiser):
        raise CorpusError("Only models in our own format can be taught an order; name a folder that train wrote.")
    cuts, settings = _cuts(files, gaps, seed), Settings(sampler="confidence", seed=seed)
    half = len(cuts) // 2
    data = examples(model, cuts[:half], settings, "Filling by confidence")
    model.reveal_order = learn(data, seed=seed)
    data = data + examples(model, cuts[half:], replace(settings, sampler="learned_order"), "Filling in the order learned")
    order = learn(data, seed=seed)
    checkpoint.set_reveal_order(folder, order)
    if not check:
        return compared(data.of(held(data, seed)), order)
    return compared(examples(model, _cuts(check, CHECKED, seed), settings, "Measuring"), order)


def _cuts(files: Sequence[Path], count: int, seed: int) -> list[Cut]:
    cuts = even_cuts(beginnings(files), count, seed)
    if not cuts:
        raise CorpusError("There is no text to cut gaps from; name files with documents of some sentences.")
    return cuts


def _beginning(seed: int) -> Tensor:
    """The numbers before anything is learned: chance for the hidden units, a little of each, and nothing of the line but the odds."""
    generator = torch.Generator().manual_seed(seed)
    inner = torch.randn(HIDDEN * len(FEATURES), generator=generator) / math.sqrt(len(FEATURES))
    line = torch.zeros(len(FEATURES))
    line[0] = 1.0
    return rising(torch.cat((inner, torch.zeros(HIDDEN), torch.full((HIDDEN,), 0.1), line, torch.zeros(1))))


def _of_features(numbers: Tensor, mean: Tensor, spread: Tensor) -> RevealOrder:
    """The score of the features themselves, from that of the features less their mean, in units of their spread."""
    inner, biases, outer, line, constant = numbers.split(SIZES)
    inner, line = inner.view(HIDDEN, -1) / spread, line / spread
    moved = torch.cat((inner.flatten(), biases - inner @ mean, outer, line, constant - line @ mean))
    return RevealOrder(tuple(round(float(number), DIGITS) for number in moved))


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="python -m engine.training.reveal_order", description=__doc__)
    add = made.add_argument
    add("--model", type=Path, required=True, help="the folder of a finished model; the order is put into its config.json")
    add("--data", nargs="+", type=Path, required=True, help="texts in the corpus format, plain or .xz, or folders of them")
    add("--check", nargs="+", type=Path, default=[], help="texts to measure on; a tenth of the documents when left out")
    add("--gaps", type=whole, default=GAPS, help="gaps of each of four kinds to fill")
    add("--seed", type=seed, default=0, help="what chance begins from (%(default)s)")
    return made


def main(argv: list[str]) -> int:
    """Train; 2 with one sentence when the model or the data cannot be used."""
    args = parser().parse_args(argv)
    try:
        check = files_of(args.check) if args.check else ()
        found = fit(args.model, files_of(args.data), check=check, gaps=args.gaps, seed=args.seed)
    except (CorpusError, LoadError, checkpoint.CheckpointError) as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(unusable(error, args.model), file=sys.stderr)
        return 2
    print("| order | first is right | pairs in order |\n| --- | --- | --- |")
    for name, (first, pairs) in found.items():
        print(f"| {name} | {first:.3f} | {pairs:.3f} |")
    print(f"The reveal order is in {args.model / CONFIG}.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
