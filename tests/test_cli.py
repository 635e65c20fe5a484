"""`launch.py fill` as a user runs it, in a process of its own, with the toy model."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from engine.backends.toy import Toy
from engine.cli import main
from engine.filling import fill_events
from engine.settings import Settings
from engine.text import bare_words

ROOT = Path(__file__).parent.parent


def run(*arguments: str, stdin: bytes = b"") -> tuple[int, bytes, str]:
    """Exit code, stdout, stderr of `python -m engine.cli` with the toy model."""
    done = subprocess.run(
        [sys.executable, "-m", "engine.cli", "--model", "toy", *arguments],
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        timeout=120,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},  # UTF-8 goes out whatever the terminal says
    )
    return done.returncode, done.stdout, done.stderr.decode()


def test_prints_the_text_alone():
    code, out, err = run("“Ça” was [[3]] when")
    text = out.decode()
    assert (code, err) == (0, "")
    assert text.startswith("“Ça” was ") and text.endswith(" when\n") and text.count("\n") == 1
    assert run("“Ça” was [[3]] when") == (0, out, "")


def test_a_file_keeps_its_bytes(tmp_path: Path):
    given = "\ufeffOne\r\n\ttwo [[2]] thrée\r\n\r\nlone\rreturn, 🙂\u2028\n".encode()
    file = tmp_path / "draft.txt"
    file.write_bytes(given)
    before, after = given.split(b"[[2]]")
    code, out, err = run("--file", str(file))
    assert (code, err) == (0, "")
    assert out.startswith(before) and out.endswith(after)
    assert run("-", stdin=given) == (0, out, "")
    assert file.read_bytes() == given
    assert run("-", stdin=given.removesuffix(b"\n")) == (0, out.removesuffix(b"\n"), "")


def test_out_keeps_the_bytes_that_would_have_been_printed(tmp_path: Path):
    given = "\ufeffOne\r\n\ttwo [[2]] thrée 🙂\n".encode()
    draft, out = tmp_path / "draft.txt", tmp_path / "filled.txt"
    draft.write_bytes(given)
    printed = run("--file", str(draft))[1]
    assert run("--file", str(draft), "--out", str(out)) == (0, b"", "")
    assert out.read_bytes() == printed
    draft.chmod(0o640)
    (link := tmp_path / "link").symlink_to(draft)
    assert run("--file", str(draft), "--out", str(link)) == (0, b"", ""), "in the draft's own place"
    assert draft.read_bytes() == printed and draft.stat().st_mode & 0o777 == 0o640 and link.is_symlink()
    assert {path.name for path in tmp_path.iterdir()} == {"draft.txt", "filled.txt", "link"}


def test_a_fill_that_fails_or_is_stopped_writes_nothing(tmp_path: Path, monkeypatch, capsys):
    out = tmp_path / "filled.txt"
    out.write_text("as before")
    assert main(["--model", "no/such/folder", "--out", str(out), "It was [[3]]."]) == 1
    logits, calls = Toy.logits, []

    def pressed(*given: Any, **named: Any) -> Tensor:
        calls.append(given)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return logits(*given, **named)

    monkeypatch.setattr(Toy, "logits", pressed)
    assert main(["--model", "toy", "--steps", "2000", "--out", str(out), "[[2000 tokens]]"]) == 130
    assert len(calls) == 3 and out.read_text() == "as before" and list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nowhere/filled.txt", "there is no folder "),
        (".", "it is a folder; name a file in it."),
        ("/dev/null", "it is no ordinary file; name another one."),
        ("x" * 300, "File name too long; name another file."),
    ],
)
def test_an_out_that_cannot_be_written_is_named_before_the_work(tmp_path: Path, name: str, sentence: str, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["--model", "no/such/folder", "--out", name, "It was [[3]]."]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"--out {name} can't be written: {sentence}") and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_json_is_the_engine_s_own_stream():
    code, out, err = run("--json", "--seed", "3", "--steps", "4", "--sampler", "margin", "It was [[3]] [[~ an {{old}} lamp]]")
    assert (code, err) == (0, "")
    lines = [json.loads(line) for line in out.decode().splitlines()]
    events = list(fill_events(Toy(), "It was [[3]] [[~ an {{old}} lamp]]", Settings(seed=3, steps=4, sampler="margin")))
    assert lines == json.loads(json.dumps(events))
    *frames, done = lines
    assert set(frames[0]) == {"step", "steps", "time", "candidate", "text", "cells", "relaid"}
    assert set(frames[0]["cells"][0]) == {"id", "gap", "index", "text", "token", "probability", "state", "alternatives"}
    assert done["done"] is True and done["text"] == frames[-1]["text"] == done["candidates"][0]["text"]
    assert 0 < done["candidates"][0]["score"] < 1


def test_banned_words_are_given_one_by_one():
    plain, banned = (run("--json", *bans, "It was [[9]] when")[1].decode() for bans in ((), ("--ban", "he", "--ban", "the")))
    assert {"he", "the"} & set(bare_words(json.loads(plain.splitlines()[-1])["text"]))
    lines = [json.loads(line) for line in banned.splitlines()]
    assert not {"he", "the"} & set(bare_words(lines[-1]["text"]))
    events = list(fill_events(Toy(), "It was [[9; he, the]] when", Settings()))
    assert lines == json.loads(json.dumps(events)), "the same as in the gap's own mark"


@pytest.mark.parametrize(
    ("arguments", "stdin", "sentence"),
    [
        (["one\ntwo [[9-2]]"], b"", "Line 2, column 7: "),
        (["It [[1: a lamp]] was"], b"", "Line 1, column 4: This gap may hold 1 word at most, and its keywords are 2"),
        (["--ban", " ", "It was [[3]]"], b"", "Bans must be words, not ' '."),
        (["--steps", "0", "[[]]"], b"", "Steps must be between 1 and 4096."),
        (["--steps", "few", "[[]]"], b"", "Argument --steps: invalid int value: 'few'; see fill --help."),
        (["--dtype", "int9", "[[]]"], b"", "Argument --dtype: invalid choice: 'int9'"),
        (["--sampler", "best", "[[]]"], b"", "There is no sampler called 'best'; there are ancestral"),
        (["--schedule", "best", "[[]]"], b"", "There is no schedule called 'best'; there are loglinear"),
        ([], b"", "Give either a draft or --file"),
        (["--json", "--out", "x", "[[]]"], b"", "--out keeps the filled text and --json prints every step: give one of the two."),
        (["-"], b"\xff[[]]", "Standard input is not UTF-8 text: the byte 0xff in line 1 is no character; save it as UTF-8."),
        (["--file", "no such file"], b"", "no such file can't be read: No such file or directory."),
        (["--flie", "x", "y"], b"", "Unrecognized arguments: --flie"),
    ],
)
def test_a_wrong_draft_or_setting_is_one_sentence(arguments, stdin, sentence, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(sentence) and err.count("\n") == 1 and err.endswith(".\n")


def test_a_missing_model_is_one_sentence(capsys):
    assert main(["--model", "no/such/folder", "It was [[3]]."]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "no/such/folder" in err


if sys.platform == "linux":

    def test_a_full_memory_is_one_sentence():
        code = """if True:
            import re, resource, sys
            from pathlib import Path
            from engine.cli import main

            main(["--model", "toy", "Everything is imported now and [[3]]."])
            size = 1024 * int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
            resource.setrlimit(resource.RLIMIT_AS, (size + 2**20, size + 2**20))
            sys.exit(main(["--model", "toy", "--candidates", "64", "[[500 tokens]]"]))"""
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 1
        assert done.stderr == (
            "There is not enough memory to fill this: close other programs, or try --candidates 1, --dtype int8 or, on a GPU, "
            "--device cpu.\n"
        )


def test_a_reader_that_leaves_ends_it_quietly():
    command = [sys.executable, "-m", "engine.cli", "--model", "toy", "--json", "--steps", "200", "[[2000 tokens]]"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        assert json.loads(process.stdout.readline())["step"] == 0
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_ctrl_c_ends_it_quietly():
    command = [sys.executable, "-m", "engine.cli", "--model", "toy", "--json", "--steps", "2000", "[[2000 tokens]]"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.stderr.read() == b""
    assert process.returncode == 130


def test_no_gap_leaves_the_text_as_it_is(capfdbinary):
    assert main(["--model", "toy", "Nothing to fill."]) == 0
    assert capfdbinary.readouterr() == (b"Nothing to fill.\n", b"")
