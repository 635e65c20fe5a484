"""launch.py in real runs: a small copy of Lacuna in a directory of its own, whose only package is a wheel made here."""

from __future__ import annotations

import ast
import errno
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import environment
import launch
from engine.text import command

ROOT = Path(__file__).resolve().parent.parent
CLI = """
import sys

def main(argv):
    import tiny
    print(tiny.VERSION, sys.prefix, *argv, sep="|", flush=True)
    if argv == ["wait"]:
        sys.stdin.read()
    return len(argv)
"""
ECHO = "def main(argv):\n    print(*argv, sep='|')\n"


def wheel(folder: Path, version: str) -> None:
    """Write a package `tiny` of one line as a wheel."""
    folder.mkdir(exist_ok=True)
    info = f"tiny-{version}.dist-info"
    with zipfile.ZipFile(folder / f"tiny-{version}-py3-none-any.whl", "w") as file:
        file.writestr("tiny.py", f"VERSION = {version!r}\n")
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", f"tiny.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")


def checkout(folder: Path) -> Path:
    """A small Lacuna: the real launcher, a command line and an app that tell where and how they were run."""
    folder.mkdir(parents=True)
    for name in ("launch.py", "environment.py", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    (folder / "requirements.txt").write_text("tiny==1.0\n")
    for package, module, text in (("engine", "cli.py", CLI), ("app", "main.py", ECHO)):
        (folder / package).mkdir()
        (folder / package / module).write_text(text)
    shutil.copy(ROOT / "engine" / "text.py", folder / "engine")
    for version in ("1.0", "2.0"):
        wheel(folder / "wheels", version)
    return folder


def variables(home: Path, **changes: str) -> dict[str, str]:
    """This process's variables without those that steer Python or pip; pip sees the folder `wheels` and no network."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON", "LACUNA_", "GLIBC_"))}
    return {**kept, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": (home / "wheels").as_uri(), **changes}


def start(home: Path, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run `python launch.py ...` there to its end."""
    command = [sys.executable, "launch.py", *arguments]
    return subprocess.run(command, cwd=home, env=variables(home, **changes), capture_output=True, text=True, timeout=300, check=False)


def assert_one_sentence(result: subprocess.CompletedProcess[str], *parts: str, code: int = 1) -> None:
    last = result.stderr.splitlines()[-1]
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    assert last.endswith(".")
    assert [part for part in parts if part not in last] == [], last


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout, in a folder with a space and an accent in its name, that has been started once."""
    folder = checkout(tmp_path_factory.mktemp("launch") / "dépôt de Lacuna")
    first = start(folder, "fill")
    assert first.returncode == 0, first.stderr
    assert "happens once" in first.stderr
    assert "looking up tiny" in first.stderr
    assert first.stdout == f"1.0|{folder / '.venv'}\n"
    return folder


def test_second_start_installs_nothing_and_passes_arguments_and_exit_code_on(home: Path) -> None:
    state = (home / ".venv" / "lacuna.json").stat().st_mtime_ns
    result = start(home, "fill", "It was [[]] here.", "--seed", "3", PIP_FIND_LINKS="")
    assert result.stderr == ""
    assert result.stdout == f"1.0|{home / '.venv'}|It was [[]] here.|--seed|3\n"
    assert result.returncode == 3
    assert (home / ".venv" / "lacuna.json").stat().st_mtime_ns == state


def test_training_is_told_to_keep_its_memory_unless_somebody_said_otherwise(home: Path) -> None:
    (home / "engine" / "training").mkdir()
    (home / "engine" / "training" / "train.py").write_text(
        "import os\ndef main(argv):\n    print(os.environ['GLIBC_TUNABLES'], os.environ['MALLOC_TRIM_THRESHOLD_'])\n"
    )
    assert start(home, "train").stdout == f"glibc.malloc.hugetlb=1 {2**33}\n"
    assert start(home, "train", GLIBC_TUNABLES="glibc.malloc.perturb=0").stdout == f"glibc.malloc.perturb=0 {2**33}\n"
    (home / "bench").mkdir()
    (home / "bench" / "run.py").write_text("import os\ndef main(argv):\n    print(os.environ['MALLOC_TRIM_THRESHOLD_'])\n")
    assert start(home, "bench").stdout == f"{2**27}\n", "what a page that stays open keeps is bounded"


def test_changed_requirements_are_installed_into_the_same_environment(home: Path) -> None:
    kept = home / ".venv" / "kept"
    kept.touch()
    (home / "requirements.txt").write_text("tiny==2.0\n")
    result = start(home, "fill")
    assert result.stdout.startswith("2.0|")
    assert "up to date" in result.stderr
    assert kept.exists()


def test_extras_are_installed_when_asked_for_and_stay(home: Path) -> None:
    wheel(home / "wheels", "3.0")
    (home / "requirements.txt").write_text("tiny\n")
    (home / "requirements-extras.txt").write_text("tiny==3.0\n")
    result = start(home, "extras")
    assert result.returncode == 0 and result.stderr.endswith("The extras are in .venv.\n"), result.stderr
    assert start(home, "extras").stderr == "The extras are in .venv.\n"
    again = start(home, "fill", PIP_FIND_LINKS="")
    assert again.stderr == "" and again.stdout.startswith("3.0|")
    (home / "requirements.txt").write_text("tiny==2.0\n")
    assert start(home, "fill").stdout.startswith("2.0|")


def test_without_network_one_sentence_and_the_environment_stays_whole(home: Path) -> None:
    before = (home / "requirements.txt").read_text()
    (home / "requirements.txt").write_text(before + "nowhere==1.0\n")
    with socket.socket() as closed:  # bound and not listening: every connection is refused
        closed.bind(("127.0.0.1", 0))
        index = f"http://127.0.0.1:{closed.getsockname()[1]}/simple"
        offline = start(home, "fill", PIP_NO_INDEX="", PIP_INDEX_URL=index, PIP_RETRIES="1")
    assert_one_sentence(offline, "network", "nowhere==1.0")
    assert_one_sentence(start(home, "fill"), "could not be installed", "nowhere==1.0")
    (home / "requirements.txt").write_text(before)
    assert start(home, "fill").stderr == ""


def test_environment_that_lost_its_pip_is_made_anew(home: Path) -> None:
    rubbish = home / ".venv" / "rubbish"
    rubbish.touch()
    shutil.rmtree(next((home / ".venv").glob("[Ll]ib/**/site-packages/pip")))
    result = start(home, "fill")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(("1.0|", "2.0|"))
    assert not rubbish.exists()


if os.name != "nt":  # Windows sends Ctrl+C to a console, not to a process

    def interrupt_after(process: subprocess.Popen[str], words: str) -> str:
        """Send Ctrl+C once the process has said `words` on stderr; what it says after that."""
        assert process.stderr is not None
        while words not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        return process.communicate(timeout=300)[1]

    def test_interrupted_start_says_so_and_two_starts_at_once_both_work_after_it(home: Path) -> None:
        (home / ".venv" / "lacuna.json").write_text('{"unfinished": true}')  # as a killed start leaves it
        command = [sys.executable, "launch.py", "fill"]
        first = subprocess.Popen(command, cwd=home, env=variables(home), stderr=subprocess.PIPE, text=True)
        assert interrupt_after(first, "making the environment").splitlines()[-1].startswith("Stopped while preparing")
        assert first.returncode == 1
        pair = [subprocess.Popen(command, cwd=home, env=variables(home), stdout=subprocess.PIPE, text=True) for _ in range(2)]
        outputs = [each.communicate(timeout=300)[0] for each in pair]
        assert outputs[0] == outputs[1]
        assert outputs[0].endswith(f"|{home / '.venv'}\n")

    def test_interrupted_command_ends_without_a_traceback(home: Path) -> None:
        command = [sys.executable, "launch.py", "fill", "wait"]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, cwd=home, env=variables(home), text=True, stdin=pipe, stdout=pipe, stderr=pipe)
        assert process.stdout is not None
        assert process.stdout.readline().endswith("wait\n")
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[1] == "Stopped.\n"
        assert process.returncode == 130

    def test_app_opens_on_the_next_port_when_one_is_busy_and_ends_on_ctrl_c() -> None:
        """The real app, as a GPU server would start it."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            command = [sys.executable, "launch.py", "--model", "toy", "--no-browser", "--port", str(port)]
            environ = {**os.environ, "LACUNA_PYTHON": "this"}
            app = subprocess.Popen(command, cwd=ROOT, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            assert app.stdout is not None
            try:
                said = app.stdout.readline()
                while not (address := re.search(r"http://\S+", said)):
                    said += (line := app.stdout.readline())
                    assert line, said
                assert f":{port}/" not in address[0]
                with urllib.request.urlopen(address[0], timeout=60) as page:
                    assert b"Lacuna" in page.read()
                app.send_signal(signal.SIGINT)
                assert "Traceback" not in app.communicate(timeout=60)[0]
                assert app.returncode in (0, 130)
            finally:
                app.kill()


def test_this_python_is_used_as_it_is(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "lacuna")
    lacking = start(folder, "fill", LACUNA_PYTHON="this")
    assert_one_sentence(lacking, sys.executable, "tiny", "LACUNA_PYTHON")
    (folder / "tiny.py").write_text("VERSION = 'beside'\n")
    assert start(folder, "fill", "--seed", LACUNA_PYTHON="this").stdout == f"beside|{sys.prefix}|--seed\n"
    assert not (folder / ".venv").exists()


def test_this_python_needs_a_torch_that_is_new_enough(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "lacuna")
    (folder / "torch-2.4.1.dist-info").mkdir()
    (folder / "torch-2.4.1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.4.1\n")
    assert_one_sentence(start(folder, "fill", LACUNA_PYTHON="this"), "torch 2.11 or newer", "2.4.1")


@pytest.mark.parametrize(
    ("arguments", "changes", "parts"),
    [
        (["fil"], {}, ["'fil'", "fill, models, download, extras, train, train-lengths, evaluate, test, bench"]),
        (["fill"], {"LACUNA_PYTHON": "that"}, ["'this'", "'that'"]),
        (["--cpu", "fill"], {"LACUNA_PYTHON": "this"}, ["--cpu"]),
        (["extras"], {"LACUNA_PYTHON": "this"}, ["nothing is installed", "requirements-extras.txt", sys.executable]),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path: Path, arguments: list[str], changes: dict[str, str], parts: list[str]) -> None:
    folder = checkout(tmp_path / "lacuna")
    assert_one_sentence(start(folder, *arguments, **changes), *parts)
    assert not (folder / ".venv").exists()


def test_help_and_version_need_no_environment(tmp_path: Path) -> None:
    from app import main

    folder = checkout(tmp_path / "lacuna")
    shown = start(folder, "--help").stdout
    own = [option for action in main.parser()._actions for option in action.option_strings if option != "-h"]
    assert [word for word in (*launch.COMMANDS, *own, "--cuda", "LACUNA_PYTHON") if word not in shown] == []
    assert f"usage: {command()} [--cpu | --cuda]" in shown and command("fill", "It was [[]] when the door opened.") in shown
    assert start(folder, "--version").stdout == f"Lacuna {launch.version()}\n"
    assert not (folder / ".venv").exists()


def test_commands_are_told_as_they_are_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert command("extras") == "python3 launch.py extras"
    assert command("--model", "my runs/it's") == "python3 launch.py --model 'my runs/it'\"'\"'s'"
    monkeypatch.setattr(sys, "platform", "win32")
    assert command("--model", "C:\\my runs\\new") == 'python launch.py --model "C:\\my runs\\new"'
    assert "usage: python launch.py" in launch.helped()


def test_python_without_venv_is_told_how_to_get_it(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "lacuna")
    (folder / "ensurepip.py").write_text("raise ImportError('as Debian has it')\n")
    assert_one_sentence(start(folder, "fill"), "apt install python3", "-venv")


@pytest.mark.parametrize("name", [".venv", ".cache"])
def test_folder_that_cannot_be_written_is_named(tmp_path: Path, name: str) -> None:
    folder = checkout(tmp_path / "lacuna")
    (folder / name).write_text("a file in the way, which stops even root")
    assert_one_sentence(start(folder, "fill"), str(folder / name))


@pytest.mark.parametrize("version", [(3, 6, 9), (3, 10, 14)])
def test_old_python_gets_one_sentence(version: tuple[int, int, int]) -> None:
    pretend = f"import runpy, sys; sys.version_info = {version}; runpy.run_path('launch.py', run_name='__main__')"
    result = subprocess.run([sys.executable, "-c", pretend], cwd=ROOT, capture_output=True, text=True, check=False)
    assert_one_sentence(result, "Python 3.11 or newer", f"{version[0]}.{version[1]}")


def test_old_python_can_read_launch() -> None:
    """Its syntax is that of Python 3.6, and nothing newer is imported before the version is looked at."""
    body = ast.parse((ROOT / "launch.py").read_text(), feature_version=(3, 6)).body
    before = body[: next(i for i, node in enumerate(body) if isinstance(node, ast.If))]
    imports = {alias.name for node in before if isinstance(node, ast.Import) for alias in node.names}
    assert imports <= {"importlib", "os", "re", "sys"}
    assert not any(isinstance(node, ast.ImportFrom) for node in before)


def test_full_disk_is_called_that() -> None:
    lines = [
        "Installing collected packages: torch",
        "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
    ]
    said = environment.explain(lines)
    assert said.startswith("The disk is full: ") and f"2 GB in {environment.ROOT} and" in said and f" {tempfile.gettempdir()}, " in said
    assert environment.explain(["FileNotFoundError: [Errno 2] No usable temporary directory found in ['/small']"]) == said


def failing(number: int, path: str | None = None) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number), path)

    return fail


def test_full_disk_while_making_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "is_ready", failing(errno.ENOSPC))
    with pytest.raises(environment.Problem, match="disk is full"):
        environment.prepare(["requirements.txt"], "")


