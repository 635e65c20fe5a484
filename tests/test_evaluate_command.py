"""What `evaluate` refuses before it reads anything, what it keeps apart, and how it reads texts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import engine
from engine.evaluation.main import main, parser
from engine.evaluation.nelbo import encode
from engine.evaluation.session import Session
from tests.checkpoints import CHAT, make_llada


@pytest.mark.parametrize("option", ["--passes=0", "--rows=-1", "--gaps=0", "--blind=0", "--length=-5", f"--seed={2**70}"])
def test_a_number_that_makes_no_sense_is_refused_before_anything_is_read(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--data", "nowhere", option])
    assert re.search(rf"argument {option.partition('=')[0]}: give a .*number", capsys.readouterr().err)


def test_a_folder_that_cannot_be_used_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("some words " * 100, encoding="utf-8")
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert main(["--model", "toy", "--data", str(tmp_path / "a.txt"), "--out", str(tmp_path / "file"), "--quick"]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "file" in said and "can't be read or written" in said


def test_a_model_that_answers_people_is_not_measured_by_what_it_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("some words " * 100, encoding="utf-8")
    folder = make_llada(tmp_path / "LLaDA-tiny-Instruct", chat=CHAT)
    assert main(["--model", str(folder), "--data", str(tmp_path / "a.txt"), "--quick"]) == 2
    assert "LLaDA-tiny-Instruct answers people" in capsys.readouterr().err


def test_figures_of_other_precisions_are_kept_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("She waited by the gate until the lamp was lit. " * 20, encoding="utf-8")

    def session(dtype: str) -> Session:
        return Session(parser().parse_args(["--data", str(path), "--out", str(tmp_path / "out"), "--dtype", dtype]), "")

    kept = {}
    for dtype in ("int8", "bfloat16", "float32"):
        it = session(dtype)
        assert it.dtype == dtype
        [kept[dtype]] = it.store.records("key", ["a"], lambda _, dtype=dtype: {"value": dtype}, "")
    assert [kept[dtype]["value"] for dtype in kept] == list(kept)


def test_held_out_text_is_read_as_drafts_and_training_texts_are() -> None:
    model = engine.load()
    told, plain = ("He said \u2013 no\u2026 not yet \u2013 and went.", "He said\u2014no... not yet\u2014and went.")
    assert encode(model, "a", told, 64).rows == encode(model, "a", plain, 64).rows
    assert encode(model, "a", told, 64).text == told
