"""Fill gaps that were cut from held-out text, and say how the fills compare with what a person wrote there."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch

from engine.denoiser import Denoiser
from engine.evaluation import metrics
from engine.evaluation.grid import DEFAULT, Row
from engine.evaluation.likelihood import Judge, any_order_nats, passage_nats
from engine.evaluation.store import Record, Store
from engine.filling import fill
from engine.marks import Length
from engine.settings import Settings
from engine.training.gaps import EVEN, Cut

BLEU_KINDS = ("phrase", "sentence")
"""Gaps long enough to hold a 4-gram."""
OWN_STAGES = 4
"""Network rows spent on one fill at most (see `any_order_nats`)."""
BESIDE = 20
"""Pieces of given text on each side in which a fill's n-grams are looked for again."""
TWIN = "twin"
TWIN_TEMPERATURE = 0.7

Figures = dict[str, tuple[float, float]]
"""Name -> (value, standard error)."""


class Calls:
    """Counts a denoiser's calls while it is entered; the denoiser stays the object it is, whatever else it offers."""

    METHODS = ("logits", "logits_beside", "gap_lengths")

    def __init__(self, model: Denoiser) -> None:
        self._model, self.count, self._inside = model, 0, False

    def __enter__(self) -> Calls:
        for name in self.METHODS:
            if hasattr(self._model, name):
                setattr(self._model, name, self._counted(getattr(self._model, name)))
        return self

    def __exit__(self, *_: object) -> None:
        for name in self.METHODS:
            vars(self._model).pop(name, None)

    def _counted(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **told: Any) -> Any:
            if self._inside:  # one method may be made of the other
                return method(*args, **told)
            self.count, self._inside = self.count + 1, True
            try:
                return method(*args, **told)
            finally:
                self._inside = False

        return call


@dataclass(slots=True)
class Result:
    """One row's fills and figures."""

    row: Row
    fills: list[Record]
    figures: Figures = field(default_factory=dict)
    beyond: Figures = field(default_factory=dict)
    """The difference from the true texts of the same gaps, its errors paired."""
    difference: Figures = field(default_factory=dict)
    """The same from the default row, which is measured first."""
    by_kind: dict[str, Figures] = field(default_factory=dict)


