"""How many random cases a test tries."""

from __future__ import annotations

from hypothesis import settings

USUAL = 100
"""Of a test that says nothing, in the suite."""


def examples(count: int) -> int:
    """So many in the suite, and with --long as many times more as there are of a test that says nothing."""
    profile = settings.default
    assert profile is not None
    return count * profile.max_examples // USUAL
