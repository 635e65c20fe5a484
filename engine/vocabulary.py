"""What each token of a model can do at its place in a text: computed once a model, used by canvas and constraints."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from engine.denoiser import Denoiser
from engine.spacing import CLOSING, DOUBLE_QUOTES, OPENING, QUOTES, STOPS, unwanted

SEPARATORS = "—–…/"
"""What ends a word besides white space."""

STATES = 4
"""State 0: the run of characters so far holds no letter or digit; 1: it does, and is counted. 2 and 3 are the same after an
odd number of double quotes."""

Moves = tuple[tuple[int, int], ...]
"""What a token does to a fill's words and quotes: from each of the states, (state after, words added)."""


def word_moves(text: str) -> Moves:
    """What a text does to the word count and the quotes, from each of the states."""
    return tuple(_walk(text, state) for state in range(STATES))


def _walk(text: str, state: int) -> tuple[int, int]:
    in_word, odd, added = bool(state & 1), state >> 1, 0
    for char in text:
        if char.isspace() or char in SEPARATORS:
            in_word = False
        elif not in_word and char.isalnum():
            in_word, added = True, added + 1
        odd ^= char in DOUBLE_QUOTES
    return in_word | odd << 1, added


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
        self.starts_quote = flag(lambda s: s.lstrip()[:1] in QUOTES if s.strip() else False)
        self.double_quote = flag(lambda s: any(c in DOUBLE_QUOTES for c in s))
        self.ends_quote = flag(lambda s: s[-1:] in QUOTES if s else False)
        self.ends_opening = flag(lambda s: s.rstrip()[-1:] in OPENING or s in (' "', " '") if s.strip() else False)
        self.carries_spaces = bool((self.leads_space & flag(lambda s: s.strip().isalnum())).sum() >= self.size / 50)
        """Whether words bring their leading space with them, as in most BPE vocabularies."""
        known = set(self.texts)
        self.fragment = flag(lambda s: self.carries_spaces and s[:1].islower() and " " + s not in known)
        """Ends of words, such as "ing": they begin with a small letter and never follow a space."""
        classes: dict[Moves, int] = {}
        self.class_of = torch.tensor([classes.setdefault(word_moves(s), len(classes)) for s in self.texts])
        self.classes = list(classes)

        self._starts = [_sign(s[:1]) for s in self.texts]
        self._ends = [_sign(s[-1:]) for s in self.texts]
        self._once = {i for i, s in enumerate(self.texts) if s[:1] == " " and s[1:2].isalnum()}
        """Words: none stands twice in a row."""
        self._sets: dict[tuple[str, str], Tensor] = {}

    def fit(self, left: int, right: int) -> bool:
        """Whether two tokens may stand side by side: not the same word twice, nor two stops, nor two quotes."""
        return not (left == right and left in self._once) and not (self._ends[left] and self._ends[left] == self._starts[right])

    def clash_after(self, token: int) -> Tensor | None:
        """(V,) bool, the tokens that don't fit after this one; None when all do."""
        return self._clash(token, self._ends[token], "starts", self._starts)

    def clash_before(self, token: int) -> Tensor | None:
        """(V,) bool, the tokens that don't fit before this one; None when all do."""
        return self._clash(token, self._starts[token], "ends", self._ends)

    def _clash(self, token: int, sign: str, side: str, signs: list[str]) -> Tensor | None:
        if sign:
            if (side, sign) not in self._sets:
                self._sets[side, sign] = torch.tensor([found == sign for found in signs])
            return self._sets[side, sign]
        if token in self._once:
            return torch.arange(self.size) == token
        return None

    def _flag(self, holds: object) -> Tensor:
        assert callable(holds)
        return torch.tensor([bool(holds(s)) for s in self.texts])


def _sign(char: str) -> str:
    """What a sign is of which no two stand side by side: a stop or a quote; empty for any other character."""
    return "stop" if char and char in STOPS else "quote" if char == '"' else ""


_KNOWN: WeakKeyDictionary[Denoiser, Vocabulary] = WeakKeyDictionary()


def vocabulary(model: Denoiser) -> Vocabulary:
    """The model's vocabulary, computed at the first call."""
    if model not in _KNOWN:
        _KNOWN[model] = Vocabulary(model)
    return _KNOWN[model]
