"""The loop of a training run: step after step, until its budget, its piece or somebody's patience ends."""

from __future__ import annotations

import argparse
import math
import sys
import time

import torch
from tqdm import tqdm

from engine.training.crew import Crew
from engine.training.interrupts import interrupts
from engine.training.optimiser import learning_rate_scale
from engine.training.plan import Plan, Shape
from engine.training.run import Run
from engine.training.speed import Speed
from engine.training.trainer import Trainer

PAUSE = 30.0
"""A step that took this many seconds was a pause (a laptop asleep), not training."""
READ_EVERY = {"cuda": 16}
"""Steps between two readings of the loss, 1 elsewhere: reading a number off a GPU waits for all that it was told to do."""


class TrainingError(ArithmeticError):
    """A run can't go on; the message is one sentence."""


def loop(args: argparse.Namespace, run: Run, trainer: Trainer, plan: Plan, crew: Crew, began: float) -> None:
    """Step after step; every few the loss is read, and the first process shows the progress and saves. Ctrl+C ends it with a whole step."""
    progress = run.progress
    first = progress.tokens
    every = READ_EVERY.get(crew.device.type, 1)
    totals, steps, mark = torch.zeros(2, device=crew.device), 0, time.monotonic()
    saved = exported = mark
    met: set[Shape] = set()
    speed = Speed(trainer, crew)
    total = plan.tokens if math.isfinite(plan.tokens) else None
    with (
        interrupts() as interrupted,
        tqdm(total=total, initial=progress.tokens, unit=" tokens", unit_scale=True, disable=not crew.leads, mininterval=0.5) as bar,
    ):
        while (done := plan.done(progress.tokens, progress.seconds)) < 1:
            shape = plan.shape(done, progress.tokens)
            tokens = trainer.tokens(shape)
            asked = time.monotonic()
            totals += trainer.gradients(progress.tokens, shape, upcoming(plan, trainer, done, progress.tokens + tokens))
            took, compiles = time.monotonic() - asked, trainer.compiled and shape not in met
            met.add(shape)
            scale = learning_rate_scale(
                done, progress.tokens - int(args.done), warmup_tokens=int(min(3_000_000, plan.tokens)) // 20, hold=args.hold
            )
            run.optimiser.step(scale, args.clip)
            run.average.update(run.model)
            progress.tokens, progress.step, steps = progress.tokens + tokens, progress.step + 1, steps + 1
            if compiles or took > PAUSE:  # neither counts as training
                mark += took
            else:
                speed.count(shape)
            bar.update(tokens)
            if steps < every and progress.tokens < plan.tokens:
                continue
            nats, predicted = totals.tolist()
            if not math.isfinite(nats):
                raise TrainingError(
                    f"The loss is not a number any more after {progress.tokens / 1e6:.2f}M tokens, and what was saved before is as it was: "
                    "train again with smaller rates (--muon-rate, --adam-rate) or with --no-compile."
                )
            now = time.monotonic()
            spent = crew.agreed(max(0.0, now - mark))
            progress.note(steps, spent, nats / predicted)
            if crew.leads and speed.read(spent) and args.tunes:
                bar.write(f"This takes about {speed.estimate(plan, progress)}.", file=sys.stderr)
            totals, steps, mark = torch.zeros(2, device=crew.device), 0, now
            bar.set_postfix_str(f"{progress.nats:.3f} nats a {'token' if args.causal else 'masked token'}", refresh=False)
            if crew.leads and now - saved > 60 * args.save_every:
                run.save()
                run.plot()
                saved = now
            if crew.leads and now - exported > 60 * args.export_every:
                run.export()
                exported = now
            if args.piece is not None and crew.agreed(now - began) >= 60 * args.piece:
                break
            if crew.agreed(float(interrupted.is_set())):
                break
    if crew.leads and progress.tokens > first:
        print(speed.told(), file=sys.stderr)


def upcoming(plan: Plan, trainer: Trainer, done: float, tokens: int) -> list[tuple[int, Shape]]:
    """The two steps that come next, if the stage does not change by the clock: (tokens before it, shape)."""
    steps = []
    for _ in range(2):
        shape = plan.shape(max(done, plan.done(tokens, 0.0)), tokens)
        steps.append((tokens, shape))
        tokens += trainer.tokens(shape)
    return steps
