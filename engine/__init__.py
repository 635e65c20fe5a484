"""Lacuna's engine, and its front door: everything that others may use is an attribute of this package.

Torch is imported when something is first asked for that computes; drafts, settings, frames and the samplers' names cost
no such import.
"""

from __future__ import annotations

import ast
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.draft import Draft, DraftError, Gap, Length, Pin, Rewrite, words
from engine.frames import MASKED_TEXT, Cell, Frame, Result, score
from engine.settings import DTYPES, HELP, LONGEST_INSTRUCTION, ONLY_FOR, PUBLISHED, Settings, SettingsError, recommended

if TYPE_CHECKING:
    from engine.backends import load
    from engine.filling import fill, fill_events, stream
    from engine.hub import HubError, ModelInfo, Progress, download, folder_of, models, resolve
    from engine.memory import dtype_of, fits_beside, free_memory, release_memory
    from engine.samplers import SAMPLERS
    from engine.schedules import SCHEDULES

__all__ = [
    "DTYPES",
    "HELP",
    "LONGEST_INSTRUCTION",
    "MASKED_TEXT",
    "ONLY_FOR",
    "PUBLISHED",
    "SAMPLERS",
    "SCHEDULES",
    "Cell",
    "Draft",
    "DraftError",
    "Frame",
    "Gap",
    "HubError",
    "Length",
    "ModelInfo",
    "Pin",
    "Progress",
    "Result",
    "Rewrite",
    "Settings",
    "SettingsError",
    "download",
    "dtype_of",
    "fill",
    "fill_events",
    "fits_beside",
    "folder_of",
    "free_memory",
    "load",
    "models",
    "recommended",
    "release_memory",
    "resolve",
    "sampler_help",
    "schedule_names",
    "score",
    "stream",
    "words",
]

_HOMES = {
    "HubError": "engine.hub",
    "ModelInfo": "engine.hub",
    "Progress": "engine.hub",
    "SAMPLERS": "engine.samplers",
    "SCHEDULES": "engine.schedules",
    "download": "engine.hub",
    "dtype_of": "engine.memory",
    "fill": "engine.filling",
    "fill_events": "engine.filling",
    "fits_beside": "engine.memory",
    "folder_of": "engine.hub",
    "free_memory": "engine.memory",
    "load": "engine.backends",
    "models": "engine.hub",
    "release_memory": "engine.memory",
    "resolve": "engine.hub",
    "stream": "engine.filling",
}
"""The names that cost an import of more than the standard library, and the modules that they come from."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)


@cache
def _syntax(module: str) -> ast.Module:
    return ast.parse((Path(__file__).parent / f"{module}.py").read_text(encoding="utf-8"))


def sampler_help() -> dict[str, str]:
    """The samplers' names with the first line of their docstrings, read from the source: torch stays out."""
    return {
        node.name: (ast.get_docstring(node) or "").partition("\n")[0]
        for node in _syntax("samplers").body
        if isinstance(node, ast.FunctionDef) and any(isinstance(by, ast.Name) and by.id == "sampler" for by in node.decorator_list)
    }


def schedule_names() -> list[str]:
    """The noise schedules' names, read from the source: torch stays out."""
    for node in _syntax("schedules").body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "SCHEDULES":
            names = node.value.keys if isinstance(node.value, ast.Dict) else []
            return [name.value for name in names if isinstance(name, ast.Constant) and isinstance(name.value, str)]
    return []
