"""A length head: a head trained on a small network, kept with it and read back."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

import engine
from engine import checkpoint
from engine.backends.dit import LengthwiseDiT
from engine.checkpoint import CheckpointError
from engine.denoiser import KnowsLengths
from engine.evaluation.main import main as evaluate
from engine.length_head import KNOTS, LONGEST, LengthHead, LengthHeadConfig, around, reading
from engine.model import DiT, ModelConfig
from engine.training import length_head
from engine.training.corpus import documents
from engine.training.gaps import MIX
from tests.checkpoints import make_untrained

SAMPLE = Path(__file__).parent / "data" / "dev_sample.txt"
TEXTS = list(documents(SAMPLE))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network that knows nothing, but whose states tell which tokens are near."""
    shape = ModelConfig(vocab_size=512, width=48, depth=2, heads=2, max_length=64)
    return make_untrained(tmp_path_factory.mktemp("small"), shape, TEXTS[:4], std=0.15)


@pytest.fixture(scope="module")
def taught(folder: Path) -> Path:
    """The same with a head, by the command."""
    options = ["--gaps", "800", "--hidden", "32"]
    assert length_head.main(["--model", str(folder), "--data", str(SAMPLE), *options]) == 0
    return folder


def test_probabilities_are_smooth_between_the_knots_and_sum_to_one() -> None:
    head = LengthHead(LengthHeadConfig(8, (1,)))
    torch.nn.init.normal_(head.outer.weight)
    log_probs = head(torch.randn(5, 3, 1, 8))
    assert log_probs.shape == (5, LONGEST)
    assert torch.allclose(log_probs.exp().sum(-1), torch.ones(5), atol=1e-5)
    for low, high in ((KNOTS[8], KNOTS[9]), (KNOTS[-2], KNOTS[-1])):
        counts = torch.arange(low, high + 1)
        part, x = log_probs[:, counts - 1].double(), counts.double().log()
        line = part[:, :1] + (part[:, -1:] - part[:, :1]) * (x - x[0]) / (x[-1] - x[0])
        assert torch.allclose(part, line, atol=1e-4)


def test_before_anything_is_learned_every_octave_is_as_likely() -> None:
    probs = LengthHead(LengthHeadConfig(8, (1,)))(torch.randn(1, 3, 1, 8)).detach().exp()[0]
    assert probs[:1].sum() == pytest.approx(float(2 * probs[1:2].sum()), rel=1e-4)
    assert probs[7:15].sum() == pytest.approx(float(probs[31:63].sum()), rel=0.1)


def test_states_are_read_beside_the_gap_and_are_nothing_where_the_canvas_ends() -> None:
    net = DiT(ModelConfig(vocab_size=11, width=8, depth=3, heads=2, max_length=16))
    ids = torch.arange(10).view(2, 5)
    with reading(net, (1, 3)) as states:
        net(ids, torch.zeros(0, dtype=torch.long))
    assert len(states) == 2 and not any(block._forward_hooks for block in net.blocks)
    gap = torch.tensor([[False, False, True, False, False], [True, False, False, False, False]])
    found = around(states, gap, torch.tensor([[True] * 5, [True] + [False] * 4]))
    for place, at in enumerate((1, 2, 3)):
        assert torch.equal(found[0, place], torch.stack([layer[0, at] for layer in states]))
    assert torch.equal(found[1, 1, 0], states[0][1, 0])
    assert not found[1, [0, 2]].any()


