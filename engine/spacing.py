"""Where a filled word meets a given one: spaces, quotes and sentences, decided here and nowhere else. No torch.

Given text never changes, so every rule is about the fill: which space it brings, and which it must not bring. How its quotes, dashes and
line ends are written is the draft's style (engine.style).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from engine.lines import evened, joined
from engine.signs import Plain
from engine.text import SPACELESS, is_wordlike

GAP_SIGN = "\ufffc"
"""Stands for a neighbouring gap in the text around a gap: no letter, no space, no line start."""

OPENING = "([{“‘«¿¡"
CLOSING = ",.;:!?)]}”’»%"
STOPS = ",.;:!?—–…"
"""Signs of which no two follow each other where a fill meets given text."""
BRACKETS = "()[]{}"
MIRRORED = str.maketrans(BRACKETS, ")(][}{")
DOUBLE_QUOTES = '"“”'
SINGLE_QUOTES = "'‘’"
QUOTES = "\"'“”‘’"
NO_SPACE_AFTER = OPENING + "—–-/#@$£€_"
_STRAIGHT = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"'})
ELISIONS = re.compile(r"(?:\d|tis\b|twas\b|twere\b|twill\b|em\b|cause\b|til\b|round\b|bout\b|n\b)", re.IGNORECASE)
"""What is left of a word behind the apostrophe that it begins with."""
_SINGLE = re.compile(rf"(?:^|(?<=\s))'(?=[\w{GAP_SIGN}])", re.MULTILINE)
_JOINS = "-–—/_…"
"""Signs that no space comes before, after a word."""
NO_NAMES = frozenset(
    re.findall(
        r"\w+",
        "Besides Although Perhaps Thus Then Sometimes However During Because Maybe Instead Each They When Though If Such While Also This"
        " Yet Since Yeah Once",
    )
)
"""Words with which sentences begin and no name does: in the training texts fewer than 1 in 100 of their tokens stand after a small
letter or a comma. "She" is none of them, for "Sheila" begins so."""
_BEGINNERS = NO_NAMES | set(
    re.findall(
        r"\w+",
        "He It And But She So You There His What That These After Now Some Why With Like Oh Of From Even Here Their Many Only Yes Where"
        " Most Every Its Another Before Those Any Nothing Still Indeed Which",
    )
)
"""Words that have a capital where a sentence begins and hardly anywhere else."""
_BEFORE_SMALL = frozenset(re.findall(r"\w+", "The A An In On At To For By As We My Her All One No How Our"))
"""Others, which stand in names too, before another capital."""
CLITICS = frozenset(["s", "t", "d", "m", "re", "ve", "ll", "clock", "em"])
"""Endings that no space parts from the apostrophe before them."""
_UNWANTED = {"Cc", "Cs", "Co", "Cn", "Zl", "Zp"}

_BEHIND_SAYINGS = re.compile(
    r"\s*$|\s*\n|\s*[—–]|\s+[^\w\s]*[A-Z]"
    r"|\s+(?:he|she|they|we|it|you|said|says|[a-z]+ed|began|thought|told|spoke|went on|put in|broke in)\b"
)
"""What follows the quote that ends a saying, and seldom that of a word or a title."""


_ENDED = re.compile(rf"(?:[.!?…][\"'”’)\]]*|{GAP_SIGN})\s*$")
_WHOLE_SENTENCE = re.compile(rf"(?:[^\W\d_A-Z]{{3}}|{GAP_SIGN})[.!?…][\"'”’)\]]*\s")
_PARAGRAPH_END = re.compile(r"[ \t]*(?:\r?\n[ \t]*(?:\r?\n|$)|$)")
_LINE_END = re.compile(r"[ \t]*\r?\n")
_LINE_BREAK = re.compile(r"\r\n|[\r\n]")
_ITEM = re.compile(r"\s*(?:[-*•#>|+]|\(?(?:\d{1,3}|[A-Za-z]|[ivxIVX]{1,4})[.)]\s|\w+: )|.*\b(?:regards|wishes|truly|sincerely|love),\s*$")
"""How items of lists, headers of letters and signatures begin."""
SENTENCE, LINE = 24, 48
"""Characters of a line from which on it is a sentence and no title: behind a paragraph that ends in a stop, and behind anything else."""
ENDS_PARAGRAPH = (2, 8)
"""From how many cells on a gap at the end of a paragraph ends a sentence: one word and a stop, or, where little stands before it on its
line, more than a title has."""


def straighten(text: str) -> str:
    """The text as a model sees it: straight quotes, LF, and composed letters, however the draft writes its accents."""
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n").translate(_STRAIGHT))


def as_learned(text: str, plain: Plain) -> str:
    """A whole text as the embedded model's corpus was cut from it: signs, line ends and white space made even, no sign left out."""
    return plain.read(evened(joined(straighten(text))))


