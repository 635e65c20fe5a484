"""`python launch.py train`: make a denoiser from texts, or go on training one on a writer's own."""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from engine import checkpoint
from engine.model import DiT, ModelConfig
from engine.tokenizer import Tokenizer
from engine.training.corpus import CorpusError, Mixture, documents, files_of, pack
from engine.training.objective import MaskingRecipe, capacity, draw_masks, gather
from engine.training.optimiser import Average, Optimiser, learning_rate_scale
from engine.training.run import Run
from engine.training.tokenizer import train_tokenizer

PAUSE = 30.0
"""A step that took this many seconds was a pause (a laptop asleep, a stopped process), not work."""


def arguments(argv: list[str]) -> argparse.Namespace:
    """Read the command line of `train`."""
    parser = argparse.ArgumentParser(prog="launch.py train", description=__doc__)
    add = parser.add_argument
    add("--data", nargs="+", type=Path, required=True, help="text files (plain or .xz) or folders of them")
    add("--out", type=Path, default=Path("runs/model"), help="folder of the run; a run found there is taken up again")
    add("--init", type=Path, help="start from this model (its shape and tokenizer) instead of from nothing")
    add("--name", default="lacuna", help="what the page calls the model")
    add("--weight", nargs=2, action="append", default=[], metavar=("PATTERN", "TIMES"), help="how often files of this name are read")
    add("--tokens", type=float, default=30e6, help="tokens to train on in all")
    add("--minutes", type=float, help="stop after this much training, decaying the rate in time for it")
    add("--piece", type=float, help="pause after this many minutes of this call; the same command goes on from there")
    add("--vocab", type=int, default=8192)
    add("--width", type=int, default=320)
    add("--depth", type=int, default=6)
    add("--heads", type=int, default=5)
    add("--stages", default="0:24x128,0.12:48x128,0.5:24x256", help="from which share of the run on: ROWSxLENGTH, comma-separated")
    add("--accumulate", type=int, default=1, help="batches a step")
    add("--muon-rate", type=float, default=0.02)
    add("--adam-rate", type=float, default=3e-3)
    add("--clip", type=float, default=1.0, help="gradient norm of the parameters that AdamW trains")
    add("--gap-rows", type=float, default=0.25, help="share of the rows that are masked in runs")
    add("--seed", type=int, default=0)
    add("--device", default="auto")
    add("--no-compile", action="store_true", help="run without torch.compile (it needs a C++ compiler)")
    add("--save-every", type=float, default=10.0, help="minutes between saved states")
    add("--export-every", type=float, default=60.0, help="minutes between exported models")
    return parser.parse_args(argv)


def stages_of(text: str) -> list[tuple[float, int, int]]:
    """[(from which share of the run, rows, length)] in order; ValueError for anything else."""
    stages = []
    for part in text.split(","):
        share, shape = part.split(":")
        batch, length = shape.split("x")
        stages.append((float(share), int(batch), int(length)))
    return sorted(stages)