def test_a_head_is_learned_kept_and_beats_what_it_believes_of_any_gap(taught: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = engine.load(taught, device="cpu", dtype="float32")
    assert isinstance(model, KnowsLengths) and isinstance(model, LengthwiseDiT)
    assert evaluate(["--model", str(taught), "--data", str(SAMPLE), "--lengths", "--quick", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["belief"]["nats"] < figures["belief"]["marginal_nats"] - 0.03
    assert figures["all"]["head"]["octaves"][0] < 0.85 * figures["all"]["mean"]["octaves"][0]
    assert set(figures["by_kind"]) == set(MIX)
    assert sum(row["gaps"] for row in figures["by_kind"].values()) == figures["gaps"]


def test_learning_is_the_same_twice(folder: Path, tmp_path: Path) -> None:
    heads = []
    for out in (tmp_path / "a", tmp_path / "b"):
        out.mkdir()
        checkpoint.save(checkpoint.load(folder), out)
        assert length_head.main(["--model", str(out), "--data", str(SAMPLE), "--gaps", "120", "--hidden", "8"]) == 0
        heads.append((out / checkpoint.LENGTHS).read_bytes())
    assert heads[0] == heads[1]


def test_a_table_has_a_row_for_every_kind(taught: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(["--model", str(taught), "--data", str(SAMPLE), "--lengths", "--quick"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "|  | gaps | true mean | head | head's median | CAL | CAL and prior | mean | median |" in lines
    for kind in (*MIX, r"\*\*all\*\*", "where CAL was tried"):
        assert any(re.match(rf"\| {kind} \| \d+ \| \d+\.\d \| \d+\.\d\d( ± \d+\.\d\d)? \(", line) for line in lines), kind


def test_a_checkpoint_is_written_with_its_head(taught: Path, tmp_path: Path) -> None:
    held = checkpoint.load(taught)
    checkpoint.save(held, tmp_path)
    again = checkpoint.load(tmp_path)
    assert held.lengths and again.lengths and again.lengths.config == held.lengths.config
    states = torch.randn(3, 3, len(held.lengths.config.layers), 48)
    assert torch.equal(held.lengths(states), again.lengths(states))
    again.lengths = None
    checkpoint.save(again, tmp_path)
    assert checkpoint.load(tmp_path).lengths is None and not (tmp_path / checkpoint.LENGTHS).exists()


def damaged(taught: Path, out: Path, **lengths: object) -> Path:
    for path in taught.iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    config["lengths"] = {**config["lengths"], **lengths}
    (out / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return out


@pytest.mark.parametrize(
    ("lengths", "says"),
    [
        ({"width": 64}, "another shape"),
        ({"layers": [1, 9]}, "another shape"),
        ({"layers": []}, "no layer"),
        ({"hidden": 16}, "not the length head"),
        ({"hidden": -1}, "hidden"),
        ({"hidden": True}, "hidden"),
        ({"experts": 2}, "fields"),
    ],
)
def test_a_head_that_is_not_of_this_model_is_refused_with_one_sentence(
    taught: Path, tmp_path: Path, lengths: dict[str, object], says: str
) -> None:
    with pytest.raises(CheckpointError, match=says):
        checkpoint.load(damaged(taught, tmp_path, **lengths))


def test_a_missing_or_changed_head_is_refused_with_one_sentence(taught: Path, tmp_path: Path) -> None:
    path = damaged(taught, tmp_path) / checkpoint.LENGTHS
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match=r"lengths\.safetensors .*copy it again\.$"):
        checkpoint.load(tmp_path)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"no lengths\.safetensors"):
        checkpoint.load(tmp_path)


def test_what_cannot_be_learned_from_is_told_in_one_sentence(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one.txt").write_text("One short text.", encoding="utf-8")
    (tmp_path / "signs.txt").write_text("... ---", encoding="utf-8")
    for data, says in (
        (tmp_path / "one.txt", "too little text"),
        (tmp_path / "signs.txt", "no text to cut gaps from"),
        (tmp_path / "nothing", "no file or folder"),
    ):
        assert length_head.main(["--model", str(folder), "--data", str(data), "--gaps", "5"]) == 2
        assert says in capsys.readouterr().err.splitlines()[-1]
    assert length_head.main(["--model", str(tmp_path), "--data", str(SAMPLE)]) == 2
    capsys.readouterr()
    assert length_head.main(["--model", str(folder), "--data", str(SAMPLE), "--gaps", "64", "--layers", "99"]) == 2
    assert re.fullmatch(r"The model has \d+ blocks, and --layers counts them from 1; there is no 99\.", capsys.readouterr().err.strip())