def unwanted(char: str) -> bool:
    """Whether a fill may never hold this character: controls (but for the line feed), line separators, U+FFFD."""
    return char != "\n" and (char in "\ufffd\ufeff" or unicodedata.category(char) in _UNWANTED)


def opens(before: str) -> bool:
    """Whether the text before ends in a sign that no space may follow: an opening bracket or quote, a dash, `£`."""
    if not before:
        return False
    if before[-1] in "\"'":
        return quote_opens(before[:-1])
    return before[-1] in NO_SPACE_AFTER


def line_of(texts: Iterable[str], reach: int, *, backwards: bool) -> str:
    """What texts that follow each other hold up to the first line end, read forwards or backwards; of `reach` characters at most, and of
    the text that they end in.
    """
    found = ""
    for text in texts:
        near = text[-reach:] if backwards else text[:reach]
        lines = _LINE_BREAK.split(near)
        found = lines[-1] + found if backwards else found + lines[0]
        if len(lines) > 1 or len(near) < len(text) or len(found) >= reach:
            break
    return found


def leaves_open(text: str) -> bool:
    """Whether a bracket that opens in this text is still open at its end."""
    depth = 0
    for char in text:
        depth += (char in "([{") - (depth > 0 and char in ")]}")
    return depth > 0


def quote_opens(before: str) -> bool:
    """Whether a straight quote after this text opens a quotation."""
    return not before or before[-1].isspace() or before[-1] in "([{“‘«—–\"'"


def is_saying(before: str, after: str) -> bool:
    """Whether what stands between these texts is a whole saying: it ends in a stop, as what somebody says does, but not a quoted word."""
    return _is_saying(before, after, DOUBLE_QUOTES)


def _is_saying(before: str, after: str, quotes: str) -> bool:
    if before[-1:] not in quotes or after[:1] not in quotes or not before or not after:
        return False
    lead = before[:-1].rstrip(" ")
    return opens(before) and (not lead or lead[-1] in STOPS + "\n") and (after[1:2] or " ") not in STOPS


def closing_quote(before: str, after: str, *, quoted: bool) -> str:
    """The quote, straight, behind what stands between these texts, if that ends a saying and so in a stop; empty otherwise.

    It is a saying (`is_saying`), between single quotes too, or the rest of one, `quoted` doubly, behind whose quote a sentence begins,
    somebody is said to have said it, or nothing comes.
    """
    if _is_saying(before, after, SINGLE_QUOTES) and not is_wordlike(after[1:2]):
        return "'"
    rest = quoted and after != "" and after[0] in DOUBLE_QUOTES and _BEHIND_SAYINGS.match(after[1:]) is not None
    return '"' if rest or is_saying(before, after) else ""


def begins_sentence(after: str) -> bool:
    """Whether the text behind a gap begins a sentence, by its first words. What a quote opens may follow a comma."""
    found = re.match(r" (\w+)(?:['’]\w+)?,?(?: (\w))?", after)
    if found is None:
        return False
    return found[1] in _BEGINNERS or (found[1] in _BEFORE_SMALL and (found[2] or "A").islower())


