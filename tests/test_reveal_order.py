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

from engine import checkpoint
from engine.backends.toy import MASK, Toy
from engine.checkpoint import Checkpoint, CheckpointError
from engine.model import ConfigError, DiT, ModelConfig
from engine.pace import blocks_of, counts_of, grid
from engine.reveal_order import FAR, FEATURES, SIZES, SURE, RevealOrder, Row, features
from engine.settings import Settings
from engine.training.corpus import documents
from engine.training.tokenizer import train_tokenizer
from tests.orders import an_order, straight
from tests.test_reverse import any_canvas, any_settings, run, same

SAMPLE = Path(__file__).parent / "data" / "dev_sample.txt"
ORDERED = st.integers(0, 50).map(an_order)


def taught(order: RevealOrder) -> Toy:
    model = Toy()
    model.reveal_order = order  # type: ignore[attr-defined]
    return model


def seen(row: str, probability: list[float] | None = None, rows: list[list[float]] | None = None) -> dict[str, list[float]]:
    """The features of a row's masks: `.` given, `w` written, `_` masked, `,` a mask that is nobody's to write, ` ` padding."""
    n = row.count("_")
    rows = rows or [[0.5, 0.25, 0.25]] * n
    found = features(
        torch.tensor(probability or [max(r) for r in rows]),
        torch.tensor(rows).log(),
        torch.tensor([i for i, kind in enumerate(row) if kind == "_"]),
        Row(*(torch.tensor([kind in kinds for kind in row]) for kinds in (".w", "_w", ".,w_"))),
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


def test_what_is_far_or_sure_is_all_one() -> None:
    found = seen("." + "_" * 100)
    assert max(found["left"]) == math.log2(FAR) and max(found["run"]) == math.log2(2 * FAR)
    found = seen("___", rows=[[1.0, 0.0], [0.5, 0.5], [1e-30, 1e-30]], probability=[1.0, 0.0, 1e-30])
    assert found["odds"] == [SURE, -SURE, -SURE] and found["margin"] == [1, 0, 0] and found["surprisal"][2] == 2 * SURE
    assert all(math.isfinite(value) for values in found.values() for value in values)


@given(order=ORDERED, probabilities=st.lists(st.floats(0, 1), min_size=2, max_size=9), place=st.sampled_from([".__.", "___", "w_w_"]))
def test_of_two_tokens_for_one_place_the_likelier_never_scores_less(order: RevealOrder, probabilities: list[float], place: str) -> None:
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
    assert [move.revealed[0].nonzero()[:, 0].tolist() for move in moves] == [[1], [7], [8], [9], [2], [3], [4], [5]] or moves


@given(any_canvas(), any_settings(), ORDERED, st.integers(0, 5))
def test_the_loop_under_it_keeps_what_is_given_and_rows_apart(
    canvas: tuple[Tensor, Tensor], chosen: Settings, order: RevealOrder, candidate: int
) -> None:
    (x, writable), chosen = canvas, replace(chosen, sampler="learned_order")
    together = run(taught(order), x, writable, chosen, candidate=candidate)
    assert same(together, run(taught(order), x, writable, chosen, candidate=candidate))
    assert len(together) <= chosen.steps
    now = x
    for move in together:
        assert torch.equal(move.x[~writable], x[~writable]) and not (move.revealed & (now != MASK)).any()
        now = move.x
    assert not ((now == MASK) & writable).any()
    width = x.shape[1] + 3
    padded = [torch.nn.functional.pad(rows, (0, 3), value=value) for rows, value in ((x, MASK), (writable, False))]
    attend = (torch.arange(width) < x.shape[1]).expand(len(x), -1)
    beside = run(taught(order), *padded, chosen, candidate=candidate, attend=attend)
    for b in range(len(x)):
        alone = run(taught(order), x[b : b + 1], writable[b : b + 1], chosen, candidate=candidate + b)
        for move, theirs, far in zip(alone, together, beside, strict=False):
            assert torch.equal(move.x[0], theirs.x[b]) and torch.equal(move.revealed[0], theirs.revealed[b])
            assert torch.equal(move.x[0], far.x[b, : x.shape[1]]), "padding is nobody's neighbour"


@given(any_canvas(rows=1), any_settings(), ORDERED, st.data())
def test_a_run_under_it_resumes_exactly(canvas: tuple[Tensor, Tensor], chosen: Settings, order: RevealOrder, data: st.DataObject) -> None:
    (x, writable), chosen = canvas, replace(chosen, sampler="learned_order")
    moves = run(taught(order), x, writable, chosen)
    if len(moves) > 1:
        times = grid(chosen, counts_of(blocks_of(writable, chosen)[0], ((x == MASK) & writable)[0]))
        done = data.draw(st.integers(1, len(moves) - 1))
        rest = run(taught(order), moves[done - 1].x, writable, chosen, first_step=done, times=times[times <= moves[done - 1].time])
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
    with pytest.raises(ConfigError, match=r"^A reveal order .*\.$"):
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
    texts = list(documents(SAMPLE))
    tokenizer = train_tokenizer(iter(texts[:4]), 512)
    torch.manual_seed(0)
    net = DiT(ModelConfig(vocab_size=512, width=32, depth=1, heads=2, max_length=256))
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.1)
    path = tmp_path_factory.mktemp("small")
    checkpoint.save(Checkpoint(net, tokenizer, "small"), path)
    return path


def copied(small: Path, out: Path) -> Path:
    checkpoint.save(checkpoint.load(small), out)
    return out
