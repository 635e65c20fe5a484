"""How rare each token is, by the model's own account: what it expects where it sees nothing."""

from __future__ import annotations

import math
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from engine.denoiser import Denoiser
from engine.forward import subs_log_probs
from engine.text import fold
from engine.vocabulary import vocabulary

CANVAS = 64
"""Masks of the canvas that is asked."""
COMMON, RARE = 6.0, 8.0
"""Nats: a token as probable as exp(-6) is not rare at all ("said", "two"), one as improbable as exp(-8) wholly ("letter")."""


class Words(NamedTuple):
    """What the tokens of a model are as words."""

    rarity: Tensor
    """(V,) float32 in [0, 1], on the CPU: how rare a word each token begins; 0 for ends of words and for signs."""
    kind: Tensor
    """(V,) long: the same number for tokens that differ in nothing but capitals, a space or a last "s"."""


def words_of(model: Denoiser) -> Words:
    """The words of a model, computed at the first call, which asks the model once.

    The mean of its predictions on a canvas of masks alone is its unigram distribution.
    """
    if model not in _FOUND:
        _FOUND[model] = _words_of(model)
    return _FOUND[model]


@torch.inference_mode()
def _words_of(model: Denoiser) -> Words:
    ids, _ = model.frame([model.mask_id] * min(CANVAS, model.max_length), starts=False, ends=False)
    x = torch.tensor([ids], device=torch.device(getattr(model, "device", "cpu")))
    positions = x == model.mask_id
    found = subs_log_probs(model.logits(x, positions), model.suppressed).float().cpu()
    nats = math.log(len(found)) - found.logsumexp(0)
    known = vocabulary(model)
    numbers: dict[str, int] = {}
    kind = [numbers.setdefault(fold(text).strip().removesuffix("s"), len(numbers)) for text in known.texts]
    rare = ((nats - COMMON) / (RARE - COMMON)).clamp(0.0, 1.0) * known.begins_word
    return Words(rare, torch.tensor(kind))


_FOUND: WeakKeyDictionary[Denoiser, Words] = WeakKeyDictionary()
