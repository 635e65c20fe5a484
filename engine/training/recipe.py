"""`python launch.py train --recipe FILE`: a model that was made in several runs, made again by one command.

A recipe is a TOML file of stages. One with `tokens` trains, beginning from the model of the stage before it, or of the one that it comes
`after`; one that takes a `mean` averages the models of earlier ones; one that `teach`es adds to the finished model what comes after
training; any other prepares a corpus.
Stopped anywhere, the same command goes on.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import shlex
import sys
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine import checkpoint
from engine.hub.installed import WEIGHTS
from engine.settings import Settings, SettingsError
from engine.training.corpus import CorpusError, files_of, unusable
from engine.training.options import arguments
from engine.training.run import FINISHED
from engine.training.shards import digest

TRAIN = "engine.training.train"
MEAN = "engine.training.mean"
TAUGHT = {
    "words": "engine.training.words",
    "schedule": "engine.training.schedule",
    "lengths": "engine.training.length_head",
    "reveal order": "engine.training.reveal_order",
}
"""What can be taught to a finished model, and the command that does it."""
NUMBER = re.compile(r"\{(\d+):(\d+)\}")
LEAST_TOKENS = 20_000
"""What a stage is trained on, however small the rehearsal."""
MADE = "recipe.json"
MEANT = "mean.txt"


class RecipeError(ValueError):
    """A recipe can't be followed; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One command of a recipe."""

    name: str
    """Its folder in --out."""
    options: str = ""
    """As on the command line; {16000:400} is 16000 times the scale of a rehearsal, and 400 at least."""
    tokens: float = 0.0
    """What is trained on in this stage."""
    hold: float = 0.0
    """The share of the stage after which the rates fall to zero."""
    after: str = ""
    """The stage whose model it goes on from, where that isn't the last one before it: a branch."""
    mean: tuple[str, ...] = ()
    """The stages whose models are averaged."""
    teach: str = ""
    """A name of TAUGHT."""
    texts: tuple[str, ...] = ("*",)
    """The files that it reads, by their names."""

    def __post_init__(self) -> None:
        """Raise TypeError for a value of the wrong kind, KeyError for what can't be taught."""
        if not all(isinstance(value, str) for value in (self.name, self.options, self.after, self.teach, *self.mean, *self.texts)):
            raise TypeError(f"the texts of stage {self.name!r} are wrong")
        if not all(isinstance(value, int | float) for value in (self.tokens, self.hold)):
            raise TypeError(f"the numbers of stage {self.name!r} are wrong")
        if self.teach and self.teach not in TAUGHT:
            raise KeyError(f"nothing teaches {self.teach!r}")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a model is made."""

    name: str
    stages: tuple[Stage, ...]
    options: str = ""
    """Of every stage that trains or prepares."""
    settings: dict[str, Any] | None = None
    """The sampler's settings that are recommended for the model."""

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """The recipe in a file; RecipeError when it is none."""
        try:
            told = tomllib.loads(path.read_text(encoding="utf-8"))
            lists = {"texts": ["*"], "mean": []}
            stages = tuple(Stage(**stage | {k: _list(stage.get(k, usual)) for k, usual in lists.items()}) for stage in told.pop("stage"))
            Settings.of(told.get("settings", {}))
            return cls(stages=stages, **told)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError, SettingsError) as error:
            raise RecipeError(f"{path} is no recipe: {str(error).strip('.')}.") from error

    @property
    def tokens(self) -> float:
        """What the model has read in the end."""
        return sum(stage.tokens for stage in self.stages)


@dataclass(frozen=True, slots=True)
class Command:
    """One command line of a recipe."""

    stage: Stage
    module: str
    argv: list[str]
    folder: Path
    model: Path
    """The model that is there when it is done; where there is none yet, the corpus."""
    made_of: tuple[Path, ...] = ()
    """The models that something is taught to, or that are averaged: while they are the same, it isn't done twice."""

    @property
    def note(self) -> Path:
        """Where their digests are kept."""
        return self.folder / MEANT if self.stage.mean else self.folder


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="launch.py train --recipe", description=__doc__)
    add = made.add_argument
    add("--recipe", type=Path, required=True, help="assets/recipe.toml is that of the embedded model")
    add("--data", nargs="+", type=Path, required=True, help="texts (.txt, .md, .xz; UTF-8), or folders of them")
    add("--exclude", nargs="+", type=Path, default=[], help="held-out texts: documents that are mostly in them are left out")
    add("--out", type=Path, help="folder of all runs (runs/ and the model's name)")
    add("--scale", type=float, default=1.0, help="rehearse with this share of all tokens and gaps (0.001)")
    return made


