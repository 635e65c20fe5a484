"""Folded blocks: fewer operations, the same numbers."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import engine
from engine import checkpoint
from engine.backends import EMBEDDED
from engine.backends.folded import FoldedBlock, fold
from engine.caches import ContextCache, KVCache
from engine.model import Block, DiT, ModelConfig

VOCABULARY = 50


def networks(seed: int, **about: Any) -> tuple[DiT, DiT]:
    """A network with random numbers everywhere, and the same one folded; in float64, where nothing hides behind rounding."""
    torch.manual_seed(seed)
    config: dict[str, Any] = {"width": 24, "depth": 3, "heads": 3, "max_length": 64, "ngram_rows": 32, **about}
    plain = DiT(ModelConfig(VOCABULARY, **config)).double().eval().requires_grad_(False)
    for name, parameter in plain.named_parameters():
        torch.nn.init.normal_(parameter, mean=1.0 if "norm" in name else 0.0, std=0.4)
    folded = deepcopy(plain)
    fold(folded)
    return plain, folded


shapes = st.fixed_dictionaries({name: st.booleans() for name in ("qk_norm", "value_residual", "embedding_residual", "embed_norm")})


@given(st.integers(0, 999), shapes, st.integers(1, 3), st.integers(1, 12), st.booleans())
def test_a_folded_network_gives_the_same(seed, about, batch, length, padded):
    plain, folded = networks(seed, **about)
    assert all(isinstance(block, FoldedBlock) for block in folded.blocks)
    ids = torch.randint(VOCABULARY, (batch, length))
    attend = torch.arange(length) < torch.randint(1, length + 1, (batch, 1)) if padded else None
    where = (torch.rand(batch * length) < 0.3).nonzero()[:, 0]
    for asked in (where, torch.arange(batch * length)):
        found, wanted = (net(ids, asked, attend=attend) for net in (folded, plain))
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


@given(st.integers(0, 999), st.integers(2, 12), st.data())
def test_beside_a_kept_context_too(seed, length, data):
    plain, folded = networks(seed, value_residual=True, embedding_residual=True)
    ids = torch.randint(VOCABULARY, (2, length))
    active = torch.rand(2, length) < 0.5
    active[:, data.draw(st.integers(0, length - 1))] = True
    where = active.flatten().nonzero()[:, 0]
    found = []
    for net in (plain, folded):
        context = ContextCache()
        net(ids, where, context=context)
        context.only(active)
        found.append(net(ids.masked_fill(active, 3), where, context=context))
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-9)


def test_a_twin_token_by_token_too() -> None:
    plain, folded = networks(0, causal=True, value_residual=True)
    ids = torch.randint(VOCABULARY, (1, 9))
    whole, cache = plain(ids, torch.arange(9)), KVCache(9)
    one_by_one = [folded(ids[:, at : at + 1], torch.tensor([0]), cache=cache) for at in range(9)]
    torch.testing.assert_close(torch.cat(one_by_one), whole, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "about", [{"norm": "layer"}, {"activation": "gelu"}, {"activation": "swiglu"}, {"biases": True}, {"cond_width": 8}], ids=str
)
def test_what_would_not_be_the_same_is_left_alone(about: dict[str, Any]) -> None:
    _, folded = networks(0, **about)
    assert all(isinstance(block, Block) for block in folded.blocks)


def test_nothing_at_all_is_no_division_by_zero() -> None:
    plain, folded = networks(0, embed_norm=False, ngram_rows=0)
    for net in (plain, folded):
        net.embedding.weight.zero_()
    ids, where = torch.zeros(1, 4, dtype=torch.long), torch.arange(4)
    assert folded(ids, where).isfinite().all()
    torch.testing.assert_close(folded(ids, where), plain(ids, where))


def test_bfloat16_costs_little_more_in_the_embedded_model_than_unfolded() -> None:
    plain = checkpoint.load(EMBEDDED).model.eval().requires_grad_(False)
    folded = deepcopy(plain)
    fold(folded)
    model = engine.load(device="cpu", dtype="float32")
    ids = torch.tensor([model.encode("The lamp had burned low, and nobody in the house was awake. " * 12)[:128]])
    ids[0, ::3] = model.mask_id
    where = (ids[0] == model.mask_id).nonzero()[:, 0]
    exact = plain(ids, where)
    lost = [float((net.bfloat16()(ids, where).float() - exact).square().mean().sqrt()) for net in (deepcopy(plain), folded)]
    assert lost[1] < 1.5 * lost[0] < 0.2, "nats of a logit"


def test_what_is_loaded_is_folded_unless_its_numbers_may_grow_too_large() -> None:
    """float16 ends at 65,504, and what is squared before it is scaled passes that."""
    kinds = {dtype: type(engine.load(device="cpu", dtype=dtype).network.blocks[0]) for dtype in ("float32", "bfloat16", "float16")}  # type: ignore[attr-defined]
    assert kinds == {"float32": FoldedBlock, "bfloat16": FoldedBlock, "float16": Block}
