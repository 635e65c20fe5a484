"""A learned reveal order: what it reads, that it rises with the odds, the loop under it, and how it is learned and kept."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import engine
from engine import checkpoint
from engine.backends.toy import MASK, Toy
from engine.checkpoint import Checkpoint, CheckpointError
from engine.model import ModelConfig
from engine.pace import blocks_of, counts_of, grid
from engine.reveal_order import FAR, FEATURES, SIZES, SURE, RevealOrder, Row, features
from engine.settings import Settings
from engine.training import reveal_order
from engine.training.corpus import documents
from engine.training.gaps import even_cuts
from engine.training.reveal_order import Examples
from tests.checkpoints import make_untrained
from tests.orders import an_order, straight
from tests.test_reverse import any_canvas, any_settings, run, same

SAMPLE = Path(__file__).parent / "data" / "dev_sample.txt"
LLADA = Path(__file__).parent / "golden/llada"
ORDERED = st.integers(0, 50).map(an_order)


def taught(order: RevealOrder) -> Toy:
    model = Toy()
    model.reveal_order = order  # type: ignore[attr-defined]
    return model


def seen(
    row: str, probability: list[float] | None = None, rows: list[list[float]] | None = None, token: str = "x"
) -> dict[str, list[float]]:
    """The features of a row's masks, a token chosen for all: `.` and capitals are given, small letters written, `_` masked, `,` a mask
    that is nobody's to write, ` ` padding."""
    n = row.count("_")
    rows = rows or [[0.5, 0.25, 0.25]] * n
    known, writable, attend = ([fits(kind) for kind in row] for fits in (lambda k: k not in "_, ", str.islower, lambda k: k != " "))
    writable = [may or kind == "_" for may, kind in zip(writable, row, strict=True)]
    found = features(
        torch.full((n,), ord(token)),
        torch.tensor(probability or [max(r) for r in rows]),
        torch.tensor(rows).log(),
        torch.tensor([i for i, kind in enumerate(row) if kind == "_"]),
        Row(torch.tensor([ord(kind.lower()) for kind in row]), torch.tensor(known), torch.tensor(writable), torch.tensor(attend)),
    )
    assert found.shape == (n, len(FEATURES)) and found.dtype == torch.float64
    return dict(zip(FEATURES, found.T.tolist(), strict=True))


def test_what_is_read_of_a_place() -> None:
    found = seen("..___w.__", rows=[[0.5, 0.3, 0.2]] * 5, probability=[0.5, 0.3, 0.5, 0.5, 0.5])
    assert found["left"] == pytest.approx([0, 1, math.log2(3), 0, 1])
    assert found["right"] == pytest.approx([math.log2(3), 1, 0, 1, 0]), "beyond the last place there is nothing known"
    assert found["left given"] == [1, 1, 1, 1, 1] and found["right given"] == [0] * 5
    assert found["run"] == pytest.approx([math.log2(3)] * 3 + [1] * 2)
    assert found["masked"] == pytest.approx([5 / 6] * 5)
    assert found["odds"] == pytest.approx([0, math.log(3 / 7), 0, 0, 0], abs=1e-6)
    assert found["best"] == pytest.approx([0] * 5, abs=1e-6) and found["margin"] == pytest.approx([0.2] * 5)
    assert found["surprisal"] == pytest.approx([1.0297] * 5, abs=1e-4)


def test_a_mask_that_stays_is_no_neighbour_and_a_row_ends_where_its_padding_begins() -> None:
    assert seen(".,_,.")["left"] == [1] and seen(".,_,.")["run"] == pytest.approx([math.log2(3)])
    assert seen("  __w__.  ") == seen("__w__.")


def test_a_token_that_stands_near_already_is_an_echo() -> None:
    assert seen("X._a_._..x")["echo"] == pytest.approx([1, math.log2(4), math.log2(3)])
    assert seen("X._a_._..x", token="a")["echo"] == pytest.approx([0, 0, math.log2(3)])
    assert seen("._.")["echo"] == [math.log2(FAR)] == seen("X" + "." * 40 + "_.")["echo"]


