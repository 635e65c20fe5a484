"""A learned reveal order: a small network's guess, from what a step knows of a masked place, that the token chosen for it is right.

A token's probability says how sure the model is; it doesn't say how often it is right when it is so sure: beside given text, beside
what the model wrote itself, in the middle of a long run of masks, or when the same token stands two places on already. Token-Critic
(arXiv 2209.04439) and the planner of P2 (arXiv 2502.03540) read the tokens with a transformer of their own. This one reads eleven
numbers that any model's step gives, at some two times the cost of an order by entropy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from engine.forward import surprisal

FEATURES = (
    "odds",  # log-odds of the chosen token
    "best",  # log-odds of the likeliest token
    "margin",  # probability of the likeliest over that of the second
    "surprisal",  # nats, the entropy where nothing is forbidden
    "left",  # log2 of the distance to the nearest known token on the left
    "right",  # and on the right
    "left given",  # 1 where that token was given, 0 where it was written or there is none
    "right given",
    "run",  # log2 of the number of masks in a row, this one among them
    "masked",  # share of the row's writable places that are masked still
    "echo",  # log2 of the distance to the nearest place that holds the chosen token already
)
"""What the score reads of each masked place."""
HIDDEN = 16
SIZES = (HIDDEN * len(FEATURES), HIDDEN, HIDDEN, len(FEATURES), 1)
"""The score's numbers: weights and biases of the hidden units, their weights in the score, those of the features, a constant."""
SURE, FAR = 12.0, 32
"""Log-odds and distances beyond these are all one."""
LARGEST = 1e6
"""No number of a score is larger."""


@dataclass(frozen=True, slots=True)
class Row:
    """How a row stands: (L,) each, on the CPU."""

    x: Tensor
    """The tokens."""
    known: Tensor
    """Bool, the places that hold a token."""
    writable: Tensor
    """Bool, the places that may be written; the others that are known were given."""
    attend: Tensor
    """Bool, False = padding, where the row has ended or not begun."""


@dataclass(frozen=True)
class RevealOrder:
    """A score with its numbers, in the order of SIZES. It never falls when a token gets likelier and all else stays."""

    numbers: tuple[float, ...]
    _tensor: Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raise ValueError when these can't be the numbers of a score."""
        if len(self.numbers) != sum(SIZES) or not all(abs(number) <= LARGEST for number in self.numbers):
            raise ValueError(f"A reveal order is {sum(SIZES)} numbers of ordinary size.")
        tensor = torch.tensor(self.numbers, dtype=torch.float64)
        if bool((rising(tensor) != tensor).any()):
            raise ValueError("A reveal order must not fall where a token is likelier.")
        object.__setattr__(self, "_tensor", tensor)

    @classmethod
    def of(cls, values: Any) -> RevealOrder:
        """The score in a JSON list; ValueError when it isn't one."""
        if not isinstance(values, list) or not all(isinstance(value, float) for value in values):
            raise ValueError("A reveal order is a list of numbers.")
        return cls(tuple(values))

    def score(self, seen: Tensor) -> Tensor:
        """(n, FEATURES) -> (n,) float64, the log-odds of each chosen token's being right."""
        return score(self._tensor, seen)


def score(numbers: Tensor, seen: Tensor) -> Tensor:
    """(sum(SIZES),) and (n, FEATURES), of one dtype -> (n,) log-odds: one layer of tanh units beside a straight line."""
    inner, biases, outer, line, constant = numbers.split(SIZES)
    return torch.tanh(seen @ inner.view(HIDDEN, -1).T + biases) @ outer + seen @ line + constant


def rising(numbers: Tensor) -> Tensor:
    """The nearest numbers whose score never falls with the odds: no weight between these and the score is below 0."""
    parts = [part.clone() for part in numbers.split(SIZES)]
    parts[0].view(HIDDEN, -1)[:, 0].clamp_(min=0)
    parts[2].clamp_(min=0)
    parts[3][0].clamp_(min=0)
    return torch.cat(parts)


def reveal_order_of(model: object) -> RevealOrder | None:
    """The reveal order that a model has learned (its `reveal_order`), if any."""
    found: RevealOrder | None = getattr(model, "reveal_order", None)
    return found


def features(tokens: Tensor, probability: Tensor, log_probs: Tensor, places: Tensor, row: Row) -> Tensor:
    """(n, FEATURES) float64 on the CPU, for the n masked places of a row that are asked for.

    tokens, probability: (n,) chosen there. log_probs: (n, V), forbidden tokens at -inf. places: (n,) where they are in the row.
    """
    best = log_probs.topk(2, dim=-1).values.exp().cpu().double()
    left, from_left = _nearest(row, places)
    turned = Row(row.x.flip(0), row.known.flip(0), row.writable.flip(0), row.attend.flip(0))
    back, from_back = _nearest(turned, len(row.x) - 1 - places)
    return torch.stack(
        (
            _log_odds(probability.double().cpu()),
            _log_odds(best[:, 0]),
            best[:, 0] - best[:, 1],
            surprisal(log_probs).clamp(max=2 * SURE),
            left.clamp(max=FAR).double().log2(),
            back.clamp(max=FAR).double().log2(),
            from_left,
            from_back,
            (left + back - 1).clamp(max=2 * FAR).double().log2(),
            ((row.writable & ~row.known).sum() / row.writable.sum()).double().expand(len(places)),
            echo(tokens, places, row),
        ),
        -1,
    )


def echo(tokens: Tensor, places: Tensor, row: Row) -> Tensor:
    """(n,) float64: log2 of how far the nearest known place is that holds the same token; of FAR where there is none so near."""
    same = (row.x == tokens[:, None]) & row.known
    distance = (torch.arange(len(row.x)) - places[:, None]).abs()
    return distance.masked_fill(~same, FAR).amin(-1).clamp(max=FAR).double().log2()


def _log_odds(probability: Tensor) -> Tensor:
    return torch.logit(probability.clamp(0, 1)).clamp(-SURE, SURE)


def _nearest(row: Row, places: Tensor) -> tuple[Tensor, Tensor]:
    """(n,) how far on the left the nearest known place is, from 1, or the row's end; and (n,) float64, 1 where it was given."""
    seats = torch.arange(len(row.x))
    last = torch.where(row.known | ~row.attend, seats, -1).cummax(0).values[places]
    given = row.known & ~row.writable
    return places - last, (given[last.clamp(min=0)] & (last >= 0)).double()