def prepare(args: argparse.Namespace, tokenizer: Tokenizer | None) -> tuple[np.ndarray, Tokenizer]:
    """The corpus as one memory-mapped stream of uint16 ids, and the tokenizer; both kept in the run's folder for a resume."""
    files = files_of(args.data)
    mixture = Mixture(files, [(pattern, float(times)) for pattern, times in args.weight], args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    if tokenizer is None:
        path = args.out / "tokenizer.model"
        if not path.exists():
            print("Training the tokenizer.", file=sys.stderr)
            sample = chain.from_iterable(first(documents(f), 2_500_000 * mixture.weight(f)) for f in files)
            path.write_bytes(train_tokenizer(sample, args.vocab).proto)
        tokenizer = Tokenizer.load(path)
    told = repr([(f.name, f.stat().st_size) for f in files] + [args.weight, args.seed]).encode() + tokenizer.proto
    shard = args.out / f"tokens-{hashlib.sha256(told).hexdigest()[:12]}.npy"
    if not shard.exists():
        texts = (text for _, text in tqdm(mixture.documents(), desc="Tokenising", unit=" documents", file=sys.stderr))
        np.save(shard.with_suffix(".part.npy"), np.concatenate(list(pack(texts, tokenizer))))
        shard.with_suffix(".part.npy").rename(shard)
    return np.load(shard, mmap_mode="r"), tokenizer


def first(texts: Iterator[str], characters: float) -> Iterator[str]:
    """The first documents, up to about this many characters."""
    for text in texts:
        yield text
        characters -= len(text)
        if characters <= 0:
            return


def compiled_loss(model: DiT, device: torch.device, compile_it: bool) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """(ids, positions, targets, weights) -> weighted sum of nats, in bf16 autocast, forward and backward compiled."""

    def loss(ids: Tensor, positions: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            logits = model(ids, positions)
        return torch.stack(
            [
                ((nats := F.cross_entropy(logits.float(), targets, reduction="none")) * weights).sum(),
                (nats.detach() * (weights > 0)).sum(),
            ]
        )

    return torch.compile(loss, dynamic=False) if compile_it else loss


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
    """One run, from nothing, from `--init` or from its saved state, to the end of its budget."""
    world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    device = pick_device(args.device)
    if world > 1:
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    start = checkpoint.load(args.init) if args.init else None
    stream, tokenizer = prepare(args, start.tokenizer if start else None)
    torch.manual_seed(args.seed)
    stages = stages_of(args.stages)
    model = start.model if start else DiT(new_config(args, tokenizer, stages))
    model.to(device).train()
    optimiser = Optimiser(model, muon_rate=args.muon_rate, adam_rate=args.adam_rate)
    torch.set_num_threads(max(1, torch.get_num_threads() if world == 1 else (os.cpu_count() or 1) // world))
    run = Run(args.out, model, optimiser, Average(model), tokenizer, args.name)
    rng = np.random.default_rng([args.seed, rank])
    if run.resume(rng):
        print(f"Taking the run up again after {run.progress.tokens / 1e6:.2f}M tokens.", file=sys.stderr)
    recipe = MaskingRecipe(gap_rows=args.gap_rows)
    loss_of = compiled_loss(model, device, not args.no_compile)
    # On a CPU the decomposed attention is over twice as fast in bf16, forward and backward, as the fused kernel (DECISIONS).
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)
    attention = sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
    progress, smoothed = run.progress, progress_smoothed(run)
    saved = exported = time.monotonic()
    bar = tqdm(total=int(args.tokens), initial=progress.tokens, unit=" tokens", unit_scale=True, file=sys.stderr, disable=rank > 0)
    room: dict[tuple[int, int], int] = {}
    with attention:
        until = progress.seconds + 60 * args.piece if args.piece is not None else float("inf")
        while (done := share_done(args, progress.tokens, progress.seconds)) < 1:
            began = time.monotonic()
            _, batch, length = [s for s in stages if s[0] <= done][-1]
            room.setdefault((batch, length), capacity(recipe, batch, length))
            nats = masked = 0.0
            for _ in range(args.accumulate):
                ids, positions, targets, weights = draw_batch(stream, tokenizer, recipe, batch, length, room[batch, length], rng)
                sums = loss_of(*(x.to(device) for x in (ids, positions, targets, weights)))
                (sums[0] / (batch * length * args.accumulate)).backward()
                nats, masked = nats + float(sums[1]), masked + float((weights > 0).sum())
            if world > 1:
                average_gradients(model, world)
            optimiser.step(learning_rate_scale(done, progress.tokens), args.clip)
            run.average.update(model)
            progress.step += 1
            progress.tokens += batch * length * args.accumulate * world
            spent = time.monotonic() - began
            progress.seconds += agreed(spent if spent < PAUSE else 0.0, world)
            smoothed = nats / masked if smoothed is None else 0.99 * smoothed + 0.01 * nats / masked
            if progress.step % 50 == 0:
                progress.curve.append((progress.tokens, round(smoothed, 4)))
            bar.update(batch * length * args.accumulate * world)
            bar.set_postfix_str(f"{smoothed:.3f} nats a masked token")
            if rank == 0 and time.monotonic() - saved > 60 * args.save_every:
                run.save(rng)
                run.plot()
                saved = time.monotonic()
            if rank == 0 and time.monotonic() - exported > 60 * args.export_every:
                run.export(facts(args, run))
                exported = time.monotonic()
            if progress.seconds >= until:
                break
    bar.close()
    if rank == 0:
        run.save(rng)
        run.plot()
        print(f"The model is in {run.export(facts(args, run))}.", file=sys.stderr)
    return 0


def new_config(args: argparse.Namespace, tokenizer: Tokenizer, stages: list[tuple[float, int, int]]) -> ModelConfig:
    """The shape that the command line asks for."""
    longest = max(length for _, _, length in stages)
    return ModelConfig(tokenizer.vocab_size, args.width, args.depth, args.heads, longest)


def share_done(args: argparse.Namespace, tokens: int, seconds: float) -> float:
    """How far the run is, by tokens or by time, whichever ends first."""
    by_time = seconds / (60 * args.minutes) if args.minutes else 0.0
    return max(tokens / args.tokens, by_time)


def draw_batch(
    stream: np.ndarray, tokenizer: Tokenizer, recipe: MaskingRecipe, batch: int, length: int, room: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Masked ids (B, L), flat positions (room,), their targets and weights; rows start anywhere in the packed stream."""
    if len(stream) <= length:
        raise CorpusError(f"The texts hold {len(stream)} tokens, fewer than one row of {length}; add more text.")
    starts = rng.integers(0, len(stream) - length, batch)
    clean = stream[starts[:, None] + np.arange(length)].astype(np.int64)
    masks, weights = draw_masks(recipe, batch, length, rng)
    positions, each = gather(masks, weights, room)
    targets = clean.reshape(-1)[positions]
    masked = np.where(masks, tokenizer.mask_id, clean)
    return torch.from_numpy(masked), torch.from_numpy(positions), torch.from_numpy(targets), torch.from_numpy(each)


def average_gradients(model: DiT, world: int) -> None:
    """Give every process the mean of all processes' gradients, in one message."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([g.reshape(-1) for g in gradients])
    torch.distributed.all_reduce(flat)
    for gradient, mean in zip(gradients, flat.div_(world).split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def agreed(seconds: float, world: int) -> float:
    """The first process's seconds: every process must find the run's end in the same step."""
    if world == 1:
        return seconds
    told = torch.tensor([seconds], dtype=torch.float64)
    torch.distributed.broadcast(told, 0)
    return float(told)


def progress_smoothed(run: Run) -> float | None:
    """The last point of the curve, to go on smoothing from."""
    return run.progress.curve[-1][1] if run.progress.curve else None


def facts(args: argparse.Namespace, run: Run) -> dict[str, object]:
    """What config.json tells of the training."""
    return {
        "tokens": run.progress.tokens,
        "steps": run.progress.step,
        "seconds": round(run.progress.seconds),
        "stages": args.stages,
        "data": [p.name for p in files_of(args.data)],
        "weights": args.weight,
        "rates": [args.muon_rate, args.adam_rate],
        "recipe": vars(replace(MaskingRecipe(), gap_rows=args.gap_rows)),
        "seed": args.seed,
    }


def pick_device(name: str) -> torch.device:
    """The device of that name; `auto` is CUDA, then MPS, then the CPU."""
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