def test_what_is_far_or_sure_is_all_one() -> None:
    found = seen("." + "_" * 100)
    assert max(found["left"]) == math.log2(FAR) and max(found["run"]) == math.log2(2 * FAR)
    found = seen("___", rows=[[1.0, 0.0], [0.5, 0.5], [1e-30, 1e-30]], probability=[1.0, 0.0, 1e-30])
    assert found["odds"] == [SURE, -SURE, -SURE] and found["margin"] == [1, 0, 0] and found["surprisal"][2] == 2 * SURE
    assert all(math.isfinite(value) for values in found.values() for value in values)


@given(order=ORDERED, probabilities=st.lists(st.floats(0, 1), min_size=2, max_size=9), place=st.sampled_from([".__.", "___", "w_w_"]))
def test_the_score_never_falls_when_a_token_gets_likelier(order: RevealOrder, probabilities: list[float], place: str) -> None:
    n = place.count("_")
    scores = [order.score(torch.tensor(list(seen(place, [p] * n).values())).T.double()) for p in sorted(probabilities)]
    for less, more in pairwise(scores):
        assert bool((more >= less - 1e-9).all())


def test_orders_of_one_feature_are_the_samplers_of_that_name() -> None:
    model, x = Toy(), torch.tensor([[ord("t"), *[MASK] * 9, ord("e"), *[MASK] * 6, ord(" ")]])
    for name, order in (("confidence", straight(odds=1.0)), ("margin", straight(margin=1.0)), ("entropy", straight(surprisal=-1.0))):
        chosen = Settings(sampler=name, steps=9, choice="deterministic")
        theirs = run(model, x, x == MASK, chosen)
        ours = run(taught(order), x, x == MASK, Settings(sampler="learned_order", steps=9, choice="deterministic"))
        assert same(theirs, ours), name


def test_the_places_nearest_to_given_text_go_first_when_that_is_what_was_learned() -> None:
    x = torch.tensor([[ord("t"), *[MASK] * 5, ord("e"), *[MASK] * 3]])
    moves = run(taught(straight(left=-1.0)), x, x == MASK, Settings(sampler="learned_order", steps=8))
    # From the left, the two runs in turn; what was written is as near as what was given.
    assert [move.revealed[0].nonzero()[:, 0].tolist() for move in moves] == [[1], [2], [3], [4], [5], [7], [8], [9]]
    moves = run(taught(straight(left=-1.0, left_given=9.0)), x, x == MASK, Settings(sampler="learned_order", steps=8))
    assert [move.revealed[0].nonzero()[:, 0].tolist() for move in moves] == [[1], [7], [2], [3], [4], [5], [8], [9]]


@given(any_canvas(), any_settings(), ORDERED, st.integers(0, 5))
def test_the_loop_under_it_keeps_what_is_given_and_rows_apart(
    canvas: tuple[Tensor, Tensor], chosen: Settings, order: RevealOrder, candidate: int
) -> None:
    (x, writable), chosen, model = canvas, replace(chosen, sampler="learned_order"), taught(order)
    together = run(model, x, writable, chosen, candidate=candidate)
    assert len(together) <= chosen.steps
    now = x
    for move in together:
        assert torch.equal(move.x[~writable], x[~writable]) and not (move.revealed & (now != MASK)).any()
        now = move.x
    assert not ((now == MASK) & writable).any()
    wide, may = torch.nn.functional.pad(x, (0, 3), value=MASK), torch.nn.functional.pad(writable, (0, 3))
    attend = torch.nn.functional.pad(torch.ones_like(writable), (0, 3))
    beside = run(model, wide, may, chosen, candidate=candidate, attend=attend)
    for b in range(len(x)):
        alone = run(model, x[b : b + 1], writable[b : b + 1], chosen, candidate=candidate + b)
        for move, theirs, padded in zip(alone, together, beside, strict=False):
            assert torch.equal(move.x[0], theirs.x[b]) and torch.equal(move.revealed[0], theirs.revealed[b])
            assert torch.equal(move.x[0], padded.x[b, : x.shape[1]]), "padding is nobody's neighbour"


@given(any_canvas(rows=1), any_settings(), ORDERED, st.data())
def test_a_run_under_it_resumes_exactly(canvas: tuple[Tensor, Tensor], chosen: Settings, order: RevealOrder, data: st.DataObject) -> None:
    (x, writable), chosen, model = canvas, replace(chosen, sampler="learned_order"), taught(order)
    moves = run(model, x, writable, chosen)
    if len(moves) > 1:
        times = grid(chosen, counts_of(blocks_of(writable, chosen)[0], ((x == MASK) & writable)[0]))
        done = data.draw(st.integers(1, len(moves) - 1))
        rest = run(model, moves[done - 1].x, writable, chosen, first_step=done, times=times[times <= moves[done - 1].time])
        assert [move.x.tolist() for move in rest] == [move.x.tolist() for move in moves[done:]]