class Infilling:
    """The fills of all rows on one set of gaps, with what they cost under the model and its twin."""

    def __init__(
        self, model: Denoiser, cuts: Sequence[Cut], store: Store, *, seed: int, judge: Judge | None = None, draws: int = 400
    ) -> None:
        self.model, self.cuts, self.judge = model, list(cuts), judge
        self._store, self._seed, self._draws = store, seed, draws
        self._people: dict[tuple[str, ...], dict[str, np.ndarray]] = {}
        """What the true texts of each choice of kinds come to."""
        truths = [{"text": cut.truth} for cut in self.cuts]
        self.truth = self._judged("truth", truths, self.cuts)
        """The true texts as if they were fills."""
        ids = [cut.id for cut in self.cuts]
        costs = store.records("truth cost", ids, lambda i: {"cost": any_order_nats(model, cuts[i], cuts[i].truth, seed=seed)}, "true texts")
        self._costs = {record["id"]: record["cost"] for record in costs}

    def truth_costs(self) -> dict[str, dict[str, tuple[float, float]]]:
        """What the true text costs the model by kind, in nats a gap and a token."""
        found = {}
        for kind in dict.fromkeys(cut.kind for cut in self.cuts):
            mine = [cut for cut in self.cuts if cut.kind == kind]
            items = np.array([self._costs[cut.id] for cut in mine], dtype=float)
            bootstrap = metrics.Bootstrap([cut.document for cut in mine], self._draws, self._seed)
            whole = np.stack((items[:, 0], np.ones(len(items))), -1)
            found[kind] = {name: metrics.with_error(bootstrap.draw(x, metrics.share)) for name, x in (("gap", whole), ("token", items))}
        return found

    def measure(self, row: Row) -> Result:
        """Fill the row's gaps and take its figures; ValueError when the model can't be sampled so."""
        cuts = [cut for cut in self.cuts if cut.kind in row.kinds]
        told = {k: v for k, v in asdict(row.settings).items() if k != "seed"}
        key = ["fills", told, row.automatic]
        fills = self._store.records(key, [c.id for c in cuts], lambda i: self._fill(cuts[i], row), row.name)
        return self._result(row, cuts, self._judged(key, fills, cuts))

    def human(self, kinds: tuple[str, ...] = tuple(EVEN)) -> Result:
        """The figures of the true texts themselves."""
        cuts = [cut for cut in self.cuts if cut.kind in kinds]
        fills = [record for cut, record in zip(self.cuts, self.truth, strict=True) if cut.kind in kinds]
        return self._result(Row("human", "", Settings(), kinds=kinds), cuts, fills)

    def by_twin(self) -> Result:
        """What the causal twin writes there from the left alone, as many tokens, with its keys and values kept."""
        key = [TWIN, TWIN_TEMPERATURE]
        assert self.judge is not None
        fills = self.judge.store.records(key, [c.id for c in self.cuts], lambda i: self._written(self.cuts[i]), "twin")
        judged = self._judged(key, fills, self.cuts, self.judge.store)  # another twin in the same folder writes other fills
        return self._result(Row(TWIN, "left to right", Settings()), self.cuts, judged)

    def _fill(self, cut: Cut, row: Row) -> Record:
        count = len(cut.tokens(self.model, cut.truth))
        length = None if row.automatic else Length(count, count, "tokens")
        settings = replace(row.settings, seed=zlib.crc32(f"{self._seed} {cut.id}".encode()))
        began, tokens, text = time.perf_counter(), 0, ""
        with Calls(self.model) as calls:
            for frame in fill(self.model, cut.draft(length), settings):
                tokens, text = tokens or len(frame.cells), frame.text
        seconds = round(time.perf_counter() - began, 4)
        return {"text": text[len(cut.left) : len(text) - len(cut.right)], "tokens": tokens, "calls": calls.count, "seconds": seconds}

    def _written(self, cut: Cut) -> Record:
        assert self.judge is not None
        window = cut.window(self.model, cut.truth)
        prefix = window.ids[: min(window.cells)]
        generator = torch.Generator().manual_seed(zlib.crc32(f"{self._seed} {cut.id}".encode()))
        began = time.perf_counter()
        ids = self.judge.twin.generate(prefix, len(window.cells), temperature=TWIN_TEMPERATURE, generator=generator)[0].tolist()
        seconds = time.perf_counter() - began
        return {"text": self.model.decode(ids).strip(), "tokens": len(ids), "calls": len(ids), "seconds": round(seconds, 4)}

    def _judged(self, key: object, fills: Sequence[Record], cuts: Sequence[Cut], store: Store | None = None) -> list[Record]:
        """The fills with what each costs: "own" under the model, "twin" under the twin, (nats, tokens). store: where the fills are kept."""
        ids = [cut.id for cut in cuts]

        def own(i: int) -> Record:
            text = fills[i]["text"]
            return {"own": any_order_nats(self.model, cuts[i], text, stages=OWN_STAGES, seed=self._seed) if text.strip() else (0.0, 0)}

        def judged(i: int) -> Record:
            assert self.judge is not None
            text = fills[i]["text"]
            return {"twin": passage_nats(self.judge.twin, self.model, cuts[i], text) if text.strip() else (0.0, 0)}

        found = [dict(record) for record in fills]
        for record, costs in zip(found, (store or self._store).records(["own", OWN_STAGES, key], ids, own, "own cost"), strict=True):
            record["own"] = costs["own"]
        if self.judge is not None:
            for record, costs in zip(found, self.judge.store.records(["judged", key], ids, judged, "twin's cost"), strict=True):
                record["twin"] = costs["twin"]
        return found

    def _result(self, row: Row, cuts: Sequence[Cut], fills: list[Record]) -> Result:
        truth = {cut.id: record for cut, record in zip(self.cuts, self.truth, strict=True)}
        written = [truth[cut.id] for cut in cuts]
        drawn = self._drawn(cuts, _totals(cuts, fills, written))
        if row.kinds not in self._people:  # the same for all rows of these kinds
            self._people[row.kinds] = self._drawn(cuts, _totals(cuts, written, written))
        people = self._people[row.kinds]
        beyond = {name: metrics.with_error(drawn[name] - people[name]) for name in drawn if name in people}
        result = Result(row, fills, _known(drawn), beyond=beyond)
        if row.factor == DEFAULT:
            self._default = {cut.id: record for cut, record in zip(cuts, fills, strict=True)}
        elif row.factor != "human":
            ours = self._drawn(cuts, _totals(cuts, [self._default[cut.id] for cut in cuts], written))
            result.difference = {n: metrics.with_error(drawn[n] - ours[n]) for n in drawn if n in ours}
        for kind in dict.fromkeys(cut.kind for cut in cuts):
            mine = [i for i, cut in enumerate(cuts) if cut.kind == kind]
            own = [cuts[i] for i in mine]
            part = self._drawn(own, _totals(own, [fills[i] for i in mine], [truth[cut.id] for cut in own]))
            result.by_kind[kind] = _known(part)
        return result

    def _drawn(self, cuts: Sequence[Cut], totals: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        bootstrap = metrics.Bootstrap([cut.document for cut in cuts], self._draws, self._seed)
        return {name: bootstrap.draw(items, FIGURES[name]) for name, items in totals.items()}


def _known(drawn: dict[str, np.ndarray]) -> Figures:
    """The figures with their errors, without those of which there is nothing to take a share of, as no one-word gap has pairs of words."""
    return {name: metrics.with_error(values) for name, values in drawn.items() if np.isfinite(values[0])}


def _ratio(totals: np.ndarray) -> np.ndarray:
    """(..., 4) nats and tokens of fill and truth -> the ratio of their perplexities."""
    return np.asarray(np.exp(metrics.share(totals[..., :2]) - metrics.share(totals[..., 2:])))


FIGURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "exact": metrics.share,
    "words": metrics.share,
    "bleu2": lambda totals: metrics.bleu(totals, 2),
    "bleu4": lambda totals: metrics.bleu(totals, 4),
    "stutter": metrics.share,
    "again": metrics.share,
    "repeat": metrics.share,
    "distinct1": metrics.distinct,
    "distinct2": metrics.distinct,
    "own": metrics.share,
    "twin": _ratio,
    "calls": metrics.share,
    "seconds": metrics.share,
}
"""The figures, each from the summed counts of its gaps."""


