"""What stands around each run of cells that the model writes, as far as the rules for what is written there need to know it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.draft import Length
from engine.lines import INSIDE, evened, is_broken, joined, with_spaces
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
    bracketed: bool
    """Brackets belong in it: one is open before it, on its line, or closed behind it, or its passage holds some."""


def span_of(known: Vocabulary, given: Sequence[str], i: int, gap: int, was: str, length: Length | None, *, fenced: bool) -> Span:
    """Span i of a draft: it stands between `given` texts i and i + 1, in mark `gap`. `fenced`: a fence of code is open before it."""
    before, after = given[i][-_NEAR:], given[i + 1][:_NEAR]
    if i > 0 and len(given[i]) < _NEAR:
        before = GAP_SIGN + before
    # What was written in pairs stays so: a rewrite keeps the parity of its words, a gap in a paragraph of pairs holds pairs.
    left, right = line_of(given[i::-1], LINE, backwards=True), line_of(given[i + 1 :], LINE, backwards=False)
    open_before, open_after = (sum(map(text.count, DOUBLE_QUOTES)) % 2 == 1 for text in (left, right))
    quotes = sum(map(was.count, DOUBLE_QUOTES)) % 2 if was else None if open_before != open_after else 0
    above = [text[-LINE:] for text in given[max(0, i - _NEAR_GAPS) : i + 1]]
    below = [text[:LINE] for text in given[i + 1 : i + _NEAR_GAPS]]
    code = fenced or in_code("".join(above), "".join(below))
    if not code:
        before, after = with_spaces(before, after), joined(after, before=on_line(given[i]))
        if known.evened:
            before, after = evened(before), evened(after)
    takes_space = known.carries_spaces and before.endswith(" ")
    brings_space = takes_space and not (known.plain.apart and known.read(before).endswith("— "))
    single = length is not None and length.unit == "tokens" and length.low == 1
    closing = "" if code or single else closing_quote(before, after, quoted=open_before)
    brings_quote = closing if closing in known.closing else ""
    if brings_quote == '"' and quotes is not None:
        quotes = 1 - quotes
    ends = 0 if code or (was and not ends_sentence(was)) else _sentence(above, after, last=i + 2 == len(given))
    if ends in ENDS_PARAGRAPH and open_before and quotes is None:  # nothing behind it can close what is open
        quotes = 1
    bracketed = leaves_open(left) or leaves_open(right[::-1].translate(MIRRORED)) or any(sign in was for sign in BRACKETS)
    quotes = None if code else quotes
    return Span(gap, was, length, before, after, takes_space, brings_space, brings_quote, ends, quotes, code, open_before, bracketed)


def _sentence(above: Sequence[str], after: str, *, last: bool) -> int:
    """`Span.ends_sentence` of one behind these given texts, between which gaps stand. `last`: none stands behind it."""
    if begins_sentence(after):
        return 3
    near = GAP_SIGN.join(above)
    before, end, line = joined(near.rstrip() + " " if is_broken(near) else near, before=INSIDE).rpartition("\n")
    return ends_paragraph(line, before + end, after if last else after + GAP_SIGN)


def on_line(given: str) -> str:
    """What `joined` is told of the line that the gap behind a given text ends on: nothing where the gap is all of it."""
    return "" if given.endswith(("\n", "\r")) and not is_broken(given[-_NEAR:]) else INSIDE
