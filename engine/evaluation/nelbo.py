"""How well a model predicts held-out text: the NELBO with errors by document, its twin's cost, and guesses made right."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine import forward
from engine.denoiser import Denoiser
from engine.evaluation.likelihood import Judge
from engine.evaluation.metrics import ratio_by_document
from engine.evaluation.store import Store
from engine.evaluation.variates import steadied
from engine.training.corpus import CorpusError, training_documents
from engine.vocabulary import vocabulary

SHARES = (0.15, 0.5, 0.9)
"""Shares of masked tokens at which guesses are counted."""
GUESSED_ROWS = 256
"""Rows, drawn from all, on which guesses are counted: more would cost more than the NELBO and tell nothing."""
SMALL = 50_000
"""Sources with fewer tokens than this share a line: their own figures would be noise."""
SMALL_PART = 15
"""Or with less than this part of all tokens, when there are few."""
BINS = 10
"""Equal parts of the masked share in which the mean loss is told."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document, encoded and cut into rows; rows never mix documents, and each sees only itself."""

    source: str
    text: str
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
    ids, _ = model.frame(model.encode(vocabulary(model).corpus(text)), starts=True, ends=True)
    return Document(source, text, [ids[i : i + length] for i in range(0, len(ids), length)])


def read(model: Denoiser, files: Sequence[Path], length: int, characters: int | None = None) -> list[Document]:
    """Every document of the files, or its first `characters` up to a space; CorpusError when there is none."""

    def beginning(text: str) -> str:
        if characters is None or len(text) <= characters:
            return text
        return text[:characters].rsplit(None, 1)[0]

    texts = [encode(model, file.name, beginning(text), length) for file in files for text in training_documents(file)]
    if not texts:
        raise CorpusError("The files hold no text to evaluate on; name files with documents in them.")
    return texts


Batch = tuple[Tensor, Tensor, list[int]]
"""(B, L) ids, (B, L) bool valid, and each row's document."""


def batches(texts: Sequence[Document], size: int, some: int | None = None, seed: int = 0) -> list[Batch]:
    """All rows, or `some` drawn at random, in batches; rows of like length share one."""
    rows = sorted(((len(row), d, row) for d, document in enumerate(texts) for row in document.rows), key=lambda r: -r[0])
    if some is not None and some < len(rows):
        rows = [rows[i] for i in sorted(random.Random(seed).sample(range(len(rows)), some))]
    found: list[Batch] = []
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        found.append((*padded([row for _, _, row in part]), [d for _, d, _ in part]))
    return found


def padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Rows of any lengths as (B, L) ids, 0 behind their ends, and (B, L) bool valid."""
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    return ids, torch.arange(ids.shape[1]) < torch.tensor([[len(row)] for row in rows])


def empty(texts: Sequence[Document]) -> list[Tally]:
    """A tally of each document with no nats in it."""
    return [Tally(d.source, len(d.text), sum(map(len, d.rows)), 0.0) for d in texts]


def bound(
    model: Denoiser, texts: Sequence[Document], store: Store, *, seed: int, passes: int, rows_at_once: int
) -> tuple[list[Tally], list[float | None]]:
    """The NELBO of each document, and the mean nats of a masked token in each tenth of the masked share.

    `passes` draws of t and masks a row, the times of each pass spread evenly over all rows; what a row owes to them is taken
    out again (`variates.steadied`).
    """
    tallies, parts = empty(texts), batches(texts, rows_at_once)
    generator = torch.Generator().manual_seed(seed)
    lost, masked = np.zeros(BINS), np.zeros(BINS)
    for number in range(passes):
        times = forward.low_variance_t(sum(len(d.rows) for d in texts), shuffle=True, generator=generator).clamp_min(1e-4)
        drawn = list(
            zip(
                times.split([len(ids) for ids, _, _ in parts]), [torch.rand(i.shape, generator=generator) for i, _, _ in parts], strict=True
            )
        )

        def compute(i: int, drawn: list[tuple[Tensor, Tensor]] = drawn) -> dict[str, Any]:
            (ids, valid, _), (t, uniforms) = parts[i], drawn[i]
            found = forward.nelbo(model, ids, t=t, valid=valid, uniforms=uniforms)
            return {"nats": found.per_sequence.tolist(), "masked": found.masked.sum(-1).tolist()}

        key = ["nelbo", number, passes, rows_at_once, len(parts)]
        records = store.records(key, [str(i) for i in range(len(parts))], compute, f"NELBO {number + 1}/{passes}")
        nats, counts = (np.array([x for record in records for x in record[name]], dtype=float) for name in ("nats", "masked"))
        levels = times.double().numpy()
        sizes = np.concatenate([valid.sum(-1).numpy() for _, valid, _ in parts]).astype(float)
        for owner, own in zip((d for _, _, owners in parts for d in owners), steadied(nats, sizes, levels, counts), strict=True):
            tallies[owner].nats += own / passes
        bins = np.minimum((levels * BINS).astype(int), BINS - 1)
        lost += np.bincount(bins, nats * levels, BINS)  # the weight of the log-linear bound is 1 / t
        masked += np.bincount(bins, counts, BINS)
    return tallies, [float(a / b) if b else None for a, b in zip(lost, masked, strict=True)]


def twin_cost(judge: Judge, texts: Sequence[Document], *, rows_at_once: int) -> list[Tally]:
    """What each document costs the autoregressive twin, on the very same rows."""
    tallies, parts = empty(texts), batches(texts, rows_at_once)

    def compute(i: int) -> dict[str, Any]:
        ids, valid, _ = parts[i]
        return {"nats": (judge.twin.nats(ids, valid) * valid).sum(-1).tolist()}

    records = judge.store.records(["twin", rows_at_once, len(parts)], [str(i) for i in range(len(parts))], compute, "Twin")
    for (_, _, owners), record in zip(parts, records, strict=True):
        for owner, nats in zip(owners, record["nats"], strict=True):
            tallies[owner].nats += nats
    return tallies


def accuracy(model: Denoiser, texts: Sequence[Document], store: Store, share: float, *, seed: int, rows_at_once: int) -> float:
    """The share of masked tokens whose best guess is right, each token of GUESSED_ROWS rows masked with probability `share`."""
    generator = torch.Generator().manual_seed(seed)
    parts = batches(texts, rows_at_once, GUESSED_ROWS, seed)
    uniforms = [torch.rand(ids.shape, generator=generator) for ids, _, _ in parts]

    def compute(i: int) -> dict[str, Any]:
        ids, valid, _ = parts[i]
        t = torch.full((len(ids),), share)
        xt = forward.mask(ids, t, mask_id=model.mask_id, allowed=valid, uniforms=uniforms[i])
        masked = (xt == model.mask_id) & valid
        logits = model.logits(xt, masked, t=t, attend=None if bool(valid.all()) else valid)
        best = forward.subs_log_probs(logits, [model.mask_id]).argmax(-1)
        return {"right": int((best == ids[masked]).sum()), "masked": int(masked.sum())}

    key = ["guesses", share, rows_at_once, len(parts)]
    records = store.records(key, [str(i) for i in range(len(parts))], compute, f"Guesses at {share:.0%} masked")
    return sum(r["right"] for r in records) / max(sum(r["masked"] for r in records), 1)


def summary(tallies: Sequence[Tally]) -> dict[str, Any]:
    """Nats a token, perplexity and bits a character with standard errors by the ratio estimator over documents."""
    nats = np.array([t.nats for t in tallies])
    per_token, token_error = ratio_by_document(nats, np.array([t.tokens for t in tallies]))
    per_char, char_error = ratio_by_document(nats, np.array([t.characters for t in tallies]))
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


def by_source(tallies: Sequence[Tally]) -> dict[str, dict[str, Any]]:
    """The summary of each source; the small ones in one line, when there are several."""
    groups: dict[str, list[Tally]] = {}
    for tally in tallies:
        groups.setdefault(tally.source, []).append(tally)
    least = min(SMALL, sum(t.tokens for t in tallies) / SMALL_PART)
    small = [name for name, own in groups.items() if sum(t.tokens for t in own) < least]
    if len(small) > 1:
        pooled = [tally for name in small for tally in groups.pop(name)]
        groups["smaller sources: " + ", ".join(map(short, small))] = pooled
    return {name: summary(own) for name, own in groups.items()}


def ratio(ours: Sequence[Tally], twins: Sequence[Tally]) -> dict[str, Any]:
    """The model's perplexity over its twin's, with the standard error of their difference paired by document (delta method)."""
    difference = np.array([a.nats - b.nats for a, b in zip(ours, twins, strict=True)])
    return of_perplexities(*ratio_by_document(difference, np.array([t.tokens for t in ours])))


def of_perplexities(difference: float, error: float | None) -> dict[str, Any]:
    """The ratio of two perplexities whose nats a token differ by so much."""
    value = math.exp(min(difference, 700.0))
    return {"ratio": value, "ratio_stderr": None if error is None else value * error}


def short(source: str) -> str:
    """dev-standard_ebooks.txt.xz -> standard ebooks"""
    return source if ":" in source else source.partition(".")[0].removeprefix("dev-").replace("_", " ")


def figures_of(
    model: Denoiser,
    texts: Sequence[Document],
    store: Store,
    *,
    length: int,
    seed: int = 0,
    passes: int = 1,
    rows_at_once: int = 16,
    judge: Judge | None = None,
) -> dict[str, Any]:
    """All figures over all documents, the NELBO's by source, and the twin's beside them."""
    tallies, curve = bound(model, texts, store, seed=seed, passes=passes, rows_at_once=rows_at_once)
    figures = summary(tallies)
    figures["masked_accuracy"] = {str(s): accuracy(model, texts, store, s, seed=seed, rows_at_once=rows_at_once) for s in SHARES}
    figures["nats_by_masked_share"] = curve
    figures["row_length"], figures["passes"], figures["seed"], figures["model"] = length, passes, seed, model.name
    figures["sources"] = by_source(tallies)
    if judge is not None:
        costs = twin_cost(judge, texts, rows_at_once=rows_at_once)
        figures["twin"] = {**summary(costs), "name": judge.twin.name, "sources": by_source(costs), **ratio(tallies, costs)}
    return figures


def evaluate(
    model: Denoiser,
    files: Sequence[Path],
    *,
    length: int | None = None,
    seed: int = 0,
    passes: int = 1,
    rows_at_once: int = 16,
    characters: int | None = None,
) -> dict[str, Any]:
    """The figures of some files, or of the first `characters` of each document, with nothing kept.

    Raises CorpusError when they hold no document.
    """
    length = length or model.max_length
    texts = read(model, files, length, characters)
    found = figures_of(model, texts, Store(None, ""), length=length, seed=seed, passes=passes, rows_at_once=rows_at_once)
    return found | {"read_characters": characters}
