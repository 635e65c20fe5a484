"""The marks of a draft as plain values, and the error that says where a draft is wrong. No torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

LONGEST_GAP = 2000
"""The most words or tokens that a gap may be given, and so the most keywords or bans."""

Unit: TypeAlias = Literal["words", "tokens"]

NEWLINE = re.compile(r"(\r\n|\r|\n)")
_BAR = re.compile(r"(?<!\\)\|")


class DraftError(ValueError):
    """A draft is not well formed. `str()` is one sentence with the place: "Line 3, column 7: ..."."""

    def __init__(self, message: str, line: int, column: int, mark: int | None = None) -> None:
        super().__init__(message, line, column, mark)
        self.message = message
        """The sentence without the place: what was found, what was expected, what to do."""
        self.line = line
        """From 1; LF, CRLF and a lone CR each end a line."""
        self.column = column
        """From 1, in characters (code points); a tab is one."""
        self.mark = mark
        """Which of the draft's marks it is about, from 0; None: it is about none, or the draft could not be read."""

    def __str__(self) -> str:
        return f"Line {self.line}, column {self.column}: {self.message}"

    @classmethod
    def at(cls, text: str, offset: int, message: str, mark: int | None = None) -> DraftError:
        """The error for a place in a text."""
        before = text[:offset]
        line = 1 + before.count("\n") + before.count("\r") - before.count("\r\n")
        return cls(message, line, offset - max(before.rfind("\n"), before.rfind("\r")), mark)


@dataclass(frozen=True, slots=True)
class Length:
    """How long a gap's fill must be: 1 <= low <= high <= 2000, both included. ValueError, one sentence, for anything else."""

    low: int
    high: int
    unit: Unit = "words"

    def __post_init__(self) -> None:
        if self.unit not in get_args(Unit):
            raise ValueError(f"A gap's length is in words or in tokens, not in {self.unit!r}.")
        if not all(type(end) is int and 1 <= end <= LONGEST_GAP for end in (self.low, self.high)):
            raise ValueError(f"A gap must be 1 to {LONGEST_GAP} words or tokens long.")
        if self.low > self.high:
            raise ValueError(f"A gap can't be between {self.low} and {self.high} {self.unit} long, the smaller number comes first.")


@dataclass(frozen=True, slots=True)
class Gap:
    """A place to fill. Space at the edges of keywords and bans does not count and is dropped."""

    length: Length | None = None
    """None: the engine chooses."""
    keywords: tuple[str, ...] = ()
    """Must all be in the fill as whole words, each in a place of its own; of `walk|walked|walking` one of the `forms`."""
    bans: tuple[str, ...] = ()
    """Must not be in it."""

    def __post_init__(self) -> None:
        for name in ("keywords", "bans"):
            if isinstance(getattr(self, name), str):
                raise TypeError(f"A gap's {name} are several texts, not one.")
            object.__setattr__(self, name, tuple(phrase.strip() for phrase in getattr(self, name)))


def forms(keyword: str) -> list[str]:
    r"""The forms of a keyword, of which one must be in the fill; `\|` is a bar within one."""
    return [form.strip().replace(r"\|", "|") for form in _BAR.split(keyword)]


@dataclass(frozen=True, slots=True)
class Pin:
    """Part of a passage to rewrite that stays as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A passage to rewrite: words that may change (str, with the spaces around them) and pins, in order.

    Joined, the pieces are the passage as it stands. Newlines become pins of their own, neighbouring str pieces one, and
    blanks at the passage's two ends are dropped.
    """

    pieces: tuple[str | Pin, ...]

    def __post_init__(self) -> None:
        pieces: list[str | Pin] = []
        for piece in self.pieces:
            if isinstance(piece, Pin):
                pieces.append(piece)
                continue
            for number, part in enumerate(NEWLINE.split(piece)):
                if number % 2:
                    pieces.append(Pin(part))
                elif pieces and isinstance(pieces[-1], str):
                    pieces[-1] += part
                elif part:
                    pieces.append(part)
        if pieces and isinstance(pieces[0], str):
            pieces[0] = pieces[0].lstrip(" \t")
        if pieces and isinstance(pieces[-1], str):
            pieces[-1] = pieces[-1].rstrip(" \t")
        object.__setattr__(self, "pieces", tuple(piece for piece in pieces if piece != ""))

    @property
    def text(self) -> str:
        """The passage as it stands."""
        return "".join(piece.text if isinstance(piece, Pin) else piece for piece in self.pieces)


Mark: TypeAlias = Gap | Rewrite
Part: TypeAlias = str | Gap | Rewrite
