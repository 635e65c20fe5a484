"""What tokens do to the words and quotes of a fill: moves of a small automaton that reads one token after another.

Where tokens bring their own spaces, two bits are its whole state. Where decoding puts the spaces (BERT's words and signs), whether
the next token begins a word depends on the signs before, so the states are the ends of texts that `spacing.stands_apart` tells
apart. States come in pairs: the number of a state is odd when the double quotes so far are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from engine.spacing import CLITICS, CLOSING, DOUBLE_QUOTES, OPENING, stands_apart
from engine.text import BREAKS, SPACELESS, is_wordlike

STATES = 4
"""Of tokens that bring their spaces. State 0: the run of characters so far holds no letter or digit; 2: it does, and is counted.
1 and 3 are the same after an odd number of double quotes."""

Moves = tuple[tuple[int, int], ...]
"""What a token does from each of the states: (state after, words added)."""


def word_moves(text: str) -> Moves:
    """What a text does to the word count and the quotes, from each of the states."""
    return tuple(_walk(text, state) for state in range(STATES))


def _walk(text: str, state: int) -> tuple[int, int]:
    in_word, odd, added = bool(state >> 1), state & 1, 0
    for char in text:
        if char.isspace() or char in BREAKS:
            in_word = False
        elif not in_word and char.isalnum():
            in_word, added = True, added + 1
        odd ^= char in DOUBLE_QUOTES
    return in_word << 1 | odd, added


_PROBES = ("a", "s", "5", "555", ".", ",", '"', "'", "-", "(", "$", "門")
_TWO_PROBES = (("'", "a"), (".", "5"), (",", "555"), ("-", "a"))
"""Texts after which all of these are spaced alike are one state."""
_SIGNS = frozenset(OPENING + CLOSING + "\"'“”‘’—–-/#@$£€_…")


def apart_moves(texts: Sequence[str], glued: Sequence[bool]) -> tuple[list[int], list[Moves]]:
    """For a vocabulary whose tokens bring no spaces: the class of each token, and the moves of each class.

    `glued`: the tokens that go on with the word before.
    """
    shapes: dict[tuple[str, bool], int] = {}
    class_of = [shapes.setdefault((_shape(text), part), len(shapes)) for text, part in zip(texts, glued, strict=True)]
    example = dict(zip(reversed(class_of), reversed(texts), strict=True))
    states: dict[tuple[object, ...], int] = {}
    ends: dict[int, str] = {}
    """By state the shortest text that leads there."""

    def state_of(text: str) -> int:
        odd = text.count('"') % 2
        key = (odd, _walk(text, 0)[0] >> 1, *_spaces(text))
        if key not in states:
            states[key] = 2 * sum(held[0] == odd for held in states) + odd
            ends[states[key]] = text
        return states[key]

    state_of("")
    table: list[dict[int, tuple[int, int]]] = [{} for _ in shapes]
    done = 0
    while done < len(ends):
        state, before = list(ends.items())[done]
        done += 1
        words = _walk(before, 0)[1]
        for (_, part), number in shapes.items():
            joined = before + (" " if not part and stands_apart(before, example[number]) else "") + example[number]
            table[number][state] = (state_of(joined), _walk(joined, 0)[1] - words)
    size = max(ends) + 1
    classes: dict[Moves, int] = {}
    merged = [classes.setdefault(tuple(moves.get(state, (state, 0)) for state in range(size)), len(classes)) for moves in table]
    return [merged[number] for number in class_of], list(classes)


def _spaces(text: str) -> tuple[bool, ...]:
    """What comes after a text with a space between and what without."""
    then = (text + " " * stands_apart(text, first) + first for first, _ in _TWO_PROBES)
    return (
        *(stands_apart(text, probe) for probe in _PROBES),
        *(stands_apart(joined, second) for joined, (_, second) in zip(then, _TWO_PROBES, strict=True)),
    )


def _shape(text: str) -> str:
    """The same for tokens that are spaced alike after, and before, any text."""
    if text in CLITICS or text in ("o", "d", "l"):
        return text
    kinds = "".join(_kind(char) for char in text)
    return re.sub("a{2,}", "aa", re.sub("5{4,}", "5555", kinds))


def _kind(char: str) -> str:
    if char.isdigit():
        return "5"
    if SPACELESS.match(char):
        return "門"
    if char.isalnum():
        return "a"
    return char if char in _SIGNS else "´" if is_wordlike(char) else "*"
