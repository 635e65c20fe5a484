"""Dashes, ellipses and other signs that a model's texts wrote otherwise than a draft does: read as the model knows them, written as the
draft has them. No torch.

Training texts are often made plain, each dash one sign without spaces, each ellipsis three stops; a vocabulary that was learned from
them spells other forms byte by byte, and tells nothing by them.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from engine.text import is_wordlike

DASH, ELLIPSIS = "—", "…"
_PLAIN = {
    "\u00a0": " ", "\u2007": " ", "\u2009": " ", "\u202f": " ", "\u2010": "-", "\u2011": "-", "\u2212": "-", ELLIPSIS: "...",
    "ﬁ": "fi", "ﬂ": "fl", "ﬀ": "ff",
}  # fmt: skip
"""What a sign is read as where a vocabulary lacks it. One character each, but a space at a text's end stays what it is."""
_APART = r"(?:(?<=\S)|^) {}(?: (?=\S)|(?=[\s\"']|$))"
_EM_APART, _EN_APART, _DOUBLE_APART = (re.compile(_APART.format(sign)) for sign in (DASH, "–", "(?<!-)--(?!-)"))
"""A dash between two spaces; the one behind it stays where nothing follows, for it belongs to a gap then."""
_RANGE = re.compile(r"(?<=\w)–(?=\w)")
_DOUBLE = re.compile(r"(?<=[^\W\d_])--(?=[^\W\d_\"'])|(?<=[\"',!?])--(?=[^\W\d_])")
_WRITTEN = {
    "—": re.compile(r"(?<=\S)—(?=\S)"),
    **{f" {sign} ": re.compile(rf"(?:(?<=[^\s|]) |^){sign} (?=[^\s|-])", re.MULTILINE) for sign in (DASH, "–", "--")},
}
"""The ways to write a dash, and how to find each. "--" between two words isn't one: who counts and bans takes them for one word."""


class Plain:
    """Reads a text with the signs that a vocabulary has in place of those that it lacks."""

    def __init__(self, tokens: Collection[str]) -> None:
        """`tokens`: what each token of the vocabulary spells."""
        wholes = set(tokens)
        known = wholes | {text.strip(" ") for text in tokens}
        self._signs = str.maketrans({sign: plain for sign, plain in _PLAIN.items() if sign not in known})
        dashes = DASH in known
        self._range = dashes and "–" not in known
        self._double = dashes and "--" not in known
        # A vocabulary that brings spaces and has no dash with one has read none.
        apart = dashes and " a" in wholes and f" {DASH}" not in wholes
        wanted = ((_EM_APART, apart), (_EN_APART, self._range), (_DOUBLE_APART, self._double))
        self._apart = [pattern for pattern, here in wanted if here]
        self.apart = apart
        """Whether dashes between spaces are read without them."""

    def read(self, text: str) -> str:
        """The text as this vocabulary's own texts would have it. A space that ends it stays, for a gap's first token may bring it."""
        text = text[:-1].translate(self._signs) + (text[-1:] if text[-1:].isspace() else text[-1:].translate(self._signs))
        for pattern in self._apart:
            text = pattern.sub(DASH, text)
        if self._range:
            text = _RANGE.sub("-", text).replace("–", DASH)
        return _DOUBLE.sub(DASH, text) if self._double else text


@dataclass(frozen=True, slots=True)
class Signs:
    """How a draft writes its dashes and ellipses."""

    dash: str = DASH
    ellipsis: str = "..."

    @classmethod
    def of(cls, text: str) -> Signs:
        """The ways that a text has most often; the plain ones where it has none."""
        counts = {form: len(found.findall(text)) for form, found in _WRITTEN.items()}
        return cls(max(counts, key=lambda form: counts[form]), ELLIPSIS if text.count(ELLIPSIS) > text.count("...") else "...")

    def between(self, before: str, rest: str) -> str:
        """A dash of a fill, between the text before it and what follows, neither of which brings a space that isn't there."""
        if not self.dash.startswith(" "):
            return self.dash
        left = " " if before and not before[-1].isspace() and not _opens(before) else ""
        closed = not rest or rest[0].isspace() or rest[0] in ",.;:!?)]}”’»%" or (rest[0] in "\"'" and not is_wordlike(rest[1:2]))
        right = "" if closed else " "
        return left + self.dash.strip() + right

    def stop(self, before: str, rest: str) -> str:
        """A full stop of a fill: the first of exactly three is the ellipsis where the draft writes it so, and the others are nothing."""
        if self.ellipsis != ELLIPSIS:
            return "."
        behind, ahead = len(before) - len(before.rstrip(".")), len(rest) - len(rest.lstrip("."))
        if behind + 1 + ahead != 3:
            return "."
        return "" if behind else ELLIPSIS


def _opens(before: str) -> bool:
    """Whether a text ends in an opening bracket or quote."""
    return before[-1] in "([{“‘«" or (before[-1] in "\"'" and (len(before) < 2 or before[-2].isspace() or before[-2] in "([{—–"))