def _totals(cuts: Sequence[Cut], fills: Sequence[Record], truths: Sequence[Record]) -> dict[str, np.ndarray]:
    """For each figure the counts of every gap, ready to be summed."""
    counts: dict[str, list[Sequence[float]]] = {}
    texts = []
    for cut, record, truth in zip(cuts, fills, truths, strict=True):
        text = record["text"]
        own, wanted = metrics.pieces(text), metrics.pieces(cut.truth)
        left, right = metrics.pieces(cut.left)[-BESIDE:], metrics.pieces(cut.right)[:BESIDE]
        passage, start, end = [*left, *own, *right], len(left), len(left) + len(own)
        texts.append(own)
        found: dict[str, Sequence[float]] = {
            "exact": (metrics.same(text, cut.truth), 1),
            "words": metrics.words_found(text, cut.truth),
            "again": metrics.said_again(own),
            "stutter": metrics.stutters(passage, start, end),
            "repeat": metrics.repeated(passage, start, end, 2),
            "own": record["own"],
        }
        if any(other.kind in BLEU_KINDS for other in cuts):
            bleu = metrics.bleu_counts(own, wanted) if cut.kind in BLEU_KINDS else [0] * 10
            found["bleu2"] = found["bleu4"] = bleu
        if "twin" in record:
            found["twin"] = (*record["twin"], *truth["twin"])
        if "calls" in record:
            found["calls"], found["seconds"] = (record["calls"], 1), (record["seconds"], 1)
        for name, items in found.items():
            counts.setdefault(name, []).append(items)
    totals = {name: np.array(items, dtype=float) for name, items in counts.items()}
    return totals | {"distinct1": metrics.incidence(texts, 1), "distinct2": metrics.incidence(texts, 2)}
