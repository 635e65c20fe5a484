"""The evaluation: its figures are those of the definition, its errors those of documents."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

import engine
from engine.backends.toy import Toy
from engine.training.evaluate import Tally, encode, evaluate, main, summary


def test_a_model_that_knows_nothing_costs_the_log_of_its_vocabulary(tmp_path: Path) -> None:
    class Uniform(Toy):
        def logits(self, ids: torch.Tensor, positions: torch.Tensor, **_: object) -> torch.Tensor:
            return torch.zeros(int(positions.sum()), self.vocab_size)

    path = tmp_path / "a.txt"
    path.write_text("\n<|doc|>\n".join(["abcdefgh " * 120] * 8), encoding="utf-8")
    figures = evaluate(Uniform(), [path], passes=4)
    assert figures["nats_per_token"] == pytest.approx(math.log(256), rel=0.03)
    assert figures["bits_per_char"] == pytest.approx(8, rel=0.03)
    assert figures["perplexity"] == pytest.approx(math.exp(figures["nats_per_token"]))


def test_errors_are_clustered_by_document() -> None:
    alike = [Tally("a", 100, 50, 150.0) for _ in range(10)]
    assert summary(alike)["nats_per_token_stderr"] == pytest.approx(0)
    apart = [Tally("a", 100, 50, 150.0 + (50 if d % 2 else -50)) for d in range(10)]
    # By hand: residuals of +-50 over 10 documents of 50 tokens.
    assert summary(apart)["nats_per_token_stderr"] == pytest.approx(math.sqrt(10 / 9 * 10 * 50**2) / 500)
    assert summary(apart[:1])["nats_per_token_stderr"] is None


def test_rows_of_a_document_hold_all_its_tokens_once() -> None:
    toy = engine.load("toy")
    document = encode(toy, "a", "some text " * 100, 64)
    assert [token for row in document.rows for token in row] == toy.frame(toy.encode("some text " * 100), starts=True, ends=True)[0]
    assert max(map(len, document.rows)) == 64


def test_the_command_prints_one_json_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("the cat sat\n<|doc|>\nthe dog ran over the hill", encoding="utf-8")
    assert main(["--model", "toy", "--data", str(path), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    for name in ("nats_per_token", "perplexity", "bits_per_char"):
        assert figures[name] > 0 and figures[name + "_stderr"] > 0
    assert set(figures["masked_accuracy"]) == {"0.15", "0.5", "0.9"}


def test_bad_data_is_one_sentence_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.txt").write_text("\n<|doc|>\n")
    for data in ("nowhere.txt", "empty.txt"):
        assert main(["--model", "toy", "--data", str(tmp_path / data)]) == 2
        assert capsys.readouterr().err.count(".\n") == 1
