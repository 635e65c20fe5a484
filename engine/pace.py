"""How many tokens are due, and when: blocks of masks, each with its share of the steps, and the schedule's share as a whole number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from engine.samplers import FREE_RUNNING
from engine.schedules import SCHEDULES, Schedule, told_of_share
from engine.settings import Settings


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a row's grid of times."""

    time: float
    """The diffusion time before the step, from 1 (nothing revealed) down; blocks share it equally, the first one has the start."""
    after: float
    """The diffusion time after the step; 0 is done."""
    block: int
    later: int
    """How many steps of the block come after this one. The last one reveals all that is left of the block."""
    stay: float
    """The chance that a masked token of the block stays masked: (1 - alpha_s - sigma alpha_t) / (1 - alpha_t), which makes
    up for those that are masked again."""
    retake: float
    """The chance that a written token of the block is masked again, sigma <= (1 - alpha_s) / alpha_t (ReMDM, arXiv 2503.00307)."""
    told: float
    """The time that a time-conditioned network is told."""
    due: int = 0
    """How many are to be revealed in it, of those of the block that are masked then."""


class Pace:
    """A row's way through its steps. Rows of one canvas are independent: each has its own."""

    def __init__(
        self,
        settings: Settings,
        counts: Sequence[int],
        times: Tensor | None = None,
        *,
        grows: bool = False,
        schedule: Schedule | None = None,
    ) -> None:
        """`counts`: the masks in each block. `times`: a falling grid to use in place of the settings' own, for all blocks together.

        `schedule`: the model's own form of the settings' schedule.
        """
        self._rounding = settings.rounding
        self._skips = settings.rounding == "nearest" and settings.sampler not in FREE_RUNNING
        times = grid(settings, counts, grows=grows) if times is None else times
        self._steps = _steps(schedule or SCHEDULES[settings.schedule], times, len(counts), settings.remasking, exact=not self._skips)
        self._at = 0

    def next(self, block: int, count: int) -> Step:
        """The next step for a row whose first block with masks is `block` and holds `count` of them.

        Steps that are left of blocks done early are passed over, and under `nearest` those in which none are due: as no
        prediction would be used, none is made.
        """
        while self._steps[self._at].block < block:
            self._at += 1
        while True:
            step = self._steps[self._at]
            self._at = min(self._at + 1, len(self._steps) - 1)
            due = self._due(step, count)
            if due or not self._skips:
                return replace(step, due=due)

    def _due(self, step: Step, count: int) -> int:
        if not step.later:
            return count
        share = count * (1 - step.stay)
        match self._rounding:
            case "every_step":
                return max(1, min(count - round(count * step.stay), count - step.later))
            case "nearest":
                return min(count, round(share))
            case "up":
                return min(count, math.ceil(share - _NOISE))
            case "down":
                return int(share + _NOISE)


_NOISE = 1e-9
"""What a share may be off by because it is a product of float64 numbers."""


def steps_of(settings: Settings, counts: Sequence[int], *, grows: bool = False) -> list[int]:
    """Steps for each block of so many masks: equal shares, the remainder to the first ones, none where nothing is masked.

    No more than there are masks where every step reveals one, unless the masks may still become more.
    """
    each, more = divmod(settings.steps, max(1, len(counts)))
    shares = [each + (block < more) for block in range(len(counts))]
    one_a_step = settings.rounding == "every_step" and settings.sampler not in FREE_RUNNING and not grows
    return [min(share, count) if one_a_step or not count else share for share, count in zip(shares, counts, strict=True)]


def blocks_of(writable: Tensor, settings: Settings, *, size: int = 0) -> Tensor:
    """(B, L) bool -> (B, L) long: the semi-autoregressive block of each writable place, counted from the left (LLaDA, arXiv
    2502.09992). Where there are more blocks than steps, neighbours are one block. Other places count to the block at their left.

    size: the blocks that the model itself is made of, so many places each from the start of the canvas, in place of the settings'.
    Those with nothing to write are not counted.
    """
    ranks = (writable.long().cumsum(-1) - 1).clamp(min=0)
    if size:
        places = torch.arange(writable.shape[-1]) // size
        held = torch.zeros(len(writable), int(places[-1]) + 1, dtype=torch.long).index_add_(1, places, writable.long()) > 0
        blocks = (held.cumsum(-1) - 1).clamp(min=0)[:, places]
    elif settings.block_length:
        blocks = ranks // settings.block_length
    else:
        return torch.zeros_like(ranks)
    number = blocks[:, -1:] + 1
    return torch.where(number > settings.steps, blocks * settings.steps // number, blocks)


def counts_of(blocks: Tensor, masked: Tensor) -> list[int]:
    """(L,) blocks, (L,) bool -> the masks in each block of one row."""
    return torch.bincount(blocks[masked], minlength=int(blocks.max()) + 1).tolist()


def planned_steps(settings: Settings, masks: int, *, grows: bool = False) -> int:
    """How many steps a run may take that begins with so many masks and nothing written."""
    row = torch.ones(1, masks, dtype=torch.bool)
    return sum(steps_of(settings, counts_of(blocks_of(row, settings)[0], row[0]), grows=grows)) if masks else 0


def even_grid(steps: int) -> Tensor:
    """(steps + 1,) equal times from 1 (all masked) to 0 (done)."""
    return torch.linspace(1, 0, steps + 1, dtype=torch.float64)


def grid(settings: Settings, counts: Sequence[int], *, grows: bool = False) -> Tensor:
    """The falling float64 times, from 1 to 0, of a row with so many masks in each block.

    A block without steps is passed over from one time to the next: there is nothing to do in it.
    """
    number, times = len(counts), [torch.ones(1, dtype=torch.float64)]
    for block, steps in enumerate(steps_of(settings, counts, grows=grows)):
        times.append((number - 1 - block + even_grid(max(1, steps))[1:]) / number)
    return torch.cat(times)


def _steps(schedule: Schedule, times: Tensor, number: int, remasking: float, *, exact: bool) -> list[Step]:
    """The steps between the times of a grid that `number` blocks share. `exact`: the schedule is computed in float64.

    In float32 halves of tokens fall as in the published tables of counts, which rounding noise decides there (dllm).
    """
    middle = (times[:-1] + times[1:]) / 2
    blocks = (number - 1 - (middle * number).floor().long()).clamp(0, number - 1)
    left = number - 1 - blocks
    begin, end = ((t * number - left).clamp(0, 1) for t in (times[:-1], times[1:]))
    if exact:
        stay = schedule.move_chance(end) / schedule.move_chance(begin)
    else:
        stay = ((1 - schedule.alpha(end.float())) / (1 - schedule.alpha(begin.float()))).double()
    # The posterior that masks written tokens again keeps the marginals of the one that doesn't (ReMDM, its cap).
    alpha = schedule.alpha(begin)
    retake = torch.minimum(torch.full_like(alpha, remasking), schedule.move_chance(end) / alpha).where(end > 0, 0.0)
    stay = stay - retake * alpha / schedule.move_chance(begin)
    # What a network knows of time is the share of masks in the whole canvas.
    told = told_of_share((left + schedule.move_chance(begin)) / number)
    later = [0] * len(middle)
    for at, (this, after) in reversed(list(enumerate(pairwise(blocks.tolist())))):
        later[at] = later[at + 1] + 1 if this == after else 0
    columns = (times[:-1], times[1:], blocks, torch.tensor(later), stay, retake, told)
    return [Step(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]
