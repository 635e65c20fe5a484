"""Known words only: what pieces add up to is a word that the model's texts hold, or the draft; and no signs that neither uses as a rule.

A model that writes in pieces of words can put "shim" and "ble" together. Words are written from their beginning (see
`vocabulary`), so it is enough to ask at each piece whether some known word goes on like this, or ends here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from engine.denoiser import Denoiser
from engine.lexicon import LETTERS, Lexicon
from engine.spacing import quotes_singly, straighten
from engine.text import SPACELESS, fold
from engine.vocabulary import Vocabulary, vocabulary


class Beside(NamedTuple):
    """What stands around a cell."""

    left: str | None
    """The letters just left of it; None: no matter which, they are given or not written yet."""
    right: str | None
    """Those just right of it."""
    room: int = 0
    """How many masked cells follow these, in which the word may go on: none, one, or (2) more."""
    beyond: str = ""
    """The letters behind the one masked cell."""


_SIGNS = re.compile(r"[#$%&*+/<=>@\\^_`|~]|\d")
"""Signs of ASCII that are no part of ordinary prose, and figures; brackets have rules of their own."""
_QUOTES_SINGLY = re.compile(r" '|[^\w\s']+'|'[^\w\s']")
_NAME = re.compile(r"\w'[^\W\d_a-z]")
MOST_KEPT = 4096
"""Surroundings of which a spelling keeps the tokens."""


class Pieces:
    """How the tokens of a vocabulary begin and end: the letters that they share with the tokens beside them."""

    def __init__(self, known: Vocabulary) -> None:
        parts = [_parts(text) for text in known.texts]
        self.size = known.size
        self.heads = [head for head, _, _ in parts]
        """The letters that a token goes on with in the word before it; empty where a space or a sign comes first."""
        self.tails = [tail for _, tail, _ in parts]
        """The letters of the word that goes on after it; empty where it ends with a space or a sign."""
        self.whole = [whole for _, _, whole in parts]
        """Tokens that are nothing but letters."""
        self.between = _by_letters((head, token) for token, (head, _, whole) in enumerate(parts) if whole)
        """Those, by their letters."""
        self.beginning = _by_letters((tail, token) for token, (head, tail, _) in enumerate(parts) if not head)
        """Tokens that begin with a space or a sign, by their tails."""
        self.ending = [(token, head, tail) for token, (head, tail, whole) in enumerate(parts) if head and not whole]
        """Tokens in which the word before them ends, with their heads and tails."""
        self.signs = [_signs(text) | ({" '"} if _QUOTES_SINGLY.match(text) else set()) for text in known.texts]
        """The signs in a token that not every text uses, among them a single quote that opens or stands beside a stop (" '") and figures,
        all as one."""
        for spacer in known.spacer.nonzero()[:, 0].tolist():
            self.signs[spacer] = {"0"}
        self.capital = torch.tensor([text[:1].isupper() and len(text) > 1 for text in known.texts])
        """(V,) bool: tokens of several letters that begin a word, though no space comes first: none goes on so with small letters."""


class Spelling:
    """Which tokens make the words of one lexicon where."""

    def __init__(self, pieces: Pieces, lexicon: Lexicon) -> None:
        self.pieces, self.lexicon = pieces, lexicon
        self._kept: dict[tuple[Beside, bool], Tensor] = {}

    def beginning(self, beside: Beside) -> Tensor:
        """(V,) bool: of the tokens that begin with a space or a sign, those whose last word is of the lexicon, or can be."""
        return self._keep(beside._replace(left=""), True)

    def going_on(self, beside: Beside) -> Tensor:
        """(V,) bool: of the tokens that begin with a letter, those that go on to a word of the lexicon."""
        return self._keep(beside, False)

    def _keep(self, beside: Beside, begins: bool) -> Tensor:
        if (beside, begins) not in self._kept:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            row = torch.zeros(self.pieces.size, dtype=torch.bool)
            row[list(self._beginning(beside) if begins else self._going_on(beside))] = True
            self._kept[beside, begins] = row
        return self._kept[beside, begins]

    def _beginning(self, beside: Beside) -> Iterator[int]:
        tails, words = self.pieces.beginning, self.lexicon.words
        # A draft has few words of its own: their beginnings are soon told, while most of the tails of tokens would begin none.
        near = tails.keys() & {"", *(word[:end] for word in words for end in range(1, len(word) + 1))} if len(words) < len(tails) else tails
        for tail in tails if beside.right is None else near:
            if beside.right is None or self._ends(tail + beside.right, beside):
                yield from tails[tail]

    def _going_on(self, beside: Beside) -> Iterator[int]:
        left, right = beside.left, beside.right
        for token, head, tail in self.pieces.ending:
            if (left is None or left + head in self.lexicon) and (right is None or self._ends(tail + right, beside)):
                yield token
        for letters, tokens in self.pieces.between.items() if left is None or right is None else self._near(left):
            if left is None or right is None or self._ends(left + letters + right, beside):
                yield from tokens

    def _near(self, left: str) -> Iterable[tuple[str, list[int]]]:
        """The tokens of letters alone that may go on with these: those that words do, or all where the words are more."""
        between = self.pieces.between
        words = list(islice(self.lexicon.going_on(left), len(between)))
        if len(words) == len(between):
            return between.items()
        rests = {word[len(left) : end] for word in words for end in range(len(left) + 1, len(word) + 1)}
        return [(rest, between[rest]) for rest in rests if rest in between]

    def _ends(self, letters: str, beside: Beside) -> bool:
        """Whether these letters are a known word, or can become one in the room that there is."""
        if not letters or letters in self.lexicon:
            return True
        if beside.room != 1:
            return beside.room > 1 and self.lexicon.begins(letters)
        longer = (word for word in self.lexicon.going_on(letters) if word.endswith(beside.beyond))
        return any(word[len(letters) : len(word) - len(beside.beyond)] in self.pieces.between for word in longer)


class Speller:
    """The spelling of one draft: of the words of its model, and of its own."""

    def __init__(self, spelling: Spelling, text: str) -> None:
        own = Lexicon.of([text]).without(spelling.lexicon)
        self._pieces = spelling.pieces
        self._spellings = [spelling, Spelling(spelling.pieces, own)] if own.words else [spelling]
        self._rows: dict[Beside, Tensor] = {}
        self.singly = quotes_singly(text)
        """Whether the draft quotes with single quotes."""
        known = _signs(text) | ({" '"} if self.singly else set())
        self.foreign = torch.tensor([token for token, signs in enumerate(self._pieces.signs) if not signs <= known], dtype=torch.long)
        """(k,) the tokens with signs that the draft doesn't use."""
        self.names = _NAME.search(straighten(text)) is not None
        """Whether the draft has a capital behind an apostrophe."""

    def fits(self, beside: Beside) -> Tensor:
        """(V,) bool: the tokens that make words which the model's texts or the draft hold."""
        if beside not in self._rows:
            if len(self._rows) >= MOST_KEPT:
                self._rows.clear()
            rows = [spelling.going_on(beside) for spelling in self._spellings]
            if beside.left is None:
                begun = [spelling.going_on(beside._replace(left="")) for spelling in self._spellings]
                rows = [row & (begins | ~self._pieces.capital) for row, begins in zip(rows, begun, strict=True)]
            if not beside.left or any(beside.left in spelling.lexicon for spelling in self._spellings):
                rows += [spelling.beginning(beside) for spelling in self._spellings]
            self._rows[beside] = torch.stack(rows).any(0)
        return self._rows[beside]

    def beside(self, ids: Sequence[int], position: int, written: Callable[[int], bool], mask_id: int) -> Beside:
        """What stands around a place of a canvas; `written`: whether a place is a cell and not given text."""
        pieces = self._pieces
        left: str | None = ""
        for at in range(position - 1, -1, -1):
            token = ids[at]
            if token == mask_id or (not written(at) and pieces.tails[token]):
                left = None
                break
            left = pieces.tails[token] + (left or "")
            if not pieces.whole[token]:
                break
        right, end = self._letters_from(ids, position + 1, written, mask_id)
        if end == len(ids) or ids[end] != mask_id:
            return Beside(left, right)
        if ids[end + 1 : end + 2] == [mask_id]:
            return Beside(left, right, 2)
        return Beside(left, right, 1, self._letters_from(ids, end + 1, written, mask_id)[0] or "")

    def _letters_from(self, ids: Sequence[int], start: int, written: Callable[[int], bool], mask_id: int) -> tuple[str | None, int]:
        """The letters that a word before this place would go on with, and where they end; None where they are given."""
        letters = ""
        for at in range(start, len(ids)):
            token = ids[at]
            if token == mask_id:
                return letters, at
            if not written(at):
                return (None if self._pieces.heads[token] else letters), at
            letters += self._pieces.heads[token]
            if not self._pieces.whole[token]:
                return letters, at
        return letters, len(ids)


