"""What was written is read over: each token is judged with itself left out and all others there (pseudo-log-likelihood,
arXiv 1910.14659), and so are the given tokens beside a gap, to which a fill has to lead.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.context import Surroundings
from engine.denoiser import Denoiser
from engine.forward import subs_log_probs
from engine.rarity import echoes, said_by
from engine.repetition import repeats
from engine.step import Constraint, constrained

ROWS = 4
"""Readings of what was written to judge all its tokens: in each every fourth is left out, or one where there are fewer."""
APART = 16
"""Given tokens between two gaps from which on each is judged, and exchanged, by itself."""
MOST_AT_ONCE, MOST_NUMBERS = 4, 2**25
"""Canvases, and log-probabilities of several canvases, that are held at a time."""
EDGE = 2
"""Given tokens on each side of a gap that are judged too: a fill has to lead there."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How each of the n tokens that were written into a row looks without itself."""

    log_probs: Tensor
    """(n, V), -inf where suppressed or forbidden by the constraint; where the model is."""
    doubts: list[float]
    """Nats by which another token would fit better; infinite for what the constraint rules out by now."""
    own: Tensor
    """(n,) the token's own log-probability, whatever the constraint says; on the CPU."""
    worth: Tensor
    """(L,) how well each place reads, 0 where it isn't judged: the log-probabilities of what was written and of the given tokens beside
    it, less what repetition costs; on the CPU."""


class Reader:
    """Reads fills of one canvas over."""

    def __init__(
        self, model: Denoiser, blank: Tensor, written: Tensor, rows: int = 1, *, refresh: int, repetition: float, presence: float = 0.0
    ) -> None:
        """(1, L) the canvas with masks where it is to be `written`, (1, L) bool; how many `rows` of it are read together."""
        self._model, self._repetition, self._presence = model, repetition, presence
        edges = _beside(written) & (blank != model.mask_id)
        edges[0] &= ~torch.isin(blank[0], torch.tensor(sorted(model.suppressed)))  # no document's start, which is not text
        self._said = said_by(written)[0] & (blank[0] != model.mask_id) | written[0]
        self._written, self._judged = written[0], (written | edges)[0].nonzero()[:, 0]
        # Read without the given tokens beside the gap, too: what the text around would say having seen them would give them away.
        self._at_once = max(1, min(rows, MOST_AT_ONCE, MOST_NUMBERS // (max(1, len(self._judged)) * model.vocab_size)))
        self._around = Surroundings(model, refresh, blank.masked_fill(edges, model.mask_id), written | edges, ROWS * self._at_once)

    def read(self, x: Tensor, constraint: Constraint | None) -> list[Reading]:
        """(B, L) versions of the canvas, filled: how each reads."""
        return [reading for rows in x.split(self._at_once) for reading in self._read(rows, constraint)]

    def _read(self, x: Tensor, constraint: Constraint | None) -> list[Reading]:
        places = self._judged
        groups = [places[g :: min(ROWS, len(places))] for g in range(min(ROWS, len(places)))]
        masked = torch.zeros(len(groups), x.shape[-1], dtype=torch.bool)
        for row, own in enumerate(groups):
            masked[row, own] = True
        rows = x.repeat_interleave(len(groups), 0).masked_fill(masked.repeat(len(x), 1), self._model.mask_id)
        found = subs_log_probs(self._around.logits(rows, masked.repeat(len(x), 1)), self._model.suppressed)
        parts = zip(x, found.split(len(places)), rows.split(len(groups)), strict=True)
        return [self._reading(own, raw, versions, masked, constraint) for own, raw, versions in parts]

    def _reading(self, x: Tensor, raw: Tensor, versions: Tensor, masked: Tensor, constraint: Constraint | None) -> Reading:
        """(L,) a canvas and (n, V) what its versions say of the places that are `masked` in them, row-major."""
        places = masked.nonzero()[:, 1]
        ours = self._written[places]
        order = places[ours].argsort()
        own = raw.gather(-1, x[places][:, None].to(raw.device))[:, 0].cpu()
        log_probs = constrained(raw[ours.to(raw.device)], versions, masked & self._written, constraint)[order.to(raw.device)]
        echo = self._presence * echoes(self._model, x, self._said) if self._presence else torch.zeros(x.shape)
        worth = torch.zeros(x.shape).index_put((places,), own) - self._repetition * self._repeated(x).float() - echo
        return Reading(log_probs, _doubts(log_probs, x[self._written], echo[self._written]), own[ours][order], worth)

    def _repeated(self, x: Tensor) -> Tensor:
        """(L,) bool: the tokens written that say again what stands nearby."""
        places = self._written.nonzero()[:, 0]
        index, tokens = repeats(x, torch.ones_like(x, dtype=torch.bool), places)
        found = torch.zeros_like(self._written)
        found[places[index[tokens == x[places[index]]]]] = True
        return found


def _doubts(log_probs: Tensor, tokens: Tensor, echo: Tensor) -> list[float]:
    """(n, V), (n,) the tokens written and (n,) what their words cost as echoes -> by how much the best other token would fit better."""
    first, second = log_probs.topk(2, -1).values.cpu().unbind(-1)
    kept = log_probs.gather(-1, tokens[:, None].to(log_probs.device))[:, 0].cpu()
    other = torch.where(kept == first, second, first)
    return (other - kept + echo).nan_to_num(0.0, posinf=torch.inf).clamp_min(0.0).tolist()  # where nothing is left nothing is doubted


def _beside(written: Tensor) -> Tensor:
    """(1, L) bool -> (1, L) bool: within EDGE of what is written, and not written."""
    near: Tensor = F.max_pool1d(written.float(), 2 * EDGE + 1, stride=1, padding=EDGE) > 0
    return near & ~written


def passages(written: Tensor) -> list[Tensor]:
    """(L,) bool -> for each passage that is judged by itself, (L,) bool: its places, and those of the given text beside it.

    What is written less than APART tokens from what is written before belongs to the same passage.
    """
    places = written.nonzero()[:, 0]
    number = torch.cat((torch.zeros(1, dtype=torch.long), (places.diff() > APART).long().cumsum(0)))
    near = torch.arange(len(written)) - places[:, None]
    return [(near[number == k].abs() <= EDGE).any(0) for k in range(int(number[-1]) + 1)]
