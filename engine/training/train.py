"""`python launch.py train`: make a denoiser from texts, or go on training one on a writer's own."""

from __future__ import annotations

import argparse
import hashlib
import itertools
import math
import shlex
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from engine import checkpoint
from engine.backends import LoadError
from engine.backends.room import is_out_of_memory
from engine.hub.installed import WEIGHTS
from engine.lexicon import Lexicon
from engine.model import ConfigError, DiT, ModelConfig
from engine.text import amount
from engine.tokenizer import Tokenizer, TokenizerError
from engine.training import length_head, machine, recipe, tuning
from engine.training.corpus import CorpusError, files_of, training_documents, unusable
from engine.training.crew import Crew
from engine.training.enlarge import enlarged, with_vocabulary
from engine.training.interrupts import interrupts
from engine.training.objective import MaskingRecipe
from engine.training.optimiser import Average, Optimiser, learning_rate_scale
from engine.training.options import DEPTH, arguments
from engine.training.plan import Plan, Shape
from engine.training.prepare import CORPUS, prepare
from engine.training.rows import Rows
from engine.training.run import Run
from engine.training.shards import Index, is_corpus
from engine.training.speed import Speed
from engine.training.trainer import Trainer

PAUSE = 30.0
"""A step that took this many seconds was a pause (a laptop asleep), not training."""
READ_EVERY = {"cuda": 16}
"""Steps between two readings of the loss, 1 elsewhere: reading a number off a GPU waits for all that it was told to do."""
WORTH_COMPILING = 600_000
"""Tokens from which on a CPU makes up for the minute that the compiler takes."""


class TrainingError(ArithmeticError):
    """A run can't go on; the message is one sentence."""


