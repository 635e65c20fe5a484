"""The table of hashed neighbours: which pairs are looked up, and what stands beyond a row."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from engine.model import ConfigError, DiT, ModelConfig
from engine.ngrams import Ngrams, hashed

VOCAB, ROWS = 40, 64


def table(*, causal: bool = False) -> Ngrams:
    torch.manual_seed(0)
    return Ngrams(ROWS, 8, VOCAB, causal=causal).double().requires_grad_(False)


def looked_up(ngrams: Ngrams, ids: list[int], place: int) -> torch.Tensor:
    """The definition, place by place."""
    row = [VOCAB, VOCAB, *ids, VOCAB, VOCAB]
    pairs = [(row[place + 2 + a], row[place + 2 + b]) for a, b in ngrams.pairs]
    keys = [(a * 1_000_003 + b * 7_919 + (k + 1) * 15_485_863) % ROWS for k, (a, b) in enumerate(pairs)]
    return ngrams.table.weight[keys].sum(0)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", [1, 2, 3, 9])
def test_each_place_gets_the_rows_of_its_neighbours(causal: bool, length: int) -> None:
    ngrams = table(causal=causal)
    ids = torch.randint(0, VOCAB, (2, length), generator=torch.Generator().manual_seed(length))
    found = ngrams(ids, None)
    for b, row in enumerate(ids.tolist()):
        for place in range(length):
            assert torch.allclose(found[b, place], looked_up(ngrams, row, place))


def test_padding_is_beyond_the_row_whatever_it_holds() -> None:
    ngrams, ids = table(), torch.randint(0, VOCAB, (1, 6), generator=torch.Generator().manual_seed(1))
    padded = torch.cat((ids, torch.tensor([[3, 4, 5]])), dim=1)
    attend = torch.arange(9)[None] < 6
    assert torch.equal(ngrams(padded, attend)[:, :6], ngrams(ids, None))


def test_a_causal_table_continues_from_what_stood_before() -> None:
    ngrams, ids = table(causal=True), torch.randint(0, VOCAB, (2, 7), generator=torch.Generator().manual_seed(2))
    whole = ngrams(ids, None)
    for cut in range(1, 7):
        assert torch.equal(ngrams(ids[:, cut:], None, ids[:, :cut]), whole[:, cut:])


def test_the_hash_is_part_of_the_format() -> None:
    keys = hashed(torch.tensor([0, 17, 8191, 8192]), torch.tensor([0, 8192, 5, 8192]), 2, 32768)
    assert keys.tolist() == [(a * 1_000_003 + b * 7_919 + 3 * 15_485_863) % 32768 for a, b in [(0, 0), (17, 8192), (8191, 5), (8192, 8192)]]
    assert keys.tolist() == [25333, 10600, 7005, 8949]


def test_a_new_table_changes_nothing_and_a_filled_one_does() -> None:
    torch.manual_seed(3)
    shape = ModelConfig(VOCAB, 16, 1, 2, 16, ngram_rows=ROWS)
    model = DiT(shape).eval()
    torch.nn.init.normal_(model.head.weight)
    ids, where = torch.randint(0, VOCAB, (1, 8)), torch.arange(8)
    before = model(ids, where)
    plain = DiT(replace(shape, ngram_rows=0)).eval()
    plain.load_state_dict({n: p for n, p in model.state_dict().items() if not n.startswith("ngrams")})
    assert torch.equal(plain(ids, where), before)
    assert model.ngrams is not None
    torch.nn.init.normal_(model.ngrams.table.weight)
    assert not torch.allclose(model(ids, where), before, atol=1e-2)


@pytest.mark.parametrize("rows", [-1, 2**25, True, "many"])
def test_a_table_of_an_impossible_size_is_refused(rows: object) -> None:
    with pytest.raises(ConfigError, match="ngram_rows"):
        ModelConfig.of({"vocab_size": VOCAB, "width": 16, "depth": 1, "heads": 2, "max_length": 16, "ngram_rows": rows})
