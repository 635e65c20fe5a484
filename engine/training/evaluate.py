"""`python launch.py evaluate`: how well a model predicts held-out text.

The NELBO in nats a token (an upper bound on the true cost), its perplexity and its bits a character, each with a standard
error clustered by document (tokens of one document are not independent), and the share of masked tokens guessed right.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from engine import forward
from engine.backends import load
from engine.denoiser import Denoiser
from engine.training.corpus import CorpusError, documents, files_of

SHARES = (0.15, 0.5, 0.9)
"""Shares of masked tokens at which guesses are counted."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document, encoded and cut into rows; rows never mix documents, and each sees only itself."""

    source: str
    characters: int
    rows: list[list[int]]


@dataclass(slots=True)
class Tally:
    """What one document added up to."""

    source: str
    characters: int
    tokens: int
    nats: float


def encode(model: Denoiser, source: str, text: str, length: int) -> Document:
    """A document as rows of at most `length` tokens, with the model's special ends; these are predicted and counted too."""
    ids, _ = model.frame(model.encode(text), starts=True, ends=True)
    return Document(source, len(text), [ids[i : i + length] for i in range(0, len(ids), length)])


def batches(texts: Sequence[Document], size: int, label: str) -> Iterator[tuple[Tensor, Tensor, list[int]]]:
    """(B, L) ids, (B, L) bool valid, and each row's document; rows of like length share a batch. Shows its progress."""
    rows = sorted(((len(row), d, row) for d, document in enumerate(texts) for row in document.rows), key=lambda r: -r[0])
    for start in tqdm(range(0, len(rows), size), desc=label, unit=" batches", file=sys.stderr, leave=False):
        part = rows[start : start + size]
        ids = torch.zeros(len(part), part[0][0], dtype=torch.long)
        valid = torch.zeros_like(ids, dtype=torch.bool)
        for i, (count, _, row) in enumerate(part):
            ids[i, :count] = torch.tensor(row)
            valid[i, :count] = True
        yield ids, valid, [d for _, d, _ in part]


def bound(model: Denoiser, texts: Sequence[Document], *, seed: int, passes: int, rows_at_once: int) -> list[Tally]:
    """The NELBO of each document: `passes` draws of t and masks a row, the times of each pass spread evenly over all rows."""
    tallies = [Tally(d.source, d.characters, sum(map(len, d.rows)), 0.0) for d in texts]
    generator = torch.Generator().manual_seed(seed)
    for number in range(passes):
        total = sum(len(d.rows) for d in texts)
        times = forward.low_variance_t(total, shuffle=True, generator=generator).clamp_min(1e-4)
        for ids, valid, owners in batches(texts, rows_at_once, f"NELBO {number + 1}/{passes}"):
            t, times = times[: len(ids)], times[len(ids) :]
            nelbo = forward.nelbo(model, ids, t=t, valid=valid, generator=generator)
            for owner, nats in zip(owners, nelbo.per_sequence.tolist(), strict=True):
                tallies[owner].nats += nats / passes
    return tallies


def accuracy(model: Denoiser, texts: Sequence[Document], share: float, *, seed: int, rows_at_once: int) -> float:
    """The share of masked tokens whose best guess is right, each token masked with probability `share`."""
    generator = torch.Generator().manual_seed(seed)
    right = count = 0
    for ids, valid, _ in batches(texts, rows_at_once, f"Guesses at {share:.0%} masked"):
        xt = forward.mask(ids, torch.full((len(ids),), share), mask_id=model.mask_id, allowed=valid, generator=generator)
        masked = (xt == model.mask_id) & valid
        logits = model.logits(xt, masked, t=torch.full((len(ids),), share), attend=None if bool(valid.all()) else valid)
        best = forward.subs_log_probs(logits, [model.mask_id]).argmax(-1)
        right += int((best == ids[masked]).sum())
        count += int(masked.sum())
    return right / max(count, 1)


