"""`python launch.py train`: make a denoiser from texts, or go on training one on a writer's own."""

from __future__ import annotations

import argparse
import itertools
import math
import re
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from engine import checkpoint
from engine.backends import load
from engine.lengths import fit_length_bias
from engine.model import DiT, ModelConfig
from engine.tokenizer import Tokenizer
from engine.training.corpus import CorpusError, Mixture, documents, files_of, sample, token_stream
from engine.training.crew import Crew
from engine.training.objective import MaskingRecipe
from engine.training.optimiser import Average, Optimiser, learning_rate_scale
from engine.training.run import Progress, Run
from engine.training.tokenizer import train_tokenizer
from engine.training.trainer import Trainer, attention_for

PAUSE = 30.0
"""A step that took this many seconds was a pause (a laptop asleep, a stopped process), not work."""


def arguments(argv: list[str]) -> argparse.Namespace:
    """Read the command line of `train`."""
    parser = argparse.ArgumentParser(prog="launch.py train", description=__doc__)
    add = parser.add_argument
    add("--data", nargs="+", type=Path, required=True, help="text files (plain or .xz) or folders of them")
    add("--out", type=Path, default=Path("runs/model"), help="folder of the run; a run found there is taken up again")
    add("--init", type=Path, help="start from this model (its shape and tokenizer) instead of from nothing")
    add(
        "--causal",
        action="store_true",
        help="train the autoregressive twin: each token predicted from earlier ones",
    )
    add("--name", default="lacuna", help="what the page calls the model")
    add("--weight", nargs=2, action="append", default=[], metavar=("PATTERN", "TIMES"), help="how often files of this name are read")
    add("--tokens", type=float, default=30e6, help="tokens to train on in all")
    add("--minutes", type=float, help="stop after this much training, decaying the rate in time for it")
    add("--piece", type=float, help="pause after this many minutes of this call; the same command goes on from there")
    add("--vocab", type=int, default=8192)
    add("--width", type=int, default=320)
    add("--depth", type=int, default=6)
    add("--heads", type=int, default=5)
    add(
        "--stages",
        default="0:24x128,0.12:48x128,0.5:24x256",
        help="from which share of the run on: ROWSxLENGTH, comma-separated; + mixes shapes",
    )
    add("--accumulate", type=int, default=1, help="batches a step")
    add("--muon-rate", type=float, default=0.02)
    add("--adam-rate", type=float, default=3e-3)
    add("--hold", type=float, default=0.55, help="share of the run after which the rates fall to zero")
    add("--clip", type=float, default=1.0, help="gradient norm of the parameters that AdamW trains")
    add("--gap-rows", type=float, default=0.25, help="share of the rows that are masked in runs")
    add("--seed", type=int, default=0)
    add("--device", default="auto")
    add("--no-compile", action="store_true", help="run without torch.compile (it needs a C++ compiler)")
    add("--save-every", type=float, default=10.0, help="minutes between saved states")
    add("--export-every", type=float, default=60.0, help="minutes between exported models")
    return parser.parse_args(argv)


Shape = tuple[int, int]
"""(rows, tokens in a row) of a batch."""


def stages_of(text: str) -> list[tuple[float, list[Shape]]]:
    """[(from which share of the run, the shapes that its steps draw from)] in order; CorpusError for what is not a plan."""
    stages = []
    for part in text.split(","):
        found = re.fullmatch(r"(0|0?\.\d+|1):(\d+x\d+(?:\+\d+x\d+)*)", part.strip())
        if not found:
            raise CorpusError(f"The stage {part!r} is not of the form SHARE:ROWSxLENGTH; write for example 0:24x128,0.5:24x256+96x64.")
        shapes = [(int(rows), int(length)) for rows, length in re.findall(r"(\d+)x(\d+)", found[2])]
        if any(rows < 1 or length < 2 for rows, length in shapes):
            raise CorpusError(f"The stage {part!r} has a batch without rows, or rows of less than two tokens.")
        stages.append((float(found[1]), shapes))
    if min(stages)[0] > 0:
        raise CorpusError("No stage begins at the start of the run; let the first one be 0:ROWSxLENGTH.")
    return sorted(stages)


