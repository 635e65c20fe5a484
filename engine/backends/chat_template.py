"""Renders one chat template: a program of its own, run by `engine.backends.chat`, so that a template can cost no more than it is allowed.

Reads {"template", "values", "most", "memory", "seconds"} as JSON from stdin; writes the text to stdout. Templates are data from a
model's folder. Jinja's sandbox keeps them from the interpreter; the limits of the process keep them from its time and memory.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def main() -> int:
    """Render; 0 when all went well, 1 with a reason on stderr otherwise."""
    job = json.load(sys.stdin)
    try:
        import resource
    except ImportError:  # Windows has no such limits; the caller's clock still ends the process
        pass
    else:
        for limit, most in ((resource.RLIMIT_AS, job["memory"]), (resource.RLIMIT_CPU, job["seconds"])):
            with suppress(ValueError, OSError):  # macOS takes no limit below what a process has mapped already
                resource.setrlimit(limit, (most, most))
    # The names that published templates rely on.
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    environment.globals.update(raise_exception=_refuse, strftime_now=lambda form: datetime.now(UTC).strftime(form))
    environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    parts, size = [], 0
    try:
        for part in environment.from_string(job["template"]).generate(**job["values"]):
            size += len(part)
            if size > job["most"]:
                _refuse("it writes too much")
            parts.append(part)
    except Exception as error:
        print(str(error).splitlines()[0][:200] if str(error) else type(error).__name__, file=sys.stderr)
        return 1
    sys.stdout.buffer.write("".join(parts).encode("utf-8", "replace"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
