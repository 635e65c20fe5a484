"""What the reverse process tells the world: plain strings and floats, one Frame a step. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

State = Literal["masked", "revealed", "pinned", "retaken"]

MASKED_TEXT = "░"
"""How a cell that is still masked is written in `Frame.text`, one sign a cell."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One place of a gap: a token of the canvas, or one of the writer's pins in a passage to rewrite.

    The texts of a gap's cells, joined in the order of `index`, are exactly what stands in the gap:
    the spaces at its edges and around its pins are decided by the canvas and are part of some cell.
    """

    id: int
    """Steady over all frames of a run, unique in the draft."""
    gap: int
    """Which gap of the draft, counted from 0 in reading order (rewrites count as gaps)."""
    index: int
    """Where in the gap, from 0."""
    text: str
    """What is shown; empty while the cell is masked."""
    token: int
    """The token id; the mask id while masked, -1 for a pin."""
    probability: float
    """The model's probability of this token when it was revealed, or without itself where it came with the best of several fills; of the
    best guess while masked; 1.0 for a pin."""
    state: State
    alternatives: tuple[tuple[str, float], ...] = ()
    """The likeliest tokens for this cell as (text, probability), best first; of a masked cell only where guesses are asked for."""

    @classmethod
    def of(cls, told: object) -> Cell:
        """A cell as a message told it; what else a reader keeps of it is left out. ValueError when it is none."""
        try:
            values = {field.name: told[field.name] for field in fields(cls)}  # type: ignore[index]
            values["alternatives"] = tuple((str(text), float(chance)) for text, chance in values["alternatives"])
            whole = all(type(values[name]) is int for name in ("id", "gap", "index", "token"))
            if not whole or not isinstance(values["text"], str) or values["state"] not in get_args(State):
                raise TypeError
            return cls(**{**values, "probability": float(values["probability"])})
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            raise ValueError("A cell must be given as a frame told it, with all of its fields.") from error


@dataclass(frozen=True, slots=True)
class Candidate:
    """A fill of the whole draft that is not kept: where several were written side by side, the next best at each place."""

    text: str
    """The whole draft with it."""
    cells: tuple[Cell, ...]
    """Every cell, in reading order."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One step of the reverse process. Frame 0 holds every cell, later ones only those that changed, or that the model was asked for
    where its guesses are told.

    A gap may get and lose cells on the way, where a model chooses its length while it writes (`relaid`). A cell that lives on keeps
    its id, whatever its index becomes; a new one gets an id that no cell had before.
    """

    step: int
    """From 0 (nothing revealed yet) to `steps`."""
    steps: int
    """The number of steps planned; a sampler that finishes early ends with step == steps all the same."""
    time: float
    """The diffusion time t in [0, 1] after this step: 1 is all masked, 0 is done."""
    candidate: int
    """Which of `Result.done`'s candidates this tells of: 0, the one that is kept. (Others are told when they are finished.)"""
    text: str
    """The whole draft as it stands, with MASKED_TEXT for each masked cell."""
    cells: tuple[Cell, ...]
    relaid: tuple[int, ...] = ()
    """Gaps that got or lost cells in this step: all their cells are among `cells`, and what was known of them before is gone."""
    others: tuple[Candidate, ...] = ()
    """With the last frame: the candidates that are not kept, best first."""
    note: str = ""
    """With frame 0: a sentence on what not to expect of this draft's fills; mostly empty."""

    def as_dict(self) -> dict[str, Any]:
        """The frame as the JSON object that the command line and the API send; the others and the note come with `Result.done`."""
        told = asdict(replace(self, others=()))
        del told["others"], told["note"]
        return told


class Result:
    """What a run has come to: give it every frame, in order."""

    def __init__(self) -> None:
        self.text = ""
        """The whole draft as it stands."""
        self.cells: dict[int, Cell] = {}
        """Every cell as it stands, by id."""
        self.others: tuple[Candidate, ...] = ()
        """What else was written, best first."""
        self.note = ""
        """What not to expect of the fills."""

    def take(self, frame: Frame) -> None:
        """Take in the next frame."""
        self.text, self.others, self.note = frame.text, frame.others, frame.note or self.note
        for cell in [cell for cell in self.cells.values() if cell.gap in frame.relaid]:
            del self.cells[cell.id]
        self.cells.update((cell.id, cell) for cell in frame.cells)

    def done(self, *, with_text: bool = True) -> dict[str, Any]:
        """The last message of a run, as a JSON object: the candidates, the one that is kept first, the others with their cells.

        Without texts for a reader that holds the draft and the cells. With the note, if there is one.
        """
        text = {"text": self.text} if with_text else {}
        kept = {**text, "score": score(self.cells.values())}
        others = [{**({"text": other.text} if with_text else {}), "cells": [asdict(cell) for cell in other.cells]} for other in self.others]
        note = {"note": self.note} if self.note else {}
        return {"done": True, **text, "candidates": [kept, *others], **note}


def score(cells: Iterable[Cell]) -> float:
    """How sure the model was of what it wrote: the geometric mean of its tokens' probabilities; 1.0 where it wrote nothing."""
    logs = [math.log(max(cell.probability, 1e-12)) for cell in cells if cell.state != "pinned"]
    return math.exp(sum(logs) / len(logs)) if logs else 1.0
