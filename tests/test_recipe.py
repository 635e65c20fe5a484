"""A model that was made in several runs, made again by one command."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import threading
from pathlib import Path

import pytest
import torch

import engine
from engine import checkpoint
from engine.backends import EMBEDDED
from engine.training import mean, recipe
from engine.training.options import arguments
from engine.training.recipe import Recipe, commands
from engine.training.train import main

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "assets" / "recipe.toml"
SMALL = """
name = "tiny"
options = "--weight *stories* 2 --width 32 --heads 1 --no-compile"
[settings]
guidance = 0.5
[[stage]]
name = "1-corpus"
options = "--vocab 330"
[[stage]]
name = "2-denoiser"
tokens = 9000
options = "--depth 1 --stages 0:8x64"
hold = 0.5
[[stage]]
name = "3-twin"
tokens = 2000
options = "--causal --depth 2 --stages 0:8x64"
[[stage]]
name = "4-corpus"
options = "--vocab 360"
[[stage]]
name = "5-denoiser"
tokens = 3000
options = "--stages 0:8x64 --value-residual --store int8"
[[stage]]
name = "6-words"
teach = "words"
texts = ["*stories*"]
options = "--least {60:30}"
"""
TAUGHT = """
[[stage]]
name = "7-schedule"
teach = "schedule"
options = "--rows {128:64} --length 64 --write"
[[stage]]
name = "8-lengths"
teach = "lengths"
options = "--gaps {128:64}"
[[stage]]
name = "9-reveal-order"
teach = "reveal order"
options = "--gaps {20:10}"
"""
"""What else there is to teach."""
AVERAGED = """
[[stage]]
name = "7-denoiser"
tokens = 3000
options = "--stages 0:8x64 --store int8"
[[stage]]
name = "8-mean"
mean = ["7-denoiser", "5-denoiser"]
options = "--shares 3 1 --store float32"
[[stage]]
name = "9-words"
teach = "words"
"""
"""The model of a stage averaged with that of one before."""

BEGUN = """
name = "x"
[[stage]]
name = "a"
[[stage]]
name = "b"
tokens = 9
[[stage]]
name = "c"
tokens = 9
"""


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    words = [
        "the",
        "a",
        "old",
        "house",
        "lamp",
        "river",
        "was",
        "is",
        "quiet",
        "bright",
        "and",
        "or",
        "under",
        "over",
        "went",
        "came",
        "she",
        "he",
        "it",
        "slowly",
        "never",
    ]
    chance = random.Random(4)
    for name in ("stories", "letters"):
        sentences = ((" ".join(chance.choices(words, k=8)) + ".").capitalize() for _ in range(8 * 50))
        documents = (" ".join(itertools.islice(sentences, 50)) for _ in range(8))
        (tmp_path / f"{name}.txt").write_text("\n<|doc|>\n".join(documents), encoding="utf-8")
    return tmp_path


def test_one_command_makes_a_model_in_all_its_stages_and_goes_on_where_it_was_stopped(
    texts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recipe, "LEAST_TOKENS", 1000)
    (texts / "recipe.toml").write_text(SMALL + TAUGHT, encoding="utf-8")
    told = ["--recipe", str(texts / "recipe.toml"), "--data", str(texts / "stories.txt"), str(texts / "letters.txt"), "--out"]
    out = texts / "runs"
    assert main([*told, str(out), "--scale", "0.5"]) == 0
    model = engine.load(str(out / "5-denoiser" / "model"), device="cpu")
    assert model.name == "tiny" and model.vocab_size == 360
    assert engine.recommended(model).guidance == 0.5
    config = json.loads((out / "5-denoiser" / "model" / "config.json").read_text(encoding="utf-8"))
    assert 7000 <= config["trained"]["tokens"] <= 7000 + 512 and config["stored"] == "int8"
    assert config["model"]["depth"] == 2 and config["model"]["value_residual"] and not config["model"]["causal"]
    held = checkpoint.load(out / "5-denoiser" / "model")
    assert held.lexicon is not None and "lamp" in held.lexicon and held.schedule and held.lengths and held.reveal_order
    *_, last = engine.fill(model, "the old [[3 tokens]] was quiet")
    assert "░" not in last.text
    weights = (out / "5-denoiser" / "model" / "model.safetensors").read_bytes()
    capsys.readouterr()
    assert main([*told, str(out), "--scale", "0.5"]) == 0
    said = capsys.readouterr().err
    assert said.count("is done already") == 3 and "words," not in said and "The length head is in" not in said
    assert (out / "5-denoiser" / "model" / "model.safetensors").read_bytes() == weights
    assert main([*told, str(out), "--scale", "1"]) == 2
    assert "another --scale" in capsys.readouterr().err


def test_a_stage_that_is_stopped_is_gone_on_with_before_the_next_one_begins(
    texts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recipe, "LEAST_TOKENS", 1000)
    (texts / "recipe.toml").write_text(SMALL, encoding="utf-8")
    out = texts / "runs"
    told = ["--recipe", str(texts / "recipe.toml"), "--data", str(texts / "stories.txt"), "--out", str(out), "--scale", "0.3"]
    stopped = threading.Event()
    stopped.set()
    with monkeypatch.context() as patched:
        patched.setattr("engine.training.loop.interrupts", lambda: contextlib.nullcontext(stopped))
        assert main(told) == 0
    assert "Paused in the stage 2-denoiser" in capsys.readouterr().err and not (out / "3-twin").exists()
    with monkeypatch.context() as patched:
        patched.setattr("engine.training.words.main", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main(told) == 130
    assert not (out / "6-words").exists() and "Traceback" not in (heard := capsys.readouterr().err) and "Taking the run up again" in heard
    assert main(told) == 0 and (out / "6-words").is_file()


def test_models_of_several_stages_are_averaged_once(
    texts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recipe, "LEAST_TOKENS", 1000)
    (texts / "recipe.toml").write_text(SMALL + AVERAGED, encoding="utf-8")
    out = texts / "runs"
    told = ["--recipe", str(texts / "recipe.toml"), "--data", str(texts / "stories.txt"), "--out", str(out), "--scale", "0.3"]
    assert main(told) == 0
    first, second, made = (checkpoint.load(out / name / "model") for name in ("7-denoiser", "5-denoiser", "8-mean"))
    weights = [held.model.state_dict() for held in (first, second, made)]
    for name, meant in weights[2].items():
        assert torch.allclose(meant, 0.75 * weights[0][name] + 0.25 * weights[1][name], atol=1e-6), name
    assert not torch.equal(weights[0]["head.weight"], weights[1]["head.weight"])
    assert made.lexicon is not None and "lamp" in made.lexicon  # what is taught is taught to the mean
    assert made.trained["mean"] == [[first.trained["tokens"], 0.75], [second.trained["tokens"], 0.25]]
    capsys.readouterr()
    assert main(told) == 0 and "The mean of" not in capsys.readouterr().err
    assert checkpoint.load(out / "8-mean" / "model").lexicon is not None


def test_branches_begin_from_the_same_model_and_their_mean_has_read_what_both_did(texts: Path) -> None:
    branches = "".join(
        f'[[stage]]\nname = "{name}"\nafter = "2-denoiser"\ntokens = {tokens}\n' for name, tokens in (("8", 4e4), ("9", 3e4))
    )
    after = '[[stage]]\nname = "10"\nmean = ["2-denoiser", "8", "9"]\n[[stage]]\nname = "11"\ntokens = 2e4\n'
    (texts / "recipe.toml").write_text(BEGUN.replace('"c"', '"2-denoiser"') + branches + after, encoding="utf-8")
    found = {c.stage.name: c for c in commands(Recipe.read(texts / "recipe.toml"), [texts / "stories.txt"], [], texts / "runs", 1.0)}
    runs = {name: arguments(found[name].argv, None) for name in ("2-denoiser", "8", "9", "11")}
    begun = runs["2-denoiser"].tokens
    assert [runs[name].init for name in ("8", "9", "11")] == [found[name].model for name in ("2-denoiser", "2-denoiser", "10")]
    assert [(runs[name].done, runs[name].tokens) for name in ("8", "9")] == [(begun, begun + 4e4), (begun, begun + 3e4)]
    assert (runs["11"].done, runs["11"].tokens) == (begun + 7e4, begun + 9e4)


def test_an_option_that_is_none_is_told_before_anything_is_done(texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (texts / "recipe.toml").write_text(SMALL.replace("--store int8", "--store int9"), encoding="utf-8")
    with pytest.raises(SystemExit):
        main(["--recipe", str(texts / "recipe.toml"), "--data", str(texts / "stories.txt"), "--out", str(texts / "runs")])
    assert "int9" in capsys.readouterr().err and not (texts / "runs").exists()
    for wrong in ("--least none", "--rows none", "--gaps none", "--gaps 10 --fast"):
        teach = {"--least": "words", "--rows": "schedule", "--gaps": "reveal order"}[wrong.split()[0]]
        stage = f'[[stage]]\nname = "7"\nteach = "{teach}"\noptions = "{wrong}"\n'
        (texts / "recipe.toml").write_text(SMALL + stage, encoding="utf-8")
        with pytest.raises(SystemExit):
            main(["--recipe", str(texts / "recipe.toml"), "--data", str(texts / "stories.txt"), "--out", str(texts / "runs")])
        assert wrong.split()[-1] in capsys.readouterr().err and not (texts / "runs").exists(), wrong
    with pytest.raises(SystemExit):
        main(["--recip", str(texts / "recipe.toml"), "--data", str(texts / "stories.txt")])
    assert "in full" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("name = 3 3", "is no recipe"),
        ('name = "x"', "is no recipe"),
        ('name = "x"\n[[stage]]\nname = "a"\nspeed = 3', "speed"),
        ('name = "x"\n[[stage]]\nname = "a"\ntokens = 9', "needs a corpus"),
        ('name = "x"\n[[stage]]\nname = "a"\nteach = "words"', "needs a model"),
        ('name = "x"\n[[stage]]\nname = "a"\nteach = "manners"', "manners"),
        ('name = "x"\n[[stage]]\nname = "a"\ntokens = "9"', "numbers of stage 'a'"),
        ('name = "x"\n[[stage]]\nname = "a"\ntexts = "*poems*"', "a list of names"),
        ('name = "x"\n[settings]\nsteps = 0\n[[stage]]\nname = "a"', "Steps"),
        (BEGUN + 'options = "--stages 0:8x64,0.5:8x32"', "one part only"),
        (BEGUN + '[[stage]]\nname = "d"\nmean = ["c", "e"]', "needs the model of e"),
        (BEGUN + '[[stage]]\nname = "d"\nmean = ["c", "a"]', "needs the model of a"),
        (BEGUN + '[[stage]]\nname = "d"\nmean = "c"', "a list of names"),
        ('name = "x"\n[[stage]]\nname = "a"\ntexts = ["*poems*"]', "poems"),
        ('name = "x"\n[[stage]]\nname = "a"', "trains anything"),
    ],
)
def test_what_is_no_recipe_is_told_in_a_sentence(texts: Path, told: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    (texts / "recipe.toml").write_text(told, encoding="utf-8")
    assert main(["--recipe", str(texts / "recipe.toml"), "--data", str(texts), "--out", str(texts / "runs")]) == 2
    heard = capsys.readouterr().err
    assert said in heard and "Traceback" not in heard and heard.count("\n") == 1


def test_the_shipped_recipe_is_that_of_the_shipped_model(tmp_path: Path) -> None:
    shipped = Recipe.read(SHIPPED)
    config = json.loads((Path(EMBEDDED) / "config.json").read_text(encoding="utf-8"))
    assert shipped.name == config["name"] and shipped.settings == config["settings"]
    assert shipped.tokens == pytest.approx(config["trained"]["tokens"], rel=0.01)
    sources = {path for stage in shipped.stages for path in stage.texts} | {"train-wikipedia*"}
    for pattern in sources:
        (tmp_path / pattern.replace("*", "_en-00.txt")).write_text("A text.", encoding="utf-8")
    found = commands(shipped, sorted(tmp_path.iterdir()), [], tmp_path / "out", 1.0)
    runs = [arguments(command.argv, None) for command in found if command.module == recipe.TRAIN]
    last = runs[-1]
    assert (last.causal, last.name) == (False, shipped.name)
    *_, averaged = [mean.parser().parse_args(command.argv) for command in found if command.module == recipe.MEAN]
    assert averaged.store == config["stored"] == "int8" and averaged.models[-1] == last.out / "model"
    assert len(averaged.models) == len(config["trained"]["mean"])
    assert [[name, times] for name, times in last.weight] == config["trained"]["weights"]
    assert max(run.depth or 0 for run in runs) == config["model"]["depth"]
    assert max(run.vocab for run in runs) == config["model"]["vocab_size"]
    assert max(run.ngrams for run in runs) == config["model"]["ngram_rows"]
    assert (
        {"words", "schedule", "length_head", "reveal_order"}
        == {c.module.rpartition(".")[2] for c in found} - {"train", "mean"}
        == {m.rpartition(".")[2] for m in recipe.TAUGHT.values()}
    )
    starts = [run.done for run in runs if not run.prepare]
    assert starts == sorted(starts) and starts[-1] == starts[-2], "two branches of one model"
    assert all(run.hold > run.done / run.tokens - 1e-6 for run in runs if not run.prepare)
