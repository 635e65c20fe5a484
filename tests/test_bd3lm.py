"""BD3-LM's published implementation: the same logits in training, in sampling and from its cache, by one pass over the canvas."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from engine import backends
from engine.backends.bd3lm import BD3LM
from engine.denoiser import Denoiser, WritesInBlocks
from engine.reverse import denoise
from engine.settings import Settings
from tests.counts import examples

FOLDER = Path(__file__).parent / "golden/bd3lm"
IO = load_file(FOLDER / "io.safetensors")
ATOL = 1e-4
BLOCKS = IO["x0"].shape[1] // 4


def load() -> BD3LM:
    found = backends.load(FOLDER, device="cpu", dtype="float32")
    assert isinstance(found, BD3LM) and isinstance(found, Denoiser) and isinstance(found, WritesInBlocks)
    return found


MODEL = load()


def rows(ids: Tensor, where: slice, **more: Tensor) -> Tensor:
    """The logits of a stretch of every row."""
    asked = torch.zeros_like(ids, dtype=torch.bool)
    asked[:, where] = True
    return MODEL.logits(ids, asked, **more).view(len(ids), -1, MODEL.vocab_size)


def test_what_the_config_says():
    assert (MODEL.block_size, MODEL.max_length, MODEL.mask_id, MODEL.vocab_size) == (4, 24, 96, 97)
    assert not MODEL.time_conditioned and MODEL.mask_id in MODEL.suppressed


@pytest.mark.parametrize("block", range(BLOCKS))
def test_training_logits_are_those_of_a_canvas_that_is_clean_up_to_the_block(block):
    """The reference sees [x_t ; x_0] at once: block b of x_t beside the blocks of x_0 before b."""
    where = slice(4 * block, 4 * block + 4)
    canvas = IO["x0"].clone()
    canvas[:, where] = IO["xt"][:, where]
    expected = IO["train_logits"][:, where]
    torch.testing.assert_close(rows(canvas, where), expected, rtol=0, atol=ATOL)
    # Nothing to the right of the block changes them.
    torch.testing.assert_close(rows(canvas[:, : where.stop], where), expected, rtol=0, atol=ATOL)


@pytest.mark.parametrize("name", sorted(key for key in IO if key.startswith("sample_ids_")))
def test_sampling_logits(name):
    ids, expected = IO[name], IO[name.replace("ids", "logits")]
    torch.testing.assert_close(rows(ids, slice(None)), expected, rtol=0, atol=ATOL)


@pytest.mark.parametrize("name", sorted(key for key in IO if key.startswith("cached_logits_block_")))
def test_logits_from_the_cache(name):
    """The reference keeps the clean blocks' keys and values; we compute them again."""
    block = int(name.rpartition("_")[2])
    where = slice(4 * block, 4 * block + 4)
    canvas = IO["x0"].clone()
    canvas[:, where] = IO["xt"][:, where]
    torch.testing.assert_close(rows(canvas, where), IO[name], rtol=0, atol=ATOL)


@settings(max_examples=examples(40))
@given(st.integers(1, 24), st.integers(0, 23), st.randoms(use_true_random=False))
def test_a_position_sees_its_block_and_what_is_before(length, place, random):
    place %= length
    ids = torch.tensor([[random.randrange(97) for _ in range(length)]])
    here = rows(ids, slice(place, place + 1))
    end = (place // 4 + 1) * 4
    other = ids.clone()
    other[:, end:] = random.randrange(96)
    torch.testing.assert_close(rows(other, slice(place, place + 1)), here, rtol=0, atol=ATOL)
    # Padding, wherever it stands, is not seen; a row of its own is still finite.
    padded = torch.cat([ids, torch.full((1, 5), 3)], 1)
    attend = (torch.arange(length + 5) < length)[None]
    torch.testing.assert_close(rows(padded, slice(place, place + 1), attend=attend), here, rtol=0, atol=ATOL)
    assert torch.isfinite(rows(padded, slice(None), attend=~attend)).all()


def test_a_gap_is_read_with_its_whole_block():
    ids = IO["x0"].clone()
    ids[:, 9] = MODEL.mask_id
    here = rows(ids, slice(9, 10))
    ids[:, 11] = (ids[:, 11] + 1) % 96
    assert not torch.allclose(rows(ids, slice(9, 10)), here, rtol=0, atol=ATOL)


@given(
    st.integers(1, 12),
    st.sampled_from(["confidence", "random", "ancestral", "threshold"]),
    st.integers(0, 99),
    st.randoms(use_true_random=False),
)
def test_blocks_are_filled_from_left_to_right(steps, sampler, seed, random):
    """Where there are steps enough, a block is asked for when everything to its left is written, whatever the sampler."""
    ids = torch.tensor([[random.choice([96, random.randrange(96)]) for _ in range(24)]])
    writable = ids == MODEL.mask_id
    chosen = Settings(sampler=sampler, steps=steps, seed=seed, threshold=0.05)
    x = ids
    for move in denoise(MODEL, ids, writable=writable, settings=chosen):
        if steps >= BLOCKS:
            for row, asked in zip(x, move.positions, strict=True):
                where = asked.nonzero()[:, 0]
                if len(where):
                    first = int(where[0]) // 4
                    assert {int(place) // 4 for place in where} == {first}
                    assert not (row[: 4 * first] == MODEL.mask_id).any()
        x = move.x
    assert not (x == MODEL.mask_id).any() and torch.equal(x[~writable], ids[~writable])
