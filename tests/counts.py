"""How many random cases a test tries."""

from __future__ import annotations

from hypothesis import settings

USUAL = 100
"""Of a test that says nothing, in the suite."""


def examples(count: int) -> int:
    """So many in the suite, and with --long as many times more as there are of a test that says nothing."""
    return count * settings().max_examples // USUAL
