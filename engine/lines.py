"""White space: line ends that only break lines, as mail and old e-texts have them, and the blanks of a fill. No torch."""

from __future__ import annotations

import re

MASKED = "\0"
"""Stands for the text of a masked cell."""
LONG = 24
"""Characters of the shortest line that is taken for one of a text broken at a width; items of a list are shorter, verses begin with
capitals."""
_SPACES = "\t\u00a0\u2007\u2009\u202f"
"""What writers, or their programs, put for a space."""
BLANKS = f" {_SPACES}"
_GOES_ON = ",;’'-"
"""Signs behind which a sentence goes on."""
INSIDE = "x"
"""Stands for what is before a text on its line, where that isn't known or is a fill."""
_LINE_END = re.compile(r"\r\n|\r|\n")
_BLANKS = re.compile(rf"[ {_SPACES}]{{2,}}|[{_SPACES}]")
_BEFORE_LINE_ENDS = re.compile(rf"(?<![ {_SPACES}])[ {_SPACES}]+(?=\n)")
_BETWEEN_LINES = re.compile(rf"(?<![ {_SPACES}])[ {_SPACES}]*(?:\n[ {_SPACES}]*)+")


def evened(text: str) -> str:
    """Prose as our own models' texts have it, whatever the draft has: paragraphs, verses and items of lists parted by an empty line, none
    of them indented, and one space between sentences.

    Those texts hold no other line end: to such a model a single one is noise (docs/DECISIONS.md, Canvas).
    """
    return _BLANKS.sub(" ", _BETWEEN_LINES.sub("\n\n", _plain_line_ends(text)))


def _plain_line_ends(text: str) -> str:
    return _LINE_END.sub("\n", text) if "\r" in text else text


def joined(text: str, *, before: str = "") -> str:
    """The text with a space for each line end that breaks a sentence: behind a LONG line without a stop, before a small letter. Others
    are LF.

    `before`: what stands before it on its line, if only INSIDE.
    """
    text = _BEFORE_LINE_ENDS.sub("", _plain_line_ends(text))
    found, at = [], 0
    for end in _LINE_END.finditer(text):
        line = text[at : end.start()]
        goes_on = _goes_on(before + line, known=before != INSIDE or at > 0) and text[end.end() : end.end() + 1].islower()
        found += [line, " " if goes_on else end[0]]
        before, at = "", end.end()
    return "".join([*found, text[at:]])


def with_spaces(before: str, after: str) -> str:
    """The text before a gap, with a space at its end for what stands there as one: a no-break space, a tab, a line end that
    breaks a sentence, or one where the line before it or the one behind the gap begins with a small letter, as in a list of things to buy.

    `before`: no shorter than LONG and a line end, or all there is. `after`: the text behind the gap.
    """
    before = _BEFORE_LINE_ENDS.sub("", _plain_line_ends(before))
    if not before.rstrip(BLANKS).endswith("\n"):
        return f"{before[:-1]} " if before[-1:] in tuple(_SPACES) else before
    line, following = _last_line(before), _LINE_END.split(after, maxsplit=1)[1:]
    listed = line != "" and line[-1] not in ".!?:" and (line[:1].islower() or "".join(following)[:1].islower())
    return before.rstrip(BLANKS).removesuffix("\n") + " " if listed or is_broken(before) else before


def is_broken(before: str) -> bool:
    """Whether a text ends in a line end that breaks a sentence, as far as can be told from before it."""
    before = _BEFORE_LINE_ENDS.sub("", _plain_line_ends(before)).rstrip(BLANKS)
    if not before.endswith(("\n", "\r")):
        return False
    line = _last_line(before)
    return _goes_on(line) and not line[-1].isupper()


def _last_line(text: str) -> str:
    """The line that a line end at the end of a text ends."""
    return _LINE_END.split(text)[-2]


def _goes_on(line: str, *, known: bool = True) -> bool:
    """Whether a line is as long as those that are broken, unless not all of it is `known`, and ends as a sentence doesn't."""
    return line != "" and (not known or len(line) >= LONG) and (line[-1].isalnum() or line[-1] in _GOES_ON)


def as_written(chars: list[tuple[str, int]], *, after: str, takes_space: bool) -> list[tuple[str, int]]:
    """The (character, cell)s of a fill in code: without the space that the given text holds already, and without blanks where a line
    ends. `after`: the given text behind it.
    """
    if chars and takes_space and chars[0][0] == " ":
        chars = chars[1:]
    if not after or after[0] in "\r\n":
        while chars and chars[-1][0] in " \t\n":
            chars = chars[:-1]
    return [(char, cell) for char, cell in chars if char != MASKED]


def tidy(chars: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """White space as a fill in prose may hold it: one space, one line end or one empty line at a time, none at the end.

    A line that the model indented stays so. At the start a single space or line end is left, to tell that the model brought one.
    """
    tidy: list[tuple[str, int]] = []
    blank: list[tuple[str, int]] = []
    for char, cell in [*chars, (_END, 0)]:
        if char.isspace():
            blank.append((char, cell))
            continue
        lines = [c for c in blank if c[0] == "\n"]
        if not tidy:
            tidy += lines[:1] or [(" ", blank[0][1])] if blank else []
        elif char != _END:
            tidy += [*lines[:2], *_indent(blank)] if lines else [(" ", blank[0][1])] if blank else []
        blank = []
        if char != _END:
            tidy.append((char, cell))
    return tidy


def _indent(blank: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """The blanks after the last line end, if they are an indentation and not just the space that a word brings."""
    at = max(i for i, (char, _) in enumerate(blank) if char == "\n")
    found = blank[at + 1 :]
    return found if len(found) > 1 or any(char == "\t" for char, _ in found) else []


_END = "\1"
