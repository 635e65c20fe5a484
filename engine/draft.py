"""A draft: given text with gaps and passages to rewrite. No torch.

The format is that of the README; engine/marks.py holds the values, engine/notation.py reads and writes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.marks import DraftError, Gap, Length, Mark, Part, Pin, Rewrite
from engine.notation import read, write
from engine.text import words

__all__ = ["Draft", "DraftError", "Gap", "Length", "Mark", "Part", "Pin", "Rewrite", "words"]


@dataclass(frozen=True)
class Draft:
    """A draft by its parts. Draft(parts) and Draft.parse(text) hold to the same rules and raise DraftError.

    Equal parts make equal drafts, however they were written. `str()` of a parsed draft is the very text it was parsed
    from; that of a draft built from parts escapes whatever in its texts would be read as a mark.
    """

    parts: tuple[Part, ...]
    """Literal text (as meant, without escapes) and marks in order; two marks always have text between them."""
    _text: str = field(init=False, repr=False, compare=False)
    _starts: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        parts = _joined(self.parts)
        text = write(parts)
        # What was written is read again: one set of rules, and nothing can be built that would not survive a file.
        again, starts = read(text)
        assert again == parts, "a draft is read back as it was written"
        self._set(parts, text, starts)

    @classmethod
    def parse(cls, text: str) -> Draft:
        """Read a draft. Raises DraftError, with line and column, where a mark is malformed."""
        draft = object.__new__(cls)
        parts, starts = read(text)
        draft._set(parts, text, starts)
        return draft

    def _set(self, parts: Sequence[Part], text: str, starts: Sequence[int]) -> None:
        for name, value in (("parts", tuple(parts)), ("_text", text), ("_starts", tuple(starts))):
            object.__setattr__(self, name, value)

    def __str__(self) -> str:
        return self._text

    @property
    def marks(self) -> tuple[Mark, ...]:
        """The gaps and passages in reading order: `Cell.gap` counts them from 0."""
        return tuple(part for part in self.parts if not isinstance(part, str))

    def error(self, gap: int, message: str) -> DraftError:
        """The error, ready to raise, that says something about one of the marks: it knows the line and column."""
        return DraftError.at(self._text, self._starts[gap], message, gap)

    def segments(self) -> list[dict[str, Any]]:
        """The draft as plain JSON values, one object a part: kind "text", "gap" or "rewrite"."""
        return [_segment(part) for part in self.parts]

    @classmethod
    def of_segments(cls, segments: Sequence[Any]) -> Draft:
        """The draft of such a list. Raises DraftError for what is no segment, too; unknown names are refused."""
        parts: list[Part] = []
        if not isinstance(segments, list | tuple):
            raise DraftError(f"A list of segments was expected, not {_shown(segments)}.", 1, 1)
        for number, segment in enumerate(segments, 1):
            try:
                parts.append(_part(segment))
            except ValueError as error:
                before = write(_joined(parts))
                raise DraftError.at(before, len(before), f"Segment {number} of the draft: {error}") from None
        return cls(tuple(parts))


def _joined(parts: Iterable[Part]) -> list[Part]:
    """Neighbouring texts made one and empty ones dropped."""
    joined: list[Part] = []
    texts: list[str] = []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
            continue
        if not isinstance(part, Gap | Rewrite):
            raise TypeError(f"A part of a draft is a str, a Gap or a Rewrite, not {part!r}.")
        if text := "".join(texts):
            joined.append(text)
        texts.clear()
        joined.append(part)
    if text := "".join(texts):
        joined.append(text)
    return joined


def _segment(part: Part) -> dict[str, Any]:
    if isinstance(part, str):
        return {"kind": "text", "text": part}
    if isinstance(part, Rewrite):
        pieces = [(piece, False) if isinstance(piece, str) else (piece.text, True) for piece in part.pieces]
        return {"kind": "rewrite", "pieces": [{"text": text, "pin": pin} for text, pin in pieces]}
    length = part.length and {"low": part.length.low, "high": part.length.high, "unit": part.length.unit}
    return {"kind": "gap", "length": length, "keywords": list(part.keywords), "bans": list(part.bans)}


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:40] + "…"


def _fields(value: object, what: str, needed: dict[str, type | tuple[type, ...]], optional: Sequence[str] = ()) -> dict[str, Any]:
    """The value as an object whose fields have these names and types. Raises ValueError with one sentence."""
    if not isinstance(value, dict):
        raise ValueError(f"A {what} must be an object, not {_shown(value)}.")
    if unknown := [name for name in value if name not in needed]:
        raise ValueError(f"A {what} has no field {_shown(unknown[0])}, only {', '.join(needed)}.")
    for name, kind in needed.items():
        if name not in value and name not in optional:
            raise ValueError(f"A {what} needs the field {name}.")
        if name in value and (not isinstance(value[name], kind) or (isinstance(value[name], bool) and kind is not bool)):
            raise ValueError(f"The {name} of a {what} can't be {_shown(value[name])}.")
    return value


def _part(segment: object) -> Part:
    kind = segment.get("kind") if isinstance(segment, dict) else None
    if kind == "text":
        return str(_fields(segment, "text", {"kind": str, "text": str})["text"])
    if kind == "rewrite":
        pieces = _fields(segment, "rewrite", {"kind": str, "pieces": list})["pieces"]
        checked = [_fields(piece, "piece", {"text": str, "pin": bool}) for piece in pieces]
        return Rewrite(tuple(Pin(piece["text"]) if piece["pin"] else piece["text"] for piece in checked))
    if kind == "gap":
        shape: dict[str, type | tuple[type, ...]] = {"kind": str, "length": (dict, type(None)), "keywords": list, "bans": list}
        gap = _fields(segment, "gap", shape, optional=("length", "keywords", "bans"))
        length = gap.get("length")
        if length is not None:
            length = Length(**_fields(length, "length", {"low": int, "high": int, "unit": str}))
        phrases = {name: gap.get(name, []) for name in ("keywords", "bans")}
        for name, phrase in ((name, phrase) for name, found in phrases.items() for phrase in found):
            if not isinstance(phrase, str):
                raise ValueError(f"The {name} must be texts, not {_shown(phrase)}.")
        return Gap(length, **{name: tuple(found) for name, found in phrases.items()})
    raise ValueError(f"The kind must be text, gap or rewrite, not {_shown(kind)}.")
