"""Phrases that may not be written: where they stand in a text, and which tokens of a vocabulary can write a part of one.

A phrase with words is found as whole words, by the one definition of engine.text; with 's a word is the same. Signs, and letters of
scripts that put no space between words, are found anywhere.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TypeAlias
from weakref import WeakKeyDictionary

from torch import Tensor

from engine.spacing import straighten
from engine.text import BREAKS, SPACELESS, bare_words, fold, is_wordlike, placed_words
from engine.vocabulary import Vocabulary

_BREAKS = re.compile(rf"[\s{BREAKS}]+")
_LAST_RUN = re.compile(rf"[^\s{BREAKS}]*\Z")
_FIRST_RUN = re.compile(rf"[^\s{BREAKS}]*")
_NO_ASCII_LETTER = re.compile(r"[^a-z0-9]+")
MOST_FOUND = 4096
"""Surroundings of a cell whose forbidden tokens are kept from fill to fill."""
_STRANGER = "ꙮ"
"""A letter of no word that anybody bans: stands for a piece of a word that is no piece of a banned one."""

Place: TypeAlias = tuple[str, int, int]
"""A phrase, and where it stands: start and end."""


def is_spoken(phrase: str) -> bool:
    """Whether a phrase is found as whole words, and not anywhere."""
    return bool(bare_words(phrase)) and not SPACELESS.search(phrase)


def skeleton(text: str) -> str:
    """The letters and digits of a text, without case and accents: joined texts have their joined skeletons, however they are spaced."""
    if text.isascii():
        return _NO_ASCII_LETTER.sub("", text.lower())
    return "".join(char for char in unicodedata.normalize("NFD", text.casefold()) if char.isalnum())


def squeezed(text: str) -> str:
    """A text by which signs are compared: without white space, case, and the shapes of quotes."""
    return "".join(unicodedata.normalize("NFD", straighten(text).casefold()).split())


class BannedWords:
    """Banned words and phrases of words."""

    def __init__(self, phrases: Iterable[str]) -> None:
        self._phrases = sorted({tuple(bare_words(phrase)) for phrase in phrases})
        self._by_first: dict[str, list[tuple[str, ...]]] = {}
        for phrase in self._phrases:
            self._by_first.setdefault(phrase[0], []).append(phrase)
        self._words = sorted({word for phrase in self._phrases for word in phrase})
        self._inner = {word for phrase in self._phrases if len(phrase) > 1 for word in phrase}
        self._longest = max(map(len, self._phrases), default=0)
        self.skeletons = sorted({skeleton("".join(phrase)) for phrase in self._phrases})

    def find(self, text: str) -> Iterator[Place]:
        """Where one of them stands as whole words."""
        folded = fold(text)
        if not any(first in folded for first in self._by_first):
            return
        found = list(placed_words(text))
        for at, (word, start, _) in enumerate(found):
            for phrase in self._by_first.get(word, []) + self._by_first.get(word.removesuffix("'s"), []) * word.endswith("'s"):
                last = at + len(phrase) - 1
                if last < len(found) and all(w in (p, p + "'s") for (w, _, _), p in zip(found[at:], phrase, strict=False)):
                    yield " ".join(phrase), start, found[last][2]

    def last_of(self, text: str) -> str:
        """The end of a text that may be a part of a ban."""
        parts = text.rsplit(None, self._longest + 1)
        return text[len(parts[0]) :] if len(parts) > self._longest + 1 else text

    def first_of(self, text: str) -> str:
        """The start of a text that may be a part of a ban."""
        parts = text.split(None, self._longest + 1)
        return text[: len(text) - len(parts[-1])] if len(parts) > self._longest + 1 else text

    def before(self, text: str, *, exact: bool) -> str:
        """What a text that ends where a token is to stand has to do with the bans: texts with the same answer forbid the same tokens.

        `exact`: a piece of any word is told, because the spaces hang on it.
        """
        match = _LAST_RUN.search(text)
        at = match.start() if match else len(text)
        piece = self._piece(text[at:], exact, lambda word, begun: word.startswith(begun))
        if self._longest < 2 or piece == _STRANGER:
            return piece
        words = bare_words(text[:at])[1 - self._longest :]
        for count in range(len(words), 0, -1):
            if any(phrase[:count] == tuple(words[-count:]) and len(phrase) > count for phrase in self._phrases):
                return " ".join([*words[-count:], piece])
        return piece

    def after(self, text: str, *, exact: bool) -> str:
        """The same for a text that begins behind the token."""
        match = _FIRST_RUN.match(text)
        at = match.end() if match else 0
        piece = self._piece(text[:at], exact, lambda word, ended: word.endswith(ended))
        if self._longest < 2 or piece == _STRANGER:
            return piece
        words = bare_words(text[at:])[: self._longest - 1]
        for count in range(len(words), 0, -1):
            if any(phrase[-count:] == tuple(words[:count]) and len(phrase) > count for phrase in self._phrases):
                return " ".join([piece, *words[:count]])
        return piece

    def _piece(self, run: str, exact: bool, goes_on: Callable[[str, str], bool]) -> str:
        """The piece of a word at the edge of a text; empty where there is none, _STRANGER where it is none of a banned word."""
        if not any(map(is_wordlike, run)):
            return ""
        folded = fold(run)
        bare = _trimmed(folded)
        ends = (folded, bare, bare.removesuffix("'s"))
        if exact or bare in self._inner or any(goes_on(word, end) for word in self._words for end in ends):
            return folded
        return _STRANGER


def _trimmed(run: str) -> str:
    start, end = 0, len(run)
    while start < end and not is_wordlike(run[start]):
        start += 1
    while end > start and not is_wordlike(run[end - 1]):
        end -= 1
    return run[start:end]


class BannedSigns:
    """Banned signs, and letters of scripts without spaces."""

    def __init__(self, phrases: Iterable[str]) -> None:
        self.signs = sorted({squeezed(phrase) for phrase in phrases})
        self._longest = max(map(len, self.signs), default=0)

    def find(self, text: str) -> Iterator[Place]:
        """Where one of them stands."""
        whole = squeezed(text)
        if not any(sign in whole for sign in self.signs):
            return
        chars = [(char, at) for at, raw in enumerate(text) for char in squeezed(raw)]
        whole = "".join(char for char, _ in chars)
        for sign in self.signs:
            for start, end in _everywhere(whole, sign):
                yield sign, chars[start][1], chars[end - 1][1] + 1

    def before(self, text: str) -> str:
        """The longest end of a text that begins a ban."""
        near = squeezed(text[-4 * self._longest :])
        return next((near[-n:] for n in range(min(self._longest - 1, len(near)), 0, -1) if self._any(near[-n:], str.startswith)), "")

    def after(self, text: str) -> str:
        """The longest start of a text that ends a ban."""
        near = squeezed(text[: 4 * self._longest])
        return next((near[:n] for n in range(min(self._longest - 1, len(near)), 0, -1) if self._any(near[:n], str.endswith)), "")

    def _any(self, part: str, holds: Callable[[str, str], bool]) -> bool:
        return any(len(sign) > len(part) and holds(sign, part) for sign in self.signs)

    def made(self, before: str, text: str, after: str) -> bool:
        """Whether a squeezed text between two others makes a ban."""
        whole, start, end = before + text + after, len(before), len(before) + len(text)
        places = (place for sign in self.signs for place in _everywhere(whole, sign))
        return any(at < end and then > start if text else at < start < then for at, then in places)


def _everywhere(text: str, part: str) -> Iterator[tuple[int, int]]:
    """Where a part stands in a text, as whole characters: not before a combining mark."""
    at = text.find(part)
    while at >= 0:
        end = at + len(part)
        if unicodedata.category(text[end : end + 1] or " ")[0] != "M":
            yield at, end
        at = text.find(part, at + 1)


class Spellings:
    """How the tokens of a vocabulary can take part in a phrase."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._texts = vocabulary.texts
        self.skeletons: list[str] = []
        """Of each token."""
        self._by_skeleton: dict[str, list[int]] = {}
        self._several: list[tuple[int, str, str, str]] = []
        """Tokens of several words: the skeletons of the first, the last, and all."""
        self.silent: list[int] = []
        """Tokens without a letter or digit of their own, parts of characters too."""
        for token, text in enumerate(self._texts):
            bones = [bone for bone in map(skeleton, _BREAKS.split(text)) if bone]
            self.skeletons.append("".join(bones))
            if not bones:
                self.silent.append(token)
            elif len(bones) == 1:
                self._by_skeleton.setdefault(bones[0], []).append(token)
            else:
                self._several.append((token, bones[0], bones[-1], self.skeletons[-1]))
        self._longest = max(map(len, self._by_skeleton), default=0)
        self._squeezed: list[str] = []
        self._parts: dict[str, list[int]] = {}
        self._aligned: dict[str, list[int]] = {}
        self._found: dict[tuple[str, ...], dict[Hashable, Tensor]] = {}

    def found_with(self, phrases: tuple[str, ...]) -> dict[Hashable, Tensor]:
        """What was found out with a list of bans that holds in every draft: to be added to, and kept from fill to fill."""
        if sum(map(len, self._found.values())) > MOST_FOUND:
            self._found.clear()
        return self._found.setdefault(phrases, {})

    def parts(self, bones: str) -> list[int]:
        """Tokens that can be a part of a text with this skeleton, or hold it."""
        if bones not in self._parts:
            infixes = {bones[i : i + n] for n in range(1, min(len(bones), self._longest) + 1) for i in range(len(bones) - n + 1)}
            found = [token for infix in infixes for token in self._by_skeleton.get(infix, ())]
            found += [
                token
                for token, first, last, whole in self._several
                if bones in whole or whole in bones or bones.endswith(first) or bones.startswith(last)
            ]
            self._parts[bones] = found
        return self._parts[bones]

    def aligned(self, sign: str) -> list[int]:
        """Tokens that can write a part of these squeezed signs, or all of them."""
        if not self._squeezed:
            self._squeezed = [squeezed(text) for text in self._texts]
        if sign not in self._aligned:
            self._aligned[sign] = [token for token, text in enumerate(self._squeezed) if text and _may_meet(text, sign)]
        return self._aligned[sign]


def _may_meet(text: str, sign: str) -> bool:
    if sign in text or text in sign:
        return True
    most = min(len(text), len(sign)) - 1
    return any(sign.endswith(text[:n]) or sign.startswith(text[-n:]) for n in range(1, most + 1))


_KNOWN: WeakKeyDictionary[Vocabulary, Spellings] = WeakKeyDictionary()


def spellings(vocabulary: Vocabulary) -> Spellings:
    """The vocabulary's spellings, computed at the first call."""
    if vocabulary not in _KNOWN:
        _KNOWN[vocabulary] = Spellings(vocabulary)
    return _KNOWN[vocabulary]
