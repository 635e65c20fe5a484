"""What each token of a model can do at its place in a text: computed once a model, used by canvas and constraints."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from engine.denoiser import Denoiser
from engine.spacing import CLOSING, OPENING, STOPS, unwanted

SEPARATORS = "—–…/"
"""What ends a word besides white space."""

Moves = tuple[tuple[int, int], tuple[int, int]]
"""What a token does to the word count: from each state of the run it meets, (state after, words added).

State 0: the run of characters so far holds no letter or digit; state 1: it does, and is counted."""


def word_moves(text: str) -> Moves:
    """What a text does to the word count, from each of the two states."""
    return _walk(text, 0), _walk(text, 1)


def _walk(text: str, state: int) -> tuple[int, int]:
    added = 0
    for char in text:
        if char.isspace() or char in SEPARATORS:
            state = 0
        elif state == 0 and char.isalnum():
            state, added = 1, added + 1
    return state, added


class Vocabulary:
    """The token texts of one model and what follows from them. Tensors are (V,) bool, on the CPU."""

    def __init__(self, model: Denoiser) -> None:
        self.size = model.vocab_size
        suppressed = {*model.suppressed, model.mask_id}
        self.texts = ["" if i in suppressed else model.decode([i]) for i in range(self.size)]
        flag = self._flag
        self.partial = flag(lambda s: "\ufffd" in s)
        """Tokens that spell only a part of a character."""
        self.writable = flag(lambda s: s != "" and not any(unwanted(c) and c != "\ufffd" for c in s))
        self.newline = flag(lambda s: "\n" in s)
        self.blank = flag(str.isspace)
        self.leads_space = flag(lambda s: s[:1].isspace())
        self.ends_space = flag(lambda s: s[-1:].isspace())
        self.starts_closing = flag(lambda s: s.lstrip()[:1] in CLOSING if s.strip() else False)
        self.starts_word = flag(lambda s: s[:1].isalnum())
        self.ends_stop = flag(lambda s: s[-1:] in STOPS if s else False)
        self.ends_opening = flag(lambda s: s.rstrip()[-1:] in OPENING or s in (' "', " '") if s.strip() else False)
        self.carries_spaces = bool((self.leads_space & flag(lambda s: s.strip().isalnum())).sum() >= self.size / 50)
        """Whether words bring their leading space with them, as in most BPE vocabularies."""
        classes: dict[Moves, int] = {}
        self.class_of = torch.tensor([classes.setdefault(word_moves(s), len(classes)) for s in self.texts])
        self.classes = list(classes)

    def _flag(self, holds: object) -> Tensor:
        assert callable(holds)
        return torch.tensor([bool(holds(s)) for s in self.texts])


_KNOWN: WeakKeyDictionary[Denoiser, Vocabulary] = WeakKeyDictionary()


def vocabulary(model: Denoiser) -> Vocabulary:
    """The model's vocabulary, computed at the first call."""
    if model not in _KNOWN:
        _KNOWN[model] = Vocabulary(model)
    return _KNOWN[model]