def main(argv: list[str]) -> int:
    """Train; 0 when the run is done or paused, 2 with a sentence when the data or a model cannot be used."""
    if any(argument.partition("=")[0] == "--recipe" for argument in argv):
        return recipe.main(argv)
    began = time.monotonic()
    args = arguments(argv, __doc__)
    try:
        return train(args, began)
    except (CorpusError, checkpoint.CheckpointError, ConfigError, LoadError, TokenizerError, TrainingError) as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenProcessPool:
        print("There was not enough memory to read the texts; close other programs, or cut long ones with <|doc|> lines.", file=sys.stderr)
        return 2
    except OSError as error:
        print(unusable(error, args.out), file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        print("There is not enough memory for this: close other programs, or give smaller batches (--stages 0:4x256).", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped; the same command goes on from the last saved state.", file=sys.stderr)
        return 130


def train(args: argparse.Namespace, began: float) -> int:
    """One run, from nothing, from `--init` or from its saved state, to the end of its budget or of its piece."""
    crew = Crew.of_environment(args.device)
    machine.set_up(crew.device)
    start = checkpoint.load(args.init, causal=None) if args.init else None
    rows, tokenizer = crew.first_alone(lambda: prepare(args, start.tokenizer if start else None))
    if args.prepare:
        crew.part()
        return 0
    rows, held = tuning.hold_out(rows, args.held_out)
    tuning.check(rows.tokens)
    if start and crew.leads and (lacks := tuning.letters_it_lacks(rows, tokenizer)):
        print(lacks, file=sys.stderr)
    plan = plan_of(args, rows.tokens, start.model.config.max_length if start else 0)
    if args.done >= plan.tokens:
        raise CorpusError(
            f"--done says that {args.done:.3g} tokens lie behind, and the run is to have {plan.tokens:.3g} in all: give more --tokens."
        )
    torch.manual_seed(args.seed)
    shape = ModelConfig(
        tokenizer.vocab_size,
        args.width,
        args.depth or DEPTH,
        args.heads,
        plan.longest,
        mlp_ratio=args.mlp_ratio,
        activation=args.activation,
        tied=args.tied,
        value_residual=args.value_residual,
        embedding_residual=args.embedding_residual,
        ngram_rows=args.ngrams,
        causal=args.causal,
    )
    model = grown(start, tokenizer, args) if start else DiT(shape)
    if start and plan.longest > model.config.max_length:  # rotary positions have no table to outgrow
        model.config = replace(model.config, max_length=plan.longest)
    model.to(crew.device).train()
    # A twin counts what it costs otherwise, and more pieces make other tokens: figures and lengths are none of this model's.
    akin = start is not None and start.model.config.causal == args.causal and start.tokenizer.vocab_size == tokenizer.vocab_size
    run = run_of(args, model, tokenizer, plan, rows, start, akin=akin)
    if run.resume():
        if plan.done(run.progress.tokens, run.progress.seconds) >= 1 and run.finished:  # what was taught to the model since stays
            if crew.leads:
                print(f"The run in {args.out} is done already; to train again, name another --out or delete that folder.", file=sys.stderr)
            crew.part()
            return 0
        if crew.leads:
            print(f"Taking the run up again after {run.progress.tokens / 1e6:.2f}M tokens.", file=sys.stderr)
    else:
        run.progress.tokens = int(args.done)
    compiled = not args.no_compile and machine.can_compile(crew.device)
    compiled = compiled and (crew.device.type == "cuda" or plan.tokens - args.done >= WORTH_COMPILING)
    trainer = Trainer(
        model,
        rows,
        tokenizer,
        MaskingRecipe(gap_rows=args.gap_rows, times=levels_of(args, start)),
        crew,
        seed=args.seed,
        accumulate=args.accumulate,
        compiled=compiled,
    )
    if crew.leads:
        needed = machine.memory_estimate(model, math.prod(plan.largest), plan.longest, trainer.room(plan.largest), crew.device)
        print(
            f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f}M parameters, {rows.tokens:,} tokens of text, "
            f"{plan.tokens:,} to train on; some {amount(needed)} of memory.",
            file=sys.stderr,
        )
    try:
        loop(args, run, trainer, plan, crew, began)
    finally:
        trainer.close()
    crew.part()
    if crew.leads:
        finish(args, run, plan, held, crew, before=args.init if akin else None)
    return 0


def grown(start: checkpoint.Checkpoint, tokenizer: Tokenizer, args: argparse.Namespace) -> DiT:
    """The model to begin with, with the parts that the recipe asks for and the pieces that the corpus has besides."""
    model = start.model
    if tokenizer.vocab_size > start.tokenizer.vocab_size:
        model = with_vocabulary(model, start.tokenizer, tokenizer)
    return enlarged(
        model,
        replace(
            model.config,
            causal=args.causal,
            depth=max(model.config.depth, args.depth or 0),
            value_residual=args.value_residual or model.config.value_residual,
            embedding_residual=args.embedding_residual or model.config.embedding_residual,
            ngram_rows=model.config.ngram_rows or args.ngrams,
        ),
    )


def levels_of(args: argparse.Namespace, start: checkpoint.Checkpoint | None) -> tuple[float, ...] | None:
    """The learned schedule to draw levels by; None for the bell. CorpusError when it is asked for and there is none."""
    if args.levels == "bell":
        return None
    if start is None or start.schedule is None:
        raise CorpusError("--levels learned needs --init and a model with a schedule: run python -m engine.training.schedule on it first.")
    return start.schedule


def plan_of(args: argparse.Namespace, tokens: int, longest: int) -> Plan:
    """The plan asked for or, tuning, the one that so many tokens of text call for."""
    stages = args.stages or (tuning.stages(tokens, longest) if args.tunes else "0:24x128,0.12:48x128,0.5:24x256")
    budget = args.tokens or (tuning.budget(tokens, causal=args.causal) if args.tunes else 30e6)
    return Plan.of(stages, int(budget), args.minutes, args.seed)


def run_of(
    args: argparse.Namespace, model: DiT, tokenizer: Tokenizer, plan: Plan, rows: Rows, start: checkpoint.Checkpoint | None, *, akin: bool
) -> Run:
    """The run in its folder, at its start. akin: whether it goes on with a model of its own kind, denoiser or twin."""
    name = args.name or ("lacuna" if start is None else start.name if args.done else f"{start.name} on {args.data[0].resolve().name}")
    told = {
        "stages": args.stages,
        "weights": args.weight,
        "epochs": rows.epochs(plan.tokens),
        "rates": [args.muon_rate, args.adam_rate],
        "hold": args.hold,
        "average": args.average,
        "seed": args.seed,
    }
    begun = {
        "corpus": Index.read(args.data[0] if is_corpus(args.data) else args.out / CORPUS).made_from,
        "init": None if start is None else hashlib.sha256((args.init / WEIGHTS).read_bytes()).hexdigest(),
    }
    optimiser = Optimiser(model, muon_rate=args.muon_rate, adam_rate=args.adam_rate)
    # Weights that come from the middle of a run are an average already, so the memory of it is as long as it gets.
    average = Average(model, args.average, steps=int(args.done))
    return Run(
        args.out,
        model,
        optimiser,
        average,
        tokenizer,
        name=name,
        told=told,
        store=checkpoint.STORED[args.store],
        lengths=start.lengths if start and akin and args.tunes else None,
        settings=start.settings if start and akin else None,
        lexicon=start.lexicon if start else None,
        begun=begun,
    )


def loop(args: argparse.Namespace, run: Run, trainer: Trainer, plan: Plan, crew: Crew, began: float) -> None:
    """Step after step; every few the loss is read, and the first process shows the progress and saves. Ctrl+C ends it with a whole step."""
    progress = run.progress
    first = progress.tokens
    every = READ_EVERY.get(crew.device.type, 1)
    totals, steps, mark = torch.zeros(2, device=crew.device), 0, time.monotonic()
    saved = exported = mark
    met: set[Shape] = set()
    speed = Speed(trainer, crew)
    with (
        interrupts() as interrupted,
        tqdm(total=plan.tokens, initial=progress.tokens, unit=" tokens", unit_scale=True, disable=not crew.leads, mininterval=0.5) as bar,
    ):
        while (done := plan.done(progress.tokens, progress.seconds)) < 1:
            shape = plan.shape(done, progress.tokens)
            tokens = trainer.tokens(shape)
            asked = time.monotonic()
            totals += trainer.gradients(progress.tokens, shape, upcoming(plan, trainer, done, progress.tokens + tokens))
            took, compiles = time.monotonic() - asked, trainer.compiled and shape not in met
            met.add(shape)
            scale = learning_rate_scale(
                done, progress.tokens - int(args.done), warmup_tokens=min(150_000, plan.tokens // 20), hold=args.hold
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


def finish(args: argparse.Namespace, run: Run, plan: Plan, held: list[np.ndarray], crew: Crew, *, before: Path | None) -> None:
    """Save, export, judge what was held out beside the model of `before`, and say where the model is."""
    run.save()
    run.plot()
    folder = run.export()
    whole = plan.done(run.progress.tokens, run.progress.seconds) >= 1
    if whole and not args.causal and not is_corpus(args.data):
        files = files_of(args.data)
        learn_lengths(folder, files, run)
        learn_words(folder, files, run)
    if not whole:
        print(
            f"Paused after {run.progress.tokens / 1e6:.2f}M tokens; the same command goes on. The model so far is in {folder}.",
            file=sys.stderr,
        )
        return
    if held:
        began_at = tuning.judge(before, held, crew.device, causal=args.causal) if before else None
        print(tuning.verdict(began_at, tuning.judge(folder, held, crew.device, causal=args.causal)), file=sys.stderr)
    run.finish()
    quoted = subprocess.list2cmdline([str(folder)]) if sys.platform == "win32" else shlex.quote(str(folder))
    opened = "" if args.causal else f" Open it with: python launch.py --model {quoted}"
    print(f"The model is in {folder}.{opened}", file=sys.stderr)


def learn_lengths(folder: Path, files: list[Path], run: Run) -> None:
    """Fit what automatic lengths need to the finished model: a length head, unless it came with one, and the bias of CAL.

    Each is left out where there is too little text, or the run was too short to pay for it.
    """
    with suppress(ValueError):
        length_head.fit_bias(folder, files)
    if run.lengths is None and (gaps := length_head.gaps_worth(files, run.progress.tokens)):
        print(f"Teaching the model how long gaps are, from {gaps} of them.", file=sys.stderr)
        with suppress(CorpusError):
            length_head.fit(folder, files, gaps=gaps)


def learn_words(folder: Path, files: list[Path], run: Run) -> None:
    """Let a model that keeps to a list of words write those of its new texts too."""
    if run.lexicon is not None:
        texts = itertools.chain.from_iterable(map(training_documents, files))
        checkpoint.set_lexicon(folder, run.lexicon | Lexicon.of(texts))
