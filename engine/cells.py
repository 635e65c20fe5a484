"""Every cell of a draft as it stands, step by step: what the loop did to the canvas, told in the page's terms."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.canvas import Canvas, Window
from engine.casing import HEADLINE
from engine.denoiser import Denoiser
from engine.frames import Candidate, Cell, State
from engine.growth import NEW
from engine.reverse import Move
from engine.settings import SettingsError
from engine.vocabulary import vocabulary

ALTERNATIVES = 5
GUESSED = 256
"""Of drafts with more cells than this no guesses are told: each frame would tell of hundreds."""
UNLIKE = "These cells are not those of this draft and this model: go on from a run of the same draft, or fill it anew."


@dataclass(slots=True)
class _Slot:
    """What is known of one cell of a span."""

    id: int
    token: int
    shown: str = ""
    probability: float = 0.0
    alternatives: tuple[tuple[str, float], ...] = ()
    retaken: bool = False
    """It held a token that was taken back, and holds none since."""


class Cells:
    """Every cell of a draft, and what changed since the last frame."""

    def __init__(self, model: Denoiser, canvas: Canvas, sizes: Sequence[int], *, guesses: bool = False) -> None:
        """`guesses`: whether masked cells tell what the model would write there, too, of drafts with GUESSED cells at most."""
        self._guesses = guesses and sum(sizes) <= GUESSED
        self._canvas, self._mask = canvas, model.mask_id
        self._texts_of = vocabulary(model).texts
        self._slots: list[list[_Slot]] = [[] for _ in sizes]
        self._places: list[tuple[int, int]] = []
        """(gap, index in the gap) of each span's first cell."""
        self._pins: list[Cell] = []
        self._others: list[dict[tuple[int, int], tuple[int, float]]] = []
        """Of each candidate that is not kept, the tokens and probabilities that it has elsewhere than the one that is."""
        self._ids = 0
        index, gap = 0, -1
        for item in canvas.items:
            if isinstance(item, str):
                continue
            here = canvas.gap_of(item)
            index = index if here == gap else 0
            gap = here
            if isinstance(item, int):
                self._places.append((gap, index))
                self._slots[item] = [self._new() for _ in range(sizes[item])]
                index += sizes[item]
            else:
                self._pins.append(Cell(self._new().id, gap, index, item.text, -1, 1.0, "pinned"))
                index += 1

    def begin(self, start: Collection[Cell]) -> None:
        """Take over what cells held in an earlier run; SettingsError where what they held reads otherwise here: it was another model's."""
        held = {(cell.gap, cell.index): cell for cell in start}
        for i, (slots, (gap, index)) in enumerate(zip(self._slots, self._places, strict=True)):
            for c, slot in enumerate(slots):
                cell = held[gap, index + c]
                if cell.token != self._mask:
                    slot.token, slot.probability, slot.alternatives = cell.token, cell.probability, cell.alternatives
            self._show(i, slots)
            if any(slot.token != self._mask and slot.shown != held[gap, index + c].text for c, slot in enumerate(slots)):
                raise SettingsError(UNLIKE)

    @property
    def tokens(self) -> list[list[int]]:
        """What every span holds, the mask id where nothing is written yet."""
        return [[slot.token for slot in slots] for slots in self._slots]

    def all(self) -> tuple[Cell, ...]:
        """Every cell, in reading order."""
        return self._in_order(self._slots)

    def text(self) -> str:
        """The whole draft as it stands."""
        return self._text(self._slots)

    def others(self) -> tuple[Candidate, ...]:
        """The candidates that are not kept, as far as the windows have any; where one has none left, what is kept stands."""
        return tuple(self._candidate(unlike) for unlike in self._others)

    def had(self, window: Window, x: Tensor, *, seen: frozenset[str]) -> Tensor:
        """(L,) the window, filled -> (L,) bool: its places in gaps that would read as one of the texts in `seen`."""
        slots = self._with({place: (int(x[position]), 1.0) for position, place in window.cells.items()})
        gaps = {self._places[i][0] for i in window.spans}
        texts: dict[int, str] = {}
        for cell in self._in_order([own if gap in gaps else [] for own, (gap, _) in zip(slots, self._places, strict=True)]):
            texts[cell.gap] = texts.get(cell.gap, "") + cell.text
        old = torch.zeros(x.shape, dtype=torch.bool)
        old[[position for position, (i, _) in window.cells.items() if texts[self._places[i][0]].strip() in seen]] = True
        return old

    def _candidate(self, unlike: dict[tuple[int, int], tuple[int, float]]) -> Candidate:
        slots = self._with(unlike)
        return Candidate(self._text(slots), self._in_order(slots))

    def _with(self, unlike: dict[tuple[int, int], tuple[int, float]]) -> list[list[_Slot]]:
        """The slots with other tokens, and their probabilities, in some places."""
        slots = list(self._slots)
        for i in {i for i, _ in unlike}:
            slots[i] = [replace(slot) for slot in slots[i]]
        for (i, c), (token, probability) in unlike.items():
            slots[i][c] = _Slot(slots[i][c].id, token, probability=probability)
        for i in {i for i, _ in unlike}:
            self._show(i, slots[i])
        return slots

    def _show(self, i: int, slots: Sequence[_Slot]) -> None:
        """What the tokens of span i read as."""
        for slot, text in zip(slots, self._canvas.texts(i, [slot.token for slot in slots]), strict=True):
            slot.shown = text

    def _text(self, slots: list[list[_Slot]]) -> str:
        """The whole draft with these slots."""
        shown = [[slot.shown for slot in own] for own in slots]
        return self._canvas.text(shown, [[slot.token == self._mask for slot in own] for own in slots])

    def _in_order(self, slots: list[list[_Slot]]) -> tuple[Cell, ...]:
        """The cells of these slots, and the pins, in reading order."""
        written = [
            self._cell(i, c, slot, "masked" if slot.token == self._mask else "revealed")
            for i, own in enumerate(slots)
            for c, slot in enumerate(own)
        ]
        return tuple(sorted([*written, *self._pins], key=lambda cell: (cell.gap, cell.index)))

    def take(self, window: Window, move: Move) -> tuple[Window, tuple[Cell, ...], tuple[int, ...]]:
        """Take over what a step did: the window as it is now, the cells that changed, and the gaps that got or lost cells.

        Cells are in reading order; of gaps that got or lost some, all are among them.
        """
        origin = list(range(move.x.shape[-1])) if move.origin is None else move.origin[0].tolist()
        relaid: set[int] = set()
        if move.origin is not None:
            window, relaid = self._relay(window, move.x[0].tolist(), origin)
        states: dict[tuple[int, int], State] = {}
        revealed = move.revealed[0].nonzero()[:, 0].tolist()
        asked = {place: row for row, place in enumerate(move.positions[0].nonzero()[:, 0].tolist())}
        row_of = {position: asked[origin[position]] for position in window.cells if origin[position] in asked}
        self._tell(window, move, revealed, row_of)
        for position in revealed:
            slot = self._slot(window.cells[position])
            slot.token, slot.probability, slot.retaken = int(move.x[0, position]), float(move.probability[0, position]), False
            states[window.cells[position]] = "revealed"
        for position in move.retaken[0].nonzero()[:, 0].tolist():
            slot = self._slot(window.cells[position])
            slot.token, slot.probability, slot.retaken = self._mask, float(move.probability[0, position]), True
            slot.alternatives = ()
            states[window.cells[position]] = "retaken"
        if self._guesses:
            states |= self._guess(window, move, row_of)
        for i in {i for i, _ in states} | relaid:
            texts = self._canvas.texts(i, [slot.token for slot in self._slots[i]])
            for c, (slot, text) in enumerate(zip(self._slots[i], texts, strict=True)):
                if i in relaid:
                    states.setdefault((i, c), "masked" if slot.token == self._mask else "revealed")
                if text != slot.shown:
                    slot.shown = text
                    states.setdefault((i, c), "revealed")
        held = Counter(i for i, _ in window.cells.values())
        whole = {i for i, cells in held.items() if cells == len(self._slots[i])}  # of a part, the rest was written beside what is kept
        for rank, other in enumerate(move.others):
            if rank == len(self._others):
                self._others.append({})
            for position, (i, c) in window.cells.items():
                token = int(other.x[position])
                if i in whole and token != self._slots[i][c].token:
                    self._others[rank][i, c] = token, float(other.probability[position])
        changed = tuple(self._cell(i, c, self._slots[i][c], states[i, c]) for i, c in sorted(states))
        return window, changed, tuple(sorted(self._places[i][0] for i in relaid))

    def _slot(self, place: tuple[int, int]) -> _Slot:
        i, c = place
        return self._slots[i][c]

    def _guess(self, window: Window, move: Move, row_of: Mapping[int, int]) -> dict[tuple[int, int], State]:
        """What the model would write at the places that are still open, as far as it was asked; the states of their cells."""
        opened = [position for position in row_of if self._slot(window.cells[position]).token == self._mask]
        self._tell(window, move, opened, row_of)
        states: dict[tuple[int, int], State] = {}
        for place in (window.cells[position] for position in opened):
            slot = self._slot(place)
            slot.probability = slot.alternatives[0][1] if slot.alternatives else 0.0
            states[place] = "retaken" if slot.retaken else "masked"
        return states

    def _tell(self, window: Window, move: Move, positions: Sequence[int], row_of: Mapping[int, int]) -> None:
        """The alternatives of some places that the model was asked for, by their rows of its answer; one look at the device for all."""
        if not positions:
            return
        best = move.log_probs[[row_of[position] for position in positions]].topk(min(ALTERNATIVES, move.log_probs.shape[-1]))
        for position, chances, tokens in zip(positions, best.values.tolist(), best.indices.tolist(), strict=True):
            i, c = window.cells[position]
            texts = ((self._texts_of[token], chance) for token, chance in zip(tokens, chances, strict=True) if chance > -math.inf)
            self._slots[i][c].alternatives = tuple((self._alone(i, c, text), math.exp(chance)) for text, chance in texts if text)

    def _alone(self, i: int, c: int, text: str) -> str:
        """A token's text as it could stand in cell c of span i: without the space, or the quote, that the given text has."""
        case = HEADLINE if self._canvas.spans[i].capitals else self._canvas.style.case
        text = case.alone(text.strip(" ") if c == 0 else text)
        return text.removesuffix(self._canvas.spans[i].brings_quote) if c == len(self._slots[i]) - 1 else text

    def _relay(self, window: Window, ids: list[int], origin: list[int]) -> tuple[Window, set[int]]:
        """Lay the cells of a window out anew where the loop changed the length of its rows, and say in which spans."""
        slots: dict[int, list[_Slot]] = {}
        first = {i: min(c for j, c in window.cells.values() if j == i) for i in window.spans}
        cells: dict[int, tuple[int, int]] = {}
        here = -1
        for position, place in enumerate(origin):
            if place != NEW:
                here = window.cells[place][0] if place in window.cells else -1
            if here < 0:
                continue
            mine = slots.setdefault(here, [])
            cells[position] = (here, first[here] + len(mine))
            mine.append(self._new() if place == NEW else self._slots[here][window.cells[place][1]])
        changed = set()
        for i in window.spans:
            now = slots.get(i, [])
            end = first[i] + sum(j == i for j, _ in window.cells.values())
            if [slot.id for slot in now] != [slot.id for slot in self._slots[i][first[i] : end]]:
                changed.add(i)
                self._slots[i][first[i] : end] = now
        return replace(window, ids=ids, cells=cells), changed

    def _new(self) -> _Slot:
        """A masked cell with an id that no cell had before."""
        self._ids += 1
        return _Slot(self._ids - 1, self._mask)

    def _cell(self, i: int, c: int, slot: _Slot, state: State) -> Cell:
        gap, index = self._places[i]
        return Cell(slot.id, gap, index + c, slot.shown, slot.token, slot.probability, state, slot.alternatives)
