"""Places computed beside what was made of the others: exact where nothing else changed, and what a run makes of it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.backends.decoder import Decoder, DecoderDenoiser, Shape
from engine.backends.dit import ContextDiT
from engine.backends.toy import Toy
from engine.caches import ContextCache
from engine.context import Context, Surroundings
from engine.evaluation.infilling import Calls
from engine.model import DiT, ModelConfig
from engine.reading import EDGE
from engine.reverse import Move, denoise
from engine.revision import revised
from engine.settings import PUBLISHED, Settings, SettingsError
from tests.counts import examples

VOCABULARY, MASK = 40, 39
QWEN3 = {"head_width": 12, "qk_norm": True}
"""What is odd about its shape."""
Keeper = ContextDiT | DecoderDenoiser


def network(depth: int, ngram_rows: int = 0, *, seed: int = 0) -> ContextDiT:
    torch.manual_seed(seed)
    net = DiT(ModelConfig(VOCABULARY, 32, depth, 2, 64, value_residual=True, embedding_residual=True, ngram_rows=ngram_rows))
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return ContextDiT(net, None, name="small", mask_id=MASK)


def decoder(depth: int, *, shifted: bool, seed: int, **shape: Any) -> DecoderDenoiser:
    """LLaDA's network, or Dream's, whose row j predicts place j + 1, or one of another `shape`."""
    torch.manual_seed(seed)
    net = Decoder(Shape(rows=VOCABULARY, width=32, depth=depth, heads=4, kv_heads=2, hidden=48, eps=1e-5, rotary_base=1e4, **shape))
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return DecoderDenoiser(net.eval(), None, name="small", mask_id=MASK, max_length=64, device=torch.device("cpu"), shifted=shifted)


class Counted(ContextDiT):
    """Notes how many rows the network was given, and how many places of each."""

    places: list[int]
    rows: list[int]

    def decode(self, ids: Sequence[int]) -> str:
        """Each token is a word of its own."""
        return "".join(f" {token}" for token in ids)

    def network_rows(
        self, ids: Tensor, positions: Tensor, sigma: Tensor | None, attend: Tensor | None, context: ContextCache | None = None, *more: float
    ) -> Tensor:
        self.rows.append(len(ids))
        self.places.append(ids.shape[1] if context is None or context.places is None else context.places.shape[1])
        return super().network_rows(ids, positions, sigma, attend, context, *more)


def counted(depth: int = 2, ngram_rows: int = 0, *, seed: int = 0) -> Counted:
    model = Counted(network(depth, ngram_rows, seed=seed).network, None, name="small", mask_id=MASK)
    model.places, model.rows = [], []
    return model


def canvas(rows: int, length: int, masks: int, seed: int) -> tuple[Tensor, Tensor]:
    """(B, L) ids with so many masks in each row, and (B, L) bool where they are."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, VOCABULARY - 1, (rows, length), generator=generator)
    masked = torch.rand(rows, length, generator=generator).argsort(-1) < masks
    return ids.masked_fill(masked, MASK), masked


def run(model: ContextDiT | Toy, x: Tensor, **values: object) -> list[Move]:
    return list(denoise(model, x, writable=x == model.mask_id, settings=Settings(**{"steps": 8, "seed": 3, **values})))  # type: ignore[arg-type]