@pytest.mark.parametrize(
    "wrong",
    [
        "fast",
        {"numbers": []},
        [],
        [0.0] * (sum(SIZES) - 1),
        [0.0] * (sum(SIZES) - 1) + [None],
        [0.0] * (sum(SIZES) - 1) + [True],
        [0.0] * (sum(SIZES) - 1) + [10**400],
        [0.0] * (sum(SIZES) - 1) + [math.nan],
        [0.0] * (sum(SIZES) - 1) + [math.inf],
        [-1.0] + [0.0] * (sum(SIZES) - 1),  # falls with the odds
    ],
)
def test_what_is_no_order_is_refused_with_one_sentence(small: Path, tmp_path: Path, wrong: object) -> None:
    with pytest.raises(ValueError, match=r"^A reveal order .*\.$"):
        RevealOrder.of(wrong)
    for path in small.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config | {"reveal_order": wrong}), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"^The reveal order in .* is damaged; train it again or copy the model folder again\.$"):
        checkpoint.load(tmp_path)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network that knows how often each token is written, and nothing else."""
    shape = ModelConfig(vocab_size=512, width=32, depth=1, heads=2, max_length=256)
    return make_untrained(tmp_path_factory.mktemp("small"), shape, list(documents(SAMPLE))[:4], std=0.1)


def copied(small: Path, out: Path) -> Path:
    checkpoint.save(checkpoint.load(small), out)
    return out


@pytest.fixture(scope="module")
def learned(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with an order, by the command."""
    path = copied(small, tmp_path_factory.mktemp("learned"))
    assert reveal_order.main(["--model", str(path), "--data", str(SAMPLE), "--gaps", "6"]) == 0
    return path


def test_an_order_is_learned_kept_used_and_the_same_twice(small: Path, learned: Path, tmp_path: Path) -> None:
    assert reveal_order.main(["--model", str(copied(small, tmp_path)), "--data", str(SAMPLE), "--gaps", "6"]) == 0
    first, second = (checkpoint.load(path).reveal_order for path in (learned, tmp_path))
    assert first == second and first is not None

    def fills(folder: Path, sampler: str) -> list[str]:
        model = engine.load(folder, device="cpu", dtype="float32")
        chosen = engine.Settings(sampler=sampler, steps=12)
        return [frame.text for frame in engine.fill(model, "It was [[24 tokens]] when the door opened.", chosen)]

    assert fills(learned, "learned_order") != fills(learned, "margin")
    assert fills(small, "learned_order") == fills(small, "margin"), "a model that learned none goes by margin"


def test_it_is_written_again_with_its_weights_and_not_with_others(learned: Path, tmp_path: Path) -> None:
    held = checkpoint.load(learned)
    for dtype in (torch.bfloat16, torch.int8):
        checkpoint.save(held, tmp_path, dtype)
        assert checkpoint.load(tmp_path).reveal_order == held.reveal_order is not None
    checkpoint.save(Checkpoint(held.model, held.tokenizer, "others"), tmp_path)
    assert checkpoint.load(tmp_path).reveal_order is None


def test_what_the_command_tells(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reveal_order, "CHECKED", 3)
    command = ["--model", str(copied(small, tmp_path)), "--data", str(SAMPLE), "--check", str(SAMPLE), "--gaps", "3"]
    assert reveal_order.main(command) == 0
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert [line.split("|")[1].strip() for line in lines] == ["order", "---", "probability", "margin", "entropy", "learned"]
    assert all(0 <= float(share) <= 1 for line in lines[2:] for share in line.split("|")[2:4])
    assert told.err.splitlines()[-1] == f"The reveal order is in {tmp_path / 'config.json'}."


