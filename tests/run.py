"""`python launch.py test`: lint, format, types and tests, one after the other, with a summary."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHECKS = {
    "lint": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "types": ["mypy"],
    "tests": ["pytest", "--durations=10"],
}
TWO = ["-n", "2", "--dist", "loadfile"]
"""Two files of tests at a time. Long runs and those on a GPU have the machine to themselves."""


def main(arguments: list[str]) -> int:
    """Run every check, the later ones too when one fails; further arguments (--long, --cuda, ...) go to pytest."""
    at_once = [] if {"--long", "--cuda"} & {*arguments} else TWO
    needed = ("ruff", "mypy", "pytest", "xdist", "hypothesis", "playwright")
    if missing := [module for module in needed if importlib.util.find_spec(module) is None]:
        print(f"This Python lacks {', '.join(missing)}: install tests/requirements.txt into it.", file=sys.stderr)
        return 1
    for stub in (ROOT / "app").glob("*.pyi"):  # Gradio writes one beside a component it imports, and mypy would read it instead
        stub.unlink()
    results = []
    for name, check in CHECKS.items():
        command = [*check, *at_once, *arguments] if name == "tests" else check
        print(f"\n== {name}: {' '.join(command)}", flush=True)
        began = time.monotonic()
        code = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=False).returncode
        results.append((name, code, time.monotonic() - began))
    print("\n== summary")
    for name, code, seconds in results:
        print(f"{name:8} {'passed' if code == 0 else f'FAILED (exit code {code})'} in {seconds:.1f} s")
    return int(any(code for _, code, _ in results))
