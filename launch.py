#!/usr/bin/env python3
"""Start here: sees that Lacuna's Python environment is ready, then runs the app or a command in it."""
# Standard library only, and no syntax that Python 3.6 cannot read: an older Python must still be able to say so.

import importlib
import os
import re
import sys

OLDEST = (3, 11)
if sys.version_info < OLDEST:
    sys.exit(f"Lacuna needs Python 3.11 or newer and this is {sys.version_info[0]}.{sys.version_info[1]}: start it with a newer one.")

import tomllib
from importlib import metadata

from environment import ROOT, VENV, Problem, enter, prepare, say

HELP = """\
usage: {launch} [--cpu | --cuda] [command] [options]

Lacuna fills gaps in text with a masked diffusion language model. The first start
prepares everything in the folder .venv beside this file; that happens once.

commands (each but extras and test has its own --help):
  (none)     the app, in the browser
  fill       fill a draft on the command line: {fill}
  models     list the models: those that are here, and those to download
  download   fetch a published model: {download}
  extras     install what BERT and its relatives need besides (transformers)
  train      train a model
  train-lengths
             teach a finished model how long gaps are
  evaluate   measure a model: bound, infilling, lengths; a report, a card, a blind sheet
  test       lint, types and tests (--long: full counts; --cuda: on a GPU too)
  bench      what each decision about speed is worth, as ratios of times

options of the app:
  --host HOST      the address to serve on (127.0.0.1: this machine only)
  --port PORT      the port to serve on (7860); a busy one moves to the next
  --model MODEL    a folder or a name on the hub; the embedded model by default
  --device DEVICE  auto, cpu, cuda or mps
  --dtype DTYPE    auto, float32, bfloat16, float16, int8 or int4
  --fixed-model    whoever opens the page can't choose or download models
  --allow-host NAME
                   a name that this server is reached by besides its address
  --no-browser     do not open the browser

options of the environment:
  --cpu, --cuda    which build of PyTorch to install (Linux; decided by the NVIDIA driver)
  --version, --help

LACUNA_PYTHON=this uses the running Python and its packages, and installs nothing."""

COMMANDS = {
    "app": "app.main",
    "fill": "engine.cli",
    "models": "engine.cli_hub:list_models",
    "download": "engine.cli_hub:fetch_model",
    "extras": "",
    "train": "engine.training.train",
    "train-lengths": "engine.training.length_head",
    "evaluate": "engine.evaluation.main",
    "test": "tests.run",
    "bench": "bench.run",
}
REQUIREMENTS = {
    "extras": ["requirements.txt", "requirements-extras.txt"],
    "test": ["requirements.txt", "requirements-extras.txt", "tests/requirements.txt"],
}
"""What a command needs; the others need requirements.txt alone."""
OLDEST_TORCH = (2, 11)
KEEP = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    # By names of their own: glibc cuts its variable after the first tunable, and what torchrun starts would not know of the others.
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
}
KEEP_SOME = KEEP | {"MALLOC_MMAP_THRESHOLD_": str(2**26), "MALLOC_TRIM_THRESHOLD_": str(2**27)}
VARIABLES = dict.fromkeys(("train", "train-lengths", "evaluate"), KEEP) | dict.fromkeys(("app", "fill", "bench"), KEEP_SOME)
"""What a command that runs in .venv has besides in its environment; with LACUNA_PYTHON=this nothing, for glibc reads it when a process
starts, and that one runs already. A training step, or a batch of long rows, gives hundreds of megabytes back and takes them again, and
with glibc's own thresholds the kernel clears new pages each time, a quarter of the time on a CPU (DECISIONS, Training). A fill takes
blocks of some megabytes, of which a page that stays open may keep a hundred. Other systems don't read it."""


