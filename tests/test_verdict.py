"""What the rule says of rows of a report, and when one of them takes the default's place."""

from __future__ import annotations

from engine.evaluation import verdict
from engine.evaluation.grid import Row
from engine.evaluation.infilling import Result
from engine.settings import Settings

PEOPLE = {"stutter": 0.02, "repeat": 0.05, "distinct2": 0.98}


def result(name: str, **figures: float) -> Result:
    """A row whose every figure has an error of 0.01, and its differences from people and from a default of words 0.10 and repeat 0.20."""
    values = {"words": 0.10, "bleu2": 0.05, "stutter": 0.02, "repeat": 0.20, "distinct2": 0.95} | figures
    default = {"words": 0.10, "bleu2": 0.05, "stutter": 0.02, "repeat": 0.20, "distinct2": 0.95}
    difference = {key: (values[key] - default[key], 0.01) for key in default} if name else {}
    beyond = {key: (values[key] - of_people, 0.01) for key, of_people in PEOPLE.items()}
    return Result(Row(name, "", Settings()), [], {key: (value, 0.01) for key, value in values.items()}, beyond, difference)


def test_the_verdict_asks_for_two_errors_and_for_no_more_than_peoples_variety() -> None:
    people = result("human", words=1.0, repeat=0.05, distinct2=0.98)
    rows_ = {
        "level": result("a", words=0.11),
        "better": result("b", repeat=0.10),
        "worse": result("c", words=0.07),
        "mixed": result("d", words=0.13, repeat=0.30),
    }
    assert {verdict.verdict(found, people) for found in rows_.values()} == set(rows_)
    assert all(verdict.verdict(found, people) == said for said, found in rows_.items())
    unlike = result("human", words=1.0, repeat=0.30, distinct2=0.9)
    assert verdict.verdict(result("e", repeat=0.10, distinct2=1.0), unlike) == "level", "more variety than people's is no gain"
    daggers = [verdict.repeats_itself(result("f", repeat=repeat, distinct2=0.98)) for repeat in (0.01, 0.06, 0.08)]
    assert daggers == [False, False, True], "two standard errors, and only where it is more than people's"


def test_the_default_stands_unless_a_row_is_better() -> None:
    people, default, fine = result("human", words=1.0, repeat=0.05), result(""), result("c", repeat=0.1)
    good, greedy = result("a", words=0.12, repeat=0.1), result("b", words=0.2, repeat=0.4)
    assert verdict.best([default, greedy], ["", "mixed"], default, people) is default
    assert verdict.best([default, good, greedy, fine], ["", "better", "mixed", "better"], default, people) is good
    varied = result("d", words=0.115, repeat=0.06)
    assert verdict.best([default, good, varied], ["", "better", "better"], default, people) is varied, "as many words, fewer repeats"
    lucky = result("e", words=0.125)  # better by 2.5 errors: of one row that may be, of a hundred some are by chance
    assert verdict.verdict(lucky, people) == "better" and verdict.best([default, lucky], ["", "better"], default, people) is lucky
    many = [result(f"r{number}", words=0.1) for number in range(100)]
    assert verdict.best([default, lucky, *many], ["", "better", *["level"] * 100], default, people) is default
    assert [round(verdict.needed(figures), 2) for figures in (1, 6, 540)] == [2.0, 2.39, 3.74]
    automatic = Result(Row("length", "automatic", Settings(), automatic=True), [], good.figures, good.difference)
    assert verdict.best([default, automatic], ["", "better"], default, people) is default
