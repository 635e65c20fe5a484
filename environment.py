"""Lacuna's own Python environment: the folder .venv beside this file, made, filled and mended. Standard library only."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

ROOT = os.path.dirname(os.path.abspath(__file__))
VENV, OLD_VENV = os.path.join(ROOT, ".venv"), os.path.join(ROOT, ".venv.old")
PYTHON = os.path.join(VENV, "Scripts", "python.exe") if os.name == "nt" else os.path.join(VENV, "bin", "python")
STATE = os.path.join(VENV, "lacuna.json")
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
DISK_FULL_SIGNS = ("No space left on device", "[Errno 28]", "[WinError 112]", "No usable temporary directory")
LOCKED_SIGNS = ("[WinError 5]", "[WinError 32]")
NOT_MADE_SIGNS = ("No matching distribution found", "Could not find a version that satisfies")
OFFLINE_SIGNS = ("connection broken by", "Max retries exceeded", "Failed to establish", "name resolution", "ConnectTimeout", "ProxyError")


class Problem(Exception):
    """What keeps Lacuna from starting: one sentence for the user."""


def say(text: str) -> None:
    """Tell the user; on stderr, because stdout belongs to the commands."""
    print(text, file=sys.stderr, flush=True)


def prepare(requirements: list[str], flag: str) -> None:
    """Make .venv and install `requirements` into it, unless that is done already; raises Problem."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        torch = choose_torch(flag, read_state().get("torch"))
        if not is_ready(requirements, torch):
            with alone():
                if not is_ready(requirements, torch):
                    build(requirements, torch)
    except KeyboardInterrupt:
        raise Problem("Stopped while preparing; the next start goes on from here.") from None
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise Problem(disk_full()) from None
        reason = error.strerror or str(error)
        cure = "make it writable, or move Lacuna to a folder that is"
        if sys.platform == "win32":  # where nobody can move or write over what is in use
            cure = f"close every Lacuna that is running and start again, or {cure}"
        raise Problem(f"Lacuna cannot write {error.filename or VENV} ({reason}): {cure}.") from None
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def read_state() -> dict[str, Any]:
    """What is known of .venv: `unfinished`, the build of `torch`, and what was `installed` (a digest for each file)."""
    try:
        with open(STATE, encoding="utf-8") as file:
            state = json.load(file)
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def write_state(**changes: Any) -> None:
    """Change what is known of .venv, all or nothing."""
    with open(STATE + ".new", "w", encoding="utf-8") as file:
        json.dump({**read_state(), **changes}, file, indent=1)
    os.replace(STATE + ".new", STATE)


def digest(name: str, python: str) -> str:
    """The stamp of a requirements file for a Python version."""
    try:
        with open(os.path.join(ROOT, name), "rb") as file:
            return hashlib.sha256(file.read() + python.encode()).hexdigest()
    except FileNotFoundError:
        raise Problem(f"{name} is missing beside launch.py: the checkout is not whole, get it again.") from None