@pytest.mark.parametrize(("system", "closes"), [("win32", True), ("linux", False)])
def test_what_windows_locks_is_told(monkeypatch: pytest.MonkeyPatch, system: str, closes: bool) -> None:
    monkeypatch.setattr(environment, "is_ready", failing(errno.EACCES, environment.VENV))
    monkeypatch.setattr(environment, "choose_torch", lambda *_: "usual")
    monkeypatch.setattr(sys, "platform", system)
    with pytest.raises(environment.Problem, match="make it writable, or move Lacuna") as caught:
        environment.prepare(["requirements.txt"], "")
    assert ("close every Lacuna that is running" in str(caught.value)) == closes
    locked = ["ERROR: Could not install packages due to an OSError: [WinError 5] Access is denied: 'torch.dll'"]
    assert "close every Lacuna that is running" in environment.explain(locked)


@pytest.mark.parametrize(
    ("system", "machine", "says"),
    [
        ("darwin", "x86_64", "not made for Macs with Intel processors"),
        ("darwin", "arm64", "another Python"),
        ("linux", "i686", "another Python"),
    ],
)
def test_a_machine_without_a_pytorch_is_told_so(monkeypatch: pytest.MonkeyPatch, system: str, machine: str, says: str) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert says in environment.explain(["ERROR: No matching distribution found for torch==2.13.0"])


