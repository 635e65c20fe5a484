"""How a draft writes its quotes, dashes, ellipses, line ends and letters, so that a fill is written the same way. No torch."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from engine.casing import Case
from engine.lines import joined
from engine.signs import DASH, ELLIPSIS
from engine.spacing import CLOSING, ELISIONS, GAP_SIGN, OPENING, quote_opens
from engine.text import is_wordlike

_WRITTEN = {
    "—": re.compile(r"(?<=\S)—(?=\S)"),
    **{f" {sign} ": re.compile(rf"(?:(?<=[^\s|]) |^){sign} (?=[^\s|-])", re.MULTILINE) for sign in (DASH, "–", "--")},
}
"""The ways to write a dash, and how to find each. "--" between two words isn't one: who counts and bans takes them for one word."""
_BETWEEN = re.compile(rf"(?<=\S)\s+(?=[^\s{GAP_SIGN}])")


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
        opened = before[-1:] in OPENING or (before[-1:] in ('"', "'") and quote_opens(before[:-1]))
        left = "" if opened or before[-1].isspace() else " "
        closed = not rest or rest[0].isspace() or rest[0] in CLOSING or (rest[0] in "\"'" and not is_wordlike(rest[1:2]))
        right = "" if closed else " "
        return left + self.dash.strip() + right

    def stop(self, before: str, rest: str) -> str:
        """A full stop of a fill: the first of exactly three is the ellipsis where the draft writes it so, and the others are nothing."""
        if self.ellipsis != ELLIPSIS:
            return "."
        behind, ahead = len(before) - len(before.rstrip(".")), len(rest) - len(rest.lstrip("."))
        if behind + 1 + ahead != 3:
            return "."
        if is_wordlike(before[: len(before) - behind][-1:]) and is_wordlike(rest[ahead : ahead + 1]):
            return "."  # "yes...I" is one word to who counts, and "yes…I" would be two
        return "" if behind else ELLIPSIS


@dataclass(frozen=True, slots=True)
class Style:
    """How a draft writes its quotes, dashes, ellipses, line ends and letters; fills are written the same way."""

    curly_double: bool = False
    curly_single: bool = False
    crlf: bool = False
    single: bool = False
    """Its paragraphs are parted by line ends, and none by an empty line."""
    signs: Signs = field(default_factory=Signs)
    case: Case = field(default_factory=Case)

    @classmethod
    def of(cls, text: str, *, evened: bool = False) -> Style:
        """The style that a text uses more often; a kind of quote it does not use follows the other kind.

        `evened`: the model's texts are prose: they have no other line end than an empty line, and sentences that begin with capitals.
        """
        double, single = text.count("“") + text.count("”"), text.count("‘") + text.count("’")
        straight_double, straight_single = text.count('"'), text.count("'")
        curly_double = double > straight_double if double or straight_double else single > straight_single
        curly_single = single > straight_single if single or straight_single else double > straight_double
        crlf = text.count("\r\n")
        parted = {blanks.count("\n") for blanks in _BETWEEN.findall(joined(text))} - {0} if evened else set()
        case = Case.of(text) if evened else Case()
        return cls(curly_double, curly_single, crlf > text.count("\n") - crlf, parted == {1}, Signs.of(text), case)

    def write(self, before: str, char: str, rest: str, *, after: str = "", quoted: bool = False) -> str:
        """One character of a fill in this style; `before` and `rest` are the text on its two sides, `after` what is given behind the fill.
        `quoted` tells whether a double quote is open there: one after a dash is then the end of who was cut short.
        """
        if char == DASH:
            return self.signs.between(before, rest or after)
        if char == ".":
            return self.signs.stop(before, rest)
        if char == "\n" and self.single and before.endswith("\n"):
            return ""
        if char == "\n":
            return "\r\n" if self.crlf else "\n"
        if char == '"' and self.curly_double:
            return "“" if quote_opens(before) and not (quoted and before[-1:] in (DASH, "–")) else "”"
        if char == "'" and self.curly_single:
            return "‘" if quote_opens(before) and not ELISIONS.match(rest) and rest else "’"
        return self.case.written(before, char, rest)
