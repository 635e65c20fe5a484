"""What each token of a model can do at its place in a text: computed once a model, used by canvas and constraints."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from engine.denoiser import Denoiser
from engine.lines import evened, joined
from engine.neighbours import Neighbours
from engine.signs import Plain
from engine.spacing import (
    BRACKETS,
    CLOSING,
    DOUBLE_QUOTES,
    NO_SPACE_AFTER,
    OPENING,
    QUOTES,
    STOPS,
    as_learned,
    ends_sentence,
    stands_apart,
    straighten,
    unwanted,
)
from engine.text import BREAKS, SPACELESS, is_wordlike
from engine.wordings import Moves, apart_moves, word_moves


class Vocabulary:
    """The token texts of one model and what follows from them. Tensors are (V,) bool, on the CPU."""

    def __init__(self, model: Denoiser) -> None:
        self.size = model.vocab_size
        suppressed = {*model.suppressed, model.mask_id}
        decode = model.decode
        self.texts = ["" if i in suppressed else decode([i]) for i in range(self.size)]
        bare = [s.strip() for s in self.texts]
        self.partial = _flags("\ufffd" in s for s in self.texts)
        """Tokens that spell only a part of a character."""
        self.writable = _flags(s != "" for s in self.texts) & ~self._holding(lambda c: c not in "\ufffd\t" and unwanted(c))
        self.tab = _flags("\t" in s for s in self.texts)
        self.newline = _flags("\n" in s for s in self.texts)
        self.blank = _flags(map(str.isspace, self.texts))
        self.leads_space = _flags(s[:1].isspace() for s in self.texts)
        self.ends_space = _flags(s[-1:].isspace() for s in self.texts)
        self.clitic = _flags(_CLITIC.match(s) is not None for s in bare)
        """What only goes on with a word: "'s", "'ll"."""
        self.starts_closing = _flags(s != "" and s[0] in CLOSING for s in bare)
        self.starts_word = _flags(s[:1].isalnum() for s in self.texts)
        self.ends_stop = _flags(s != "" and s[-1] in STOPS for s in self.texts)
        self.stops_twice = _flags(len({*s[len(s.rstrip(STOPS)) :]}) > 1 for s in self.texts)
        """Tokens that end in two kinds of stops, such as "?—", as no saying does."""
        self.ends_colon = _flags(s.endswith(":") for s in self.texts)
        self.starts_stop = _flags(s != "" and s[0] in STOPS for s in self.texts)
        self.ends_sentence = _flags((ends_sentence(s) and ":" not in s) or s.strip() == '"' for s in self.texts)
        """What a sentence ends in: a stop, or the quote behind one."""
        self.adrift = _flags(s in (" .", " ,") for s in self.texts)
        """Stops that no text has a space before."""
        self.title = _flags(s in TITLES or _INITIAL.fullmatch(text) is not None for s, text in zip(bare, self.texts, strict=True))
        """What no sentence ends with before its stop: "Mrs", and the initial of a name."""
        self.starts_quote = _flags(s != "" and s[0] in QUOTES for s in bare)
        self.double_quote = self._holding(lambda c: c in DOUBLE_QUOTES)
        self.quotes_doubly = bool((self.double_quote & self.writable).any())
        self.figure = self._holding(str.isdecimal)
        self.bracket = self._holding(lambda c: c in BRACKETS)
        self.ends_quote = _flags(s != "" and s[-1] in QUOTES for s in self.texts)
        self.ends_opening = _flags(b != "" and (b[-1] in OPENING or s in (' "', " '")) for s, b in zip(self.texts, bare, strict=True))
        plain = _flags(map(str.isalnum, bare))
        self.carries_spaces = bool((self.leads_space & plain).sum() >= self.size / 50)
        """Whether words bring their leading space with them, as in most BPE vocabularies."""
        self.glued = self._parts_of_words(decode) if not self.carries_spaces else None
        """Where tokens bring no spaces and decoding puts them between words, as BERT's does: the tokens that go on with the word
        before. None: tokens bring their own."""
        ends_word, starts_name = _flags(s[-1:].isalnum() for s in self.texts), _flags(s[:1].isupper() for s in self.texts)
        alone = [_flags(s == sign and self.carries_spaces and self.glued is None for s in self.texts) for sign in "\"'"]
        self.quotes = (_Quote.of(alone[0], ends_word | self.ends_stop, self.starts_word), _Quote.of(alone[1], ends_word, starts_name))
        """The double quote and the single one; this does stand between words in names ("O'Brien")."""
        known = set(self.texts)
        self.closing = {
            quote: _flags(s[-1:] == quote and s[-2:-1] in tuple(STOPS) and s[0] != " " for s in self.texts)
            for quote in "\"'"
            if self.carries_spaces and {f".{quote}", f",{quote}", f"?{quote}"} <= known
        }
        """By quote, the tokens of a stop and the quote behind it: how texts with sayings are read, if there are such tokens."""
        self.fragment = (
            _flags(self.carries_spaces and s[:1].islower() and " " + s not in known for s in self.texts)
            if self.glued is None
            else self.glued
        )
        """Ends of words, such as "ing": they begin with a small letter and never follow a space."""
        class_of, self.classes = _classes(self.texts) if self.glued is None else apart_moves(self.texts, self.glued.tolist())
        self.class_of = torch.tensor(class_of)
        """(V,) the class of each token, and what each class does to a fill's words and quotes."""

        words = self.carries_spaces and self.glued is None
        spaced = words and not any(s[:1] == " " and s[1:2].isdecimal() for s in self.texts)
        self.spacer = _flags(spaced and s == " " for s in self.texts)
        """The space alone, where figures bring none as words do: a fill has it before a figure and nowhere else."""
        self.starts_figure = _flags(s[:1].isdecimal() for s in self.texts)
        self.unspaced = _flags(_takes_no_space(s) for s in self.texts)
        """Tokens behind which no figure stands apart: dashes, opening signs, other figures."""
        space, parts = (" ", set[int]()) if self.glued is None else ("", set(self.glued.nonzero()[:, 0].tolist()))
        at = len(space)
        once = {i for i, s in enumerate(self.texts) if s[:at] == space and s[at : at + 1].isalnum() and i not in parts}
        self.begins_word = _flags(i in once for i in range(self.size))
        """Tokens that a word begins with, or that are one."""
        self.neighbours = Neighbours(self.texts, model.mask_id, words=words, once=once)
        capitals = [s[1:] for s in self.texts if words and s[:1] == " " and s[1:2].isupper() and s[1:].isalpha()]
        self.names = {s.lower(): s for s in capitals if len(s) > 1 and " " + s.lower() not in known}
        """Words that are tokens with capitals and none without, such as "London" and "USA", by their small forms."""
        self.plain = Plain(self.texts)
        """How signs are read that no token has."""
        self.evened: bool = getattr(model, "evened", False)
        """Whether the model's texts are prose that was `evened` (engine.lines): drafts are read so, and in sentence case."""

    def read(self, text: str) -> str:
        """A draft's text as the model sees it: straight quotes, LF, composed letters, and signs that its texts hold."""
        return self.plain.read(straighten(text))

    def prose(self, text: str, *, before: str = "") -> str:
        """The same of prose: lines that only break sentences are `joined`, white space is as the model's texts have it, and signs that
        they lack are left out.

        `before`: what stands before the text on its line, if only INSIDE.
        """
        text = joined(straighten(text), before=before)
        return self.plain.read(evened(self.plain.without_unknown(text)) if self.evened else text)

    def corpus(self, text: str) -> str:
        """A whole text to learn from or to be judged on: as `prose`, but with all its signs, for whoever tunes on them may want them
        written; what is nobody's own format is only `read`.
        """
        return as_learned(text, self.plain) if self.evened else self.read(text)

    def _holding(self, wanted: Callable[[str], bool]) -> Tensor:
        """The tokens that hold a character for which this is true."""
        found = "".join(char for char in sorted(set("".join(self.texts))) if wanted(char))
        if not found:
            return torch.zeros(self.size, dtype=torch.bool)
        search = re.compile("[" + re.escape(found) + "]").search
        return _flags(search(s) is not None for s in self.texts)

    def _parts_of_words(self, decode: Callable[[Sequence[int]], str]) -> Tensor | None:
        """The tokens that stand with the one before where a space would part texts like theirs, if decoding puts spaces at all."""
        word = next((i for i, s in enumerate(self.texts) if len(s) > 1 and s.isalpha()), None)
        if word is None or decode([word, word]) != f"{self.texts[word]} {self.texts[word]}":
            return None
        bases = [(i, self.texts[i]) for i in (word, self.texts.index(",") if "," in self.texts else word)]

        def glued(i: int, s: str) -> bool:
            return any(stands_apart(text, s) and decode([base, i]) == text + s for base, text in bases)

        return _flags(glued(i, s) for i, s in enumerate(self.texts))

    def joins(self, left: int, right: int) -> bool:
        """Whether a token goes on with the word that the one before it ends in, or with the space before a figure; not in scripts that put
        no space between words, nor where each token is a letter.
        """
        if self.spacer[left]:
            return bool(self.starts_figure[right])
        first, second = self.texts[left][-1:], self.texts[right][:1]
        if self.glued is not None:
            return bool(self.glued[right])
        return self.carries_spaces and is_wordlike(first) and is_wordlike(second) and not SPACELESS.match(first + second)

    def words(self, ids: Sequence[int], places: Sequence[int]) -> list[list[int]]:
        """Places of a row by the words that they spell: pieces that nothing parts are together. A sign is by itself."""
        words = list[list[int]]()
        for place in places:
            if words and words[-1][-1] == place - 1 and self.joins(ids[place - 1], ids[place]):
                words[-1].append(place)
            else:
                words.append([place])
        return words