def main(arguments: list[str]) -> int:
    """Run a command line; the exit code."""
    try:
        command, flag, rest = understand(arguments)
        if command in ("extras", "test") and rest in (["--help"], ["-h"]):
            command = "help"  # these are told here alone, and asking must not install or run anything
        if command in ("help", "version"):
            print(helped() if command == "help" else "Lacuna " + version())
            return 0
        here = os.environ.get("LACUNA_PYTHON", "")
        if here not in ("", "this"):
            raise Problem(f"LACUNA_PYTHON can only be 'this' (use the running Python), not {here!r}.")
        if here:
            if flag and command != "test":
                raise Problem(f"--{flag} chooses what is installed, and with LACUNA_PYTHON=this nothing is.")
            if command == "extras":
                raise Problem(
                    f"With LACUNA_PYTHON=this nothing is installed: install requirements-extras.txt into {sys.executable} yourself."
                )
            return run(command, rest)
        prepare(REQUIREMENTS.get(command, ["requirements.txt"]), flag)
        if command == "extras":
            say("The extras are in .venv.")
            return 0
        return enter([__file__, *([] if command == "app" else [command]), *rest], VARIABLES.get(command, {}))
    except Problem as problem:
        say(str(problem))
        return 1


def understand(arguments: list[str]) -> tuple[str, str, list[str]]:
    """Split a command line into the command, the build of torch asked for ("cpu", "cuda" or "") and the command's own arguments."""
    rest = list(arguments)
    flag = ""
    while rest and rest[0] in ("--cpu", "--cuda"):
        flag = rest.pop(0)[2:]
    command = rest.pop(0) if rest and not rest[0].startswith("-") else "app"
    if command not in COMMANDS:
        raise Problem(f"There is no command {command!r}; there are {', '.join(name for name in COMMANDS if name != 'app')}.")
    if command == "app":
        if "--help" in rest or "-h" in rest:
            return "help", "", []
        if "--version" in rest:
            return "version", "", []
        for option in ("--cpu", "--cuda"):
            if option in rest:
                rest.remove(option)
                flag = option[2:]
    if command == "test" and "--cuda" in rest:  # tests on a GPU need a torch for it, and the option themselves
        flag = "cuda"
    return command, flag, rest


def helped() -> str:
    """The help, with commands as they are typed on this system."""
    from engine.text import command  # the one part of the engine that is at home here, and it needs no packages

    examples = {"fill": command("fill", "It was [[]] when the door opened."), "download": command("download", "kuleshov-group/mdlm-owt")}
    return HELP.format(launch=command(), **examples)


def version() -> str:
    """Lacuna's version, from its one home in pyproject.toml."""
    with open(os.path.join(ROOT, "pyproject.toml"), "rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def run(command: str, arguments: list[str]) -> int:
    """Run a command in this very Python; the exit code."""
    sys.path.insert(0, ROOT)
    own = os.path.realpath(sys.prefix) == os.path.realpath(VENV)
    if not own and command != "test":
        check_torch()
    try:
        module, _, function = COMMANDS[command].partition(":")
        code = int(getattr(importlib.import_module(module), function or "main")(arguments) or 0)
        if command == "app":
            sys.stdout.flush()
            os._exit(code)  # at once, as below
        return code
    except KeyboardInterrupt:
        say("Stopped.")
        sys.stdout.flush()
        os._exit(130)  # at once: a server or a model being loaded in a thread would hold up an ordinary exit
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if os.path.exists(os.path.join(ROOT, name)):
            raise
        cure = "delete the folder .venv and start again" if own else "install requirements.txt into it, or start without LACUNA_PYTHON=this"
        raise Problem(f"This Python ({sys.executable}) lacks the package {name}: {cure}.") from None


def check_torch() -> None:
    """Raise Problem unless this Python has a torch that is new enough."""
    try:
        found = metadata.version("torch")
    except metadata.PackageNotFoundError:
        found = ""
    if not found or tuple(map(int, re.findall(r"\d+", found)[:2])) < OLDEST_TORCH:
        needed = ".".join(map(str, OLDEST_TORCH))
        has = f"torch {found}" if found else "no torch"
        raise Problem(
            f"Lacuna needs torch {needed} or newer and this Python ({sys.executable}) has {has}: install it or unset LACUNA_PYTHON."
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
