"""The evaluation: its figures are those of the definition, its errors those of documents."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import engine
from engine import checkpoint
from engine.backends import EMBEDDED
from engine.backends.toy import Toy
from engine.evaluation import card
from engine.evaluation.grid import rows
from engine.evaluation.likelihood import Judge
from engine.evaluation.main import command_of, main, parser
from engine.evaluation.nelbo import GUESSED_ROWS, SMALL, Document, Tally, batches, by_source, encode, evaluate, ratio, summary
from engine.evaluation.order import left_to_right
from engine.evaluation.report import in_order
from engine.evaluation.session import Session
from engine.evaluation.store import Store, fingerprint_of_model
from engine.model import DiT, ModelConfig
from engine.settings import Settings
from engine.tokenizer import Tokenizer
from engine.training.twin import Twin, lead

SAMPLE = Path(__file__).parent / "data" / "dev_sample.txt"


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


def test_small_sources_share_a_line() -> None:
    tallies = [
        Tally("big.txt", 9, SMALL, 5.0),
        Tally("dev-a_b.txt.xz", 2, 1, 1.0),
        Tally("c", 2, 1, 1.0),
        Tally("dev-a_b.txt.xz", 2, 1, 1.0),
    ]
    found = by_source(tallies)
    assert list(found) == ["big.txt", "smaller sources: a b, c"]
    assert found["smaller sources: a b, c"]["documents"] == 3
    assert list(by_source(tallies[:2])) == ["big.txt", "dev-a_b.txt.xz"], "one alone keeps its name"


def test_the_ratio_of_perplexities_pairs_documents() -> None:
    ours = [Tally("a", 10, 10, 20.0 + d) for d in range(8)]
    twins = [Tally("a", 10, 10, 18.0 + d) for d in range(8)]
    assert ratio(ours, twins) == {"ratio": pytest.approx(math.exp(0.2)), "ratio_stderr": pytest.approx(0)}


def test_guesses_are_counted_on_rows_drawn_from_all() -> None:
    toy = Toy()
    texts = [encode(toy, "a", "some text " * 40, 16) for _ in range(40)]
    parts = batches(texts, 16, GUESSED_ROWS, 0)
    assert sum(len(ids) for ids, _, _ in parts) == GUESSED_ROWS < sum(len(d.rows) for d in texts)
    assert {owner for _, _, owners in parts for owner in owners} == set(range(40))


def test_what_was_kept_is_not_computed_again_and_a_line_cut_off_is(tmp_path: Path) -> None:
    asked: list[int] = []

    def compute(i: int) -> dict[str, Any]:
        asked.append(i)
        return {"value": i * i}

    ids = ["a", "b", "c"]
    first = Store(tmp_path, "these weights").records("key", ids, compute, "")
    assert Store(tmp_path, "these weights").records("key", ids, compute, "") == first and asked == [0, 1, 2]
    [path] = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-4])
    assert Store(tmp_path, "these weights").records("key", [*ids, "d"], compute, "")[:3] == first and asked == [0, 1, 2, 2, 3]
    Store(tmp_path, "other weights").records("key", ["a"], compute, "")
    assert asked == [0, 1, 2, 2, 3, 0]


def test_a_text_that_was_corrected_is_measured_anew_though_it_is_as_long(tmp_path: Path) -> None:
    text = tmp_path / "held.txt"

    def measured(words: str, out: str) -> float:
        text.write_text(words * 20, encoding="utf-8")
        args = parser().parse_args(["--model", "toy", "--data", str(text), "--out", str(tmp_path / out), "--length", "64"])
        return float(Session(args, "").bound()["nats_per_token"])

    lamp = measured("The lamp was lit in the house. ", "report")
    dogs = measured("The dogs sat on the old house. ", "report")
    assert dogs == measured("The dogs sat on the old house. ", "another") != lamp


def test_other_settings_recommended_for_the_same_weights_leave_what_was_kept(tmp_path: Path) -> None:
    shutil.copytree(EMBEDDED, tmp_path, dirs_exist_ok=True)
    known = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))

    def fingerprint(**changed: object) -> str:
        (tmp_path / "config.json").write_text(json.dumps({**known, **changed}), encoding="utf-8")
        return fingerprint_of_model(str(tmp_path), "")

    before = fingerprint()
    assert fingerprint(settings={"steps": 3}) == before != fingerprint(schedule=None)
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert fingerprint() != before


def test_one_factor_at_a_time() -> None:
    for size in ("quick", "card", "full"):
        found = rows(size, Settings())
        assert found[0].settings == Settings() and not found[0].automatic
        assert len({row.name for row in found}) == len(found)
        for row in found[1:]:
            changed = {name for name in Settings.__slots__ if getattr(row.settings, name) != getattr(Settings(), name)}
            assert row.factor == "published" or changed <= ({"sampler", "steps"} if row.factor == "steps" else {row.factor})
    assert {row.value for row in rows("full", Settings()) if row.factor == "sampler"} == set(engine.SAMPLERS) - {Settings().sampler}
    assert {row.value for row in rows("full", Settings()) if row.factor == "schedule"} == set(engine.SCHEDULES) - {Settings().schedule}


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A quick report of the toy, and the card's folder that it was written to."""
    folder, model = tmp_path_factory.mktemp("report"), tmp_path_factory.mktemp("card")
    shutil.copy(EMBEDDED / "README.md", model)
    told = ["--model", "toy", "--data", str(SAMPLE), "--out", str(folder), "--quick", "--gaps", "1"]
    small = folder / "small.txt"
    small.write_text("The first document.\n<|doc|>\nThe second one, a little longer.", encoding="utf-8")
    assert main([*told, "--card", str(model), "--sample", str(small)]) == 0
    return folder, model


