"""Training by our own code: it learns, it resumes exactly, its masks are what they claim, and it says what is wrong."""

from __future__ import annotations

import lzma
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

import engine
from engine import checkpoint
from engine.lexicon import Lexicon
from engine.training import length_head, loop, train, tuning, words
from engine.training.corpus import CorpusError, documents
from engine.training.objective import MaskingRecipe, capacity, draw_masks, gather, mask_runs
from engine.training.options import arguments

ROOT = Path(__file__).resolve().parents[1]
LINES = ["The cat sat on the mat and looked at the dog.", "The dog sat on the log and looked at the cat.", "They were both quite still."]
SHAPE = ["--vocab", "320", "--width", "32", "--depth", "2", "--heads", "2"]
SMALL = [*SHAPE, "--stages", "0:4x16,0.5:2x32", "--no-compile", "--device", "cpu"]


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "plain.txt").write_text("\n<|doc|>\n".join(" ".join(LINES) for _ in range(30)), encoding="utf-8")
    with lzma.open(folder / "packed.txt.xz", "wt", encoding="utf-8") as stream:
        stream.write("\n\n".join(LINES * 30))
    return folder


def run(texts: Path, out: Path, *more: str) -> int:
    return train.main(["--data", str(texts), "--out", str(out), *SMALL, *more])


def test_documents_are_split_at_the_separator_and_nowhere_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("<|doc|>\none\n\nstill one\n<|doc|>\n\n<|doc|>\n two <|doc|> two \n<|doc|>\nthree", encoding="utf-8")
    assert list(documents(path)) == ["one\n\nstill one", "two <|doc|> two", "three"]


@pytest.mark.parametrize("content", [b"\xfd7zXZ\0broken", lzma.compress(b"text " * 100)[:-20]])
def test_a_broken_file_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.txt.xz").write_bytes(content)
    with pytest.raises(CorpusError, match=r"a\.txt\.xz.*\.$"):
        list(documents(tmp_path / "a.txt.xz"))


