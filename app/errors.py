"""What the page tells of an error: one sentence, never a traceback."""

from __future__ import annotations

import logging
from typing import Any

import engine

LOG = logging.getLogger("lacuna")
UNEXPECTED = "The engine stopped unexpectedly ({reason}); your own words are unchanged, and the terminal shows the details."


def sentence(error: BaseException) -> str:
    """What a user is told of an error: the engine's own sentence, never a traceback."""
    if isinstance(error, (ValueError, OSError, RuntimeError)) and str(error):
        return str(error).strip().splitlines()[0]
    return UNEXPECTED.format(reason=type(error).__name__)


def failure(error: Exception) -> dict[str, Any]:
    """The last message of a fill that failed; a mistake in the draft says where it is."""
    if isinstance(error, engine.DraftError):
        mark = {} if error.mark is None else {"mark": error.mark}
        return {"error": error.message, "line": error.line, "column": error.column, **mark}
    if not isinstance(error, ValueError):
        LOG.exception("a fill failed", exc_info=error)
    return {"error": sentence(error)}
