"""Drafts in small letters, or all in capitals, as people type messages, verses and headlines: read with the letters that a model's texts
have, and filled as they are written. No torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from engine.spacing import GAP_SIGN

_I = re.compile(
    r"(?<![\w.&@/-])(?<!\w['’])(?:i(?=['’](?:m|ve|ll|d)\b|(?![\w.&@/)\]'’-]|['’]\w))|(?!^)i(?=\.(?!\w)))",
    re.MULTILINE,
)
"""The word "I", small: not "i.e.", "i-th", "(i)" or the number of an item."""
_SURELY_I = re.compile(r"(?<![\w.&@/'’-])i(?=['’](?:m|ve|ll|d)\b| [a-z])")
_CAPITAL_I = re.compile(r"\bI\b(?![.)])")
_BLANK = re.compile(r"(?<!\s)\s+")
_FIRST_LETTER = re.compile(r"[\"'“‘(\[]*([^\W\d_])")
_NO_END = re.compile(r"(?:\.\.|\b(?:mr|mrs|ms|dr|st|vs|p\.m|a\.m|e\.g|i\.e|\w\.\w)|(?:^|\s)\d{1,3})\.$", re.IGNORECASE)
"""Stops behind which no sentence need begin: those of abbreviations, ellipses and numbers of items."""
_LABEL = re.compile(r"\s*\w+:")
"""Of a form, or of who speaks: "TO:", "anna:"."""
_STARTING = re.compile(r"(?:\A|[.!?…][\"'”’)\]]*\s+|\n\s*)[\"'“‘(\[]*\Z")
_WORD = re.compile(r"(?<![\w'’])[^\W\d_]{2,}")
_LINE = re.compile(r"[^\r\n]+")
_BEFORE = 24
"""Characters before a place that tell whether a stop there ends a sentence."""
SMALL_STARTS, TIMES = 2, 3
"""Small letters that begin sentences, or are the word "I": so many make a draft one in small letters, if they are so many times more than
such capitals."""
LETTERS, MOST = 9, 0.9
"""Capitals on the lines with gaps, and no small letter, that make a draft one in capitals; and the share of these lines' letters, for
scripts that have no capitals may hold some of another."""


@dataclass(frozen=True, slots=True)
class Case:
    """Which letters a draft is written in. Sentence case, the ordinary one, stays as it is."""

    small: bool = False
    """Its sentences begin with small letters, and so do those that are written."""
    names: bool = True
    """Its names have capitals even so."""
    capitals: bool = False
    """It is all in capitals."""

    @classmethod
    def of(cls, text: str) -> Case:
        """The case of a text, with GAP_SIGN for its gaps: ordinary where there is too little to tell by."""
        if not any(map(str.islower, text)):
            lines = [line[0] for line in _LINE.finditer(text) if GAP_SIGN in line[0]]
            return cls(capitals=_in_capitals("".join(map(_without_label, lines))))
        first = [text[at] for at in _starts(text, stops=".") if not _LABEL.match(text, at)]
        small = sum(map(str.islower, first)) + len(_SURELY_I.findall(text))
        capitals = sum(map(str.isupper, first)) + len(_CAPITAL_I.findall(text))
        if not any(map(str.isupper, text)):  # verses and messages have a line each
            small = max(small, sum(line[0].lstrip()[:1].islower() for line in _LINE.finditer(text)))
        if small < SMALL_STARTS or small <= TIMES * capitals:
            return cls()
        return cls(small=True, names=any(word[0].isupper() and word[1].islower() for word in _WORD.findall(text)))

    def read(self, text: str, names: Mapping[str, str] = MappingProxyType({}), *, within: bool = False) -> str:
        """A text in sentence case, of the same length.

        `names`: words that have capitals wherever they stand, by their small forms; `within`: the text goes on with a sentence.
        """
        if not self.small and not self.capitals:
            return text
        text = _small(text) if self.capitals else text
        found = list(text)
        for at in _starts(text, lines=self.capitals):
            if at or not within:
                found[at] = _first(text[at])
        for word in _I.finditer(text):
            found[word.start()] = "I"
        for word in _WORD.finditer(text):
            if word[0] in names:
                found[word.start() : word.end()] = names[word[0]]
        return "".join(found)

    def written(self, before: str, char: str, rest: str) -> str:
        """One character of a fill, between the text on its two sides; of that before it some characters are enough."""
        if self.capitals:
            return _capital(char)
        if not self.small or not char.isupper():
            return char
        alone = char == "I" and not before[-1:].isalnum() and not rest[:1].isalnum()
        return _small(char) if alone or not self.names or _STARTING.search(before) else char

    def alone(self, text: str) -> str:
        """The text of a token by itself, as it would be written within a sentence."""
        if self.capitals:
            return "".join(map(_capital, text))
        return _small(text) if self.small and (not self.names or text.strip() == "I") else text


HEADLINE = Case(capitals=True)
"""Of a line in capitals."""


def _starts(text: str, *, stops: str = ".!?", lines: bool = False) -> Iterator[int]:
    """Where sentences begin, as far as signs tell: not behind a quote, for "he said" may follow. `lines`: at every line end, too."""
    places = [0] if text[:1].strip() else []
    for blank in _BLANK.finditer(text):
        start, parted = blank.start(), blank[0].count("\n")
        stopped = start > 0 and text[start - 1] in stops and not _NO_END.search(text[max(0, start - _BEFORE) : start])
        if start == 0 or stopped or parted > 1 or (lines and parted):
            places.append(blank.end())
    for place in places:
        if (found := _FIRST_LETTER.match(text, place)) and not text[found.end() : found.end() + 1].isupper():  # no "eBay", "iPhone"
            yield found.start(1)


def lines_in_capitals(text: str) -> Iterator[tuple[int, int]]:
    """Where in a text of ordinary letters the lines stand that are in capitals: headlines."""
    for line in _LINE.finditer(text):
        if not any(map(str.islower, line[0])) and _in_capitals(_without_label(line[0])):
            yield line.span()


def _in_capitals(text: str) -> bool:
    letters = [char for char in text if char.isalpha()]
    capitals = sum(map(str.isupper, letters))
    return capitals >= LETTERS and capitals > len(letters) * MOST


def _without_label(line: str) -> str:
    label = _LABEL.match(line)
    return line[label.end() :] if label else line


def _small(text: str) -> str:
    small = text.lower()
    return small if len(small) == len(text) else "".join(small if len(small := char.lower()) == 1 else char for char in text)


def _first(char: str) -> str:
    first = char.title()
    return first if len(first) == 1 else char


def _capital(char: str) -> str:
    capital = char.upper()
    return capital if len(capital) == 1 else char
