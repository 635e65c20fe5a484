"""A draft as a canvas of cells: what is given stays a string, what is written are tokens, seen through windows.

Only the cells of gaps are ever decoded. The model reads the given text near a gap (straight quotes, LF, without the
one space that the first token of a gap brings itself, an empty line behind a gap that ends the draft); the page reads
the given strings as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from types import MappingProxyType

from engine.casing import Case
from engine.denoiser import Answers, Denoiser
from engine.draft import Draft, Part, Pin, Rewrite
from engine.frames import MASKED_TEXT
from engine.layout import Fixed, Layout, Piece
from engine.lines import INSIDE
from engine.settings import Settings, SettingsError
from engine.shown import Shown
from engine.source import fences
from engine.spacing import GAP_SIGN, space_after
from engine.spans import Span, on_line, span_of
from engine.style import Style
from engine.vocabulary import vocabulary

USUAL = Settings()
LEAST_ROOM = 64
"""Tokens of a window that an instruction must leave."""
_CHARS_A_TOKEN = 8


@dataclass(frozen=True, slots=True)
class Window:
    """One canvas for the denoiser: token ids with masks, and which cell of which span stands at which position."""

    ids: list[int]
    cells: dict[int, tuple[int, int]]
    """Canvas position -> (span, cell)."""
    told: int = 0
    """How many tokens in front are what a model is told that answers people."""

    @property
    def spans(self) -> list[int]:
        """The spans that the window writes in, in reading order."""
        return sorted({span for span, _ in self.cells.values()})


class Canvas:
    """A draft laid out for one model. Lengths of spans are handed in: they are estimated on the canvas itself."""

    def __init__(
        self,
        model: Denoiser,
        draft: Draft,
        placed: Mapping[int, Sequence[Piece]] = MappingProxyType({}),
        settings: Settings = USUAL,
    ) -> None:
        """`placed`: of gaps by their number, what stands in them (engine.keywords); the others are one span. Of the settings it takes how
        much the model reads and what it is told; SettingsError when it can't be told anything, or has no room left for the draft.
        """
        self._model = model
        self._frame = model.frame
        answering = model if isinstance(model, Answers) and model.answers else None
        self._answers = answering is not None
        if instruction := settings.instruction:
            if answering is None:
                raise SettingsError(f"{model.name} takes no instruction, for it only reads drafts: leave it out or load an instruct model.")
            self._frame = partial(answering.frame, instruction=instruction)
        self.longest = min(model.max_length, settings.window)
        """Tokens that the model reads at once, but for what it is told."""
        self.room = self._room()
        """Tokens in a window, without the family's special ends."""
        if instruction and self.room < LEAST_ROOM:
            raise SettingsError(f"The instruction leaves {model.name} no room for the draft; make it shorter.")
        self._known = known = vocabulary(model)
        self._beyond: str = getattr(model, "beyond", "")
        self._tokens_between: dict[int, int] = {}
        self.style = Style.of("".join(map(_as_was, draft.parts)), evened=known.evened)
        layout = Layout(draft, placed, self.style.case)
        self.spans = self._spans(layout)
        in_code = {i for i, span in enumerate(self.spans) if span.code}
        if self.style.case != Case():
            if in_code:
                self.style = replace(self.style, case=Case())
            else:
                layout.read_in_sentence_case(self.style.case, known.names)
                self.spans = self._spans(layout)
        elif known.evened and (headlines := layout.read_headlines(known.names, in_code)):
            self.spans = [replace(span, capitals=i in headlines) for i, span in enumerate(self._spans(layout, headlines))]
        self.items = layout.items
        """In reading order: given text, fixed text of a mark, or the number of a span."""
        self.given = layout.given
        """The given text before each span, and after the last one; in sentence case, if the draft is in other letters."""
        self._shown = Shown(model, self.style)

    def _spans(self, layout: Layout, headlines: AbstractSet[int] = frozenset()) -> list[Span]:
        fenced = list(accumulate(map(fences, layout.given)))
        found = []
        for i, stretch in enumerate(layout.stretches):
            capitals = self.style.case.capitals or i in headlines
            found.append(span_of(self._known, layout.given, i, stretch, fenced=fenced[i] % 2 == 1, capitals=capitals))
        # A gap that is long enough to end a sentence ends it, however little is left behind its last keyword.
        return [
            replace(span, ends_sentence=1) if span.ends_sentence and i in layout.behind_keywords else span for i, span in enumerate(found)
        ]

    def gap_of(self, item: int | Fixed) -> int:
        """The mark that a span, or a fixed text, belongs to."""
        return self.spans[item].gap if isinstance(item, int) else item.gap

    def rewritten_tokens(self, i: int) -> int:
        """How many tokens the words hold that a rewrite's span replaces."""
        span = self.spans[i]
        return max(1 + len(span.brings_quote), len(self._encoded(span, self._known.read(span.was))))

    def encode(self, i: int, text: str) -> list[int]:
        """The tokens of a text in span i, with the space and the quote that its first and last ones bring."""
        return self._encoded(self.spans[i], self.as_read(text))

    def _encoded(self, span: Span, text: str) -> list[int]:
        return self._model.encode(" " * span.brings_space + text + span.brings_quote)

    def as_read(self, text: str) -> str:
        """A text that stands in a sentence as the model sees it: letters and signs that its texts hold."""
        return self._known.read(self.style.case.read(text, self._known.names, within=True))

    # What the page reads

    def texts(self, i: int, tokens: Sequence[int], *, read: bool = False) -> list[str]:
        """The text of each cell of span i that holds these tokens (the mask id where none); joined they stand in the gap.

        `read`: in sentence case, as the model reads what it wrote, whatever the draft's letters.
        """
        return self._shown.texts(self.spans[i], tokens, read=read)

    def text(self, cells: Sequence[Sequence[str]], masked: Sequence[Sequence[bool]]) -> str:
        """The whole draft, from the texts of every span's cells, with MASKED_TEXT for each that is masked."""
        parts: list[str] = []
        for item in self.items:
            if isinstance(item, int):
                parts += (MASKED_TEXT if m else text for text, m in zip(cells[item], masked[item], strict=True))
            else:
                parts.append(item.text if isinstance(item, Fixed) else item)
        return "".join(parts)

    # What the model reads

    def _room(self) -> int:
        """What a model is told is taken from what it could read, not from the window; the special ends of others stand in it."""
        ends = len(self._frame([], starts=True, ends=True)[0])
        return min(self._model.max_length - ends, self.longest - (0 if self._answers else ends))

    def windows(self, sizes: Sequence[int]) -> list[list[tuple[int, int, int]]]:
        """The spans in groups that share a window, in reading order, as (span, first cell, end cell).

        Spans are together while they and the text between take no more than half a window; a span longer than
        three quarters of one is filled in several, from left to right.
        """
        half = max(1, self.room // 2)
        plan: list[list[tuple[int, int, int]]] = []
        core = 0
        for i, size in enumerate(sizes):
            if size > max(1, self.room * 3 // 4):
                plan += [[(i, start, min(start + half, size))] for start in range(0, size, half)]
                core = half  # nothing shares a window with it
                continue
            if plan and core < half:
                between = self._between(i, half)
                if core + between + size <= half:
                    plan[-1].append((i, 0, size))
                    core += between + size
                    continue
            plan.append([(i, 0, size)])
            core = size
        return plan

    def window(
        self, group: Sequence[tuple[int, int, int]], tokens: Sequence[Sequence[int]], room: int | None = None, *, whole: bool = False
    ) -> Window:
        """The canvas for a group of spans: their cells and the text between, with as much context as there is room for.

        `tokens`: what every span holds so far; spans before the group are filled. Only text near the group is encoded. `whole`: the given
        text has the quotes that last tokens would bring, for there are none yet.
        """
        room = self.room if room is None else room
        ids: list[int] = []
        places: dict[int, tuple[int, int]] = {}
        for i, start, end in group:
            if i != group[0][0]:
                ids += self._model.encode(self._seen(i, None, whole=whole))
            for cell in range(start, end):
                places[len(ids)] = (i, cell)
                ids.append(tokens[i][cell])
        (first, start, _), (last, _, end) = group[0], group[-1]
        spare = max(0, room - len(ids))
        left, starts = self._left(first, tokens, spare)
        written = list(tokens[first][:start])
        starts = starts and len(left) + len(written) <= spare
        left = (left + written)[-spare:] if spare else []
        right: list[int] = []
        ends = False
        if end == len(tokens[last]):
            right, ends = self._right(last + 1, spare, whole=whole)
        on_left = min(len(left), max(spare // 2, spare - len(right)))
        on_right = min(len(right), spare - on_left)
        starts = starts and on_left == len(left)
        ends = ends and on_right == len(right)
        canvas, put = self._frame(left[len(left) - on_left :] + ids + right[:on_right], starts=starts, ends=ends)
        return Window(canvas, {put + on_left + at: place for at, place in places.items()}, put if self._answers else 0)

    def _between(self, i: int, limit: int) -> int:
        """Tokens between span i - 1 and span i, counted once, or more than `limit` without counting."""
        if len(self.given[i]) > limit * _CHARS_A_TOKEN:
            return limit + 1
        if i not in self._tokens_between:
            self._tokens_between[i] = len(self._model.encode(self._seen(i, None)))
        return self._tokens_between[i]

    def _seen(self, i: int, limit: int | None, *, whole: bool = False) -> str:
        """The text after span i - 1, as the model sees it: at most `limit` characters, cut at a word. `whole`: with a quote that the
        span's last token would bring.
        """
        if self._beyond and i == len(self.spans) and not self.given[i].strip() and not self.spans[-1].code:
            return self._beyond
        text = self.given[i] if limit is None else self.given[i][:limit]
        cut = len(text) < len(self.given[i])
        text = text.rsplit(None, 1)[0] if cut and len(text.split(None, 1)) > 1 else text
        code = any(span.code for span in self.spans[max(0, i - 1) : i + 1])
        text = self._given_as_read(text, before=on_line(self.given[i - 1]) if i else "", code=code)
        if i < len(self.spans) and not cut:
            text = _bare(text, self.spans[i])
        if i > 0 and self.spans[i - 1].brings_quote and not whole:
            text = text[1:] or self._beyond * (i == len(self.spans))
        if i > 0 and not self.spans[i - 1].code and space_after("a", text):
            text = " " + text
        return text

    def _given_as_read(self, text: str, *, before: str, code: bool) -> str:
        return self._known.read(text) if code else self._known.prose(text, before=before)

    def _left(self, i: int, tokens: Sequence[Sequence[int]], spare: int) -> tuple[list[int], bool]:
        """Up to `spare` tokens of the text before span i, and whether that is all there is."""
        limit = spare * _CHARS_A_TOKEN
        text, at = self.given[i][-limit:] if limit else "", i
        while len(text) < limit and at > 0:
            at -= 1
            text = (self.given[at] + "".join(self.texts(at, tokens[at], read=True)) + text)[-limit:]
        whole = at == 0 and len(text) < limit
        if not whole and len(words := text.split(None, 1)) > 1:
            text = text[len(text) - len(words[1]) - 1 :]
        code = self.spans[i].code
        text = self._given_as_read(text.lstrip() if whole and not code else text, before="" if whole else INSIDE, code=code)
        ids = self._model.encode(_bare(text, self.spans[i]))
        return ids[-spare:] if spare else [], whole and len(ids) <= spare

    def _right(self, i: int, spare: int, *, whole: bool) -> tuple[list[int], bool]:
        """Up to `spare` tokens of the text after span i - 1, and whether that is all there is."""
        limit = spare * _CHARS_A_TOKEN
        ids = self._model.encode(self._seen(i, limit, whole=whole))
        return ids[:spare], i == len(self.spans) and len(self.given[i]) <= limit and len(ids) <= spare


def _bare(text: str, span: Span) -> str:
    """The text before a span without the space that its first token brings, whatever stands for that space in the draft."""
    return text if not span.takes_space else text[:-1] if span.code else text.rstrip()


def _as_was(part: Part) -> str:
    """What stands in the draft before it is filled, with GAP_SIGN for a gap and behind a passage."""
    if isinstance(part, Rewrite):
        return "".join(piece.text if isinstance(piece, Pin) else piece for piece in part.pieces) + GAP_SIGN
    return part if isinstance(part, str) else GAP_SIGN
