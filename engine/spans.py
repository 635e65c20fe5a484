"""What stands around each run of cells that the model writes, as far as the rules for what is written there need to know it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from engine.draft import Length
from engine.layout import Stretch
from engine.lines import BLANKS, INSIDE, evened, is_broken, joined, with_spaces
from engine.source import in_code
from engine.spacing import (
    BRACKETS,
    DOUBLE_QUOTES,
    ENDS_PARAGRAPH,
    GAP_SIGN,
    MIRRORED,
    begins_sentence,
    closing_quote,
    ends_paragraph,
    ends_sentence,
    leaves_open,
    line_of,
)
from engine.vocabulary import Vocabulary

LINE = 4000
"""Characters of a given text that are read for what is open on its line."""
_NEAR = 40
_DOUBLE_QUOTE = re.compile(rf"(?<!\d)[{DOUBLE_QUOTES}]")
"""No sign of inches."""
_SENTENCE_END = re.compile(r"[.!?…][\"'”’)]*\s")
_CAPITAL = re.compile(r"\s+[\"'“‘]?[A-Z]")
_NUMBER = re.compile(r"^\s*\(?\d{1,3}[.)]\s")
_NEAR_GAPS = 6
"""Gaps around one across which the lines of its surroundings are read."""


@dataclass(frozen=True, slots=True)
class Span:
    """A run of cells that the model writes, between two given texts: a gap, or a piece of a mark between pins or keywords."""

    gap: int
    was: str
    """The words that a rewrite replaces; empty for a gap."""
    length: Length | None
    before: str
    """The last characters of the given text before; GAP_SIGN stands for a gap before that. White space that is a space to a writer is one:
    a no-break space, a tab, a line end that only breaks a line."""
    after: str
    """The first characters of the given text after; empty at the end of the draft."""
    takes_space: bool
    """The model sees the text before without its last space: the span's first token brings it, or none does."""
    brings_space: bool
    """The first token does. Not behind " – ", where dashes are read without spaces."""
    brings_quote: str
    """The model sees the text behind without its first sign, this quote: the span's last token, a stop, brings it. Mostly empty."""
    ends_sentence: int
    """From how many cells on its last one ends a sentence, because the next one begins behind it, or its paragraph ends; mostly 0, none."""
    quotes: int | None
    """How many double quotes pair off those around, modulo 2; None when that can't be told."""
    code: bool
    """It is in program code: what is written stays as the model wrote it."""
    quoted: bool
    """A double quote is open before it, on its line."""
    figures: bool
    """Figures belong in it: some stand in its sentence."""
    bracketed: bool
    """Brackets belong in it: one is open before it, on its line, or closed behind it, or its passage holds some."""
    capitals: bool = False
    """It stands in a line in capitals of a draft that is not."""


def span_of(known: Vocabulary, given: Sequence[str], i: int, stretch: Stretch, *, fenced: bool, capitals: bool) -> Span:
    """Span i of a draft: it stands between `given` texts i and i + 1. `fenced`: a fence of code is open before it.

    `capitals`: the draft is all in capitals (engine.casing), so that a line without a stop is a headline.
    """
    was, length = stretch.was, stretch.length
    lead = (GAP_SIGN * (i > 0) + given[i])[-LINE:]
    before, after = lead[-_NEAR:], given[i + 1][:_NEAR]
    # What was written in pairs stays so: a rewrite keeps the parity of its words, a gap in a paragraph of pairs holds pairs.
    left, right = line_of(given[i::-1], LINE, backwards=True), line_of(given[i + 1 :], LINE, backwards=False)
    open_before, open_after = (sum(map(text.count, DOUBLE_QUOTES)) % 2 == 1 for text in (left, right))
    quotes = sum(map(was.count, DOUBLE_QUOTES)) % 2 if was else None if open_before != open_after else 0
    above = [text[-LINE:] for text in given[max(0, i - _NEAR_GAPS) : i + 1]]
    below = [text[:LINE] for text in given[i + 1 : i + _NEAR_GAPS]]
    code = fenced or in_code("".join(above), "".join(below))
    behind = after
    if not code:
        behind = joined(after, before=on_line(given[i]))
        before, after = with_spaces(lead, after)[-_NEAR:], behind
        if known.evened:
            before, after = evened(before), evened(after)
        if i == 0 and not before.strip():
            before = ""
    indent = not code and "\n" in before[len(before.rstrip()) :]
    takes_space = known.carries_spaces and before.endswith(" ") and not indent
    brings_space = takes_space and not (known.plain.apart and known.read(before).endswith("— "))
    single = length is not None and length.unit == "tokens" and length.low == 1
    closing = "" if code or single else closing_quote(before, after, quoted=open_before)
    brings_quote = closing if closing in known.closing else ""
    if brings_quote == '"' and quotes is not None:
        quotes = 1 - quotes
    near = GAP_SIGN.join(above)
    start, end, line = _lines(near).rpartition("\n")
    ends = 0
    if not code and (not was or ends_sentence(was)):
        wrapped = (start + end).count("\n") < near.count("\n")
        follows = behind + GAP_SIGN * (i + 2 < len(given))
        ends = 3 if begins_sentence(after) else ends_paragraph(line, start + end, follows, wrapped=wrapped)
    if capitals and ends in ENDS_PARAGRAPH and not _SENTENCE_END.search(line):
        ends = 0
    if ends in ENDS_PARAGRAPH and quotes is None and not single and known.quotes_doubly and _leaves_quote(line):
        quotes = 1  # nothing behind it can close what is open
    bracketed = leaves_open(left) or leaves_open(right[::-1].translate(MIRRORED)) or any(sign in was for sign in BRACKETS)
    quotes = None if code else quotes
    figures = code or _has_figures(line, was, below) or left.rstrip()[-1:] in _BEFORE_FIGURES or right.lstrip()[:1] in _BEHIND_FIGURES
    return Span(
        stretch.gap,
        was,
        length,
        before,
        after,
        takes_space,
        brings_space,
        brings_quote,
        ends,
        quotes,
        code,
        open_before,
        figures,
        bracketed,
    )


def _lines(near: str) -> str:
    """The text before a gap with a space for each line end that only breaks a line, the last one, too."""
    return joined(near.rstrip() + " " if is_broken(near) else near, before=INSIDE)


def _leaves_quote(line: str) -> bool:
    """Whether a double quote is open on the line before a gap, and no gap stands behind it that might close it."""
    found = _DOUBLE_QUOTE.findall(line)
    return len(found) % 2 == 1 and GAP_SIGN not in line[line.rindex(found[-1]) :]


_BEFORE_FIGURES, _BEHIND_FIGURES = frozenset("$£€¥№"), frozenset("%°")


def _has_figures(line: str, was: str, below: Sequence[str]) -> bool:
    """Whether figures stand in the sentence between the line before a gap and the given texts behind it, besides the number of an item."""
    before = _SENTENCE_END.split(_NUMBER.sub("", line))[-1]
    after = _SENTENCE_END.split(joined(GAP_SIGN.join(below), before=INSIDE).partition("\n")[0])[0]
    if not before.strip() and _CAPITAL.match(after):  # it is a sentence of its own
        after = ""
    return any(map(str.isdecimal, before + was + after))


def on_line(given: str) -> str:
    """What `joined` is told of the line that the gap behind a given text ends on: nothing where the gap is all of it."""
    return "" if given.rstrip(BLANKS).endswith(("\n", "\r")) and not is_broken(given[-LINE:]) else INSIDE