def _signs(text: str) -> set[str]:
    """The signs in a text, and "0" for figures."""
    return {"0" if sign.isdecimal() else sign for sign in _SIGNS.findall(text)}


def _by_letters(found: Iterable[tuple[str, int]]) -> dict[str, list[int]]:
    """Tokens by letters."""
    tokens: dict[str, list[int]] = {}
    for letters, token in found:
        tokens.setdefault(letters, []).append(token)
    return tokens


def _parts(text: str) -> tuple[str, str, bool]:
    """The letters that a token begins with, those that it ends with, folded, and whether there is nothing else."""
    if SPACELESS.search(text):
        return "", "", False
    text = fold(text)
    found = [(run.start(), run.end(), run[0]) for run in LETTERS.finditer(text)]
    head = found[0][2] if found and found[0][0] == 0 else ""
    tail = found[-1][2] if found and found[-1][1] == len(text) else ""
    return head, tail, bool(head) and len(found) == 1 and found[0][1] == len(text)


_KNOWN: WeakKeyDictionary[Denoiser, Spelling] = WeakKeyDictionary()


def speller(model: Denoiser, text: str) -> Speller | None:
    """The speller of a draft with this text; None for a model without a list of words, or whose tokens bring no spaces."""
    lexicon: Lexicon | None = getattr(model, "lexicon", None)
    known = vocabulary(model)
    if lexicon is None or not known.carries_spaces or known.glued is not None:
        return None
    if model not in _KNOWN:
        _KNOWN[model] = Spelling(Pieces(known), lexicon)
    return Speller(_KNOWN[model], text)