def main(argv: list[str]) -> int:
    """Follow a recipe; the exit status of the first stage that fails, 0 when all are done or one was paused, 2 with a sentence for what
    is no recipe.
    """
    args = parser().parse_args(argv)
    try:
        recipe = Recipe.read(args.recipe)
        out = args.out or Path("runs") / (recipe.name if args.scale == 1 else f"{recipe.name}-rehearsed")
        files = files_of(args.data)
        found = commands(recipe, files, args.exclude, out, args.scale)
        _keep_to(out, recipe, files, args.scale)
    except (RecipeError, CorpusError) as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(unusable(error, args.recipe), file=sys.stderr)
        return 2
    try:
        return _follow(recipe, found)
    except (checkpoint.CheckpointError, SettingsError) as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(unusable(error, out), file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # while something is taught; `train` ends with a whole step
        print("Stopped; the same command goes on.", file=sys.stderr)
        return 130


def _follow(recipe: Recipe, found: list[Command]) -> int:
    """Run the commands in order; the exit status."""
    for command in found:
        print(f"{command.stage.name}: {command.module.rpartition('.')[2]} {shlex.join(command.argv)}", file=sys.stderr)
        if command.made_of and _made(command):
            continue
        if status := int(importlib.import_module(command.module).main(command.argv)):
            return status
        if command.stage.tokens and not (command.folder / FINISHED).is_file():
            print(f"Paused in the stage {command.stage.name}; the same command goes on.", file=sys.stderr)
            return 0
        if command.made_of:
            command.note.write_text(_weights(command), encoding="utf-8")
    made = found[-1].model
    if recipe.settings:
        checkpoint.set_settings(made, recipe.settings)
    print(f"{recipe.name} is in {made}.", file=sys.stderr)
    return 0


def commands(recipe: Recipe, files: list[Path], exclude: list[Path], out: Path, scale: float) -> list[Command]:
    """The command lines of a recipe, all of them read once. RecipeError where a stage has nothing to begin from, or texts that aren't
    there; SystemExit with a message where an option isn't one of the command's.
    """
    found: list[Command] = []
    corpus: Path | None = None
    model: Path | None = None
    seen = total = 0
    read: dict[str, int] = {}
    """How many tokens the model of a stage has read, counting those of all branches that it is made of."""
    for stage in recipe.stages:
        folder = out / stage.name
        chosen = [str(path) for path in files if any(path.match(pattern) for pattern in stage.texts)]
        if not chosen:
            raise RecipeError(f"The stage {stage.name} reads {', '.join(stage.texts)}, which none of these texts is called.")
        options = shlex.split(NUMBER.sub(lambda n: str(max(min(int(n[1]), int(n[2])), round(int(n[1]) * scale))), stage.options))
        if stage.after:
            model, seen = _model_of(stage.after, found, stage), read[stage.after]
        begun = [] if model is None else ["--init", str(model)]
        if stage.teach:
            if model is None:
                raise RecipeError(f"The stage {stage.name} needs a model, and no stage before it trains one.")
            argv = ["--model", str(model), "--data", *chosen, *options]
            importlib.import_module(TAUGHT[stage.teach]).parser().parse_args(argv)
            found.append(Command(stage, TAUGHT[stage.teach], argv, folder, model, (model,)))
            continue
        if stage.mean:
            meant = tuple(_model_of(name, found, stage) for name in stage.mean)
            model = folder / "model"
            argv = ["--models", *map(str, meant), *options, "--out", str(model)]
            importlib.import_module(MEAN).parser().parse_args(argv)
            found.append(Command(stage, MEAN, argv, folder, model, meant))
            seen = read[stage.name] = total
            continue
        common = [*shlex.split(recipe.options), *begun, *options, "--out", str(folder)]
        if not stage.tokens:
            held = ["--exclude", *map(str, exclude)] if exclude else []
            argv, corpus = ["--prepare", "--data", *chosen, *common, *held], folder
        else:
            if corpus is None:
                raise RecipeError(f"The stage {stage.name} needs a corpus, and no stage before it prepares one.")
            tokens = max(LEAST_TOKENS, round(stage.tokens * scale))
            # `train` counts shares from the first token that a model has ever read.
            hold = min(0.9999, (seen + stage.hold * tokens) / (seen + tokens))
            done = ["--done", str(seen)] if begun else []
            argv = ["--data", str(corpus), *common, *done, "--tokens", str(seen + tokens), "--hold", f"{hold:.6f}", "--name", recipe.name]
            model, seen, total = folder / "model", seen + tokens, total + tokens
            read[stage.name] = seen
        parsed = arguments(argv, None)
        if stage.tokens and begun and "," in (parsed.stages or ""):
            raise RecipeError(f"The stage {stage.name} begins from a model, and so its --stages can have one part only.")
        found.append(Command(stage, TRAIN, argv, folder, model or folder))
    if model is None:
        raise RecipeError("No stage of the recipe trains anything.")
    return found


def _keep_to(out: Path, recipe: Recipe, files: list[Path], scale: float) -> None:
    """Note in the folder of all runs what is made there; RecipeError where it is something else."""
    told = {"recipe": _asked(recipe), "texts": [[path.name, path.stat().st_size] for path in files], "scale": scale}
    now, kept = json.dumps(told, sort_keys=True), out / MADE
    if kept.is_file() and kept.read_text(encoding="utf-8") != now:
        raise RecipeError(f"In {out} another recipe was followed, or this one with other texts or another --scale; name another --out.")
    if not kept.is_file():
        out.mkdir(parents=True, exist_ok=True)
        checkpoint.written(kept, lambda partial: partial.write_text(now, encoding="utf-8"))


def _asked(recipe: Recipe) -> dict[str, Any]:
    """What a recipe says; what it leaves out isn't told, or a field that is new would make another recipe of it."""
    usual = asdict(Stage(""))
    stages = [{k: v for k, v in stage.items() if v != usual[k]} for stage in asdict(recipe)["stages"]]
    return asdict(recipe) | {"stages": stages}


def _model_of(name: str, found: list[Command], stage: Stage) -> Path:
    """The model of an earlier stage that trained or averaged; RecipeError where there is none."""
    for command in found:
        if command.stage.name == name and (command.stage.tokens or command.stage.mean):
            return command.model
    raise RecipeError(f"The stage {stage.name} needs the model of {name}, and no stage before it makes one of that name.")


def _weights(command: Command) -> str:
    """The digests of the models that something is made of."""
    return " ".join(digest(model / WEIGHTS) for model in command.made_of)


def _made(command: Command) -> bool:
    """Whether this was made of the same models before."""
    return command.note.is_file() and command.note.read_text(encoding="utf-8") == _weights(command)


def _list(told: object) -> tuple[str, ...]:
    if not isinstance(told, list):
        raise TypeError("texts must be a list of names")
    return tuple(told)