def venv_python() -> str:
    """The version of the Python in .venv; empty when there is none that works, is new enough and has pip."""
    probe = "import pip, sys; assert sys.version_info >= (3, 11); print(sys.version.split()[0])"
    try:
        found = subprocess.run([PYTHON, "-I", "-c", probe], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return found.stdout.strip()


def is_ready(requirements: list[str], torch: str) -> bool:
    """Whether .venv works and holds what is required."""
    state, python = read_state(), venv_python()
    if not python or state.get("unfinished") or state.get("torch") != torch:
        return False
    return all(state.get("installed", {}).get(name) == digest(name, python) for name in requirements)


def build(requirements: list[str], torch: str) -> None:
    """Make or mend .venv and install into it."""
    state = read_state()
    first = not state.get("installed")
    title = "Preparing Lacuna's Python environment in .venv; this happens once and may take some minutes."
    with Status(title if first else "Bringing Lacuna's Python environment in .venv up to date.") as status:
        if state.get("unfinished") or state.get("torch", torch) != torch or not venv_python():
            make_venv(status)
        install(requirements, torch, status)
        python = venv_python()
        installed = {**read_state().get("installed", {}), **{name: digest(name, python) for name in requirements}}
        write_state(unfinished=False, torch=torch, installed=installed)


def make_venv(status: Status) -> None:
    """A new .venv in place of whatever is there."""
    try:
        import ensurepip  # noqa: F401 - Debian leaves it out of the base package
        import venv
    except ImportError:
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        raise Problem(f"This Python comes without venv: install it (Debian, Ubuntu: sudo apt install {package}) and start again.") from None
    if os.path.realpath(sys.prefix) == os.path.realpath(VENV):
        raise Problem("The environment in .venv must be made anew, which its own Python cannot do: start with another Python.")
    if os.pathsep in VENV:
        raise Problem(f"No environment can be made in {ROOT}, for its path holds a {os.pathsep!r}: move Lacuna to another folder.")
    status.now("making the environment")
    if os.path.isdir(OLD_VENV):
        shutil.rmtree(OLD_VENV)
    if os.path.isdir(VENV) and not os.path.islink(VENV):
        os.replace(VENV, OLD_VENV)  # half of an environment must never look like one
        shutil.rmtree(OLD_VENV)
    os.makedirs(VENV, exist_ok=True)
    write_state(unfinished=True, installed={})
    try:
        venv.EnvBuilder(with_pip=True, symlinks=os.name != "nt").create(VENV)
    except subprocess.CalledProcessError as error:
        said = (error.output or b"").decode(errors="replace").splitlines()
        raise Problem("The environment could not be made. " + explain(said)) from None


def install(requirements: list[str], torch: str, status: Status) -> None:
    """Let pip install requirement files into .venv, telling what it does."""
    command = [PYTHON, "-m", "pip", "install", "--no-input", "--progress-bar=off", "--disable-pip-version-check"]
    for name in requirements:
        command += ["-r", os.path.join(ROOT, name)]
    if torch == "cpu":
        command += ["--extra-index-url", CPU_INDEX]
    asked, lines = names_in(requirements), list[str]()
    pip = subprocess.Popen(
        command, env=child_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace"
    )
    assert pip.stdout is not None
    try:
        for line in pip.stdout:
            lines.append(line.strip())
            if line.startswith("Installing collected packages"):
                write_state(unfinished=True)  # from here to the end a killed pip leaves half a package behind
            status.pip(line, asked)
        code = pip.wait()
    except KeyboardInterrupt:
        pip.terminate()
        pip.wait()
        raise
    if code:
        raise Problem(explain(lines))


def names_in(requirements: list[str]) -> set[str]:
    """The packages that requirement files ask for, as `canonical` spells them."""
    found: set[str] = set()
    for name in requirements:
        with open(os.path.join(ROOT, name), encoding="utf-8") as file:
            found |= {canonical(asked[0]) for line in file if (asked := re.match(r"\w[\w.-]*", line))}
    return found


def canonical(name: str) -> str:
    """A package's name however it is written: pip and the names of wheels differ (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def explain(lines: list[str]) -> str:
    """One sentence for a failed installation, from what pip said."""
    text = "\n".join(lines)
    said = next((line for line in reversed(lines) if line.startswith("ERROR:")), next(filter(None, reversed(lines)), "nothing"))
    said = said.replace("ERROR:", "").strip().rstrip(".")
    if any(sign in text for sign in DISK_FULL_SIGNS):
        return disk_full()
    if any(sign in text for sign in LOCKED_SIGNS):
        return f"The packages could not be installed: a file is in use; close every Lacuna that is running, and start again (pip: {said})."
    if any(sign in text for sign in OFFLINE_SIGNS):
        return f"The packages could not be fetched, and the first start needs the network: check it, and start again (pip: {said})."
    if any(sign in text for sign in NOT_MADE_SIGNS):
        if sys.platform == "darwin" and platform.machine() == "x86_64" and "torch" in said:
            return (
                "PyTorch is not made for Macs with Intel processors any more, so Lacuna cannot run on one; on a Mac with Apple's own "
                f"processor start with a Python that is made for it, which this one is not (pip: {said})."
            )
        python = f"Python {sys.version_info.major}.{sys.version_info.minor} on {platform.machine()}"
        return (
            f"The packages could not be installed: one is not to be had for {python}; start with another Python, of 64 bits (pip: {said})."
        )
    return f"The packages could not be installed: check the network and the disk, and start again (pip: {said})."


def disk_full() -> str:
    """The sentence for a full disk. pip unpacks what it fetches in the temporary folder, which may lie on a small disk of its own."""
    import tempfile

    temporary = "the temporary folder"
    with suppress(OSError):  # none that can be written
        temporary = tempfile.gettempdir()
    return (
        f"The disk is full: Lacuna needs about 2 GB in {ROOT} and room for the downloads in {temporary}, with PyTorch for CUDA several "
        "more; make room, or for the downloads name another folder in the variable TMPDIR, and start again."
    )


def choose_torch(flag: str, installed: str | None) -> str:
    """The build of torch to install: "cpu" (from PyTorch's own index) or "usual" (what pip takes by itself, which on Linux is for CUDA)."""
    linux = sys.platform.startswith("linux")
    if flag == "cuda" and not linux:
        raise Problem("--cuda installs PyTorch for CUDA on Linux only: docs/GPU.md says how Windows gets it, and Macs have none.")
    if not flag and installed:
        return installed
    if sys.platform == "win32" and not flag and has_nvidia_driver():
        say("PyTorch comes without CUDA on Windows, so the GPU will not be used: docs/GPU.md says how to change that afterwards.")
    if not linux or flag == "cuda" or (not flag and has_nvidia_driver()):
        return "usual"
    if installed == "cpu" or answers(CPU_INDEX + "/torch/"):
        return "cpu"
    say("PyTorch's index of CPU builds does not answer; taking the usual build, which may be some gigabytes larger.")
    return "usual"


def has_nvidia_driver() -> bool:
    """Whether this machine can run CUDA; in WSL only the tool tells."""
    return os.path.exists("/proc/driver/nvidia/version") or shutil.which("nvidia-smi") is not None


def answers(url: str, seconds: float = 3) -> bool:
    """Whether an address answers in time, name look-up and all."""
    if os.environ.get("PIP_NO_INDEX"):
        return False
    result: list[bool] = []

    def ask() -> None:
        import urllib.request

        with suppress(OSError, ValueError), urllib.request.urlopen(url, timeout=seconds):
            result.append(True)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(result)


@contextmanager
def alone() -> Iterator[None]:
    """Wait until no other start is preparing the environment, and hold others off meanwhile."""
    os.makedirs(os.path.join(ROOT, ".cache"), exist_ok=True)
    with open(os.path.join(ROOT, ".cache", "launch.lock"), "a+b") as file:
        waiting = False
        while not lock(file.fileno()):
            if not waiting:
                say("Another start is preparing the environment; waiting for it.")
            waiting = True
            time.sleep(0.2)
        yield  # closing the file, or dying, lets go


def lock(descriptor: int) -> bool:
    """Try to lock an open file; the system unlocks it when it is closed."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            return False
        raise
    return True


class Status:
    """Tells what is being installed: one line that counts the seconds on a terminal, plain lines elsewhere."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.text = ""
        self.live = sys.stderr.isatty()
        self.began = time.monotonic()
        self.over = threading.Event()

    def __enter__(self) -> Status:
        say(self.title)
        if self.live:
            threading.Thread(target=self.tick, daemon=True).start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.over.set()
        self.draw("")
        if kind is None:
            say(f"  ready after {time.monotonic() - self.began:.0f} s")

    def now(self, text: str, quietly: bool = False) -> None:
        """Show what is being done; `quietly` only where it replaces the line before."""
        self.text = text
        if self.live:
            self.draw(f"  {text} ({time.monotonic() - self.began:.0f} s)")
        elif not quietly:
            say(f"  {text}")

    def pip(self, line: str, asked: set[str]) -> None:
        """Take note of a line of pip's; `asked`: the packages that were asked for themselves, which pip before 23.1 doesn't tell."""
        if wanted := re.match(r"Collecting ([\w.-]+)|Processing \S*/([\w.]+)-\S+\.whl", line):
            name = wanted[1] or wanted[2]
            self.now(f"looking up {name}", quietly=canonical(name) not in asked)
        elif fetched := re.match(r"\s*(?:Downloading|Using cached) (?:\S*/)?([\w.]+)-([\w.+]+)-\S+\.whl (\(.+\))", line):
            self.now(
                f"fetching {fetched[1]} {fetched[2]} {fetched[3]}", quietly="GB" not in line and not re.search(r"\(\d{2,}\.\d MB", line)
            )
        elif line.startswith("Installing collected packages"):
            self.now(f"installing {line.count(',') + 1} packages")

    def draw(self, text: str) -> None:
        """Put a text in place of the terminal's line."""
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write("\r" + text[:width].ljust(width) + ("" if text else "\r"))
            sys.stderr.flush()

    def tick(self) -> None:
        """Keep the seconds moving, so that a long download is seen to be alive."""
        while not self.over.wait(1):
            self.now(self.text)


def child_environment() -> dict[str, str]:
    """The variables for the environment's Python: none that would bend it to another one."""
    bent = ("PYTHONHOME", "PYTHONPATH", "__PYVENV_LAUNCHER__", "PIP_TARGET", "PIP_PREFIX")
    kept = {name: value for name, value in os.environ.items() if name not in bent}
    return {**kept, "PIP_USER": "0", "PYTHONUTF8": "1"}


def enter(arguments: list[str], variables: dict[str, str]) -> int:
    """Run the environment's Python in place of this one, with these variables set, unless they are already; the exit code where the
    system cannot do that.
    """
    line = [PYTHON, *arguments]
    environment = {**variables, **child_environment(), "LACUNA_PYTHON": "this"}
    sys.stdout.flush()
    if os.name != "nt":
        os.execve(PYTHON, line, environment)  # the same process: signals and the exit code need no passing on
    child = subprocess.Popen(line, env=environment)
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:  # the child has got it too, and ends in its own way
            continue