def test_a_report_is_figures_text_and_pictures(reported: tuple[Path, Path]) -> None:
    folder, _ = reported
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert report["nelbo"]["documents"] == 31
    assert report["infilling"]["gaps"] == {"word": 1, "3 words": 1, "phrase": 1, "sentence": 1}
    human, default = report["infilling"]["rows"][:2]
    assert human["figures"]["words"][0] == human["figures"]["exact"][0] == human["figures"]["bleu4"][0] == 1
    assert default["figures"]["calls"][0] > 1 and default["difference"] == {}
    assert report["lengths"]["gaps"] > 100 and report["lengths"]["all"]["CAL"]["gaps"] == 30 == len(report["lengths"]["pairs"])
    assert 0 < report["lengths"]["all"]["mean"]["octaves"][0] < 10
    for name in ("sources", "masked", "steps", "factors", "lengths"):
        assert f"({name}.png)" in text and (folder / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    assert f"{report['nelbo']['bits_per_char']:.3f} ± {report['nelbo']['bits_per_char_stderr']:.3f}" in text
    assert "launch.py evaluate --model toy" in text and "None" not in text and "nan" not in text and "****" not in text


def test_a_report_that_was_stopped_goes_on_and_ends_the_same(reported: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = reported
    before = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    for path in sorted((folder / "cache").iterdir())[::3]:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert main(["--model", "toy", "--data", str(SAMPLE), "--out", str(folder), "--quick", "--gaps", "1"]) == 0
    after = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert _without_time(after["nelbo"]) == _without_time(before["nelbo"])
    assert _without_time(after["infilling"]) == _without_time(before["infilling"])
    assert after["lengths"] == before["lengths"]
    measured = [part for part in before["seconds"] if part not in ("loading", "pictures", "sample and fills of the card")]
    assert len(measured) == 3 and all(after["seconds"][part] > before["seconds"][part] for part in measured), "the sum of both calls"


def _without_time(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_time(v) for k, v in value.items() if k != "seconds"}
    return [_without_time(v) for v in value] if isinstance(value, list) else value


def test_the_card_gets_its_figures_and_keeps_the_rest(reported: tuple[Path, Path]) -> None:
    _, model = reported
    old, new = ((folder / card.CARD).read_text(encoding="utf-8") for folder in (EMBEDDED, model))
    assert new.partition(card.START)[0] == old.partition(card.START)[0] and new.partition(card.END)[2] == old.partition(card.END)[2]
    kept = json.loads((model / card.FIGURES).read_text(encoding="utf-8"))
    for part in ("dev", "sample"):
        for name in ("nats_per_token", "perplexity", "bits_per_char"):
            assert f"{kept[part][name]:.3f} ± {kept[part][name + '_stderr']:.3f}" in new
    fills = new.partition("fills that nobody chose")[2].partition(card.END)[0]
    assert fills.count("\n- ") == len(card.DRAFTS) + 4 and fills.count("(the author: ") == 4 and "**" in fills
    assert kept["sample"]["read_characters"] == 1000
    assert kept["infilling"]["default"]["words"] and kept["lengths"]["CAL and prior"]["tokens"]


def test_the_command_is_told_without_this_machines_folders() -> None:
    told = [
        "--data",
        "/a/dev-x.txt.xz",
        "/a/dev-y.txt.xz",
        "/a/dev-z.txt.xz",
        "--model",
        "/m/mine",
        "--card",
        "/b/model",
        "--quick",
    ]
    expected = "python launch.py evaluate --model mine --data dev-*.txt.xz --quick --card model"
    assert command_of(parser().parse_args(told)) == expected
    here = ["--data", "/a/dev.txt", "--card", str(EMBEDDED), "--out", str(EMBEDDED.parents[1] / "docs" / "report")]
    assert command_of(parser().parse_args(here)).endswith("--data dev.txt --out docs/report --card assets/model")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny untrained model and its causal twin, which both find every token equally likely."""
    tokenizer = Tokenizer.load(EMBEDDED / checkpoint.TOKENIZER)
    folders = []
    for causal in (False, True):
        config = ModelConfig(tokenizer.vocab_size, width=32, depth=1, heads=2, max_length=256, causal=causal)
        folders.append(tmp_path_factory.mktemp("twin" if causal else "model"))
        checkpoint.save(checkpoint.Checkpoint(DiT(config), tokenizer, "tiny", trained={"tokens": 1000, "steps": 10}), folders[-1])
    return folders[0], folders[1]


def test_the_twin_is_yardstick_and_judge(pair: tuple[Path, Path], tmp_path: Path) -> None:
    model, twin = pair
    told = [
        "--model",
        str(model),
        "--twin",
        str(twin),
        "--data",
        str(SAMPLE),
        "--out",
        str(tmp_path),
        "--dtype",
        "float32",
        "--device",
        "cpu",
    ]
    assert main([*told, "--quick", "--gaps", "1"]) == 0
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    found = report["nelbo"]["twin"]
    even = math.log(json.loads((model / "config.json").read_text(encoding="utf-8"))["model"]["vocab_size"] - 1)
    assert found["nats_per_token"] == pytest.approx(even, rel=1e-4), "exact, where the bound is an estimate"
    assert report["nelbo"]["nats_per_token"] == pytest.approx(even, rel=0.1)
    assert found["ratio"] == pytest.approx(report["nelbo"]["perplexity"] / found["perplexity"])
    in_turn = found["left_to_right"]
    assert in_turn["tokens"] == 64 and in_turn["ratio"] == pytest.approx(1, rel=1e-4) and in_turn["nats_per_token"] == pytest.approx(even)
    trained = report["trained"]
    assert (trained["tokens"], trained["steps, last run"]) == ("1,000", "10") and trained["compute"].endswith("operations")
    rows = {row["factor"]: row for row in report["infilling"]["rows"]}
    tokens = [cost["gap"][0] / cost["token"][0] for cost in report["infilling"]["truth"].values()]
    assert rows["human"]["figures"]["twin"][0] == 1 and rows["default"]["figures"]["twin"][0] == pytest.approx(1, rel=1e-4)
    assert rows["twin"]["figures"]["calls"][0] == pytest.approx(sum(tokens) / 4)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "twin's ppl ratio" in text and "Perplexity over the twin's" in text and "from left to right for 64" in text and "nan" not in text


def test_a_denoiser_that_knows_what_its_twin_knows_costs_the_same_from_left_to_right(pair: tuple[Path, Path]) -> None:
    twin = Twin.load(pair[1])
    generator = torch.Generator().manual_seed(3)
    for parameter in twin.model.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)

    class Alike(Toy):
        """Answers as the twin does where nothing but what stands before a place is given."""

        mask_id, shapes, calls = twin.tokenizer.mask_id, set[tuple[int, bool]](), 0

        def logits(
            self, ids: torch.Tensor, positions: torch.Tensor, *, t: torch.Tensor | None = None, attend: torch.Tensor | None = None
        ) -> torch.Tensor:
            assert t is not None
            assert bool((positions.sum(-1) == 1).all())
            there = torch.ones_like(positions) if attend is None else attend
            later = positions.int().cumsum(-1) > 0
            masked = (ids == self.mask_id) & there
            if self.calls % 2 == 0:
                assert torch.equal(masked, later & there), "all that follows is masked, and nothing before"
            assert bool(masked[positions].all()) and torch.allclose(t, masked.sum(-1) / there.sum(-1))
            self.calls += 1
            self.shapes.add((ids.shape[1], attend is None))
            return twin.model(lead(ids, twin.tokenizer.document_id), positions.flatten().nonzero()[:, 0])

    rows = [torch.randint(0, 200, (size,), generator=generator).tolist() for size in (9, 4, 1, 9, 6)]
    texts = [Document("a", "", rows[:2]), Document("b", "", rows[2:4]), Document("c", "", rows[4:])]
    judge = Judge(twin, Store(None, ""))
    whole = left_to_right(Alike(), judge, texts, count=999, rows_at_once=4)
    told = sum(float(twin.nats(torch.tensor([row])).sum()) for row in rows) / 29
    assert whole["tokens"] == 29 and whole["nats_per_token"] == pytest.approx(told) == pytest.approx(whole["twin_nats_per_token"])
    assert whole["ratio"] == pytest.approx(1) and whole["ratio_stderr"] == pytest.approx(0, abs=1e-6)
    assert whole["nats_per_token_stderr"] > 0.01 and len(Alike.shapes) > 2
    some = [left_to_right(Alike(), judge, texts, count=5, seed=seed) for seed in range(40)]
    assert {found["tokens"] for found in some} == {5}
    assert sum(found["nats_per_token"] for found in some) / 40 == pytest.approx(told, rel=0.1), "drawn evenly from all rows"
    assert "for 29 of these tokens" in (words := in_order(whole)) and f"{told:.3f}" in words and "1.000" in words


def test_a_tokens_part_of_the_bound_is_taken_with_any_number_of_others_masked(pair: tuple[Path, Path]) -> None:
    twin, length = Twin.load(pair[1]), 7

    class Counting(Toy):
        """Gives the token that is asked for, 5, one part in one more than there are masks in its row."""

        mask_id = twin.tokenizer.mask_id

        def logits(
            self, ids: torch.Tensor, positions: torch.Tensor, *, t: torch.Tensor | None = None, attend: torch.Tensor | None = None
        ) -> torch.Tensor:
            masks = (ids == self.mask_id).sum(-1).float()
            odds = torch.full((len(ids), 300), -torch.inf)
            odds[:, 5], odds[:, 6] = 0.0, masks.log()
            return odds

    texts = [Document("a", "", [[5] * length] * 40), Document("b", "", [[5] * length] * 40)]
    found = left_to_right(Counting(), Judge(twin, Store(None, "")), texts, count=999, rows_at_once=16)
    usual = sum(math.log(1 + masks) for masks in range(1, length + 1)) / length
    # From left to right place k of n has n - k + 1 masks, and by lot each number of them is as likely: here both come to the same.
    assert found["nats_per_token"] == pytest.approx(usual, abs=1e-5)
    assert found["any_order"][0] == pytest.approx(usual, abs=0.05)
    assert found["worth"][0] == pytest.approx(found["any_order"][0] - found["nats_per_token"], abs=1e-6)


def test_a_twin_that_reads_other_tokens_is_refused(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    for told, why in ((("toy", pair[1]), "different tokenizers"), ((pair[0], pair[0]), "no autoregressive twin")):
        assert main(["--model", str(told[0]), "--twin", str(told[1]), "--data", str(SAMPLE)]) == 2
        assert why in capsys.readouterr().err


def test_a_card_without_a_place_for_figures_is_refused_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in (None, "no marks", f"{card.END} {card.START}"):
        if text is not None:
            (tmp_path / card.CARD).write_text(text, encoding="utf-8")
        assert main(["--model", "toy", "--data", str(SAMPLE), "--card", str(tmp_path)]) == 2
        assert card.START in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [card.CARD]


def test_texts_too_short_for_a_gap_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("Too short.", encoding="utf-8")
    assert main(["--model", "toy", "--data", str(tmp_path / "a.txt"), "--out", str(tmp_path / "out"), "--quick"]) == 2
    assert "too short to cut gaps from" in capsys.readouterr().err