def ends_paragraph(line: str, above: str, after: str, *, wrapped: bool = False) -> int:
    """From how many cells on a gap between these texts has to end a sentence, because it ends a paragraph of prose; 0 where it doesn't.

    `line`: the text before the gap on its line; `above`: the one before that line; `after`: the one behind the gap, with GAP_SIGN where
    it ends at another gap; `wrapped`: single line ends only break lines here. Titles, verses and items of lists end in no stop: they are
    told by what ends above them, by their capitals, and by being short.
    """
    closed, whole = _ENDED.search(above) is not None, _WHOLE_SENTENCE.search(line) is not None
    if _PARAGRAPH_END.match(after) is None:
        parts = _LINE_END.match(after) is not None and closed and not wrapped
        return ENDS_PARAGRAPH[0] * (parts and (whole or (len(line) >= LINE and _ITEM.match(line) is None)))
    if whole:
        return ENDS_PARAGRAPH[0]
    if _ITEM.match(line) or _is_title(line):
        return 0
    if closed:
        return ENDS_PARAGRAPH[len(line) < SENTENCE]
    alone = not above.strip() and not after.strip()
    return ENDS_PARAGRAPH[0] * (len(line) >= (SENTENCE if alone else LINE))


def _is_title(line: str) -> bool:
    """Whether most of a line's longer words begin with capitals."""
    words = re.findall(r"[^\W\d_]{4,}", line)
    return len(words) > 1 and sum(word[0].isupper() for word in words) * 2 > len(words)


def ends_sentence(text: str) -> bool:
    """Whether a text ends as a sentence does."""
    return text.rstrip("\"'”’)] ").endswith((".", "!", "?", "…", ":"))


def quotes_singly(text: str) -> bool:
    """Whether a quotation opens with a single quote somewhere in a text; an apostrophe that begins a word ("'tis") doesn't open any."""
    return any(not ELISIONS.match(text, found.end()) for found in _SINGLE.finditer(straighten(text)))


def space_before(before: str, text: str, *, brought: bool) -> bool:
    """Whether a space stands between the given text `before` and the fill `text` (not empty, no space in front).

    `brought`: whether the model itself began the fill with a space.
    """
    if not before or before[-1].isspace() or opens(before) or text[0] in CLOSING:
        return False
    return brought or _words_touch(before[-1], text[0])


def space_after(text: str, after: str) -> bool:
    """Whether a space stands between the fill `text` (not empty, no space at its end) and the given text `after`. Of the text two
    characters are enough.
    """
    if not after or not is_wordlike(after[0]) or SPACELESS.match(after):
        return False
    closed = text[-1] in ",.;:!?)]}”»…%" or (text[-1] == '"' and len(text) > 1 and not quote_opens(text[:-1]))
    return closed or _words_touch(text[-1], after[0])


def stands_apart(before: str, piece: str) -> bool:
    """Whether a writer puts a space between this text and the next token of a model whose tokens bring none.

    For vocabularies of words and signs, such as BERT's. Only the text before and the token itself count, so that the text
    of a run of tokens never changes when one more follows: "don ' t" becomes "don't", "boys ' books" becomes "boys' books",
    "3 . 5" becomes "3.5".
    """
    if not before or not piece or before[-1].isspace() or piece[0].isspace():
        return False
    last, sign = before[-1], piece[0]
    if sign == '"':
        return before.count('"') % 2 == 0 and last not in NO_SPACE_AFTER
    if last == '"' and before.count('"') % 2:
        return False
    if sign == "'":
        return not is_wordlike(last) and last not in NO_SPACE_AFTER
    if last == "'":
        return _after_apostrophe(before, piece)
    if last in ".," and piece.isdigit() and before[-2:-1].isdigit():
        return last == "," and len(piece) != 3
    if sign in CLOSING or sign in _JOINS:
        return sign == "-" and not is_wordlike(last)
    return last not in NO_SPACE_AFTER and not (SPACELESS.match(last) and SPACELESS.match(sign))


def _after_apostrophe(before: str, piece: str) -> bool:
    """The space after `'`: none when the quote has just opened, nor between a word and its short ending."""
    if not is_wordlike(before[-2:-1]):
        return False
    return piece not in CLITICS and before[-3:-1].lstrip() not in ("o", "O", "d", "l")


def _words_touch(left: str, right: str) -> bool:
    return is_wordlike(left) and is_wordlike(right) and not (SPACELESS.match(left) or SPACELESS.match(right))
