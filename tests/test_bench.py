"""`launch.py bench` on the toy: what it compares, and how it tells it."""

from __future__ import annotations

import json

import pytest

from bench.run import main
from engine.samplers import SAMPLERS


def test_a_round_of_every_comparison_as_json_and_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", "toy", "--rounds", "1", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert all(row["ratio"] == pytest.approx(row["before_ms"] / row["after_ms"]) and row["ratio"] > 0 for row in rows)
    told = [row["what"] for row in rows]
    assert len(set(told)) == len(told) > len(SAMPLERS)
    assert all(any(f": {sampler}, not confidence" in what for what in told) for sampler in SAMPLERS if sampler != "confidence")
    assert main(["--model", "no/such/folder"]) == 2
    assert capsys.readouterr().err.endswith(".\n")
