"""A writer's own texts: folders as they are, other languages, runs that are stopped, repeated or begun anew."""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import engine
from engine import checkpoint
from engine.backends import EMBEDDED
from engine.evaluation import nelbo
from engine.evaluation.main import main as evaluate
from engine.evaluation.nelbo import evaluate as nelbo_of
from engine.lines import evened
from engine.spacing import straighten
from engine.tokenizer import Tokenizer
from engine.training import shards, train, tuning
from engine.training.corpus import CorpusError, documents, files_of, unread
from engine.training.lock import alone_in
from engine.training.rows import Rows
from engine.training.trainer import Trainer

DEV = Path(__file__).parent / "data" / "dev_sample.txt"
LINES = ["The cat sat on the mat and looked at the dog.", "The dog sat on the log and looked at the cat.", "They were both quite still."]
RECIPE = ["--stages", "0:4x16,0.5:2x32", "--no-compile", "--device", "cpu"]
SMALL = ["--vocab", "320", "--width", "32", "--depth", "2", "--heads", "2", *RECIPE]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    (folder / "plain.txt").write_text("\n\n".join(LINES * 30), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def start(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model to tune."""
    out = tmp_path_factory.mktemp("start")
    assert train.main(["--data", str(texts), "--out", str(out), *SMALL, "--tokens", "640"]) == 0
    return out / "model"


def tune(start: Path, data: Path, out: Path, *more: str) -> int:
    return train.main(["--data", str(data), "--init", str(start), "--out", str(out), "--no-compile", "--device", "cpu", *more])


def test_as_much_of_what_was_learned_is_kept_as_the_held_out_text_likes_best(
    start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = random.Random(3).choices(" ".join(LINES).replace(".", "").lower().split(), k=600)
    (tmp_path / "mine.txt").write_text(" ".join(words), encoding="utf-8")  # nothing but the words can be learned, the rest is by heart
    rates = ["--muon-rate", "0.1", "--adam-rate", "0.05"]
    assert tune(start, tmp_path / "mine.txt", tmp_path / "out", "--tokens", "30000", "--store", "float32", *rates) == 0
    told = re.search(r"(\S+) nats a token before, (\S+) after; .* Of what was learned (\d+)% is kept", heard := capsys.readouterr().err)
    assert told, heard
    share = int(told[3]) / 100
    learned = {
        n.removeprefix("average."): t for n, t in load_file(tmp_path / "out" / "state.safetensors").items() if n.startswith("average.")
    }
    before, made = (checkpoint.load(folder) for folder in (start, tmp_path / "out" / "model"))
    for name, weight in made.model.state_dict().items():
        assert torch.allclose(weight, share * learned[name] + (1 - share) * before.model.state_dict()[name], atol=1e-5), name
    assert made.trained["mean"][0] == [made.trained["tokens"], share]
    chooses, tells = tuning.halves(tuning.hold_out(Rows.open(tmp_path / "out" / "corpus"), 0.1)[1])
    here = torch.device("cpu")
    assert float(told[2]) == pytest.approx(tuning.judge(made, tells, here), abs=6e-4), "it is told by another part than it is chosen by"
    nats = tuning.judge(made, chooses, here, tuning.CHOOSING_TOKENS)
    assert nats < tuning.judge(before, chooses, here, tuning.CHOOSING_TOKENS)
    made.model.load_state_dict(learned)
    assert nats < tuning.judge(made, chooses, here, tuning.CHOOSING_TOKENS)


def test_a_folder_of_poems_is_one_text_to_learn_from(start: Path, tmp_path: Path) -> None:
    poems = tmp_path / "poems"
    poems.mkdir()
    for number, name in enumerate(("autumn", "river", "stone", "evening", "harbour", "letter", "winter", "orchard", "road", "lamp") * 3):
        (poems / f"{name} of {number} days.txt").write_text(f"{name} and {name}\n" + f"{LINES[number % 3]}\n" * 6, encoding="utf-8")
    assert tune(start, poems, tmp_path / "out", "--tokens", "4000") == 0
    rows = Rows.open(tmp_path / "out" / "corpus")
    assert len(rows.streams) == 1
    drawn = rows.draw(400, 32, np.random.default_rng(0))
    words = Tokenizer.load(start / checkpoint.TOKENIZER).decode(drawn.ravel().tolist())
    assert all(name in words for name in ("autumn", "winter", "lamp")), "all of them are drawn from"
    assert checkpoint.load(tmp_path / "out" / "model").trained["epochs"].keys() == {"all"}, "no names of a writer's files"


def test_a_language_that_the_tokenizer_cannot_spell_is_refused_and_single_letters_are_told(
    start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in (
        ("russian", "Кошка сидела на окне и смотрела на улицу. " * 40),
        ("names", ("René sat still. " + " ".join(LINES)) * 40),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(text, encoding="utf-8")
    assert tune(start, tmp_path / "russian", tmp_path / "out") == 2
    told = capsys.readouterr().err
    assert "could never write them: train a model of your own for this language, without --init." in told and " о " in told
    assert tune(start, tmp_path / "names", tmp_path / "other", "--tokens", "640") == 0
    assert "no pieces for some letters of these texts, which it will never write: é." in capsys.readouterr().err


def test_a_new_tokenizer_learns_the_quotes_that_the_corpus_has(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("“It’s I,” she said, “isn’t it?” It’s quiet. ‘Yes,’ he said. \n" * 60, encoding="utf-8")
    out = tmp_path / "out"
    assert train.main(["--data", str(tmp_path / "a.txt"), "--out", str(out), *SMALL[2:], "--vocab", "300", "--tokens", "300"]) == 0
    pieces = Tokenizer.load(out / "tokenizer.model").pieces('"It\'s I," she said')
    assert not any(piece.startswith("<0x") for piece in pieces)
    held = engine.load(out / "model", device="cpu")
    (tmp_path / "straight.txt").write_text(straighten((tmp_path / "a.txt").read_text(encoding="utf-8")), encoding="utf-8")
    curly, straight = (nelbo_of(held, [tmp_path / name])["nats_per_token"] for name in ("a.txt", "straight.txt"))
    assert curly == straight, "a model is judged on what it reads"


def test_a_text_is_judged_as_it_would_be_learned_however_its_lines_are_broken(tmp_path: Path) -> None:
    words = "The harbour was quieter than they remembered, and the fishermen weren't there at all when she came. " * 6
    plain = f"{words.strip()}\n\n{words.strip()}\n"
    ways = {
        "plain": plain,
        "wrapped": "\n\n".join(map(textwrap.fill, plain.split("\n\n"))),
        "indented": "  " + plain.replace("\n\n", "\n  "),
    }
    held, found = engine.load(None, device="cpu"), {}
    for name, text in ways.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(text, encoding="utf-8")
        (document,) = nelbo.read(held, [tmp_path / name / "a.txt"], 512)
        found[name] = document.rows
    assert found["wrapped"] == found["plain"] == found["indented"]


def test_a_corpus_with_more_pieces_can_be_tuned_on_with_a_part_held_out(texts: Path, start: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.txt"
    more.write_text("The harbour was quieter than they remembered, and the fishermen weren't there. " * 200, encoding="utf-8")
    corpus = ["--data", str(more), "--init", str(start), "--out", str(tmp_path / "corpus"), "--vocab", "340", "--prepare"]
    assert train.main(corpus) == 0
    assert tune(start, tmp_path / "corpus", tmp_path / "out", "--tokens", "640") == 0
    assert checkpoint.load(tmp_path / "out" / "model").model.config.vocab_size == 340


def test_ctrl_c_loses_nothing(texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    told = ["--data", str(texts), *SMALL, "--tokens", "640"]
    assert train.main([*told, "--out", str(tmp_path / "whole")]) == 0
    gradients, calls = Trainer.gradients, [0]

    def pressed(*given: Any) -> torch.Tensor:
        calls[0] += 1
        if calls[0] == 3:
            signal.raise_signal(signal.SIGINT)
        return gradients(*given)

    monkeypatch.setattr(Trainer, "gradients", pressed)
    assert train.main([*told, "--out", str(tmp_path / "stopped")]) == 0
    assert calls[0] == 3 and "Paused after" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "the next one is heard by somebody else again"
    assert train.main([*told, "--out", str(tmp_path / "stopped")]) == 0
    whole, stopped = (load_file(tmp_path / name / "state.safetensors") for name in ("whole", "stopped"))
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)


def test_what_a_finished_model_was_taught_since_stays_when_the_command_is_repeated(texts: Path, tmp_path: Path) -> None:
    told = ["--data", str(texts), "--out", str(tmp_path / "out"), *SMALL, "--tokens", "640"]
    assert train.main(told) == 0
    checkpoint.set_settings(tmp_path / "out" / "model", {"guidance": 1.5})
    before = {path.name: path.read_bytes() for path in (tmp_path / "out" / "model").iterdir()}
    assert train.main(told) == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "out" / "model").iterdir()} == before


def test_a_run_is_not_gone_on_from_with_other_texts_or_another_model(
    texts: Path, start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text(" ".join(LINES) * 40, encoding="utf-8")
    assert tune(start, mine, tmp_path / "out", "--tokens", "640", "--piece", "0") == 0
    corpus = (tmp_path / "out" / "corpus" / "00000.bin").read_bytes()
    mine.write_text("Something else was written here. " * 80, encoding="utf-8")
    assert tune(start, mine, tmp_path / "out", "--tokens", "640") == 2
    assert "began with other texts" in capsys.readouterr().err
    assert (tmp_path / "out" / "corpus" / "00000.bin").read_bytes() == corpus
    shards_of_both = tmp_path / "out" / "corpus"
    other = train.main(["--data", str(texts), "--init", str(start), "--out", str(tmp_path / "other"), *RECIPE, "--tokens", "640"])
    assert other == 0
    run = ["--data", str(shards_of_both), "--out", str(tmp_path / "out"), "--tokens", "640", "--no-compile", "--device", "cpu"]
    assert train.main([*run, "--init", str(tmp_path / "other" / "model")]) == 2
    assert "from another model" in capsys.readouterr().err


def test_files_are_found_whatever_their_suffix_looks_like_and_hidden_ones_are_not(tmp_path: Path) -> None:
    for name in ("CHAPTER1.TXT", "two.md", "._two.md", ".trash/old.md", "notes.docx", "more.docx", "book/three.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text", encoding="utf-8")
    assert [path.name for path in files_of([tmp_path])] == ["CHAPTER1.TXT", "three.txt", "two.md"]
    assert "2 .docx" in unread([tmp_path]) and not unread([tmp_path / "book"])
    with pytest.raises(CorpusError, match=r"notes\.docx is no plain text; save it as plain text"):
        files_of([tmp_path / "notes.docx"])


def test_a_run_within_the_folder_of_its_own_texts_goes_on_and_does_not_read_itself(texts: Path, start: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    (mine / "models").mkdir(parents=True)
    (mine / "a.txt").write_text(" ".join(LINES) * 40, encoding="utf-8")
    shutil.copytree(start, mine / "models" / "another")
    assert tune(start, mine, mine / "runs" / "mine", "--tokens", "640", "--piece", "0") == 0
    assert tune(start, mine, mine / "runs" / "mine", "--tokens", "640") == 0
    assert [path.name for path in files_of([mine], out=mine / "runs" / "mine")] == ["a.txt"]


def test_a_text_that_was_corrected_is_read_anew_though_it_is_as_long(
    start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text(" ".join(LINES) * 40, encoding="utf-8")
    prepare = ["--prepare", "--data", str(mine), "--init", str(start), "--out", str(tmp_path / "corpus")]
    assert train.main(prepare) == 0
    mine.write_text(mine.read_text(encoding="utf-8").replace("mat", "rug"), encoding="utf-8")
    assert train.main(prepare) == 2
    assert "The corpus in" in capsys.readouterr().err, "hours of work are not replaced unasked"
    assert train.main([*prepare[:-1], str(tmp_path / "again")]) == 0
    read = [Rows.open(tmp_path / name).streams[0].tolist() for name in ("corpus", "again")]
    assert read[0] != read[1]


@pytest.mark.parametrize("text", ["", "Three short words.", "The lamp was low. " * 40])
def test_too_little_text_for_a_tokenizer_is_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str], text: str) -> None:
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    assert train.main(["--data", str(tmp_path / "a.txt"), "--out", str(tmp_path / "run"), *RECIPE]) == 2
    assert capfd.readouterr().err.strip().splitlines()[-1].startswith("The texts are too few for a tokenizer of 8192 pieces: add text")


def test_options_that_would_do_nothing_are_refused(texts: Path, start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tune(start, texts, tmp_path / "out", "--width", "48", "--tokens", "640") == 2
    assert "--width is for a new model" in capsys.readouterr().err
    assert train.main(["--prepare", "--data", str(texts), "--init", str(start), "--out", str(tmp_path / "corpus")]) == 0
    assert tune(start, tmp_path / "corpus", tmp_path / "out", "--exclude", str(texts)) == 2
    assert "is a corpus already" in capsys.readouterr().err


def test_two_runs_don_t_write_in_one_folder(texts: Path, start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with alone_in(tmp_path / "out"):
        assert tune(start, texts, tmp_path / "out", "--tokens", "640") == 2
    assert "Another run is at work in" in capsys.readouterr().err
    assert tune(start, texts, tmp_path / "out", "--tokens", "640") == 0


def test_a_disk_that_takes_no_weights_is_one_sentence(texts: Path, start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out" / "state.safetensors.part").mkdir(parents=True)
    assert tune(start, texts, tmp_path / "out", "--tokens", "640") == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert "can't be read or written" in told and "state.safetensors" in told


def test_a_long_document_is_encoded_in_parts_as_it_would_be_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = Tokenizer.load(EMBEDDED / checkpoint.TOKENIZER)
    text = "\n\n\n".join(documents(DEV)).replace(". ", ".\n ")
    whole = tokenizer.encode(evened(straighten(text)))
    monkeypatch.setattr(shards, "TASK_CHARACTERS", 300)
    (found,) = shards._encode([text], tokenizer)
    assert found.ids.tolist() == whole


def test_a_report_on_texts_without_sentences(tmp_path: Path) -> None:
    verse = tmp_path / "verse.txt"
    verse.write_text(
        "\n".join(f"the lamp was low in room {n} and the sea went on, and on the stair a step was gone" for n in range(40)),
        encoding="utf-8",
    )
    assert evaluate(["--model", "toy", "--data", str(verse), "--out", str(tmp_path / "out"), "--quick", "--gaps", "1"]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert "sentence" not in report["infilling"]["gaps"] and report["infilling"]["left_out"]
    assert "steps.png" not in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