class _Quote(NamedTuple):
    """A quote that brings no space, and the tokens that it doesn't stand between: (V,) bool each, and the same as lists to look up."""

    rows: tuple[Tensor, Tensor, Tensor]
    """The quote itself, what ends with a word or a stop, and what starts with a word."""
    alone: list[bool]
    ends: list[bool]
    starts: list[bool]

    @classmethod
    def of(cls, alone: Tensor, ends: Tensor, starts: Tensor) -> _Quote:
        return cls((alone, ends, starts), alone.tolist(), ends.tolist(), starts.tolist())


def _flags(values: Iterable[bool]) -> Tensor:
    return torch.tensor(list(values), dtype=torch.bool)


_RUNS = re.compile(r"a+|\.+| +")


class _Shapes(dict[int, str]):
    """What a character is to the word count: a letter or digit, an end of words, a double quote, or anything else."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        found = "a" if char.isalnum() else " " if char.isspace() or char in BREAKS else '"' if char in DOUBLE_QUOTES else "."
        self[code] = found
        return found


def _classes(texts: Sequence[str]) -> tuple[list[int], list[Moves]]:
    """The word class of each token, and the moves of each class: one for all tokens that move alike."""
    by_shape: dict[str, int] = {}
    classes: dict[Moves, int] = {}
    shapes, found = _Shapes(), []
    for text in texts:
        shape = _RUNS.sub(lambda run: run[0][0], text.translate(shapes))
        if shape not in by_shape:
            by_shape[shape] = classes.setdefault(word_moves(shape), len(classes))
        found.append(by_shape[shape])
    return found, list(classes)


_INITIAL = re.compile(" [A-HJ-Z]")
_CLITIC = re.compile(r"['’](?:s|d|m|re|ve|ll)(?![^\W_])")
TITLES = {"Mr", "Mrs", "Ms", "Dr", "Messrs", "Prof", "Rev", "Hon", "Gov", "Capt", "Col", "Gen", "Lieut", "Lt", "Maj", "Sgt", "St", "Mt"}
"""Abbreviations after which a stop ends no sentence, for a name has to follow."""


def _takes_no_space(text: str) -> bool:
    return text[-1:].isspace() or text[-1:].isdecimal() or text[-1:] in tuple(NO_SPACE_AFTER) or text in (' "', " '")


_KNOWN: WeakKeyDictionary[Denoiser, Vocabulary] = WeakKeyDictionary()


def vocabulary(model: Denoiser) -> Vocabulary:
    """The model's vocabulary, computed at the first call."""
    if model not in _KNOWN:
        _KNOWN[model] = Vocabulary(model)
    return _KNOWN[model]
