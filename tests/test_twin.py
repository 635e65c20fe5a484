"""The autoregressive twin: it looks back only, remembers exactly, learns, and is never mistaken for a model that fills."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import engine
from engine.backends import EMBEDDED
from engine.caches import KVCache
from engine.checkpoint import CheckpointError
from engine.model import DiT, ModelConfig
from engine.training import train
from engine.training.twin import Twin, lead

LINE = "The cat sat on the mat and looked at the dog. "


def random_model(causal: bool = True) -> DiT:
    torch.manual_seed(0)
    config = ModelConfig(97, 32, 3, 4, max_length=64, value_residual=True, embedding_residual=True, ngram_rows=40, causal=causal)
    model = DiT(config).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("twin")
    (folder / "texts.txt").write_text(LINE * 300, encoding="utf-8")
    small = ["--vocab", "300", "--width", "32", "--depth", "2", "--heads", "2", "--stages", "0:4x32", "--no-compile", "--device", "cpu"]
    budget = ["--tokens", "40000", "--adam-rate", "0.03"]
    assert train.main(["--data", str(folder / "texts.txt"), "--out", str(folder), "--causal", *budget, *small]) == 0
    return folder / "model"


def test_later_tokens_never_change_earlier_rows_and_without_the_flag_they_do() -> None:
    ids = torch.randint(0, 97, (2, 20), generator=torch.Generator().manual_seed(1))
    changed = ids.clone()
    changed[:, 12:] = (changed[:, 12:] + 1) % 97
    every = torch.arange(40)
    for causal in (True, False):
        model = random_model(causal)
        before, after = (model(x, every).view(2, 20, -1) for x in (ids, changed))
        assert torch.equal(before[:, :12], after[:, :12]) is causal
        assert not torch.allclose(before[:, 12:], after[:, 12:])


@pytest.mark.parametrize("pieces", [[20], [1] * 20, [7, 1, 5, 7]])
def test_a_remembered_row_gives_the_logits_of_a_whole_one(pieces: list[int]) -> None:
    model = random_model()
    ids = torch.randint(0, 97, (3, 20), generator=torch.Generator().manual_seed(2))
    whole = model(ids, torch.arange(60)).view(3, 20, -1)
    cache = KVCache(20)
    parts = [model(part, torch.arange(part.numel()), cache=cache).view(3, part.shape[1], -1) for part in ids.split(pieces, dim=1)]
    assert torch.allclose(torch.cat(parts, dim=1), whole, atol=1e-10)


def test_padding_in_front_of_nothing_changes_nothing() -> None:
    model = random_model()
    ids = torch.randint(0, 97, (1, 12), generator=torch.Generator().manual_seed(3))
    attend = torch.ones(1, 12, dtype=torch.bool)
    attend[:, 8:] = False
    assert torch.allclose(model(ids, torch.arange(8), attend=attend), model(ids[:, :8], torch.arange(8)), atol=1e-10)


def test_rows_are_led_by_the_document_token() -> None:
    assert lead(torch.tensor([[5, 6, 7]]), 1).tolist() == [[1, 5, 6]]


def test_the_twin_learns_and_its_nats_are_those_of_each_token_given_those_before(trained: Path) -> None:
    twin = Twin.load(trained)
    ids = torch.tensor([twin.tokenizer.encode(LINE * 3)[:24]])
    nats = twin.nats(ids)
    assert nats.shape == ids.shape and nats.isfinite().all()
    assert nats[:, 12:].mean() < 1.0  # the line has been seen once by then
    shorter = twin.nats(ids[:, :10])
    assert torch.allclose(nats[:, :10], shorter, atol=1e-5)
    valid = torch.ones_like(ids, dtype=torch.bool)
    valid[:, 10:] = False
    padded = twin.nats(torch.where(valid, ids, -1), valid)
    assert torch.allclose(padded[:, :10], shorter, atol=1e-5) and not padded[:, 10:].any()


def test_it_writes_the_same_with_and_without_a_cache(trained: Path) -> None:
    twin = Twin.load(trained)
    prefix = torch.tensor([twin.tokenizer.encode("The cat sat")] * 2)
    with_cache, without = (twin.generate(prefix, 20, cached=cached, generator=torch.Generator().manual_seed(4)) for cached in (True, False))
    assert torch.equal(with_cache, without) and with_cache.shape == (2, 20)
    assert "on the mat" in twin.tokenizer.decode(twin.generate(prefix[0], 20, temperature=0)[0].tolist())
    assert twin.generate([], 3).shape == (1, 3)


def test_a_twin_cannot_fill_and_a_filling_model_is_no_twin(trained: Path) -> None:
    with pytest.raises(CheckpointError, match=r"autoregressive twin.*\.$"):
        engine.load(trained)
    with pytest.raises(CheckpointError, match=r"no autoregressive twin.*\.$"):
        Twin.load(EMBEDDED)
