"""What a word is: the one definition that drafts, lengths and constraints share; how amounts and commands are said. No torch."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import unicodedata
from collections.abc import Iterable, Iterator

BREAKS = "—–…/"
"""What ends a word besides white space."""
_RUN = re.compile(rf"[^\s{BREAKS}]+")
_LETTER_OR_DIGIT = re.compile(r"[^\W_]")
_TO_LAST_LETTER = re.compile(r".*[^\W_]", re.DOTALL)

SPACELESS = re.compile(
    "["
    "\u0e01-\u0e3a\u0e40-\u0e5b"  # Thai, without the baht sign
    "\u0e80-\u0fff"  # Lao, Tibetan
    "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f"  # Burmese
    "\u1780-\u17ff"  # Khmer
    "\u1950-\u19df\u1a20-\u1aaf\uaa80-\uaadf\U00011700-\U0001174f"  # Tai Le, New Tai Lue, Tai Tham, Tai Viet, Ahom
    "\u1b00-\u1b7f\ua980-\ua9df"  # Balinese, Javanese
    "\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303c"  # marks and numerals that stand among Han letters
    "\u3041-\u30fa\u30fc-\u312f\u31a0-\u31bf\u31f0-\u31ff\uff66-\uff9f\U0001aff0-\U0001b16f"  # kana, bopomofo
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"  # Han
    "]"
)
"""One letter of a script that is written without spaces between words."""


def words(text: str) -> list[str]:
    """Split into words: runs without space, dash (—, –), ellipsis (…) or slash that hold a letter or digit.

    Punctuation stays with its word ("3.5", "well-kept", "don't" and "Hello," are one word each); a run that is all
    punctuation is no word.
    """
    return [run for run in _RUN.findall(text) if _LETTER_OR_DIGIT.search(run)]


def fold(text: str) -> str:
    """The key by which two spellings count as the same: case, the shape of apostrophes and Unicode composition aside."""
    return unicodedata.normalize("NFC", text.replace("’", "'").casefold())


def bare_words(text: str) -> list[str]:
    """The folded words of a text without the punctuation at their edges: what keywords and bans are compared by."""
    return [word for word, _, _ in placed_words(text)]


def placed_words(text: str) -> Iterator[tuple[str, int, int]]:
    """The same words, each with its place: `text[start:end]`, folded, is the word."""
    for run in _RUN.finditer(text):
        start, end = run.span()
        if not _LETTER_OR_DIGIT.search(text, start, end):
            continue
        while not is_wordlike(text[start]):
            start += 1
        while not is_wordlike(text[end - 1]):
            end -= 1
        yield fold(text[start:end]), start, end


def is_wordlike(character: str) -> bool:
    """Whether this is a letter, a digit or a combining mark; False for the empty string beyond a text's end."""
    return bool(character) and unicodedata.category(character)[0] in "LNM"


def splits_word(text: str, cuts: Iterable[int]) -> Iterator[bool]:
    """For rising offsets: whether a cut before `text[offset]` goes through a word, one answer each, in linear time.

    It does when the run around it has letters or digits on both sides, or when it parts a combining mark from its
    letter; beside a letter of a script without spaces only the latter counts.
    """
    runs = _RUN.finditer(text)
    end = first = last = 0
    for cut in cuts:
        while end <= cut and (run := next(runs, None)):
            end = run.end()
            letter = _LETTER_OR_DIGIT.search(text, run.start(), end)
            first, last = (letter.start(), _last_letter(text, letter.start(), end)) if letter else (end, end - 1)
        around = text[max(cut - 1, 0) : cut + 1]
        marked = cut < len(text) and unicodedata.category(text[cut])[0] == "M" and is_wordlike(text[cut - 1 : cut])
        yield marked or (first < cut <= last and not SPACELESS.search(around))


def _last_letter(text: str, start: int, end: int) -> int:
    """The place of the last letter or digit in text[start:end], which begins with one."""
    found = _TO_LAST_LETTER.match(text, start, end)
    return found.end() - 1 if found else start


def amount(count: float) -> str:
    """Bytes as a person says them: "15.9 GB", "940 MB"."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def command(*words: str) -> str:
    """A command of Lacuna's as its user types it: "python3 launch.py extras", and `python` on Windows, which has no python3."""
    if sys.platform == "win32":
        return subprocess.list2cmdline(["python", "launch.py", *words])
    return shlex.join(["python3", "launch.py", *words])
