"""Dashes, ellipses and other signs that a model's texts wrote otherwise than a draft does, read as the model knows them. No torch.

Training texts are often made plain, each dash one sign without spaces, each ellipsis three stops; a vocabulary that was learned from
them spells other forms byte by byte, and tells nothing by them.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Collection

DASH, ELLIPSIS = "—", "…"
_PLAIN = {
    "\u00a0": " ", "\u2007": " ", "\u2009": " ", "\u202f": " ", "\u2010": "-", "\u2011": "-", "\u2212": "-", ELLIPSIS: "...",
    "ﬁ": "fi", "ﬂ": "fl", "ﬀ": "ff",
}  # fmt: skip
"""What a sign is read as where a vocabulary lacks it. One character each, but a space at a text's end stays what it is."""
_ASCII_SIGNS = frozenset(string.punctuation)
_JOINERS = "\u200d\ufe0f"
"""What stands in emoji between their parts."""
_APART = r"(?:(?<=\S)|^) {}(?: (?=\S)|(?=[\s\"']|$))"
_EM_APART, _EN_APART, _DOUBLE_APART = (re.compile(_APART.format(sign)) for sign in (DASH, "–", "(?<!-)--(?!-)"))
"""A dash between two spaces; the one behind it stays where nothing follows, for it belongs to a gap then."""
_RANGE = re.compile(r"(?<=\w)–(?=\w)")
_DOUBLE = re.compile(r"(?<=[^\W\d_])--(?=[^\W\d_\"'])|(?<=[\"',!?])--(?=[^\W\d_])")


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
        self.apart = dashes and " a" in wholes and f" {DASH}" not in wholes
        """Whether dashes between spaces are read without them."""
        wanted = ((_EM_APART, self.apart), (_EN_APART, self._range), (_DOUBLE_APART, self._double))
        self._dashes = [pattern for pattern, here in wanted if here]
        self._held = frozenset("".join(wholes))

    def without_unknown(self, text: str) -> str:
        """The text without the signs that no token holds whole, such as emoji, # and *, and one blank where there were some beside them.

        Letters stay, and so does a sign that a text begins or ends with, for a gap may lean on it.
        """
        unknown = "".join(sorted({sign for sign in text if _is_sign(sign)} - self._held))
        if not unknown:
            return text
        signs = f"[{re.escape(unknown)}]"
        runs = re.compile(rf"(?<![ \t])[ \t]*{signs}(?:[ \t]*{signs})*[ \t]*")

        def left(run: re.Match[str]) -> str:
            inside = (run.start() > 0 or run[0][0] in " \t") and (run.end() < len(text) or run[0][-1] in " \t")
            return run[0] if not inside else " " * bool(run[0].strip(unknown))

        return runs.sub(left, text)

    def read(self, text: str) -> str:
        """The text as this vocabulary's own texts would have it. A space that ends it stays, for a gap's first token may bring it."""
        text = text[:-1].translate(self._signs) + (text[-1:] if text[-1:].isspace() else text[-1:].translate(self._signs))
        for pattern in self._dashes:
            text = pattern.sub(DASH, text)
        if self._range:
            text = _RANGE.sub("-", text).replace("–", DASH)
        return _DOUBLE.sub(DASH, text) if self._double else text


def _is_sign(sign: str) -> bool:
    return sign not in _PLAIN and (sign in _ASCII_SIGNS or sign in _JOINERS or unicodedata.category(sign) in ("So", "Sk", "Sm"))
