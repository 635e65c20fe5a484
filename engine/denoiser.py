"""The one narrow protocol: what every model looks like to the rest of the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

    from engine.caches import ContextCache


@runtime_checkable
class Denoiser(Protocol):
    """A network that predicts the tokens behind the masks. Its family's quirks stay behind these methods.

    What a model may offer besides is read where it is used, and may be absent: `device`, where its tensors are wanted
    (engine.context); `recommended`, the settings that are best for it (engine.settings); `learned_schedule`, the times of `learned`
    (engine.schedules); `reveal_order`, the score of `learned_order` (engine.reveal_order); `length_bias`, what CAL corrects
    (engine.lengths); `lexicon`, the words of its texts (engine.spelling); `beyond`, what a draft is read to go on with where a gap ends
    it (engine.canvas); `evened`, whether its texts were, so that drafts have to be (engine.lines); `expand_id` and `delete_id`, the tokens
    by which a gap changes its length (engine.rules); `answers`, whether it was trained to answer people (Answers).
    """

    name: str
    """How the model is called on the page."""
    mask_id: int
    vocab_size: int
    """Width V of a row of logits, the mask included."""
    max_length: int
    """The longest canvas, in tokens, that the network was made for."""
    time_conditioned: bool
    """Whether the prediction depends on `t` beyond the masks; when it does not, it may be used again while nothing changed."""
    suppressed: Sequence[int]
    """Token ids that the reverse process must never write: the mask, control tokens, ids without a text."""

    def encode(self, text: str) -> list[int]:
        """Token ids of a text; no special tokens are added."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids; bytes that make no character become U+FFFD."""
        ...

    def frame(self, ids: list[int], *, starts: bool, ends: bool) -> tuple[list[int], int]:
        """Add the family's special ends to a canvas of given tokens.

        `starts`/`ends` say whether the canvas begins/ends where the document does.
        Returns the ids with the special tokens and how many were put in front.
        """
        ...

    def logits(self, ids: Tensor, positions: Tensor, *, t: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
        """(B, L) ids, (B, L) bool positions with N True -> (N, V) float32 raw logits on the device of `ids`: row i
        predicts the i-th marked position (row-major). `t`: (B,) times in [0, 1] of log-linear noise, which is the share of tokens that
        are masked there; a time-conditioned network is told its noise level, sigma = -log(1 - (1 - 1e-3) t), and others don't look at it
        (None: the share of masks in each row). `attend`: (B, L) bool, False = padding (None: everything is attended to).
        """
        ...


@runtime_checkable
class Answers(Denoiser, Protocol):
    """A denoiser that may have been trained to answer people: then it is asked to fill the draft, and can be told how."""

    answers: bool
    """Whether it was."""

    def frame(self, ids: list[int], *, starts: bool, ends: bool, instruction: str = "") -> tuple[list[int], int]:
        """As every model's; `instruction` is what it is told besides."""
        ...


@runtime_checkable
class KnowsLengths(Denoiser, Protocol):
    """A denoiser that was trained to tell how long a gap is. What others think is estimated by CAL (engine.lengths)."""

    def gap_lengths(self, canvas: Tensor, gap: Tensor, *, attend: Tensor | None = None) -> Tensor:
        """(B, L) ids, (B, L) bool one mask a row, a gap of any length -> (B, N) float32 log-probabilities of its holding
        1, 2, ... N tokens. `attend` as for `logits`.
        """
        ...


@runtime_checkable
class KeepsContext(Denoiser, Protocol):
    """A denoiser that can compute some places of a canvas beside what it made of the others before (engine.context)."""

    kept_bytes: int
    """What it keeps for that, of each token of a canvas."""

    def read_from(self, positions: Tensor, attend: Tensor | None) -> Tensor:
        """(B, L) bool, the places whose rows of the network predict these (B, L) bool positions."""
        ...

    def logits_beside(
        self, ids: Tensor, positions: Tensor, context: ContextCache, *, attend: Tensor | None = None, guidance: float = 0.0
    ) -> Tensor:
        """As `logits`, but only the places that `context` names are computed, those that the positions are read from among them. With
        guidance the rows come in two halves, and the logits are `forward.guided` of them.
        """
        ...


@runtime_checkable
class WritesInBlocks(Denoiser, Protocol):
    """A denoiser that predicts a block of places from the blocks before it: they are filled from left to right."""

    block_size: int
    """Places in a block; the first one begins with the canvas."""
