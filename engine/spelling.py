"""Known words only: what pieces add up to is a word that the model's texts hold, or the draft.

A model that writes in pieces of words can put "shim" and "ble" together. Words are written from their beginning (see
`vocabulary`), so it is enough to ask at each piece whether some known word goes on like this, or ends here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from engine.denoiser import Denoiser
from engine.lexicon import LETTERS, Lexicon
from engine.text import SPACELESS
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


MOST_KEPT = 4096
"""Surroundings whose tokens are kept from fill to fill."""


class Spelling:
    """Which tokens of a model make known words where."""

    def __init__(self, known: Vocabulary, lexicon: Lexicon) -> None:
        self.lexicon, self.size = lexicon, known.size
        parts = [_parts(text) for text in known.texts]
        self.heads = [head for head, _, _ in parts]
        """The letters that a token goes on with in the word before it; empty where a space or a sign comes first."""
        self.tails = [tail for _, tail, _ in parts]
        """The letters of the word that goes on after it; empty where it ends with a space or a sign."""
        self.whole = [whole for _, _, whole in parts]
        """Tokens that are nothing but letters."""
        self._pieces = _by_letters((head, token) for token, (head, _, whole) in enumerate(parts) if whole)
        self._begun = _by_letters((tail, token) for token, (head, tail, _) in enumerate(parts) if not head)
        """Tokens that begin with a space or a sign, by their tails."""
        self._ended = [(token, head, tail) for token, (head, tail, whole) in enumerate(parts) if head and not whole]
        self._rows: dict[Beside, Tensor] = {}
        self._fresh: dict[Beside, Tensor] = {}

    def fits(self, beside: Beside) -> Tensor:
        """(V,) bool: the tokens that make known words there."""
        if beside not in self._rows:
            if len(self._rows) >= MOST_KEPT:
                self._rows.clear()
            left = beside.left
            row = self._going_on_with(beside, self.lexicon)
            self._rows[beside] = row | self.fresh(beside) if not left or left in self.lexicon else row
        return self._rows[beside]

    def fits_with(self, beside: Beside, own: Lexicon, begun: Callable[[Beside], Tensor]) -> Tensor:
        """The same where the words of another, small lexicon are known too; `begun`: its `begun_with`."""
        row, left = self.fits(beside) | self._going_on_with(beside, own), beside.left
        if not left or left in own or left in self.lexicon:
            row = row | self.fresh(beside) | begun(beside)
        return row

    def fresh(self, beside: Beside) -> Tensor:
        """(V,) bool: of the tokens that begin with a space or a sign, those whose last word is known."""
        key = beside._replace(left="")
        if key not in self._fresh:
            self._fresh[key] = self.begun_with(key, self.lexicon, self._begun)
        return self._fresh[key]

    def begun_with(self, beside: Beside, lexicon: Lexicon, tails: Iterable[str]) -> Tensor:
        """(V,) bool: of the tokens that begin with a space or a sign and end in one of these letters, those that begin such a word."""
        row, right = torch.zeros(self.size, dtype=torch.bool), beside.right
        for tail in tails:
            if tail in self._begun and (right is None or self._ends(tail + right, beside, lexicon)):
                row[self._begun[tail]] = True
        return row

    def _going_on_with(self, beside: Beside, lexicon: Lexicon) -> Tensor:
        """(V,) bool: of the tokens that begin with a letter, those that go on with what is left of them to a word of this lexicon."""
        left, right = beside.left, beside.right
        row = torch.zeros(self.size, dtype=torch.bool)
        for token, head, tail in self._ended:
            row[token] = (left is None or left + head in lexicon) and (right is None or self._ends(tail + right, beside, lexicon))
        if left is None or right is None:
            row[list(chain.from_iterable(self._pieces.values()))] = True
        else:
            for letters in self._going_on(left, beside, lexicon):
                row[self._pieces[letters]] = True
        return row

    def _going_on(self, left: str, beside: Beside, lexicon: Lexicon) -> Iterator[str]:
        """The pieces that go on with these letters to a known word."""
        right = beside.right or ""
        words = list(islice(lexicon.going_on(left), len(self._pieces)))
        if len(words) == len(self._pieces):  # so many that it is quicker to ask for each piece
            yield from (letters for letters in self._pieces if self._ends(left + letters + right, beside, lexicon))
            return
        rests = {word[len(left) : end] for word in words for end in range(len(left) + 1, len(word) + 1)}
        yield from (letters for letters in rests if letters in self._pieces and self._ends(left + letters + right, beside, lexicon))

    def _ends(self, letters: str, beside: Beside, lexicon: Lexicon) -> bool:
        """Whether these letters are a known word, or can become one in the room that there is."""
        if not letters or letters in lexicon:
            return True
        if beside.room > 1:
            return lexicon.begins(letters)
        if not beside.room:
            return False
        middles = (
            word[len(letters) : len(word) - len(beside.beyond)] for word in lexicon.going_on(letters) if word.endswith(beside.beyond)
        )
        return any(middle in self._pieces for middle in middles)


class Speller:
    """The spelling of one draft, whose own words are known too."""

    def __init__(self, spelling: Spelling, text: str) -> None:
        self._spelling = spelling
        self._own = Lexicon.of([text]).without(spelling.lexicon)
        self._tails = {word[:end] for word in self._own.words for end in range(1, len(word) + 1)}
        self._rows: dict[Beside, Tensor] = {}
        self._begun: dict[Beside, Tensor] = {}

    def fits(self, beside: Beside) -> Tensor:
        """(V,) bool: the tokens that make words which the model's texts or the draft hold."""
        if not self._own.words:
            return self._spelling.fits(beside)
        if beside not in self._rows:
            self._rows[beside] = self._spelling.fits_with(beside, self._own, self._begun_with)
        return self._rows[beside]

    def _begun_with(self, beside: Beside) -> Tensor:
        key = beside._replace(left="")
        if key not in self._begun:
            self._begun[key] = self._spelling.begun_with(key, self._own, self._tails)
        return self._begun[key]

    def beside(self, ids: Sequence[int], position: int, written: Callable[[int], bool], mask_id: int) -> Beside:
        """What stands around a place of a canvas; `written`: whether a place is a cell and not given text."""
        spelling = self._spelling
        left: str | None = ""
        for at in range(position - 1, -1, -1):
            token = ids[at]
            if token == mask_id or (not written(at) and spelling.tails[token]):
                left = None
                break
            left = spelling.tails[token] + (left or "")
            if not spelling.whole[token]:
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
                return (None if self._spelling.heads[token] else letters), at
            letters += self._spelling.heads[token]
            if not self._spelling.whole[token]:
                return letters, at
        return letters, len(ids)


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
    found = [(run.start(), run.end(), run[0].casefold()) for run in LETTERS.finditer(text)]
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
        _KNOWN[model] = Spelling(known, lexicon)
    return Speller(_KNOWN[model], text)
