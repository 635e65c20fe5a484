"""The reading sheet: nobody can tell from it who wrote what, and its answers count."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from engine.evaluation import blind
from engine.evaluation.main import main
from engine.training.gaps import Cut

BEFORE, AFTER = "Some text before. " * 20, ", and went on. " * 20
KINDS = ["word"] * 12 + ["phrase"] * 18
CUTS = [Cut(f"gap {i}", i, "s", kind, (f"{BEFORE}Passage {i} said ", AFTER), (f"the truth {i}",)) for i, kind in enumerate(KINDS)]
WRITERS = {"model": [f"a *fill* {i}" for i in range(30)], "twin": [f"the twin {i}" for i in range(30)]}


def test_every_gap_stands_once_and_authors_share_the_passages(tmp_path: Path) -> None:
    items = blind.draw(CUTS, WRITERS, 30, seed=0)
    assert Counter(item.author for item in items) == {"person": 10, "model": 10, "twin": 10}
    assert Counter((item.author, item.cut.kind) for item in items if item.cut.kind == "word") == {
        ("person", "word"): 4,
        ("model", "word"): 4,
        ("twin", "word"): 4,
    }
    assert Counter(item.cut.kind for item in blind.draw(CUTS, WRITERS, 20, seed=0)) == {"word": 10, "phrase": 10}
    assert len({item.cut.id for item in items}) == 30
    for item in items:
        number = int(item.cut.id.split()[1])
        assert item.text == (item.cut.truth if item.author == "person" else WRITERS[item.author][number])
    assert blind.draw(CUTS, WRITERS, 30, seed=0) == items != blind.draw(CUTS, WRITERS, 30, seed=1)
    assert [item.cut.id for item in items] != sorted(item.cut.id for item in items), "shuffled"


def test_the_sheet_shows_every_text_in_bold_and_says_nothing_of_authors(tmp_path: Path) -> None:
    items = blind.draw(CUTS, WRITERS, 30, seed=0)
    blind.write(items, tmp_path)
    sheet = (tmp_path / blind.SHEET).read_text(encoding="utf-8")
    assert sheet.count("\nanswer:") == 30
    for number, item in enumerate(items, 1):
        part = sheet.split(f"## {number}\n")[1].split("\n## ")[0]
        assert f" said **{item.text.replace('*', chr(92) + '*')}**, and" in part
        assert len(part) < 700
    assert not re.search(r"model|twin\b(?! \d)", sheet), "only the texts themselves may hold such words"
    key = (tmp_path / blind.KEY).read_text(encoding="utf-8").splitlines()
    assert [line.split("\t")[1] for line in key[1:]] == [item.author for item in items]


def test_answers_count_by_author(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = blind.draw(CUTS, WRITERS, 30, seed=0)
    blind.write(items, tmp_path)
    path = tmp_path / blind.SHEET
    answers = iter("P" if item.author in ("person", "twin") else " m" for item in items[:-1])  # the last is left open
    sheet = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r"^answer:$", lambda found: f"{found[0]} {next(answers, '')}", sheet, flags=re.M), encoding="utf-8")
    counts = blind.score(tmp_path)
    assert sum(answered for own in counts.values() for _, answered in own.values()) == 29
    assert all(taken == 0 for taken, _ in counts["model"].values())
    assert all(taken == answered for who in ("person", "twin") for taken, answered in counts[who].values())
    assert main(["--score", str(tmp_path)]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("the authors' own words") and "phrase 6 of 6" in first


def test_an_unanswered_or_missing_sheet_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--score", str(tmp_path)]) == 2
    assert "write them with --blind first" in capsys.readouterr().err
    blind.write(blind.draw(CUTS, WRITERS, 6, seed=0), tmp_path)
    assert main(["--score", str(tmp_path)]) == 2
    assert "No passage" in capsys.readouterr().err
    key = tmp_path / blind.KEY
    whole = key.read_text(encoding="utf-8")
    key.write_text(whole + "7\n", encoding="utf-8")
    assert main(["--score", str(tmp_path)]) == 2
    assert "is not as --blind wrote it" in capsys.readouterr().err
    key.write_text(whole, encoding="utf-8")
    (tmp_path / blind.SHEET).write_text("Ä", encoding="utf-16")
    assert main(["--score", str(tmp_path)]) == 2
    assert "save it as UTF-8" in capsys.readouterr().err


def test_wilsons_interval() -> None:
    # Newcombe 1998, table I: 15 of 148 gives 0.0624 to 0.1605.
    assert blind.wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert blind.wilson(0, 20)[0] == 0 and blind.wilson(20, 20)[1] == 1


def test_the_command_writes_a_sheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = Path(__file__).parent / "data" / "dev_sample.txt"
    assert main(["--model", "toy", "--data", str(data), "--blind", "6", "--out", str(tmp_path)]) == 0
    assert "6 passages" in capsys.readouterr().out
    sheet = (tmp_path / blind.SHEET).read_text(encoding="utf-8")
    assert sheet.count("answer:\n") == 6 and sheet.count("**") >= 12
