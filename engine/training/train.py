"""`python launch.py train`: make a denoiser from texts, or go on training one on a writer's own."""

from __future__ import annotations

import argparse
import math
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import replace

import torch

from engine import checkpoint
from engine.backends import LoadError
from engine.backends.room import is_out_of_memory
from engine.hub.installed import WEIGHTS
from engine.model import ConfigError, DiT, ModelConfig
from engine.text import amount
from engine.tokenizer import Tokenizer, TokenizerError
from engine.training import machine, recipe, tuning
from engine.training.corpus import CorpusError, unusable
from engine.training.crew import Crew
from engine.training.enlarge import enlarged, with_vocabulary
from engine.training.finish import finish
from engine.training.lock import alone_in
from engine.training.loop import TrainingError, loop
from engine.training.objective import MaskingRecipe
from engine.training.optimiser import Average, Optimiser
from engine.training.options import ACTIVATION, DEPTH, HEADS, MLP_RATIO, STAGES, TOKENS, WIDTH, arguments
from engine.training.plan import Plan
from engine.training.prepare import CORPUS, prepare
from engine.training.rows import Rows
from engine.training.run import Run
from engine.training.shards import Index, digest, is_corpus
from engine.training.trainer import Trainer

WORTH_COMPILING = 600_000
"""Tokens from which on a CPU makes up for the minute that the compiler takes."""


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
    with alone_in(args.out) if crew.leads else nullcontext():
        return _train(args, began, crew)


def _train(args: argparse.Namespace, began: float, crew: Crew) -> int:
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
        lies = f"--done says that {args.done:.3g} tokens lie behind, and the" if args.done else "The"
        raise CorpusError(f"{lies} run is to have {plan.tokens:.3g} tokens in all: give more --tokens.")
    torch.manual_seed(args.seed)
    model = grown(start, tokenizer, args) if start else new(tokenizer, plan.longest, args)
    if start and plan.longest > model.config.max_length:  # rotary positions have no table to outgrow
        model.config = replace(model.config, max_length=plan.longest)
    model.to(crew.device).train()
    # A twin counts what it costs otherwise, and more pieces make other tokens: figures and lengths are none of this model's.
    akin = start is not None and start.model.config.causal == args.causal and start.tokenizer.vocab_size == tokenizer.vocab_size
    run = run_of(args, model, tokenizer, rows, start, akin=akin)
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
            f"{plan.budget} to train on; some {amount(needed)} of memory.",
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


def new(tokenizer: Tokenizer, longest: int, args: argparse.Namespace) -> DiT:
    """A model that has learned nothing, for rows of `longest` tokens. ConfigError where its shape makes none."""
    config = ModelConfig(
        tokenizer.vocab_size,
        args.width or WIDTH,
        args.depth or DEPTH,
        args.heads or HEADS,
        longest,
        mlp_ratio=args.mlp_ratio or MLP_RATIO,
        activation=args.activation or ACTIVATION,
        tied=args.tied,
        value_residual=args.value_residual,
        embedding_residual=args.embedding_residual,
        ngram_rows=args.ngrams,
        causal=args.causal,
    )
    return DiT(config)


def grown(start: checkpoint.Checkpoint, tokenizer: Tokenizer, args: argparse.Namespace) -> DiT:
    """The model to begin with, with the parts that the recipe asks for and the pieces that the corpus has besides. ConfigError where
    another shape is asked for than it has.
    """
    model = start.model
    for name in ("width", "heads", "mlp_ratio", "activation", "tied"):
        wanted, has = getattr(args, name), getattr(model.config, name)
        if wanted and wanted != has:
            option = "--" + name.replace("_", "-")
            raise ConfigError(f"{option} is for a new model: the one in {args.init} has {has}; leave it away, or leave --init away.")
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
        raise CorpusError("--levels learned needs --init and a model with a schedule: run engine.training.schedule on it first (README).")
    return start.schedule


def plan_of(args: argparse.Namespace, tokens: int, longest: int) -> Plan:
    """The plan asked for or, tuning, the one that so many tokens of text call for. Minutes without tokens have no other end, but for
    tuning: a text that was read too often is learned by heart.
    """
    stages = args.stages or (tuning.stages(tokens, longest) if args.tunes else STAGES)
    if args.tokens:
        budget = float(int(args.tokens))
    elif args.tunes:
        budget = tuning.budget(tokens, causal=args.causal)
    else:
        budget = math.inf if args.minutes else TOKENS
    return Plan.of(stages, budget, args.minutes, args.seed)


def run_of(
    args: argparse.Namespace, model: DiT, tokenizer: Tokenizer, rows: Rows, start: checkpoint.Checkpoint | None, *, akin: bool
) -> Run:
    """The run in its folder, at its start. akin: whether it goes on with a model of its own kind, denoiser or twin."""
    name = args.name or ("lacuna" if start is None else start.name if args.done else f"{start.name} on {args.data[0].resolve().name}")
    told = {
        "stages": args.stages,
        "weights": args.weight,
        "rates": [args.muon_rate, args.adam_rate],
        "hold": args.hold,
        "average": args.average,
        "seed": args.seed,
    }
    begun = {
        "corpus": Index.read(args.data[0] if is_corpus(args.data) else args.out / CORPUS).made_from,
        "init": None if start is None else digest(args.init / WEIGHTS),
    }
    optimiser = Optimiser(model, muon_rate=args.muon_rate, adam_rate=args.adam_rate)
    average = Average(model, args.average, is_average=bool(args.done))
    return Run(
        args.out,
        model,
        optimiser,
        average,
        tokenizer,
        name=name,
        told=told,
        epochs=lambda tokens: rows.epochs(tokens, alone=args.tunes),
        store=checkpoint.STORED[args.store],
        lengths=start.lengths if start and akin and args.tunes else None,
        settings=start.settings if start and akin else None,
        lexicon=start.lexicon if start else None,
        begun=begun,
    )
