"""What to reveal next: small functions, one a sampler, each naming its paper.

A sampler looks at one row's masked positions and returns the indices of those to reveal in this step,
the ones it is surest of first. The loop has chosen a token for every position already; a sampler never draws one.
To add a sampler: write a function here under `@sampler`. Its name is the sampler's name and the first line of its docstring
is the help on the page, both read without importing torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.forward import surprisal
from engine.reveal_order import RevealOrder, Row, features
from engine.settings import Settings


@dataclass(frozen=True, slots=True)
class Options:
    """What a sampler may choose from: the n masked positions of one row, from the left; those of the current block where there are
    blocks. All tensors but `log_probs` are on the CPU.
    """

    probability: Tensor
    """(n,) the probability of the token chosen for each position, among `log_probs`."""
    log_probs: Tensor
    """(n, V) log-probabilities, the model's own or the tempered ones (`Settings.scores`); tokens that a constraint forbids are at
    -inf and their mass is missing."""
    clocks: Tensor
    """(n,) float64 uniforms in [0, 1), one a position."""
    due: int
    """How many the schedule wants revealed in this step, 0 <= due <= n."""
    stay: float
    """The chance that a masked token stays masked in this step, (1 - alpha_s) / (1 - alpha_t)."""
    settings: Settings
    tokens: Tensor
    """(n,) long, the tokens chosen."""
    places: Tensor
    """(n,) long, where in the row the positions are."""
    row: Row
    """What else stands in the row."""
    reveal_order: RevealOrder | None
    """What the model has learned of its own order, if it has."""


Sampler = Callable[[Options], Tensor]
"""Options -> (m,) long: which to reveal, the surest first."""

SAMPLERS: dict[str, Sampler] = {}
"""The samplers by name."""

FREE_RUNNING = {"ancestral"}
"""Samplers that may reveal nothing in a step: they take every step of the schedule's grid."""


def sampler(function: Sampler) -> Sampler:
    """Register a sampler under its function's name."""
    SAMPLERS[function.__name__] = function
    return function


@sampler
def ancestral(options: Options) -> Tensor:
    """Chance alone, as the mathematics has it: each masked token is revealed with the schedule's probability.

    The exact posterior q(x_s | x_t, x_0) with x_0 drawn from the model (MDLM, arXiv 2406.07524).
    """
    return _surest(options.probability, options.clocks < 1 - options.stay)


@sampler
def confidence(options: Options) -> Tensor:
    """The likeliest tokens first.

    MaskGIT (arXiv 2202.04200) and LLaDA's low-confidence remasking (arXiv 2502.09992).
    """
    return _first(options.probability, options.due)


@sampler
def margin(options: Options) -> Tensor:
    """First where the best token is furthest ahead of the second best.

    Top-k probability margin (arXiv 2502.06768); `topk_margin` in Dream (arXiv 2508.15487).
    """
    best = options.log_probs.topk(2, dim=-1).values.exp()
    return _first((best[:, 0] - best[:, 1]).cpu(), options.due)


@sampler
def entropy(options: Options) -> Tensor:
    """First where the model hesitates least over all tokens (lowest entropy).

    `entropy` in Dream (arXiv 2508.15487).
    """
    return _first(-surprisal(options.log_probs), options.due)


@sampler
def learned_order(options: Options) -> Tensor:
    """First where a small score that was trained for the model says the token is most likely right; by margin for a model without one.

    Which tokens are right is learned from the model's own fills of known texts (engine.training.reveal_order), as Token-Critic (arXiv
    2209.04439) learns it, from a step's probabilities, where a mask stands, and whether the token would echo one beside it.
    """
    if options.reveal_order is None:
        return margin(options)
    seen = features(options.tokens, options.probability, options.log_probs, options.places, options.row)
    return _first(options.reveal_order.score(seen), options.due)


@sampler
def random(options: Options) -> Tensor:
    """In random order, as many in a step as the schedule wants.

    LLaDA's random remasking (arXiv 2502.09992): ancestral sampling with the count fixed to its expectation.
    """
    return _first(-options.clocks, options.due)


@sampler
def left_to_right(options: Options) -> Tensor:
    """From left to right, as a left-to-right language model writes.

    One token a step makes the model autoregressive, with the text after the gap in view (any-order decoding, arXiv 2502.06768).
    """
    return torch.arange(options.due)


@sampler
def threshold(options: Options) -> Tensor:
    """Everything that is likely enough at once, and always at least what is due.

    Confidence-aware parallel decoding, p >= tau (Fast-dLLM, arXiv 2505.22618).
    """
    sure = int((options.probability >= options.settings.threshold).sum())
    return _first(options.probability, max(options.due, sure))


@sampler
def factor(options: Options) -> Tensor:
    """The more at once the surer they are: n tokens while (n + 1)(1 - p) of the n-th stays below a factor, and always what is due.

    Factor-based parallel decoding (Fast-dLLM, arXiv 2505.22618). As published, a last candidate that alone fails goes with the rest.
    """
    order = torch.argsort(options.probability, descending=True, stable=True)
    n = torch.arange(1, len(order) + 1)
    fails = options.probability[order].double() < 1 - options.settings.factor / (n + 1)
    fails[0] = False
    sure = int(fails.int().argmax()) if fails.any() else len(order)
    return order[: max(options.due, sure + (sure == len(order) - 1))]


@sampler
def entropy_bound(options: Options) -> Tensor:
    """As many at once as keep their joint error small, and always at least what is due.

    In order of entropy, the longest start with sum H - max H <= gamma (EB-Sampler, arXiv 2505.24857).
    """
    hesitation = surprisal(options.log_probs)
    order = torch.argsort(hesitation, stable=True)
    # The entropies rise along the order, so the largest of a start is its last: what is summed is all but the last.
    spent = hesitation[order].cumsum(0) - hesitation[order]
    within = int((spent <= options.settings.entropy_bound).sum())
    return order[: max(options.due, within)]


def everything(options: Options) -> Tensor:
    """All positions, the likeliest first: what the last step reveals, whatever the sampler."""
    return _first(options.probability, len(options.probability))


def _first(score: Tensor, count: int) -> Tensor:
    """The indices of the highest scores, best first; of equals the leftmost."""
    return torch.argsort(score, descending=True, stable=True)[:count]


def _surest(probability: Tensor, chosen: Tensor) -> Tensor:
    """The indices of the chosen, the likeliest first."""
    order = torch.argsort(probability, descending=True, stable=True)
    return order[chosen[order]]
