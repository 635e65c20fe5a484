"""Words that a fill says again: how rare each is, by the model's own account, and what that costs (the presence penalty)."""

from __future__ import annotations

from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.context import device_of
from engine.denoiser import Denoiser
from engine.forward import subs_log_probs
from engine.text import fold
from engine.vocabulary import vocabulary

CANVAS = 64
"""Masks of the canvas that is asked."""
COMMON, RARE = 6.0, 8.0
"""Nats: a token as probable as exp(-6) is not rare at all ("said", "two"), one as improbable as exp(-8) wholly ("letter")."""
REACH = 32
"""Tokens to either side within which a word counts as said before."""
ISLAND = 8
"""Given tokens that may part what is written, and belong to what the fill says."""
SHORTEST = 4
"""Letters of the shortest word that has a plural."""


class Words(NamedTuple):
    """What the tokens of a model are as words. Both are on the CPU."""

    rarity: Tensor
    """(V,) float32 in [0, 1]: how rare a word each token begins; 0 for ends of words and for signs."""
    kind: Tensor
    """(V,) long: the same number for tokens that spell forms of one word (`form_of`)."""


def form_of(word: str) -> str:
    """What a word has in common with its other forms: neither capitals nor the "s" of a plural count."""
    word = fold(word).strip()
    stem = word.removesuffix("s")
    return stem if len(stem) >= SHORTEST and stem[-1] not in "siu" else word


def words_of(model: Denoiser) -> Words:
    """The words of a model, computed at the first call, which asks the model once.

    The mean of its predictions on a canvas of masks alone is its unigram distribution.
    """
    if model not in _FOUND:
        _FOUND[model] = _words_of(model)
    return _FOUND[model]


@torch.inference_mode()
def _words_of(model: Denoiser) -> Words:
    ends, _ = model.frame([], starts=True, ends=True)
    ids, _ = model.frame([model.mask_id] * max(1, min(CANVAS, model.max_length - len(ends))), starts=False, ends=False)
    x = torch.tensor([ids], device=device_of(model))
    positions = x == model.mask_id
    found = subs_log_probs(model.logits(x, positions), model.suppressed).float().cpu()
    known = vocabulary(model)
    numbers: dict[str, int] = {}
    kind = torch.tensor([numbers.setdefault(form_of(text), len(numbers)) for text in known.texts])
    # " With" is as common as " with": a word's forms are counted together.
    chances = found.exp().mean(0) * known.begins_word
    nats = -torch.zeros(len(numbers)).index_add(0, kind, chances).log()[kind]
    return Words(((nats - COMMON) / (RARE - COMMON)).clamp(0.0, 1.0) * known.begins_word, kind)


def echoes(model: Denoiser, x: Tensor, said: Tensor) -> Tensor:
    """(L,) ids, (L,) bool what the fill says -> (L,) float32 at the first token of each word: how rare it is, if it is said again within
    REACH tokens; 0 elsewhere.
    """
    known, words, ids = vocabulary(model), words_of(model), x.tolist()
    cost = torch.zeros(x.shape)
    seen: dict[str, list[list[int]]] = {}
    for word in known.words(ids, said.nonzero()[:, 0].tolist()):
        seen.setdefault(form_of("".join(known.texts[ids[place]] for place in word)), []).append(word)
    for found in seen.values():
        for word in found:
            begins = bool(known.begins_word[ids[word[0]]])
            if begins and any(0 < abs(word[0] - other[0]) <= REACH for other in found):
                cost[word[0]] = 1.0 if len(word) > 1 else words.rarity[ids[word[0]]]
    return cost


def against_echoes(log_probs: Tensor, x: Tensor, said: Tensor, asked: Tensor, words: Words, nats: float) -> Tensor:
    """What tokens are chosen by: the log-probabilities with those of words that the fill says already within REACH tokens lowered by so
    many nats, or less where the word is not so rare.

    log_probs: (N, V), of the places in `asked` (B, L) bool, row-major. x: (B, L) ids. said: (B, L) bool.
    """
    rare = said & (words.rarity[x] > 0)
    if not nats or not rare.any():
        return log_probs
    row, place = asked.nonzero(as_tuple=True)
    kinds = words.kind[x[rare]].unique()
    tokens = torch.isin(words.kind, kinds).nonzero()[:, 0]
    near = (place[:, None] - torch.arange(x.shape[-1])).abs() <= REACH
    held = torch.stack([(near & (rare & (words.kind[x] == kind))[row]).any(-1) for kind in kinds], -1)
    cost = held[:, torch.searchsorted(kinds, words.kind[tokens])] * words.rarity[tokens] * nats
    lowered = log_probs.clone()
    lowered[:, tokens.to(log_probs.device)] -= cost.to(log_probs)
    return lowered


def said_by(writable: Tensor) -> Tensor:
    """(B, L) bool -> (B, L) bool: what a fill says: what is written, and given words with something written on both sides of them, near by:
    keywords, and pinned words.
    """
    left, right = (F.max_pool1d(F.pad(writable.float(), pad), ISLAND + 1, stride=1) > 0 for pad in ((ISLAND, 0), (0, ISLAND)))
    return writable | (left & right)


_FOUND: WeakKeyDictionary[Denoiser, Words] = WeakKeyDictionary()