@pytest.mark.parametrize(
    "wrong",
    [
        *("--tokens 0", "--held-out 1", "--weight a b", "--weight a -1", "--depth 0", "--done 5", "--done nan", "--hold nan", "--seed -1"),
        *("--piece nan", "--seed 1180591620717411303424", "--tokenizer t --init m"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path, tmp_path / "out", *wrong.split())
    assert stopped.value.code == 2
    assert wrong.split()[0] in capsys.readouterr().err.splitlines()[-1]


def test_missing_data_is_one_sentence_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "nothing", tmp_path / "out") == 2
    assert re.fullmatch(r"There is no file or folder .*\.\n", capsys.readouterr().err)


@given(seed=st.integers(0, 2**32), length=st.integers(2, 200), share=st.floats(0.01, 0.6))
def test_gaps_mask_about_their_share_and_at_least_one_token(seed: int, length: int, share: float) -> None:
    mask = mask_runs(length, share, 7.0, np.random.default_rng(seed))
    assert max(1, share * length) <= mask.sum() <= max(1, 2 * share * length + 1)


def test_rows_masked_alone_follow_their_levels_and_weigh_the_inverse() -> None:
    rng, recipe = np.random.default_rng(0), MaskingRecipe(gap_rows=0.0)
    masks, weights = draw_masks(recipe, 400, 256, rng)
    shares = masks.mean(1)
    free = weights < recipe.weight_limit
    # Each row's share of masks is binomial around t = 1 / weight: five standard deviations of the mean z-score.
    z = (shares - 1 / weights) / np.sqrt((1 - 1 / weights) / weights / 256)
    assert abs(z[free].mean()) < 5 / np.sqrt(free.sum())
    assert 0.35 < shares.mean() < 0.55


def test_levels_of_a_learned_schedule_are_weighed_so_that_the_mean_is_the_nelbo() -> None:
    """The mean over rows of weight * share * g(level) is the integral of g over levels, whichever schedule drew them."""
    recipe = MaskingRecipe(gap_rows=0.0, times=(0.0, 0.4, 0.7, 0.9, 1.0), weight_limit=1e9)
    masks, weights = draw_masks(recipe, 3000, 256, np.random.default_rng(0))
    shares = masks.mean(1)
    assert float((weights * shares).mean()) == pytest.approx(1.0, abs=0.03)
    assert float((weights * shares**2).mean()) == pytest.approx(0.5, abs=0.02)
    assert (shares < 0.25).mean() == pytest.approx(0.4, abs=0.03)


def test_gathered_positions_are_the_masks_and_free_places_weigh_nothing() -> None:
    rng, recipe = np.random.default_rng(1), MaskingRecipe()
    masks, weights = draw_masks(recipe, 24, 64, rng)
    room = capacity(recipe, 24, 64)
    positions, each = gather(masks, weights, room)
    count = int(masks.sum())
    assert len(positions) == room and count <= room
    assert set(positions[:count]) == set(masks.reshape(-1).nonzero()[0])
    assert (each[:count] > 0).all() and not each[count:].any()


def test_training_learns_exports_draws_its_curve_and_the_model_fills(texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert run(texts, out, "--tokens", "40000") == 0
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")
    model = engine.load(out / "model", device="cpu")
    frames = list(engine.fill(model, "The cat [[3]] the mat.", engine.Settings(steps=4)))
    assert re.fullmatch(r"The cat .+ the mat\.", frames[-1].text)
    from engine.evaluation.nelbo import evaluate

    learned = evaluate(model, [texts / "plain.txt"])
    assert learned["nats_per_token"] < 0.6 * np.log(320)


def test_a_run_paused_at_every_step_ends_with_the_same_weights(texts: Path, tmp_path: Path) -> None:
    assert run(texts, tmp_path / "whole", "--tokens", "640") == 0
    pieces = 0
    while not (tmp_path / "pieces" / "model").exists() or pieces < 5:
        assert pieces < 100, "no call comes nearer to the end"
        assert run(texts, tmp_path / "pieces", "--tokens", "640", "--piece", "0") == 0
        pieces += 1
    for _ in range(12):
        run(texts, tmp_path / "pieces", "--tokens", "640", "--piece", "0")
    whole, in_pieces = (load_file(tmp_path / name / "state.safetensors") for name in ("whole", "pieces"))
    assert whole.keys() == in_pieces.keys()
    assert all(torch.equal(whole[name], in_pieces[name]) for name in whole)


def test_minutes_alone_end_a_run_whatever_the_default_of_tokens_is(texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def done(tokens: int, seconds: float, *more: str) -> float:
        return train.plan_of(arguments(["--data", str(texts), *more], None), 1000, 64).done(tokens, seconds)

    assert done(10**9, 0.0, "--minutes", "2") == 0 and done(0, 120.0, "--minutes", "2") == 1
    assert done(3000, 0.0, "--minutes", "2", "--tokens", "3000") == 1 == done(30_000_000, 0.0)
    assert done(2 * tuning.STEPS_WORTH, 0.0, "--minutes", "2", "--init", str(texts)) > 1, "nobody's own texts are read for ever"
    assert run(texts, tmp_path / "run", "--tokens", "64") == 0
    model = ["--init", str(tmp_path / "run" / "model"), "--done", "1e9", "--minutes", "1e-6"]
    assert run(texts, tmp_path / "more", *model) == 0
    assert "1e-06 minutes to train on" in capsys.readouterr().err
    assert 1e9 < checkpoint.load(tmp_path / "more" / "model").trained["tokens"] < 1e9 + 1000


def test_how_often_the_loss_is_read_changes_nothing(texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(texts, tmp_path / "each", "--tokens", "640") == 0
    monkeypatch.setattr(loop, "READ_EVERY", {"cpu": 4})
    assert run(texts, tmp_path / "some", "--tokens", "640") == 0
    each, some = (load_file(tmp_path / name / "state.safetensors") for name in ("each", "some"))
    assert all(torch.equal(each[name], some[name]) for name in each)
    assert checkpoint.load(tmp_path / "some" / "model").trained["tokens"] == 640


def test_a_state_that_does_not_fit_is_one_sentence_and_stays(texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(texts, tmp_path / "run", "--tokens", "640") == 0
    state = tmp_path / "run" / "state.safetensors"
    whole = state.read_bytes()
    capsys.readouterr()
    assert run(texts, tmp_path / "run", "--tokens", "640") == 0
    assert "is done already" in capsys.readouterr().err
    assert run(texts, tmp_path / "run", "--tokens", "640", "--width", "48") == 2
    state.write_bytes(whole[: len(whole) // 2])
    assert run(texts, tmp_path / "run", "--tokens", "640") == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("The state in")]
    assert len(told) == 2 and all(re.search(r"name another --out or delete that folder\.$", line) for line in told)


def test_a_run_whose_loss_is_not_a_number_ends_with_one_sentence(texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(texts, tmp_path / "out", "--tokens", "2000", "--adam-rate", "1e38") == 2
    assert "The loss is not a number any more after" in capsys.readouterr().err
    assert not (tmp_path / "out" / "state.safetensors").exists()


def test_a_held_out_part_of_a_new_models_texts_is_judged(texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(texts, tmp_path / "run", "--tokens", "640", "--held-out", "0.2") == 0
    assert re.search(r"held out: \d\.\d{3} nats a token, perplexity", capsys.readouterr().err)


def test_fine_tuning_starts_from_the_given_model(texts: Path, tmp_path: Path) -> None:
    assert run(texts, tmp_path / "first", "--tokens", "20000") == 0
    own = tmp_path / "own"
    own.mkdir()
    (own / "mine.txt").write_text("A bird sang in the tree all day, and the tree was glad of it. " * 60, encoding="utf-8")
    from engine.evaluation.nelbo import evaluate

    before = evaluate(engine.load(tmp_path / "first" / "model", device="cpu"), [own / "mine.txt"])["nats_per_token"]
    start = ["--init", str(tmp_path / "first" / "model"), "--tokens", "15000", "--muon-rate", "0.02", "--adam-rate", "0.003"]
    assert train.main(["--data", str(own), "--out", str(tmp_path / "tuned"), *start, *SMALL[len(SHAPE) :]]) == 0
    after = evaluate(engine.load(tmp_path / "tuned" / "model", device="cpu"), [own / "mine.txt"])["nats_per_token"]
    assert after < before - 0.3


@pytest.mark.parametrize("begun", [[], ["--embedding-residual", "--adam-rate", "0.05"]])
def test_parts_are_added_to_a_given_model_which_at_first_says_what_it_said(texts: Path, tmp_path: Path, begun: list[str]) -> None:
    assert run(texts, tmp_path / "plain", "--tokens", "3000", *begun) == 0
    parts = ["--value-residual", "--embedding-residual", "--ngrams", "64", "--depth", "4"]
    given = ["--init", str(tmp_path / "plain" / "model")]
    small = ["--held-out", "0", *SMALL[len(SHAPE) :]]
    again = ["--data", str(texts), "--out", str(tmp_path / "grown"), *given, *parts, *small, "--tokens", "300"]
    assert train.main([*again, "--muon-rate", "1e-9", "--adam-rate", "1e-9"]) == 0
    plain, grown = (checkpoint.load(tmp_path / name / "model").model for name in ("plain", "grown"))
    assert grown.config.ngram_rows == 64 and grown.config.value_residual and grown.config.embedding_residual
    assert len(plain.blocks) < 4 == len(grown.blocks) == grown.config.depth
    last, *added = [dict(block.named_parameters()) for block in [plain.blocks[-1], *list(grown.blocks)[len(plain.blocks) :]]]
    for block in added:  # reads what the last one reads, so that it has something to learn from
        assert torch.allclose(block["qkv.weight"], last["qkv.weight"], atol=1e-3) and block["out.weight"].abs().max() < 1e-3
    ids = torch.randint(2, 300, (2, 16))
    assert torch.allclose(plain(ids, torch.arange(32)), grown(ids, torch.arange(32)), atol=1e-3)


def test_a_model_is_given_more_pieces_by_a_corpus_of_its_own(texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(texts, tmp_path / "plain", "--tokens", "20000") == 0
    given = ["--init", str(tmp_path / "plain" / "model")]
    (texts / "more.txt").write_text(
        "The harbour was quieter than they remembered, and the fishermen weren't there. " * 40, encoding="utf-8"
    )
    more = ["--vocab", "350", "--held-out", "0", *SMALL[len(SHAPE) :]]
    assert train.main(["--data", str(texts), "--out", str(tmp_path / "run"), *given, *more]) == 2
    assert "make that first, with --prepare" in capsys.readouterr().err
    assert train.main(["--data", str(texts), "--out", str(tmp_path / "corpus"), *given, *more, "--prepare"]) == 0
    held = ["--data", str(tmp_path / "corpus"), "--out", str(tmp_path / "run"), "--held-out", "0", *SMALL[len(SHAPE) :], "--tokens", "300"]
    assert train.main([*held, *given, "--muon-rate", "1e-9", "--adam-rate", "1e-9", "--store", "float32"]) == 0
    plain, wider = (checkpoint.load(tmp_path / name / "model") for name in ("plain", "run"))
    assert wider.model.config.vocab_size == wider.tokenizer.vocab_size == 350
    for i in range(320, 350):  # a piece begins as the mean of those that it was made of
        parts = plain.tokenizer.encode(wider.tokenizer.decode([i]))
        assert len(parts) > 1
        for rows in ("embedding.weight", "head.weight"):
            mean = plain.model.state_dict()[rows][parts].mean(0)
            assert torch.allclose(wider.model.state_dict()[rows][i], mean, atol=1e-4)
    ids = torch.randint(2, 320, (2, 16))
    assert torch.allclose(plain.model(ids, torch.arange(32)), wider.model(ids, torch.arange(32))[..., :320], atol=1e-3)
    back = ["--data", str(tmp_path / "plain" / "corpus"), "--out", str(tmp_path / "back"), "--init", str(tmp_path / "run" / "model")]
    assert train.main([*back, *held[4:]]) == 2
    assert "another tokenizer" in capsys.readouterr().err  # fewer pieces are none of this model's


def test_a_denoiser_goes_on_from_a_twin_and_a_twin_from_a_denoiser(texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(texts, tmp_path / "twin", "--tokens", "3000", "--causal") == 0
    shared = ["--data", str(texts), "--held-out", "0.1", *SMALL[len(SHAPE) :], "--tokens", "3000"]
    rates = ["--muon-rate", "1e-9", "--adam-rate", "1e-9"]
    from_twin = ["--init", str(tmp_path / "twin" / "model"), "--out", str(tmp_path / "denoiser")]
    assert train.main([*shared, *rates, *from_twin]) == 0
    assert "held out" in capsys.readouterr().err  # there is no figure of before: the other kind's is none of this kind
    twin = checkpoint.load(tmp_path / "twin" / "model", causal=True).model
    denoiser = checkpoint.load(tmp_path / "denoiser" / "model").model
    for name, weight in twin.state_dict().items():
        assert torch.allclose(weight, denoiser.state_dict()[name], atol=1e-3)
    on = ["--causal", "--init", str(tmp_path / "denoiser" / "model")]
    assert train.main([*shared, *on, "--out", str(tmp_path / "denoiser")]) == 2  # the state there is the other kind's
    assert "name another --out" in capsys.readouterr().err
    assert train.main([*shared, *on, "--out", str(tmp_path / "again")]) == 0
    assert checkpoint.load(tmp_path / "again" / "model", causal=True).model.config.causal
    assert train.main([*shared, *on, "--done", "3000", "--out", str(tmp_path / "over")]) == 2
    assert "give more --tokens" in capsys.readouterr().err


def test_a_long_run_ends_with_teaching_lengths_and_tuning_keeps_what_was_taught(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(texts, tmp_path / "short", "--tokens", "640") == 0
    assert checkpoint.load(tmp_path / "short" / "model").lengths is None
    for name, value in (("LEAST_GAPS", 20), ("GAPS", 100), ("CHARACTERS_A_GAP", 50), ("TOKENS_A_GAP", 20)):
        monkeypatch.setattr(length_head, name, value)
    assert run(texts, tmp_path / "long", "--tokens", "2000") == 0
    taught = checkpoint.load(tmp_path / "long" / "model").lengths
    assert taught is not None
    checkpoint.set_lexicon(tmp_path / "long" / "model", Lexicon(["zebra"]))
    start = ["--init", str(tmp_path / "long" / "model"), "--tokens", "2000"]
    assert train.main(["--data", str(texts), "--out", str(tmp_path / "tuned"), *start, *SMALL[len(SHAPE) :]]) == 0
    kept = checkpoint.load(tmp_path / "tuned" / "model").lengths
    assert kept is not None
    assert all(torch.equal(a, b) for a, b in zip(taught.parameters(), kept.parameters(), strict=True))
    lexicon = checkpoint.load(tmp_path / "tuned" / "model").lexicon
    assert lexicon is not None and "zebra" in lexicon and "mat" in lexicon


def test_the_words_of_texts_are_put_beside_a_model(texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(texts, tmp_path / "run", "--tokens", "300") == 0
    model = tmp_path / "run" / "model"
    assert words.main(["--model", str(model), "--data", str(texts), "--least", "31"]) == 0
    lexicon = checkpoint.load(model).lexicon
    assert lexicon is not None and {"cat", "dog", "quite"} <= set(lexicon.words) and "Cat" not in lexicon
    assert engine.load(model, device="cpu").lexicon.words == lexicon.words  # type: ignore[attr-defined]
    assert words.main(["--model", str(tmp_path), "--data", str(texts)]) == 2
    assert capsys.readouterr().err.endswith(f"There is no model in {tmp_path}: it has no readable config.json.\n")


def test_two_processes_train_one_model(texts: Path, tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    told = ["launch.py", "train", "--data", str(texts), "--out", str(tmp_path / "run"), *SMALL, "--tokens", "2000"]
    environment = os.environ | {"LACUNA_PYTHON": "this"}
    done = subprocess.run([*torchrun, *told], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    assert engine.load(tmp_path / "run" / "model", device="cpu").max_length == 32