def some_examples(seed: int, states: int) -> Examples:
    """Eight places a state; a token of these odds is right more often beside given text, and not as often as its odds say."""
    rng = torch.Generator().manual_seed(seed)
    n = 8 * states
    seen = torch.rand(n, len(FEATURES), generator=rng)
    seen[:, 0] = torch.randn(n, generator=rng) * 2
    seen[:, 6] = (seen[:, 6] < 0.5).float()
    right = torch.rand(n, generator=rng) < torch.sigmoid(TRUTH.score(seen.double()))
    numbers = torch.arange(n)
    return Examples(seen, right, numbers // 8, numbers // 80)


TRUTH = straight(odds=0.5, left_given=2.0, masked=-1.0)


def test_what_is_to_be_learned_is_learned() -> None:
    order = reveal_order.learn(some_examples(0, 2000), seed=0)
    new = some_examples(1, 2000)
    found, best = reveal_order.compared(new, order), reveal_order.compared(new, TRUTH)
    for k, by_probability, learned, possible in zip(range(2), found["probability"], found["learned"], best["learned"], strict=True):
        assert by_probability + 0.03 < learned and learned > possible - 0.012, k
    told = torch.sigmoid(order.score(new.seen.double()))
    for least in (0.1, 0.4, 0.7):
        mine = (told > least) & (told < least + 0.2)
        assert float(told[mine].mean()) == pytest.approx(float(new.right[mine].double().mean()), abs=0.03)
    assert found["probability"] == reveal_order.compared(new, straight(odds=1.0))["learned"]


def test_orders_are_compared_within_a_state_and_where_there_is_a_choice() -> None:
    seen = torch.zeros(6, len(FEATURES))
    seen[:, FEATURES.index("odds")] = torch.tensor([3.0, 2.0, 1.0, 0.0, 9.0, 9.0])
    seen[:, FEATURES.index("surprisal")] = torch.tensor([1.0, 2.0, 3.0, 4.0, 9.0, 1.0])
    right = torch.tensor([False, True, True, False, True, False])
    seen[:, FEATURES.index("left")] = torch.tensor([0.0, 9.0, 2.0, 3.0, 0.0, 1.0])
    found = reveal_order.compared(Examples(seen, right, torch.tensor([0, 0, 0, 0, 3, 4]), torch.zeros(6)), straight(left=1.0))
    # Odds and entropy put a wrong one first and have two of four pairs right; all margins are one; the line has one pair wrong.
    assert found == {"probability": (0, 0.5), "margin": (0, 0.5), "entropy": (0, 0.5), "learned": (1, 0.75)}


def test_an_example_is_a_place_of_a_step_with_the_token_of_the_loop() -> None:
    cuts = even_cuts([("", text) for text in documents(SAMPLE)], 2, 0)
    model, chosen = Toy(), Settings(steps=4, temperature=1.0, top_p=1.0, seed=3)
    data = reveal_order.examples(model, cuts, chosen, "")
    sizes = sorted(len(cut.tokens(model, cut.truth)) for cut in cuts)
    steps = [min(4, size) for size in sizes]
    counts = torch.bincount(data.states).tolist()
    assert len(counts) == 2 * sum(steps) and sorted(counts)[-1] == sizes[-1]
    assert set(data.documents.tolist()) == {cut.document for cut in cuts}
    masked, odds, best = (data.seen[:, FEATURES.index(name)] for name in ("masked", "odds", "best"))
    assert (masked == 1).sum() == 2 * sum(sizes), "every gap is whole once, in its first step"
    drawn = data.states % 2 == 0
    assert torch.equal(odds[~drawn], best[~drawn]) and bool((odds[drawn] <= best[drawn]).all()) and bool((odds[drawn] < best[drawn]).any())


def test_what_cannot_be_learned_from_is_told_in_one_sentence(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "The lamp in the hall had burned low, and nobody had come. Anna stood by the window and counted the boats. It was late. "
    (tmp_path / "one.txt").write_text(text * 4, encoding="utf-8")
    (tmp_path / "signs.txt").write_text("... ---", encoding="utf-8")
    for model, data, says in (
        (small, tmp_path / "one.txt", "too little text"),
        (small, tmp_path / "signs.txt", "no text to cut gaps from"),
        (small, tmp_path / "nothing", "no file or folder"),
        (tmp_path, SAMPLE, "no model in"),
        (LLADA, SAMPLE, "our own format"),
    ):
        assert reveal_order.main(["--model", str(model), "--data", str(data), "--gaps", "2"]) == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert says in last and last.rstrip().endswith(".")
    assert checkpoint.load(small).reveal_order is None
