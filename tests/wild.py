"""A model and drafts for random tests: any byte may be written, gaps may be anywhere, any Unicode may be given."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import strategies as st

from engine.backends.toy import Toy
from engine.draft import Draft, DraftError, Gap, Length, Pin, Rewrite
from engine.hub.installed import CONFIG, EMBEDDED
from engine.samplers import SAMPLERS
from engine.schedules import SCHEDULES
from engine.settings import Settings


class Wild(Toy):
    """The toy without its manners: it may write any byte, so control characters and halves of characters too."""

    def __init__(self, max_length: int, *, tame: bool = False) -> None:
        super().__init__()
        if not tame:
            self.suppressed: Sequence[int] = (256,)
        self.max_length = max_length
        # All bytes are about equally likely.
        self._from_left, self._from_right = self._from_left * 0.2, self._from_right * 0.2


_PROSE = [
    "The lamp ",
    "word",
    " and then ",
    '"',
    "“",
    "” ",
    "’s ",
    ". ",
    ", ",
    "(",
    ")",
    "\n",
    "\r\n",
    "\t",
    " ",
    "  ",
    "—",
    "…",
    "/",
    "naïve ",
]
_REWRITTEN = ["the", "old", "house,", "stood", "quite", "3.5", "—", "“still”", "naïve", "été", "🙂"]
_anything = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=6)
_given = st.lists(st.one_of(st.sampled_from(_PROSE), st.sampled_from(_PROSE), _anything), min_size=1, max_size=4).map("".join)
_words = st.lists(st.sampled_from(_REWRITTEN), min_size=1, max_size=3)


@st.composite
def _gaps(draw: st.DrawFn) -> Gap:
    if draw(st.integers(0, 3)) == 0:
        return Gap()
    low, more = draw(st.integers(1, 5)), draw(st.sampled_from([0, 0, 0, 2]))
    return Gap(Length(low, low + more, draw(st.sampled_from(["words", "tokens"]))))


@st.composite
def _rewrites(draw: st.DrawFn) -> Rewrite:
    pieces: list[str | Pin] = []
    for number in range(draw(st.integers(1, 4))):
        text = " ".join(draw(_words))
        if number:
            pieces.append(draw(st.sampled_from([" ", " ", "  ", "\n", "\r\n", ", "])))
        pieces.append(Pin(text) if draw(st.booleans()) else text)
    return Rewrite(tuple(pieces))


@st.composite
def drafts(draw: st.DrawFn) -> Draft:
    """Drafts of up to three marks that their own rules accept."""
    parts: list[str | Gap | Rewrite] = [draw(_given)] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(0, 3))):
        parts.append(draw(st.one_of(_gaps(), _gaps(), _rewrites())))
        parts.append(draw(_given))
    if draw(st.booleans()) and len(parts) > 1:
        parts.pop()
    try:
        return Draft(tuple(parts))
    except DraftError:  # a word count beside a script without spaces, and the like: then a plainer draft
        return Draft(tuple(p if isinstance(p, str) else Gap(Length(3, 3, "tokens")) for p in parts))


_anyhow = st.builds(
    Settings,
    sampler=st.sampled_from(sorted(SAMPLERS)),
    schedule=st.sampled_from(sorted(SCHEDULES)),
    steps=st.integers(1, 6),
    temperature=st.sampled_from([0.0, 0.7, 1.5]),
    top_p=st.sampled_from([1.0, 0.9]),
    top_k=st.sampled_from([0, 0, 5]),
    choice=st.sampled_from(["deterministic", "stochastic", "hybrid"]),
    scores=st.sampled_from(["model", "tempered"]),
    rounding=st.sampled_from(["every_step", "every_step", "nearest", "up", "down"]),
    block_length=st.sampled_from([0, 0, 1, 4]),
    guidance=st.sampled_from([0.0, 0.0, 1.0, 1.5]),
    presence=st.sampled_from([0.0, 0.0, 3.0]),
    refresh=st.sampled_from([4, 1, 2]),
    remasking=st.sampled_from([0.0, 0.0, 0.3]),
    revise=st.sampled_from([0, 0, 0, 0, 0, 0, 0, 1]),
    candidates=st.sampled_from([1, 1, 1, 1, 1, 1, 1, 2]),
    seed=st.integers(0, 2**32),
)
_recommended = st.builds(
    replace,
    st.just(Settings.of(json.loads((EMBEDDED / CONFIG).read_text(encoding="utf-8"))["settings"])),
    steps=st.integers(1, 6),
    seed=st.integers(0, 2**32),
)
settings = st.integers(0, 31).flatmap(lambda one: _anyhow if one else _recommended)
"""Anyhow, and now and then as the embedded model is filled."""


def controls(text: str) -> list[str]:
    """Characters that no fill may hold."""
    return [c for c in text if c == "\ufffd" or (c not in "\r\n" and unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp"))]