def main(argv: list[str]) -> int:
    """Train; 0 when the run is done or paused, 2 with a sentence when the data or a model cannot be used."""
    args = arguments(argv)
    try:
        return train(args)
    except (CorpusError, checkpoint.CheckpointError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped; the same command goes on from the last saved state.", file=sys.stderr)
        return 130


def train(args: argparse.Namespace) -> int:
    """One run, from nothing, from `--init` or from its saved state, to the end of its budget or of its piece."""
    crew = Crew.of_environment(args.device)
    start = checkpoint.load(args.init, causal=args.causal) if args.init else None
    stages = stages_of(args.stages)
    stream, tokenizer = crew.first_alone(lambda: prepare(args, start.tokenizer if start else None))
    torch.manual_seed(args.seed)
    longest = max(length for _, shapes in stages for _, length in shapes)
    shape = ModelConfig(tokenizer.vocab_size, args.width, args.depth, args.heads, longest, causal=args.causal)
    model = start.model if start else DiT(shape)
    if start and longest > model.config.max_length:  # rotary positions have no table to outgrow
        model.config = replace(model.config, max_length=longest)
    model.to(crew.device).train()
    run = Run(
        args.out,
        model,
        Optimiser(model, muon_rate=args.muon_rate, adam_rate=args.adam_rate),
        Average(model),
        tokenizer,
        name=args.name,
        told={
            "stages": args.stages,
            "weights": args.weight,
            "rates": [args.muon_rate, args.adam_rate],
            "hold": args.hold,
            "seed": args.seed,
        },
    )
    if run.resume() and crew.leads:
        print(f"Taking the run up again after {run.progress.tokens / 1e6:.2f}M tokens.", file=sys.stderr)
    trainer = Trainer(
        model,
        stream,
        tokenizer,
        MaskingRecipe(gap_rows=args.gap_rows),
        crew,
        seed=args.seed,
        accumulate=args.accumulate,
        compiled=not args.no_compile,
    )
    with attention_for(crew.device):
        loop(args, run, trainer, stages, crew)
    if crew.leads:
        run.save()
        run.plot()
        folder = run.export()
        if not args.causal and (bias := length_bias(folder, args.data)):
            checkpoint.set_length_bias(folder, bias)
        print(f"The model is in {folder}.", file=sys.stderr)
    return 0


def length_bias(model: Path, data: list[Path]) -> dict[str, float] | None:
    """How the finished model's confidence depends on a gap's length alone, for automatic lengths; none from too little text."""
    files = files_of(data)
    each = math.ceil(32 / len(files))
    texts = (text[:1500] for file in files for text in itertools.islice(documents(file), each))
    try:
        return fit_length_bias(load(model), texts)
    except ValueError:
        return None


def prepare(args: argparse.Namespace, tokenizer: Tokenizer | None) -> tuple[np.ndarray, Tokenizer]:
    """The corpus as a stream of ids, and the tokenizer, which is trained on it when there is none yet."""
    files = files_of(args.data)
    mixture = Mixture(files, [(pattern, float(times)) for pattern, times in args.weight], args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    if tokenizer is None:
        path = args.out / "tokenizer.model"
        if not path.exists():
            print("Training the tokenizer.", file=sys.stderr)
            path.write_bytes(train_tokenizer(sample(files, mixture, 2_500_000), args.vocab).proto)
        tokenizer = Tokenizer.load(path)
    return token_stream(mixture, tokenizer, args.out), tokenizer


def loop(args: argparse.Namespace, run: Run, trainer: Trainer, stages: list[tuple[float, list[Shape]]], crew: Crew) -> None:
    """Step after step; the first process shows the progress and saves."""
    progress = run.progress
    pause = progress.seconds + 60 * args.piece if args.piece is not None else math.inf
    saved = exported = time.monotonic()
    with tqdm(total=int(args.tokens), initial=progress.tokens, unit=" tokens", unit_scale=True, disable=not crew.leads) as bar:
        while (done := share_done(args, progress)) < 1:
            began = time.monotonic()
            shapes = [stage for stage in stages if stage[0] <= done][-1][1]
            batch, length = shapes[np.random.default_rng([args.seed, progress.step]).integers(len(shapes))]
            nats, tokens = trainer.gradients(progress.step, batch, length)
            run.optimiser.step(learning_rate_scale(done, progress.tokens, hold=args.hold), args.clip)
            run.average.update(run.model)
            spent = time.monotonic() - began
            progress.advance(tokens, crew.agreed(spent if spent < PAUSE else 0.0), nats)
            bar.update(tokens)
            bar.set_postfix_str(f"{progress.nats:.3f} nats a masked token")
            now = time.monotonic()
            if crew.leads and now - saved > 60 * args.save_every:
                run.save()
                run.plot()
                saved = now
            if crew.leads and now - exported > 60 * args.export_every:
                run.export()
                exported = now
            if progress.seconds >= pause:
                break


def share_done(args: argparse.Namespace, progress: Progress) -> float:
    """How far the run is, by tokens or by time, whichever ends first."""
    by_time = progress.seconds / (60 * args.minutes) if args.minutes else 0.0
    return max(progress.tokens / args.tokens, by_time)
