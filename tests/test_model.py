"""The network: what it must not depend on, with and without time conditioning."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
import torch

from engine.attention import PLAIN_SCORES, attention
from engine.model import DiT, ModelConfig

SHAPE: dict[str, Any] = {"vocab_size": 40, "width": 32, "depth": 2, "heads": 4, "max_length": 24}
KINDS: list[dict[str, Any]] = [
    {},
    {"tied": True, "activation": "gelu", "qk_norm": False},
    {"cond_width": 16, "norm": "layer", "biases": True},
    {"cond_width": 16, "time_conditioning": True},
    {"value_residual": True, "embedding_residual": True, "activation": "swiglu", "mlp_ratio": 3},
    {"ngram_rows": 50},
]


def network(**changes: Any) -> DiT:
    torch.manual_seed(1)
    model = DiT(ModelConfig(**SHAPE | changes)).eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.2)
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_the_head_gives_the_same_rows_whichever_positions_are_asked_for(kind: dict[str, Any]) -> None:
    model, ids = network(**kind), torch.randint(0, 40, (3, 11))
    attend = torch.rand(3, 11, 11, generator=torch.Generator().manual_seed(0)) < 0.6
    for seen in (None, attend[:, 0], attend | torch.eye(11, dtype=torch.bool), torch.ones(1, 11, 11, dtype=torch.bool).tril()):
        every = model(ids, torch.arange(33), attend=seen)
        assert torch.allclose(every, model.head(model.states(ids, attend=seen)).flatten(0, 1))
        for some in ([0, 5, 12, 32], [30, 1, 2, 29, 0], [4], []):
            assert torch.allclose(model(ids, torch.tensor(some, dtype=torch.long), attend=seen), every[some], atol=1e-5)


def test_residuals_to_the_first_block_begin_as_none_and_then_count() -> None:
    ids, where = torch.randint(0, 40, (2, 9)), torch.arange(18)
    plain = network()
    mixed = network(value_residual=True, embedding_residual=True)
    mixed.load_state_dict(plain.state_dict(), strict=False)
    for block in mixed.blocks:
        block.value_mix.data = block.input_mix.data = torch.tensor([1.0, 0.0])
    fresh = DiT(ModelConfig(**SHAPE | {"value_residual": True, "embedding_residual": True}))
    assert all(torch.equal(getattr(b, n), torch.tensor([1.0, 0.0])) for b in fresh.blocks for n in ("value_mix", "input_mix"))
    assert torch.equal(plain(ids, where), mixed(ids, where))
    for name in ("value_mix", "input_mix"):
        changed = network(value_residual=True, embedding_residual=True)
        changed.load_state_dict(mixed.state_dict())
        getattr(changed.blocks[1], name).data = torch.tensor([1.0, 0.5])
        assert not torch.allclose(plain(ids, where), changed(ids, where), atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_that_is_not_attended_to_changes_nothing(kind: dict[str, Any]) -> None:
    model, ids = network(**kind), torch.randint(0, 40, (2, 9))
    padded = torch.cat((ids, torch.randint(0, 40, (2, 6))), dim=1)
    attend = torch.zeros_like(padded, dtype=torch.bool)
    attend[:, :9] = True
    there = attend.reshape(-1).nonzero()[:, 0]
    assert torch.allclose(model(ids, torch.arange(18)), model(padded, there, attend=attend), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_every_position_sees_both_sides(kind: dict[str, Any]) -> None:
    model, ids = network(**kind), torch.randint(1, 40, (1, 8))
    middle = torch.tensor([4])
    before = model(ids, middle)
    for place in (0, 7):
        other = ids.clone()
        other[0, place] = 0
        assert not torch.allclose(before, model(other, middle), atol=1e-4)


def test_only_a_time_conditioned_network_looks_at_the_noise_level() -> None:
    ids, where = torch.randint(0, 40, (2, 8)), torch.arange(16)
    low, high = torch.tensor([0.1, 0.1]), torch.tensor([3.0, 3.0])
    conditioned = network(cond_width=16, time_conditioning=True)
    assert not torch.allclose(conditioned(ids, where, low), conditioned(ids, where, high), atol=1e-4)
    for kind in KINDS[:3]:
        model = network(**kind)
        assert torch.equal(model(ids, where, low), model(ids, where, high))


@pytest.mark.parametrize(("rows", "length"), [(3, 17), (9, 512)])
def test_attention_in_bfloat16_errs_at_most_twice_as_much_as_torchs_fused_kernel(rows: int, length: int) -> None:
    assert length * length <= PLAIN_SCORES
    q, k, v = torch.randn(3, rows, 4, length, 16, generator=torch.Generator().manual_seed(0))
    q, k = 4 * torch.nn.functional.normalize(q, dim=-1), 4 * torch.nn.functional.normalize(k, dim=-1)
    q, k, v = q.bfloat16(), k.bfloat16(), v.bfloat16()
    true = torch.nn.functional.scaled_dot_product_attention(q.double(), k.double(), v.double())
    fused = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    with torch.no_grad(), patch("engine.attention.fused_pays", lambda: False):  # which only some processors have it so
        plain = attention(q, k, v, None, causal=False)
        assert torch.equal(plain[1:2], attention(q[1:2], k[1:2], v[1:2], None, causal=False))
    assert (plain - true).abs().mean() < 2 * (fused - true).abs().mean()


def test_what_is_trained_is_one_graph_to_the_compiler() -> None:
    """A question to the processor in its midst would part it, and training would run uncompiled."""
    model = network(value_residual=True, embedding_residual=True, ngram_rows=64).bfloat16().train()
    ids = torch.randint(40, (2, 16))
    compiled = torch.compile(model.states, backend="eager", fullgraph=True)
    assert torch.equal(compiled(ids), model.states(ids))


@pytest.mark.parametrize("causal", [False, True])
def test_gradients_of_attention_in_bfloat16_are_those_of_double_precision(causal: bool) -> None:
    rows = torch.randn(3, 5, 4, 33, 16, generator=torch.Generator().manual_seed(1)).bfloat16()
    true, plain = rows.double().requires_grad_(), rows.clone().requires_grad_()
    torch.nn.functional.scaled_dot_product_attention(true[0], true[1], true[2], is_causal=causal).square().sum().backward()
    attention(plain[0], plain[1], plain[2], None, causal=causal).double().square().sum().backward()
    assert true.grad is not None and plain.grad is not None
    assert (plain.grad - true.grad).norm() < 0.02 * true.grad.norm()


@pytest.mark.parametrize("kind", KINDS)
def test_a_fresh_network_learns_in_every_parameter(kind: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = DiT(ModelConfig(**SHAPE | kind))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(5):
        ids = torch.randint(0, 40, (4, 8))
        loss = torch.nn.functional.cross_entropy(model(ids, torch.arange(32), torch.rand(4)), ids.reshape(-1))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    still = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not still
