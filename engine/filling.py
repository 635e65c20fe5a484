"""Fill a draft: from marks to frames. The page, the command line, the API and the tests all consume this stream."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator
from functools import partial
from typing import Any

import torch

from engine import keywords
from engine.bans import Bans
from engine.canvas import Canvas
from engine.cells import Cells
from engine.denoiser import Denoiser
from engine.draft import Draft
from engine.frames import Cell, Frame, Result
from engine.lengths import decide_lengths
from engine.lexicon import Lexicon
from engine.resumption import resumed
from engine.revision import revised, steps_planned
from engine.rules import Rules, elastic, growth_of, room_to_grow
from engine.samplers import SAMPLERS
from engine.schedules import SCHEDULES
from engine.settings import Settings, SettingsError, recommended
from engine.spacing import GAP_SIGN
from engine.spelling import speller

STRANGE = "The model knows few of the words around the gaps: what it writes here will make no sense."
LARGEST_SHARE = 0.35
"""Of the letters around gaps, those in words that the model's texts lack; more is another language (docs/DECISIONS.md, Canvas)."""
AROUND, AROUND_GAPS = 1000, 50
"""Characters on each side of a gap, and gaps, that are looked at for that."""


def fill(
    model: Denoiser,
    draft: str | Draft,
    settings: Settings | None = None,
    *,
    seen: Collection[str] = (),
    guesses: bool = False,
    start: Collection[Cell] = (),
) -> Iterator[Frame]:
    """Fill every gap of a draft, yielding a Frame after each step; nothing runs ahead of the consumer.

    Frame 0 comes when the lengths of the gaps are known and holds every cell. Windows over a long draft are filled
    one after the other in reading order. Without settings those that are recommended for the model are used. seen: what
    gaps were filled with before; lengths that the model knows to choose then vary with the seed, and of several candidates one that
    isn't among these is kept, if there is one. guesses: whether frames tell of masked cells, too, what the model would write there.
    start: all cells of an earlier run of this draft as they stood after one of its steps; what they hold stays, the others are written.
    Raises DraftError (what the draft asks for can't be done) and SettingsError before the first frame.
    """
    return (frame for frame in stream(model, draft, settings, seen=seen, guesses=guesses, start=start) if frame is not None)


def stream(
    model: Denoiser,
    draft: str | Draft,
    settings: Settings | None = None,
    *,
    seen: Collection[str] = (),
    guesses: bool = False,
    start: Collection[Cell] = (),
) -> Generator[Frame | None, None, None]:
    """The frames of `fill`, and None before frame 0 after each look at some of the gaps: hundreds of them take seconds to lay out, and
    whoever reads may stop there too.
    """
    settings = settings or recommended(model)
    draft = Draft.parse(draft) if isinstance(draft, str) else draft
    check(draft, settings)
    return _run(model, draft, settings, frozenset(text.strip() for text in seen), start, guesses=guesses)


def check(draft: Draft, settings: Settings) -> None:
    """Raise DraftError or SettingsError for what can't be done, whatever the model."""
    for name, known, kind in ((settings.sampler, SAMPLERS, "sampler"), (settings.schedule, SCHEDULES, "schedule")):
        if name not in known:
            raise SettingsError(f"There is no {kind} called {name!r}; there are {', '.join(known)}.")
    keywords.check(draft)


def fill_events(
    model: Denoiser, draft: str | Draft, settings: Settings | None = None, *, guesses: bool = False
) -> Iterator[dict[str, Any]]:
    """The same as JSON objects: each frame, then `Result.done`."""
    result = Result()
    for frame in fill(model, draft, settings, guesses=guesses):
        result.take(frame)
        yield frame.as_dict()
    yield result.done()


def _note(model: Denoiser, canvas: Canvas) -> str:
    """What to say of a draft whose words the model's texts lack."""
    lexicon: Lexicon | None = getattr(model, "lexicon", None)
    if lexicon is None:
        return ""
    spans = [i for i, span in enumerate(canvas.spans) if not span.code][:AROUND_GAPS]
    near = " ".join(canvas.given[i][-AROUND:] + " " + canvas.given[i + 1][:AROUND] for i in spans)
    return STRANGE if lexicon.strange(near) > LARGEST_SHARE else ""


def _laid_out(
    model: Denoiser, draft: Draft, settings: Settings, start: Collection[Cell], *, again: bool
) -> Generator[None, None, tuple[Canvas, list[int]]]:
    """The canvas, with its keywords where the model wants them, and the cells of its spans. again: whether gaps were filled before."""
    if start:
        return resumed(model, draft, start, settings)
    chance = settings.seed if again else None
    canvas = Canvas(model, draft, settings=settings)
    sizes = yield from decide_lengths(model, canvas, again=chance)
    if placed := (yield from keywords.place(model, canvas, sizes, draft, settings)):
        canvas = Canvas(model, draft, placed, settings)
        sizes = yield from decide_lengths(model, canvas, again=chance)
    return canvas, sizes


def _run(
    model: Denoiser, draft: Draft, settings: Settings, seen: frozenset[str], start: Collection[Cell], *, guesses: bool
) -> Generator[Frame | None, None, None]:
    canvas, sizes = yield from _laid_out(model, draft, settings, start, again=bool(seen))
    bans = Bans.of(model, canvas, draft, settings)
    spelled = speller(model, GAP_SIGN.join([*canvas.given, *(span.was for span in canvas.spans)])) if settings.words == "known" else None
    cells = Cells(model, canvas, sizes, guesses=guesses)
    if start:
        cells.begin(start)
    tokens = cells.tokens  # made anew each time that it is asked for
    plan = [group for group in canvas.windows(sizes) if any(model.mask_id in tokens[i][a:b] for i, a, b in group)]
    may_grow = [elastic(canvas, group, sizes) for group in plan]
    growths = [growth_of(model, spans) for spans in may_grow]
    steps_of = [
        steps_planned(model, settings, sum(tokens[i][a:b].count(model.mask_id) for i, a, b in group), growth)
        for group, growth in zip(plan, growths, strict=True)
    ]
    steps = sum(steps_of)
    yield Frame(0, steps, 1.0 if steps else 0.0, 0, cells.text(), cells.all(), note=_note(model, canvas))
    done = 0
    for number, (group, planned, growth) in enumerate(zip(plan, steps_of, growths, strict=True)):
        window = canvas.window(group, cells.tokens, room_to_grow(model, canvas) if growth else None)
        x = torch.tensor([window.ids])
        writable = torch.zeros_like(x, dtype=torch.bool)
        writable[0, list(window.cells)] = x[0, list(window.cells)] == model.mask_id
        rules = Rules(model, canvas, window, cells.tokens, growth, may_grow[number], bans, spelled)
        had = partial(cells.had, window, seen=seen) if seen else None
        step = 0
        for move in revised(model, x, writable=writable, settings=settings, first_step=done, constraint=rules, growth=growth, had=had):
            window, changed, relaid = cells.take(window, move)
            if relaid:
                rules.relay(window, cells.tokens)
            tokens = cells.tokens
            last = not move.more and all(tokens[i][c] != model.mask_id for i, c in window.cells.values())
            step = planned if last else step + 1
            time = (len(plan) - 1 - number + (0.0 if last else move.time)) / len(plan)
            others = cells.others() if last and number == len(plan) - 1 else ()
            yield Frame(done + step, steps, time, 0, cells.text(), changed, relaid, others)
        done += planned
