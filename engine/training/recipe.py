"""`python launch.py train --recipe FILE`: a model that was made in several runs, made again by one command.

A recipe is a TOML file: stages, in order, each a command of ours with its options. A stage of `train` begins from the model of
the stage before it; where a stage has no `tokens`, a corpus is prepared, or something is taught to the finished model. Stopped
anywhere, the same command goes on.
"""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import checkpoint
from engine.training.corpus import files_of

TRAIN = "engine.training.train"
NUMBER = re.compile(r"\{(\d+)\}")
LEAST, LEAST_TOKENS = 8, 20_000
"""What is left of a number in braces, and of a stage's tokens, however small the rehearsal."""


class RecipeError(ValueError):
    """A recipe can't be followed; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One command of a recipe."""

    name: str
    """Its folder in --out."""
    options: str = ""
    """As on the command line; a number in braces is made smaller in a rehearsal."""
    tokens: float = 0.0
    """What `train` reads in this stage; 0 for all that isn't training."""
    hold: float = 0.0
    """The share of the stage after which the rates fall to zero."""
    module: str = TRAIN
    """The command; one that isn't `train` is given the finished model and the texts."""
    texts: tuple[str, ...] = ("*",)
    """The files that it reads, by their names."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a model is made."""

    name: str
    stages: tuple[Stage, ...]
    options: str = ""
    """Of every stage that trains or prepares."""
    settings: tuple[tuple[str, Any], ...] = ()
    """The sampler's settings that are recommended for the model."""

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """The recipe in a file; RecipeError when it is none."""
        try:
            told = tomllib.loads(path.read_text(encoding="utf-8"))
            stages = tuple(Stage(**{**stage, "texts": tuple(stage.get("texts", ("*",)))}) for stage in told.pop("stage"))
            return cls(stages=stages, settings=tuple(told.pop("settings", {}).items()), **told)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise RecipeError(f"{path} is no recipe: {error}.") from error

    @property
    def tokens(self) -> float:
        """What the model has read in the end."""
        return sum(stage.tokens for stage in self.stages)


def main(argv: list[str]) -> int:
    """Follow a recipe; the exit status of the first stage that fails, 2 with a sentence for what is no recipe."""
    parser = argparse.ArgumentParser(prog="launch.py train --recipe", description=__doc__)
    add = parser.add_argument
    add("--recipe", type=Path, required=True, help="assets/recipe.toml is that of the embedded model")
    add("--data", nargs="+", type=Path, required=True, help="texts (.txt, .md, .xz; UTF-8), or folders of them")
    add("--exclude", nargs="+", type=Path, default=[], help="held-out texts: documents that are mostly in them are left out")
    add("--out", type=Path, help="folder of all runs (runs/ and the model's name)")
    add("--scale", type=float, default=1.0, help="rehearse with this share of all tokens and gaps (0.001)")
    args = parser.parse_args(argv)
    try:
        recipe = Recipe.read(args.recipe)
        files = files_of(args.data)
        steps = commands(recipe, files, args.exclude, args.out or Path("runs") / recipe.name, args.scale)
    except (RecipeError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    model: Path | None = None
    for step in steps:
        model = step.model or model
        if step.done is not None and step.done.exists():
            continue
        print(f"{step.name}: {step.module.rpartition('.')[2]} {shlex.join(step.argv)}", file=sys.stderr)
        if status := int(importlib.import_module(step.module).main(step.argv)):
            return status
        if step.done is not None:
            step.done.touch()
    if recipe.settings and model is not None:
        checkpoint.set_settings(model, dict(recipe.settings))
    print(f"{recipe.name} is in {steps[-1].made}.", file=sys.stderr)
    return 0


@dataclass(frozen=True, slots=True)
class Command:
    """One command line to be run."""

    name: str
    module: str
    argv: list[str]
    made: Path
    """The model that is there when it is done."""
    model: Path | None = None
    """The same, where this command makes it."""
    done: Path | None = None
    """The file that says that it was done; a run of `train` knows that itself."""


def commands(recipe: Recipe, files: list[Path], exclude: list[Path], out: Path, scale: float) -> list[Command]:
    """The command lines of a recipe. RecipeError where a stage has nothing to begin from, or texts that aren't there."""
    found: list[Command] = []
    corpus: Path | None = None
    model: Path | None = None
    seen = 0
    for stage in recipe.stages:
        folder = out / stage.name
        chosen = [str(path) for path in files if any(path.match(pattern) for pattern in stage.texts)]
        if not chosen:
            raise RecipeError(f"The stage {stage.name} reads {', '.join(stage.texts)}, which none of these texts is called.")
        options = shlex.split(NUMBER.sub(lambda number: str(max(LEAST, round(int(number[1]) * scale))), stage.options))
        begun = [] if model is None else ["--init", str(model)]
        if stage.module != TRAIN:
            if model is None:
                raise RecipeError(f"The stage {stage.name} needs a model, and no stage before it trains one.")
            found.append(Command(stage.name, stage.module, ["--model", str(model), "--data", *chosen, *options], model, done=folder))
        elif not stage.tokens:
            argv = ["--prepare", *begun, "--data", *chosen, *shlex.split(recipe.options), *options, "--out", str(folder)]
            argv += ["--exclude", *map(str, exclude)] if exclude else []
            found.append(Command(stage.name, TRAIN, argv, model or folder, done=folder / "prepared"))
            corpus = folder
        else:
            if corpus is None:
                raise RecipeError(f"The stage {stage.name} needs a corpus, and no stage before it prepares one.")
            tokens = max(LEAST_TOKENS, round(stage.tokens * scale))
            # `train` counts shares from the first token that a model has ever read.
            hold = (seen + stage.hold * tokens) / (seen + tokens)
            argv = ["--data", str(corpus), *shlex.split(recipe.options), *begun, *(["--done", str(seen)] if begun else [])]
            argv += [
                "--tokens",
                str(seen + tokens),
                "--hold",
                f"{min(hold, 0.9999):.6f}",
                *options,
                "--name",
                recipe.name,
                "--out",
                str(folder),
            ]
            model, seen = folder / "model", seen + tokens
            found.append(Command(stage.name, TRAIN, argv, model, model))
    if model is None:
        raise RecipeError("No stage of the recipe trains anything.")
    return found
