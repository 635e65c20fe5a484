"""What a text would say again: the tokens that would repeat a neighbour or a pair of tokens nearby."""

from __future__ import annotations

import torch
from torch import Tensor

REACH = 32
"""Tokens to either side within which a pair counts as said before."""
BESIDE = 2
"""Tokens to either side within which a token itself does."""


def repeats(x: Tensor, known: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """(L,) ids, (L,) bool, (n,) masked places -> (k,) indices into `places` and (k,) tokens that would be repeats there.

    A token is one if it stands within BESIDE of the place, or if it and the token before it, or the one behind it, stand so together
    within REACH. What is not `known` (masks, padding) repeats nothing. A pair may stand once more in the given text than a writer
    would like; that is the writer's.
    """
    distances = torch.cat((torch.arange(-REACH, 0), torch.arange(1, REACH + 1)))
    margin = REACH + 1
    row = torch.full((len(x) + 2 * margin,), -1, dtype=torch.long)
    row[margin : margin + len(x)] = x.masked_fill(~known, -1)
    at = places[:, None] + margin
    there = at + distances
    token = row[there]
    before = (row[at - 1] >= 0) & (row[at - 1] == row[there - 1])
    behind = (row[at + 1] >= 0) & (row[at + 1] == row[there + 1])
    found = (token >= 0) & (before | behind | (distances.abs() <= BESIDE))
    index, column = found.nonzero(as_tuple=True)
    return index, token[index, column]


def against_repeats(log_probs: Tensor, x: Tensor, known: Tensor, asked: Tensor, nats: float) -> Tensor:
    """What tokens are chosen by: the log-probabilities with those that would be repeats lowered by so many nats.

    log_probs: (N, V), of the places in `asked` (B, L) bool, row-major. x: (B, L) ids. known: (B, L) bool.
    """
    if not nats:
        return log_probs
    start, found = 0, []
    for ids, there, wanted in zip(x, known, asked, strict=True):
        places = wanted.nonzero()[:, 0]
        index, tokens = repeats(ids, there, places)
        found.append((index + start, tokens))
        start += len(places)
    index, tokens = (torch.cat(parts) for parts in zip(*found, strict=True))
    return discouraged(log_probs, index, tokens, nats)


def discouraged(log_probs: Tensor, index: Tensor, tokens: Tensor, nats: float) -> Tensor:
    """(n, V) log-probabilities with these (k,) entries lowered by so many nats, each once; not normalised again."""
    lowered = log_probs.clone()
    index, tokens = index.to(log_probs.device), tokens.to(log_probs.device)
    lowered[index, tokens] = log_probs[index, tokens] - nats
    return lowered
