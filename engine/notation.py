r"""The draft format's spelling: marks read from text and written to it. No torch.

    gap     = "[[" [length] [":" list] [";" list] "]]"      length = (n | n "-" m) [" tokens"]      list = phrase {"," phrase}
            A keyword may have several forms: "walk|walked".
            | three or more underscores, not alone on their line and not touching a letter or digit
    rewrite = "[[~" passage "]]"                            passage may hold {{pins}}; a newline in it is a pin of its own

`[[` is a mark only before a digit, `]`, `~`, `:` or `;`. Of the backslashes right before `[[` or underscores, read as a mark
or not, pairs are halved and an odd one makes what follows literal; inside a mark a backslash does so for `, ; ] } { \`, too.

Everything is linear in the text: regular expressions find what matters, and no place is looked at more than a few times.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Never

from engine.marks import LONGEST_GAP, DraftError, Gap, Length, Mark, Part, Pin, Rewrite, forms
from engine.text import SPACELESS, bare_words, fold, is_wordlike, splits_word, words

_OPENER = r"[0-9\]~:;]"
_OPENS = re.compile(_OPENER)
_LITERAL_ONLY = re.compile("[\0\ud800-\udfff]")
_RULE = re.compile(r"(?<![^\r\n])[ \t]*(_{3,})[ \t]*(?![^\r\n])")
# Backslashes are taken from the run's first one on, so that a long run is looked at once.
_OUTSIDE = re.compile(r"(?<!\\)(\\*)(?:(\[{2,})|_{3,})")
_INSIDE = re.compile(
    r"(?P<escape>\\(?:[,;\]}{\\]|\[\[|_{3,}))|(?P<close>\]\])|(?P<newline>\r\n|\r|\n)|(?P<pin>\{\{)|(?P<unpin>\}\})"
    rf"|(?P<sign>[,;])|(?P<nested>\[\[(?={_OPENER})|_{{3,}})"
)
_LENGTH = re.compile(r"([0-9]+)(?:([-–])([0-9]*))?( tokens?\b| words?\b)?")  # printed without " words", and with "-"
_POSIX = re.compile(r"\[\[:[a-z]+:\]\]")
_NESTED = re.compile(rf"\[\[(?={_OPENER})|_{{3,}}")
_NEARBY = 100
"""Characters of given text on each side of a gap that tell whether its script is one without spaces."""


def read(text: str) -> tuple[list[Part], list[int]]:
    """Parts of a draft (literal text unescaped) and where in `text` each mark starts. Raises DraftError."""
    return _Reader(text).draft()


def write(parts: Sequence[Part]) -> str:
    """The text of a draft; literal text is escaped where it would be read as a mark. No two texts may be neighbours."""
    last = len(parts) - 1
    return "".join(
        _write_text(part, after_mark=place > 0, before_mark=place < last) if isinstance(part, str) else _write_mark(part)
        for place, part in enumerate(parts)
    )


def _rules(text: str) -> frozenset[int]:
    """Where the runs of underscores start that are alone on their line (Markdown rules)."""
    return frozenset(found.start(1) for found in _RULE.finditer(text)) if "___" in text else frozenset()


def _touches(text: str, found: re.Match[str], start: int) -> bool:
    """Whether the underscores text[start:found.end()] touch a letter or digit."""
    return is_wordlike(text[max(start - 1, 0) : start]) or is_wordlike(text[found.end() : found.end() + 1])


def _is_mark(text: str, found: re.Match[str], rules: frozenset[int]) -> bool:
    """Whether what _OUTSIDE found is a mark, unless escaped. Of three or more brackets only the last two can open one."""
    if found[2]:
        return bool(_OPENS.match(text, found.end()))
    return found.end(1) not in rules and not _touches(text, found, found.end(1))


class _Reader:
    """Reads one draft."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.rules = _rules(text)

    def fail(self, offset: int, message: str) -> Never:
        raise DraftError.at(self.text, offset, message)

    def draft(self) -> tuple[list[Part], list[int]]:
        text = self.text
        if odd := _LITERAL_ONLY.search(text):
            name = "NUL character" if odd[0] == "\0" else f"half of a surrogate pair (U+{ord(odd[0]):04X})"
            self.fail(odd.start(), f"A {name} can't be part of a draft; remove it.")
        parts: list[Part] = []
        starts: list[int] = []
        literal: list[str] = []
        at = 0
        while found := _OUTSIDE.search(text, at):
            slashes, run = len(found[1]), found.end(1)
            literal += text[at : found.start()], "\\" * (slashes // 2)
            if slashes % 2:
                at = run + 2 if found[2] else found.end()
                literal.append(text[run:at])
            elif _is_mark(text, found, self.rules):
                start = found.end() - 2 if found[2] else run
                literal.append(text[run:start])
                given = "".join(literal)
                literal.clear()
                if given:
                    parts.append(given)
                elif parts:
                    self.fail(start, "Two gaps stand side by side; expected given text between them, at least a space.")
                mark, at = self.mark(start) if found[2] else (Gap(), found.end())
                parts.append(mark)
                starts.append(start)
            else:
                at = found.end()
                literal.append(text[run:at])
        literal.append(text[at:])
        if given := "".join(literal):
            parts.append(given)
        self.refuse_word_counts(parts, starts)
        return parts, starts

    def mark(self, start: int) -> tuple[Mark, int]:
        """The mark that `[[` at `start` opens, and where it ends."""
        return self.rewrite(start) if self.text[start + 2] == "~" else self.gap(start)

    def gap(self, start: int) -> tuple[Gap, int]:
        text = self.text
        length, at = self.length(start + 2)
        keywords: list[str] = []
        bans: list[str] = []
        expected = "`:`, `;` or `]]`" if length else "`]]`"
        if length and length.unit == "words":
            expected = ("` tokens`, " if length.low < length.high else "`-`, ` tokens`, ") + expected
        if text[at : at + 1] == ":":
            if _POSIX.match(text, start):
                self.fail(start, "This is a class of characters of a program; write `\\[[` before brackets that are no gap.")
            keywords, at = self.phrases(at + 1, start, "keyword", ends=";")
            expected = "`;` or `]]`"
        if text[at : at + 1] == ";":
            bans, at = self.phrases(at + 1, start, "banned word", ends="")
        elif not text.startswith("]]", at):
            self.fail(at, f"Expected {expected} here; write `\\[[` before brackets that are no gap.")
        if clash := _clash(keywords, bans):
            self.fail(start, f"This gap must contain “{clash[0]}” and must not contain “{clash[1]}”; take one of them out.")
        return Gap(length, tuple(keywords), tuple(bans)), at + 2

    def length(self, at: int) -> tuple[Length | None, int]:
        found = _LENGTH.match(self.text, at)
        if not found:
            return None, at
        if found[2] and not found[3]:
            self.fail(found.end(2), "Expected a number after `-`, as in `[[5-12]]`.")
        # Five digits without leading zeros are too many already: Python need not read a million.
        low, high = (int(found[group].lstrip("0")[:5] or 0) for group in (1, 3 if found[2] else 1))
        try:
            return Length(low, high, "tokens" if (found[4] or "").startswith(" token") else "words"), found.end()
        except ValueError as error:
            self.fail(at, f"{str(error)[:-1]}; write `\\[[` before brackets that are no gap.")

    def tokens(self, at: int, start: int) -> Iterator[tuple[str, str, int]]:
        """The inside of a mark from `at` up to and with its `]]`: (kind, text, offset); kind "text" is unescaped."""
        while found := _INSIDE.search(self.text, at):
            if found.start() > at:
                yield "text", self.text[at : found.start()], at
            at = found.end()
            kind = found.lastgroup or ""
            if kind == "escape":
                yield "text", found[0][1:], found.start()
            elif kind != "nested":
                yield kind, found[0], found.start()
                if kind == "close":
                    return
            elif found[0] == "[[" or not (found.start() in self.rules or _touches(self.text, found, found.start())):
                self.fail(
                    found.start(), f"A gap can't stand inside another mark; expected `]]` first, or `\\{found[0][:3]}` for the signs."
                )
            else:
                yield "text", found[0], found.start()
        self.fail(start, "This mark has no end; expected `]]`, or `\\[[` for brackets that are no mark.")

    def phrases(self, at: int, start: int, what: str, *, ends: str) -> tuple[list[str], int]:
        """The list of phrases from `at` to `]]` or the sign `ends`, and where that stands."""
        phrases: list[str] = []
        phrase: list[str] = []
        many = 0
        for kind, piece, offset in self.tokens(at, start):
            if kind == "text":
                phrase.append(piece)
            elif kind == "newline":
                self.fail(offset, "A gap's mark must be on one line; expected `]]` before the line end.")
            elif kind in ("pin", "unpin"):
                self.fail(offset, f"`{piece}` marks a pin and belongs in a passage, `[[~ ...]]`; expected a {what}.")
            elif piece == "," and self.text[offset - 1].isdecimal() and self.text[offset + 1 : offset + 2].isdecimal():
                phrase.append(piece)  # "1,000"
            elif piece == ";" and not ends:
                self.fail(offset, "Expected `,` or `]]` here; write `\\;` for a semicolon.")
            else:
                phrases.append("".join(phrase).strip())
                phrase.clear()
                if not phrases[-1]:
                    self.fail(offset, f"Expected a {what} before `{piece}`.")
                many += len(forms(phrases[-1])) if what == "keyword" else 1
                if many > LONGEST_GAP:
                    self.fail(offset, f"This list is too long; expected at most {LONGEST_GAP} phrases.")
                if what == "keyword" and not all(map(words, forms(phrases[-1]))):
                    self.fail(
                        offset, f"“{phrases[-1]}” is no word; expected a {what} with a letter or digit, and one on both sides of `|`."
                    )
                if piece != ",":
                    return phrases, offset
        raise AssertionError("tokens() ends with `]]` or an error")

    def rewrite(self, start: int) -> tuple[Rewrite, int]:
        pieces: list[str | Pin] = []
        buffer: list[str] = []
        cuts: list[tuple[int, int]] = []  # where pins begin and end: in the passage, in the draft
        length = 0
        opened: int | None = None
        for kind, piece, offset in self.tokens(start + 3, start):
            if kind in ("text", "sign") or (kind == "newline" and opened is not None):
                buffer.append(piece)
                length += len(piece)
            elif kind == "newline":
                pieces += "".join(buffer), Pin(piece)
                buffer.clear()
                length += len(piece)
            elif kind == "close":
                if opened is not None:
                    self.fail(opened, "This pin has no end; expected `}}` before the passage's `]]`.")
                pieces.append("".join(buffer))
                rewrite = Rewrite(tuple(pieces))
                if not rewrite.pieces:
                    self.fail(offset, "Expected a passage to rewrite between `[[~` and `]]`.")
                self.refuse_split_words(pieces, cuts)
                return rewrite, offset + 2
            elif (kind == "pin") == (opened is not None):
                self.fail(
                    offset, f"This `{piece}` has no partner; expected {'`}}`' if opened else '`{{`'} first, or `\\{piece[0]}` for the sign."
                )
            elif kind == "pin":
                pieces.append("".join(buffer))
                buffer.clear()
                opened = offset
                cuts.append((length, offset))
            else:
                if not any(buffer):
                    self.fail(offset, "Expected a word to pin between `{{` and `}}`.")
                pieces.append(Pin("".join(buffer)))
                buffer.clear()
                opened = None
                cuts.append((length, offset))
        raise AssertionError("tokens() ends with `]]` or an error")

    def refuse_split_words(self, pieces: Sequence[str | Pin], cuts: Sequence[tuple[int, int]]) -> None:
        passage = "".join(piece.text if isinstance(piece, Pin) else piece for piece in pieces)
        for split, (_, offset) in zip(splits_word(passage, (cut for cut, _ in cuts)), cuts, strict=True):
            if split:
                self.fail(offset, "This pin splits a word; expected a space or punctuation here, so pin the whole word.")

    def refuse_word_counts(self, parts: Sequence[Part], starts: Sequence[int]) -> None:
        """Refuse word counts where the given text near a gap is in a script without spaces.

        A gap is in such a script when, in the 100 characters before and after it, the letters of such scripts are at least
        twice as many as the words of others: two letters make about one word.
        """
        given = [part if isinstance(part, str) else part.text if isinstance(part, Rewrite) else "" for part in parts]
        whole = "".join(given)
        if not SPACELESS.search(whole):
            return
        ends = accumulate(map(len, given))
        marks = ((part, end) for part, end in zip(parts, ends, strict=True) if not isinstance(part, str))
        for (mark, place), start in zip(marks, starts, strict=True):
            if not isinstance(mark, Gap) or not mark.length or mark.length.unit == "tokens":
                continue
            near = whole[max(place - _NEARBY, 0) : place + _NEARBY]
            others, letters = SPACELESS.subn(" ", near)
            if letters and letters >= 2 * len(words(others)):
                low, high = mark.length.low, mark.length.high
                tokens = f"[[{low}{'' if low == high else f'-{high}'} tokens]]"
                self.fail(
                    start, f"The text here is in a script without spaces, where words can't be counted; use tokens, as in `{tokens}`."
                )


def _clash(keywords: Sequence[str], bans: Sequence[str]) -> tuple[str, str] | None:
    """A keyword that no one can write without writing a ban, whichever of its forms is taken, and such a ban."""
    if bans:
        broken = Broken(bans)
        for keyword in keywords:
            found = [broken.by(form) for form in forms(keyword)]
            if all(found):
                return keyword, found[0]
    return None


class Broken:
    """Which of some bans is broken by whoever writes a keyword: by its words, or by its signs if the ban has no word."""

    def __init__(self, bans: Sequence[str]) -> None:
        self._bans = [(ban, fold(ban), " ".join(bare_words(ban))) for ban in bans]

    def by(self, form: str) -> str:
        """A ban that this form of a keyword breaks; empty where there is none."""
        written, said = fold(form), _as_bans_read(form)
        return next((ban for ban, signs, banned in self._bans if (f" {banned} " in said if banned else signs in written)), "")


def _as_bans_read(keyword: str) -> str:
    """Its words between spaces, as they are and without 's, with which a word is the same to a ban."""
    found = bare_words(keyword)
    return " ".join(["", *found, "|", *(word.removesuffix("'s") for word in found), ""])


def _write_text(text: str, *, after_mark: bool, before_mark: bool) -> str:
    # Neighbouring marks matter only by the signs that they show to the text: `]]` before it and `[[` after it.
    before, after = "]]" * after_mark, "[[" * before_mark
    framed = before + text + after
    rules = _rules(framed)

    def escaped(found: re.Match[str]) -> str:
        slashes, run = found[1], found[0][len(found[1]) :]
        if not _is_mark(framed, found, rules):
            return slashes * 2 + run
        if not found[2]:
            return slashes * 2 + "\\" + run
        # The last two brackets are escaped. With a single one before them no `[[` follows the run of backslashes.
        return slashes * (1 if len(run) == 3 else 2) + run[:-2] + "\\[["

    escaped_text = _OUTSIDE.sub(escaped, framed)
    return escaped_text[len(before) : len(escaped_text) - len(after)]


def _write_mark(mark: Mark) -> str:
    if isinstance(mark, Gap):
        inside = ""
        if mark.length:
            low, high, unit = mark.length.low, mark.length.high, mark.length.unit
            inside = f"{low}" if low == high else f"{low}-{high}"
            inside += "" if unit == "words" else f" {unit}"
        for sign, phrases in ((":", mark.keywords), (";", mark.bans)):
            if phrases:
                inside += f"{sign} " + ", ".join(re.sub(r"[,;\]}{\\]", r"\\\g<0>", phrase) for phrase in phrases)
        opening = "[["
    else:
        inside = "".join(map(_write_piece, mark.pieces))
        opening = "[[~ "

    def escaped(found: re.Match[str]) -> str:
        return found[0] if found[0] != "[[" and _touches(found.string, found, found.start()) else "\\" + found[0]

    return opening + _NESTED.sub(escaped, inside + "]]")


def _write_piece(piece: str | Pin) -> str:
    if isinstance(piece, str):
        return re.sub(r"[\]}{\\]", r"\\\g<0>", piece)
    return piece.text if piece.text in ("\n", "\r\n") else "{{" + re.sub(r"[\]}{\\]", r"\\\g<0>", piece.text) + "}}"
