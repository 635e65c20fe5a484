"""Dream's network against the published one, the shift undone, and what DreamOn brings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import engine
from engine.backends import LoadError, dream
from engine.backends.chat import REQUEST
from engine.backends.folder import Folder
from tests.checkpoints import CHAT, CODE, PLAIN, everywhere, make_dream

GOLDEN = Path(__file__).parent / "golden/dream"
IO = load_file(GOLDEN / "io.safetensors")


@pytest.fixture(scope="module")
def published():
    return dream.load(Folder(GOLDEN), PLAIN)


@pytest.mark.parametrize("number", range(6))
def test_each_row_predicts_its_own_position(published, number):
    ids = IO[f"ids_{number}"]
    found = everywhere(published, ids)
    torch.testing.assert_close(found, IO[f"logits_shifted_{number}"], atol=1e-4, rtol=0)
    torch.testing.assert_close(found[:, 1:], IO[f"logits_{number}"][:, :-1], atol=1e-4, rtol=0)
    some = torch.rand(ids.shape, generator=torch.Generator().manual_seed(number)) < 0.4
    torch.testing.assert_close(published.logits(ids, some), found[some], atol=1e-5, rtol=0)


def test_padding_on_the_left_is_not_seen(published):
    """The rows predict as the published ones, whichever of its two ways to number positions; the first one by itself."""
    ids, attend = IO["padded.ids"], IO["padded.attention_mask"].bool()
    found = everywhere(published, ids, attend=attend)
    assert not attend.all()
    for name in ("padded.logits_original_tok_idx_positions", "padded.logits_fastdllm_positions_0toL"):
        theirs = IO[name]
        for row in range(len(ids)):
            seen = attend[row].nonzero()[:, 0]
            before = torch.cat((seen[:1], seen[:-1]))
            torch.testing.assert_close(found[row, seen], theirs[row, before], atol=1e-4, rtol=0)


def test_a_padded_row_predicts_as_it_does_alone(published):
    ids, attend = IO["padded.ids"], IO["padded.attention_mask"].bool()
    right = torch.stack([torch.cat((row[seen], row[~seen])) for row, seen in zip(ids, attend, strict=True)])
    for shown, seen in ((ids, attend), (right, attend.flip(1))):
        found = everywhere(published, shown, attend=seen)
        for row in range(len(ids)):
            alone = everywhere(published, ids[row][attend[row]][None])[0]
            torch.testing.assert_close(found[row][seen[row]], alone, atol=1e-4, rtol=0)


def test_the_published_config_says_what_is_what(published):
    assert (published.mask_id, published.vocab_size, published.max_length) == (126, 128, 256)
    assert published.suppressed == [120, 126]
    assert (published.expand_id, published.delete_id) == (None, None)
    for starts in (True, False):  # nothing predicts position 0, so it is never a gap
        assert published.frame([1, 2], starts=starts, ends=True) == ([120, 1, 2], 1)


@pytest.mark.parametrize("twice", [False, True])
def test_a_tied_head_is_the_embedding(tmp_path, twice):
    tied = make_dream(tmp_path / "tied", tied=True, tokenizer=False)
    tensors = load_file(tied / "model.safetensors")
    apart = make_dream(tmp_path / "apart", tokenizer=False)
    both = tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}
    save_file(both, apart / "model.safetensors")
    if twice:
        save_file(both, tied / "model.safetensors")
    ids = torch.arange(10)[None]
    first, second = (dream.load(Folder(folder), PLAIN) for folder in (tied, apart))
    torch.testing.assert_close(everywhere(first, ids), everywhere(second, ids))


def test_the_rotary_table_of_older_files_is_not_needed(tmp_path):
    folder = make_dream(tmp_path / "old", tokenizer=False)
    ids = torch.arange(10)[None]
    new = everywhere(dream.load(Folder(folder), PLAIN), ids)
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4)}, folder / "model.safetensors")
    torch.testing.assert_close(everywhere(dream.load(Folder(folder), PLAIN), ids), new)


@pytest.mark.parametrize("shards", [1, 3])
def test_shards_are_one_model(tmp_path, shards):
    folder = make_dream(tmp_path / "m", shards=shards)
    ids = torch.arange(10)[None]
    whole = dream.load(Folder(make_dream(tmp_path / "whole")), PLAIN)
    torch.testing.assert_close(everywhere(dream.load(Folder(folder), PLAIN), ids), everywhere(whole, ids))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, "'rope_scaling'"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 4.0}}, "'rope_parameters'"),
        ({"use_sliding_window": True, "sliding_window": 64}, "use_sliding_window"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "'layer_types'"),
        ({"attention_bias": False}, "attention_bias"),
        ({"num_key_value_heads": 3}, "3 of them"),
        ({"vocab_size": 431}, "shape"),
        ({"qk_norm": True}, "qk_norm"),
        ({"num_experts": 4}, "num_experts"),
        ({"hidden_size": None}, "hidden_size"),
        ({"tie_word_embeddings": True, "intermediate_size": 65}, "shape"),
    ],
)
def test_another_network_is_refused_in_one_sentence(tmp_path, fields, named):
    folder = make_dream(tmp_path / "odd", tokenizer=False, **fields)
    with pytest.raises(LoadError, match=named) as refusal:
        engine.load(folder, device="cpu", dtype="float32")
    assert str(refusal.value).count("\n") == 0 and str(refusal.value).endswith(".")


def test_rotary_settings_of_newer_configs_mean_the_same(tmp_path):
    old = Folder(make_dream(tmp_path / "old", tokenizer=False, rope_theta=5000.0))
    new = Folder(
        make_dream(
            tmp_path / "new",
            tokenizer=False,
            rope_theta=None,
            rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
            dtype="bfloat16",
        )
    )
    assert dream.shape_of(old) == dream.shape_of(new)
    assert dream.shape_of(old).rotary_base == 5000.0


def test_dreamon_says_which_tokens_grow_and_shrink_a_gap(tmp_path):
    model = dream.load(Folder(make_dream(tmp_path / "DreamOn-tiny", expand=True)), PLAIN)
    plain = dream.load(Folder(make_dream(tmp_path / "Dream-tiny")), PLAIN)
    assert model.tokenizer is not None and plain.tokenizer is not None
    special = model.tokenizer.special
    assert (model.expand_id, model.delete_id) == (special("<|expand|>"), special("eos"))
    assert {model.expand_id, model.delete_id, model.mask_id, *range(model.tokenizer.vocab_size, model.vocab_size)} <= set(model.suppressed)
    assert model.frame([5], starts=True, ends=True) == ([special("bos"), 5, special("eos")], 1)
    assert model.frame([5], starts=False, ends=False) == ([special("bos"), 5], 1)
    assert (plain.expand_id, plain.delete_id) == (None, None)
    assert plain.frame([5], starts=True, ends=True) == ([plain.tokenizer.special("bos"), 5], 1)


def test_a_config_may_name_the_tokens_that_grow_and_shrink_a_gap(tmp_path):
    """Without a tokenizer nothing else does. Ids that the network has no row for are none."""
    model = dream.load(Folder(make_dream(tmp_path / "named", tokenizer=False, expand_token_id=11, delete_token_id=12)), PLAIN)
    assert (model.expand_id, model.delete_id) == (11, 12) and {11, 12} <= set(model.suppressed)
    beyond = dream.load(Folder(make_dream(tmp_path / "beyond", tokenizer=False, bos_token_id=151643, expand_token_id=151667)), PLAIN)
    assert (beyond.expand_id, beyond.delete_id) == (None, None) and beyond.frame([5], starts=True, ends=True) == ([5], 0)


def test_a_tokenizer_that_knows_more_than_the_network_is_said_so(tmp_path):
    model = engine.load(make_dream(tmp_path / "m", spare_rows=-30, mask_token_id=3), device="cpu", dtype="float32")
    assert model.encode("a")
    short = engine.load(make_dream(tmp_path / "short", spare_rows=-170, mask_token_id=3), device="cpu", dtype="float32")
    told = engine.load(make_dream(tmp_path / "b-Instruct", spare_rows=-3, mask_token_id=3, chat=CHAT), device="cpu", dtype="float32")
    for asked in (lambda: short.encode(CODE), lambda: told.frame([5], starts=True, ends=True)):
        with pytest.raises(LoadError, match="more tokens than its network has rows"):
            asked()


@pytest.mark.parametrize("expand", [False, True])
def test_a_draft_is_filled(tmp_path, expand):
    model = engine.load(make_dream(tmp_path / "m", expand=expand, tied=True), device="cpu", dtype="float32")
    before, after = "It was “so”, و 🙂 said ", " when\r\nthe <|endoftext|> 門 opened."
    *_, last = engine.fill(model, f"{before}[[5 tokens]]{after}", engine.Settings(steps=3, seed=3))
    assert last.text.startswith(before) and last.text.endswith(after) and len(last.text) > len(before + after)
    assert "\ufffd" not in last.text and "<|" not in last.text[len(before) : -len(after)]


def test_an_instruct_model_is_told_what_to_do(tmp_path):
    model = dream.load(Folder(make_dream(tmp_path / "Dream-tiny-Instruct", chat=CHAT)), PLAIN)
    ids, lead = model.frame([5, 6], starts=False, ends=False)
    assert model.tokenizer is not None and ids[0] == model.tokenizer.special("bos")
    assert ids[lead:] == [5, 6] and model.decode(ids[:lead]) == f"user\n{REQUEST}assistant\n"
