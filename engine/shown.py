"""What the page reads in a gap: the text of each cell, from the tokens that a span holds, in the draft's style."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from engine.casing import HEADLINE, Case
from engine.denoiser import Denoiser
from engine.lines import MASKED, as_written, tidy
from engine.spacing import DOUBLE_QUOTES, space_after, space_before, stands_apart, unwanted
from engine.spans import LINE, Span
from engine.style import Style
from engine.vocabulary import vocabulary

_NEAR = 8
"""Characters of a fill that tell how the next one is written."""


class Shown:
    """Puts the tokens of one model's spans into one draft's style."""

    def __init__(self, model: Denoiser, style: Style) -> None:
        self._model, self._style = model, style
        self._style_read = replace(style, case=Case())
        self._style_of_headlines = replace(style, case=HEADLINE)
        self._known = vocabulary(model)
        self._glued = None if self._known.glued is None else self._known.glued.tolist()

    def texts(self, span: Span, tokens: Sequence[int], *, read: bool = False) -> list[str]:
        """The text of each cell of a span that holds these tokens (the mask id where none); joined they stand in the gap.

        `read`: in sentence case, as the model reads what it wrote, whatever the draft's letters.
        """
        style = self._style_read if read else self._style_of_headlines if span.capitals else self._style
        texts = [""] * len(tokens)
        chars = self._characters(tokens, quoted=span.quoted)
        if span.code:
            for char, cell in as_written(chars, after=span.after, takes_space=span.takes_space):
                texts[cell] += "\r\n" if char == "\n" and style.crlf else char
            return texts
        chars = tidy(chars)
        if span.brings_quote and chars and chars[-1][0] == span.brings_quote:
            chars = chars[:-1]
        shown = [char for char, _ in chars]
        brought = bool(shown) and shown[0] == " "
        if brought or shown[:1] == ["\n"]:
            chars, shown = chars[1:], shown[1:]
        if not chars:
            return texts
        first, last = chars[0][1], chars[-1][1]
        before, quoted = span.before, span.quoted
        brought = brought or (self._glued is not None and not self._glued[tokens[first]] and stands_apart(before, shown[0]))
        if shown[0] != MASKED and space_before(before, shown[0], brought=brought):
            texts[first] = " "
            before += " "
        for at, (char, cell) in enumerate(chars):
            if char == MASKED:
                before = "x"
                continue
            rest = "".join(shown[at + 1 : at + 7])
            texts[cell] += style.write(before, char, rest, after=span.after, quoted=quoted)
            quoted = char != "\n" and quoted ^ (char in DOUBLE_QUOTES)
            before = (before + char)[-_NEAR:]
        if shown[-1] != MASKED and space_after("".join(shown[-2:]).replace(MASKED, ""), span.after):
            texts[last] += " "
        return texts

    def _characters(self, tokens: Sequence[int], *, quoted: bool) -> list[tuple[str, int]]:
        """(character, cell) for the characters that tokens spell, MASKED for a mask.

        A character split over tokens belongs to the cell that completes it; bytes that make none are dropped. Where tokens bring no
        spaces, a word's cell holds the space before it; `quoted`: a double quote is open before the first.
        """
        known, mask = self._known, self._model.mask_id
        found: list[tuple[str, int]] = []
        run: list[int] = []
        shown = 0
        written = before_first = '"' if quoted else ""
        for cell, token in enumerate(tokens):
            if token != mask and known.partial[token]:
                run.append(token)
                text = self._model.decode(run)
                whole = text.rstrip("\ufffd")
                found += ((char, cell) for char in whole[shown:])
                shown = max(shown, len(whole))
                if whole == text:  # nothing is left to complete
                    run, shown = [], 0
                continue
            run, shown = [], 0
            text = MASKED if token == mask else known.texts[token]
            if self._glued is not None:
                word = "x" if token == mask else text
                if token != mask and not self._glued[token] and written != before_first and stands_apart(written[-LINE:], word):
                    text, word = " " + text, " " + word
                written += word
            found += ((char, cell) for char in text)
        return [(char, cell) for char, cell in found if char == MASKED or not unwanted(char) or char == "\t"]