def summary(tallies: Sequence[Tally]) -> dict[str, Any]:
    """Nats a token, perplexity and bits a character with standard errors by the ratio estimator over documents."""
    nats = np.array([t.nats for t in tallies])
    per_token, token_error = _ratio(nats, np.array([t.tokens for t in tallies]))
    per_char, char_error = _ratio(nats, np.array([t.characters for t in tallies]))
    perplexity = math.exp(min(per_token, 700.0))
    return {
        "nats_per_token": per_token,
        "nats_per_token_stderr": token_error,
        "perplexity": perplexity,
        "perplexity_stderr": None if token_error is None else perplexity * token_error,
        "bits_per_char": per_char / math.log(2),
        "bits_per_char_stderr": None if char_error is None else char_error / math.log(2),
        "documents": len(tallies),
        "tokens": sum(t.tokens for t in tallies),
        "characters": sum(t.characters for t in tallies),
    }


def _ratio(total: np.ndarray, size: np.ndarray) -> tuple[float, float | None]:
    """sum(total) / sum(size) and its standard error when the documents are the independent units; none from one document."""
    mean = total.sum() / size.sum()
    count = len(total)
    if count < 2:
        return float(mean), None
    residuals = total - mean * size
    return float(mean), float(math.sqrt(count / (count - 1) * (residuals**2).sum()) / size.sum())


def evaluate(
    model: Denoiser, files: Sequence[Path], *, length: int | None = None, seed: int = 0, passes: int = 1, rows_at_once: int = 16
) -> dict[str, Any]:
    """All figures over all files, and the NELBO's by file; CorpusError when the files hold no document."""
    length = length or model.max_length
    texts = [encode(model, file.name, text, length) for file in files for text in documents(file)]
    if not texts:
        raise CorpusError("The files hold no text to evaluate on; name files with documents in them.")
    tallies = bound(model, texts, seed=seed, passes=passes, rows_at_once=rows_at_once)
    figures = summary(tallies)
    figures["masked_accuracy"] = {str(s): accuracy(model, texts, s, seed=seed, rows_at_once=rows_at_once) for s in SHARES}
    figures["row_length"], figures["passes"], figures["seed"], figures["model"] = length, passes, seed, model.name
    figures["sources"] = {file.name: summary(own) for file in files if (own := [t for t in tallies if t.source == file.name])}
    return figures


def table(figures: dict[str, Any]) -> str:
    """The figures as lines for a person."""
    lines = [f"{'':28}{'nats/token':>18}{'perplexity':>18}{'bits/char':>18}{'documents':>11}"]
    for name, row in [*figures["sources"].items(), ("all", figures)]:
        cells = (_with_error(row[k], row[k + "_stderr"]) for k in ("nats_per_token", "perplexity", "bits_per_char"))
        lines.append(f"{name:28}{''.join(f'{c:>18}' for c in cells)}{row['documents']:>11}")
    guesses = ", ".join(f"{value:.1%} with {float(share):.0%} masked" for share, value in figures["masked_accuracy"].items())
    return "\n".join([*lines, f"Guessed right: {guesses}."])


def _with_error(value: float, error: float | None) -> str:
    return f"{value:.3f}" if error is None else f"{value:.3f} ± {error:.3f}"


def main(argv: list[str]) -> int:
    """Print the figures; 2 with one sentence when the model or the data cannot be used."""
    parser = argparse.ArgumentParser(prog="launch.py evaluate", description=__doc__)
    add = parser.add_argument
    add("--model", help="a model folder; the embedded model when left out")
    add("--data", nargs="+", type=Path, required=True, help="texts in the corpus format, plain or .xz, or folders of them")
    add("--json", action="store_true", help="print one JSON object instead of a table")
    add("--length", type=int, help="tokens in a row; the model's own length when left out")
    add("--passes", type=int, default=1, help="draws of masks for the NELBO")
    add("--rows", type=int, default=16, help="rows in a batch")
    add("--seed", type=int, default=0)
    add("--device", default="auto")
    add("--dtype", default="auto")
    args = parser.parse_args(argv)
    try:
        model = load(args.model, device=args.device, dtype=args.dtype)
        figures = evaluate(model, files_of(args.data), length=args.length, seed=args.seed, passes=args.passes, rows_at_once=args.rows)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(figures) if args.json else table(figures))
    return 0
