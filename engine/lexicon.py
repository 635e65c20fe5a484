"""The words that a model's texts hold: runs of letters, folded. No torch."""

from __future__ import annotations

import lzma
import re
import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from engine.text import fold

LETTERS = re.compile(r"[^\W\d_]+")
LONGEST = 40
"""Letters of the longest word that is taken down; longer ones are noise."""
FEWEST = 16
"""Letters of the shortest text whose language is judged."""
LARGEST = 2**26
"""Bytes of text that a list may unpack to."""


class Lexicon:
    """A list of words that also knows how they begin. "don't" and "well-kept" are two runs of letters each, and so two words."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        self.words = tuple(sorted(set(words)))

    @classmethod
    def of(cls, texts: Iterable[str], *, least: int = 1) -> Lexicon:
        """The words that stand in these texts so often at least."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(LETTERS.findall(fold(text)))
        return cls(word for word, count in counts.items() if count >= least and len(word) <= LONGEST)

    def __contains__(self, word: str) -> bool:
        at = bisect_left(self.words, word)
        return at < len(self.words) and self.words[at] == word

    def __or__(self, other: Lexicon) -> Lexicon:
        return Lexicon({*self.words, *other.words})

    def going_on(self, letters: str) -> Iterator[str]:
        """The words that begin with these."""
        for at in range(bisect_left(self.words, letters), len(self.words)):
            if not self.words[at].startswith(letters):
                return
            yield self.words[at]

    def begins(self, letters: str) -> bool:
        """Whether some word begins with these."""
        return next(self.going_on(letters), None) is not None

    def strange(self, text: str) -> float:
        """The share of letters in a text that stand in words that it lacks, as those of other languages do; 0.0 where few can be asked.

        Names don't count, nor whatever else begins with a capital.
        """
        words = [fold(run) for run in LETTERS.findall(unicodedata.normalize("NFC", text)) if len(run) > 1 and not run[0].isupper()]
        letters = sum(map(len, words))
        return sum(len(word) for word in words if word not in self) / letters if letters >= FEWEST else 0.0

    def without(self, other: Lexicon) -> Lexicon:
        """The words that the other lacks."""
        return Lexicon(word for word in self.words if word not in other)

    def save(self, path: Path) -> None:
        """Write a word a line, packed (.xz)."""
        path.write_bytes(lzma.compress("\n".join(self.words).encode(), preset=9))

    @classmethod
    def load(cls, path: Path) -> Lexicon:
        """Read what `save` wrote; ValueError for a file that is damaged, or holds more than any list of words does."""
        unpacker = lzma.LZMADecompressor(format=lzma.FORMAT_XZ)
        try:
            text = unpacker.decompress(path.read_bytes(), max_length=LARGEST).decode()
        except (lzma.LZMAError, UnicodeDecodeError) as error:
            raise ValueError(f"{path.name} is damaged.") from error
        if not unpacker.eof:
            raise ValueError(f"{path.name} is damaged, or too long for a list of words.")
        return cls(text.split("\n"))