@pytest.mark.parametrize(
    ("system", "driver", "index", "flag", "installed", "build"),
    [
        ("linux", False, True, "", None, "cpu"),
        ("linux", False, False, "", None, "usual"),
        ("linux", True, True, "", None, "usual"),
        ("linux", True, True, "cpu", None, "cpu"),
        ("linux", False, True, "cuda", "cpu", "usual"),
        ("linux", False, True, "", "usual", "usual"),
        ("linux", True, False, "", "cpu", "cpu"),
        ("darwin", False, True, "", None, "usual"),
        ("win32", False, True, "cpu", None, "usual"),
    ],
)
def test_build_of_torch(
    monkeypatch: pytest.MonkeyPatch, system: str, driver: bool, index: bool, flag: str, installed: str | None, build: str
) -> None:
    """By system, NVIDIA driver, whether PyTorch's index answers, what is asked for and what is there already."""
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(environment, "has_nvidia_driver", lambda: driver)
    monkeypatch.setattr(environment, "answers", lambda url: index)
    assert environment.choose_torch(flag, installed) == build


@pytest.mark.parametrize(("driver", "flag", "told"), [(True, "", True), (True, "cpu", False), (False, "", False)])
def test_windows_is_told_that_its_pytorch_leaves_the_gpu_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], driver: bool, flag: str, told: bool
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(environment, "has_nvidia_driver", lambda: driver)
    assert environment.choose_torch(flag, None) == "usual"
    assert ("docs/GPU.md" in capsys.readouterr().err) == told
    environment.choose_torch("", "usual")
    assert capsys.readouterr().err == "", "once, before anything is installed"
    with pytest.raises(environment.Problem, match="docs/GPU"):
        environment.choose_torch("cuda", None)


def test_address_that_does_not_answer_in_time() -> None:
    with socket.socket() as mute:  # accepts a connection and then says nothing
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        assert not environment.answers(f"http://127.0.0.1:{mute.getsockname()[1]}/", seconds=0.2)