@settings(max_examples=examples(60))
@given(
    depth=st.integers(1, 3),
    kind=st.sampled_from(["ours", "ours with a table", "LLaDA", "Dream", "A2D"]),
    rows=st.integers(1, 3),
    length=st.integers(4, 30),
    seed=st.integers(0, 99),
    padded=st.booleans(),
)
def test_where_nothing_changed_the_places_come_out_as_in_a_whole_reading(
    depth: int, kind: str, rows: int, length: int, seed: int, padded: bool
) -> None:
    model: ContextDiT | DecoderDenoiser = network(depth, 16 if "table" in kind else 0, seed=seed)
    if "ours" not in kind:
        model = decoder(depth, shifted=kind == "Dream", seed=seed, **(QWEN3 if kind == "A2D" else {}))
    ids, masked = canvas(rows, length, max(1, length // 4), seed)
    attend = None
    if padded:
        attend = torch.ones_like(masked)
        attend[:, -1] = False
        masked[:, -1] = False
        masked[:, 0] = True
        ids[:, 0] = MASK
    whole = model.logits(ids, masked, attend=attend)
    cache = ContextCache()
    assert torch.allclose(model.logits_beside(ids, masked, cache, attend=attend), whole, atol=1e-4)
    generator = torch.Generator().manual_seed(seed)
    cache.only(masked | model.read_from(masked, attend) | (torch.rand(masked.shape, generator=generator) < 0.3))
    beside = model.logits_beside(ids, masked, cache, attend=attend)
    assert torch.allclose(beside, whole, atol=1e-4)


@settings(max_examples=examples(25))
@given(
    refresh=st.integers(2, 9),
    rows=st.integers(1, 3),
    sampler=st.sampled_from(["confidence", "random", "ancestral"]),
    seed=st.integers(0, 99),
    guidance=st.sampled_from([0.0, 1.0]),
    remasking=st.sampled_from([0.0, 0.3]),
)
def test_a_network_of_one_block_fills_as_if_it_read_everything_at_every_step(
    refresh: int, rows: int, sampler: str, seed: int, guidance: float, remasking: float
) -> None:
    """Its keys and values at a place are that place's own, so nothing is ever out of date."""
    model = network(1, seed=seed)
    x, _ = canvas(rows, 24, 7, seed)
    how = {"sampler": sampler, "guidance": guidance, "remasking": remasking}
    exact, kept = run(model, x, refresh=1, **how), run(model, x, refresh=refresh, **how)
    assert len(exact) == len(kept)
    for one, other in zip(exact, kept, strict=True):
        assert torch.equal(one.x, other.x) and torch.equal(one.revealed, other.revealed)
        assert torch.allclose(one.log_probs, other.log_probs, atol=1e-3)


@settings(max_examples=examples(20))
@given(
    refresh=st.sampled_from([1, 3, 4]),
    rows=st.lists(st.tuples(st.integers(8, 28), st.integers(1, 24)), min_size=2, max_size=3),
    seed=st.integers(0, 99),
)
def test_a_row_depends_on_no_other_row(refresh: int, rows: list[tuple[int, int]], seed: int) -> None:
    """Whether it is long or short, has many masks or few, and is done sooner or later."""
    model = network(3, 16)
    how = Settings(steps=8, seed=3, refresh=refresh)
    each = [canvas(1, length, min(count, length), seed + row)[0] for row, (length, count) in enumerate(rows)]
    x, attend = torch.zeros(len(rows), 28, dtype=torch.long), torch.zeros(len(rows), 28, dtype=torch.bool)
    for row, one in enumerate(each):
        x[row, : one.shape[1]], attend[row, : one.shape[1]] = one[0], True
    together = list(denoise(model, x, writable=(x == MASK) & attend, settings=how, attend=attend))[-1].x
    for row, one in enumerate(each):
        alone = list(denoise(model, one, writable=one == MASK, settings=how, candidate=row))[-1].x[0]
        assert torch.equal(together[row, : len(alone)], alone)


def test_the_whole_canvas_is_read_every_so_many_steps_and_only_what_changed_in_between() -> None:
    model = counted()
    x, _ = canvas(1, 30, 8, 2)
    run(model, x, refresh=4)
    assert model.places == [30, 8, 7, 6, 30, 4, 3, 2]  # the masks left, and the one revealed in the step before
    model.places.clear()
    with Calls(model) as calls:
        run(model, x, refresh=4)
    assert calls.count == len(model.places) == 8  # the report counts both kinds
    model.places.clear()
    run(model, x, refresh=1)
    assert model.places == [30] * 8


def test_nothing_is_read_twice_while_nothing_changes() -> None:
    model = counted()
    x, _ = canvas(1, 30, 4, 2)
    moves = run(model, x, sampler="ancestral", steps=400, refresh=4)
    changes = sum(bool(move.revealed.any()) for move in moves)
    assert len(model.places) <= 2 * changes < len(moves) / 4  # beside what was made of the rest, and once more with the rest


@pytest.mark.parametrize("model", [network(2), decoder(2, shifted=True, seed=0)], ids=["ours", "shifted"])
def test_guidance_beside_a_kept_context_mixes_the_two_halves(model: Keeper) -> None:
    ids = torch.randint(0, MASK, (4, 20), generator=torch.Generator().manual_seed(0))
    ids[:, 8:12] = MASK
    ids[2:] = ids[:2]
    ids[2:, :8] = MASK
    asked = torch.zeros(4, 20, dtype=torch.bool)
    asked[:, 8:12] = True
    found = []
    for strength in (0.0, 1.5):
        context = ContextCache()
        model.logits_beside(ids, asked, context)
        context.only(asked | model.read_from(asked, None))
        found.append(model.logits_beside(ids, asked, context, guidance=strength))
    conditioned, free = found[0].chunk(2)
    torch.testing.assert_close(found[1], free + 2.5 * (conditioned - free), rtol=1e-4, atol=1e-4)


def test_rows_that_rest_hold_no_caches_that_the_others_left() -> None:
    """Sixteen candidates end one after the other: what is kept of all of them never takes twice the room that their rows do."""
    rows, length = 16, 20
    model, ids = network(2), torch.full((rows, length), 3)
    ids[:, 8:12] = MASK
    context = Context(model, 1000, ids.numel())
    for left in range(rows, 0, -1):
        now = list(range(rows - left, rows))
        context.logits(rows - left, now, ids[now], ids[now] == MASK, t=torch.ones(left), attend=None)
        caches = {id(cache): len(cache.held[0][0]) for cache, _ in context._held.values()}
        assert len(context._held) == rows and sum(caches.values()) <= 2 * rows


def test_what_would_take_too_much_memory_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    model = counted()
    x, _ = canvas(1, 30, 8, 2)
    assert model.kept_bytes == 2 * 2 * 32 * 4  # keys and values, two blocks, width 32, float32
    monkeypatch.setattr("engine.context.MOST_KEPT", 30 * model.kept_bytes - 1)
    run(model, x, refresh=4)
    assert model.places == [30] * 8


def test_a_canvas_that_is_mostly_masks_is_read_whole() -> None:
    model = counted()
    run(model, torch.full((1, 20), MASK), refresh=4)
    assert model.places[:4] == [20] * 4


def test_the_rest_of_the_canvas_hears_of_new_tokens_some_steps_late() -> None:
    """Which is what is approximate."""
    model = network(3, 16)
    x, _ = canvas(1, 40, 8, 4)
    exact, kept = run(model, x, refresh=1), run(model, x, refresh=4)
    assert torch.allclose(exact[0].log_probs, kept[0].log_probs)
    assert not torch.allclose(exact[1].log_probs, kept[1].log_probs, atol=1e-6)


@settings(max_examples=examples(40))
@given(depth=st.integers(1, 3), kind=st.sampled_from(["ours", "LLaDA", "Dream"]), masks=st.integers(1, 12), seed=st.integers(0, 99))
def test_versions_of_what_is_written_are_read_beside_the_given_text(depth: int, kind: str, masks: int, seed: int) -> None:
    """Exactly where the given text can't have heard of them: in a network of one block, and while all are masks."""
    model: ContextDiT | DecoderDenoiser = (
        network(depth, seed=seed) if kind == "ours" else decoder(depth, shifted=kind == "Dream", seed=seed)
    )
    blank, written = canvas(1, 24, masks, seed)
    around = Surroundings(model, 4, blank, written, versions=3)
    generator = torch.Generator().manual_seed(seed)
    versions = (
        torch.where(written, torch.randint(0, VOCABULARY - 1, (3, 24), generator=generator), blank) if depth == 1 else blank.repeat(3, 1)
    )
    hidden = written & (torch.rand(3, 24, generator=generator) < 0.5) | (written & (written.cumsum(-1) == 1))
    versions = versions.masked_fill(hidden, MASK)
    for _ in range(2):  # and again: no version is left behind in what is kept
        assert torch.allclose(around.logits(versions, hidden), model.logits(versions, hidden), atol=1e-4)


def test_the_canvas_is_read_once_for_all_second_thoughts() -> None:
    model = counted()
    x = torch.randint(0, VOCABULARY - 1, (1, 40), generator=torch.Generator().manual_seed(2))
    written = torch.zeros_like(x, dtype=torch.bool)
    written[0, 20:28] = True
    x = x.masked_fill(written, MASK)
    how = Settings(steps=8, seed=2, refresh=64, revise=2, temperature=9.0, top_p=1.0)
    list(revised(model, x, writable=written, settings=how))
    assert model.places[0] == 40 and model.places[8:10] == [40, 8 + 2 * EDGE]  # the given text for the writing, and for the reading over
    assert model.places[10:].count(8 + 2 * EDGE) == 1 and 40 not in model.places[10:]  # the second round needs neither again
    model.places.clear()
    list(revised(model, x, writable=written, settings=replace(how, refresh=1)))
    assert set(model.places) == {40}


def test_what_is_the_same_is_read_once() -> None:
    model = counted()
    x, written = canvas(1, 30, 8, 2)
    list(denoise(model, x.repeat(5, 1), writable=written.repeat(5, 1), settings=Settings(steps=8, seed=3, refresh=4)))
    alone = counted()
    list(denoise(alone, x, writable=written, settings=Settings(steps=8, seed=3, refresh=4)))
    assert model.places[0] == alone.places[0] == 30 and model.rows[0] == 1 and model.rows[1] == 5


@settings(max_examples=examples(15))
@given(seed=st.integers(0, 99), masks=st.integers(2, 12), revise=st.integers(1, 3), refresh=st.sampled_from([3, 4, 16]))
def test_a_candidate_that_rests_while_others_are_mended_is_as_if_it_were_alone(seed: int, masks: int, revise: int, refresh: int) -> None:
    model = counted(3, 16, seed=seed % 4)
    x, written = canvas(1, 28, masks, seed)
    how = Settings(steps=8, seed=seed, refresh=refresh, revise=revise, temperature=1.0)
    alone = [move.x.tolist() for move in revised(model, x, writable=written, settings=how)]
    moves = list(revised(model, x, writable=written, settings=replace(how, candidates=3)))
    beside = [move.x.tolist() for move in moves[: -2 if moves[-1].revealed.any() else -1]]  # without the choice of the best
    changes = [move for move, _ in itertools.groupby(alone)]
    assert changes == [move for move, _ in itertools.groupby(beside)][: len(changes)]


def test_networks_that_keep_nothing_are_asked_as_ever() -> None:
    model = Toy()
    x = torch.full((1, 6), model.mask_id)
    with patch.object(Toy, "logits", autospec=True, side_effect=Toy.logits) as asked:
        run(model, x, steps=6, refresh=4)
    assert asked.call_count == 6 and not Context(model, 4, 6).due(0)


def test_published_methods_read_everything_at_every_step() -> None:
    assert all(values["refresh"] == 1 for values in PUBLISHED.values())
    with pytest.raises(SettingsError, match="between 1"):
        Settings(refresh=0)
