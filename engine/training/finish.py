"""The end of a training run: saved, exported, judged, and taught what is learned from the finished model."""

from __future__ import annotations

import argparse
import itertools
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np

from engine import checkpoint
from engine.lexicon import Lexicon
from engine.text import command
from engine.training import length_head, tuning
from engine.training.corpus import CorpusError, files_of, training_documents
from engine.training.crew import Crew
from engine.training.mean import unlike
from engine.training.plan import Plan
from engine.training.run import Run
from engine.training.shards import is_corpus


def finish(args: argparse.Namespace, run: Run, plan: Plan, held: list[np.ndarray], crew: Crew, *, before: Path | None) -> None:
    """Save, export, judge what was held out beside the model of `before`, keep as much of what was learned from a writer's own texts as
    that likes best, and say where the model is.
    """
    run.save()
    run.plot()
    folder = run.export()
    whole = plan.done(run.progress.tokens, run.progress.seconds) >= 1
    told = judged(args, run, held, crew, before, folder) if whole and held else ""
    if whole and not args.causal and not is_corpus(args.data):
        files = files_of(args.data, out=args.out)
        learn_lengths(folder, files, run)
        learn_words(folder, files, run)
    if not whole:
        print(
            f"Paused after {run.progress.tokens / 1e6:.2f}M tokens; the same command goes on. The model so far is in {folder}.",
            file=sys.stderr,
        )
        return
    if told:
        print(told, file=sys.stderr)
    run.finish()
    opened = "" if args.causal else f" Open it with: {command('--model', str(folder))}"
    print(f"The model is in {folder}.{opened}", file=sys.stderr)


def judged(args: argparse.Namespace, run: Run, held: list[np.ndarray], crew: Crew, before: Path | None, folder: Path) -> str:
    """What the training did to the held-out text, for people; a denoiser that was tuned is mixed with the one that it began from."""
    after = checkpoint.load(folder, causal=args.causal)
    if before is None:
        return tuning.verdict(None, tuning.judge(after, held, crew.device))
    began = checkpoint.load(before, causal=args.causal)
    share = 1.0
    if args.tunes and not args.causal and not unlike(began, after):
        chooses, held = tuning.halves(held)
        share, after = tuning.mixed(began, after, chooses, crew.device)
        checkpoint.save(after, folder, run.store)
    return tuning.verdict(tuning.judge(began, held, crew.device), tuning.judge(after, held, crew.device), share)


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
