"""A2D, iLLaDA and EuroBERT against the networks of `transformers`, shown the whole row, and what their folders say."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import engine
from engine.backends import LoadError, bidirectional
from engine.backends.chat import REQUEST
from engine.backends.folder import Folder
from tests.adapted import SPECIALS, THINKS, both_ways, make_a2d, make_eurobert, make_illada, network
from tests.checkpoints import PLAIN, everywhere

BASES = pytest.mark.parametrize("base", ["qwen3", "qwen2", "llama"])
IDS = torch.randint(420, (2, 37), generator=torch.Generator().manual_seed(1))


@BASES
@pytest.mark.parametrize("tied", [True, False])
def test_each_row_predicts_its_own_position(tmp_path, base, tied):
    model = bidirectional.load(Folder(make_a2d(tmp_path / "m", base, tied=tied, seed=3)), PLAIN)
    theirs = both_ways(network(base, tied=tied, seed=3), IDS)
    assert theirs.std() > 0.3
    torch.testing.assert_close(everywhere(model, IDS), theirs, atol=4e-5, rtol=0)
    some = torch.rand(IDS.shape, generator=torch.Generator().manual_seed(2)) < 0.4
    torch.testing.assert_close(model.logits(IDS, some), theirs[some], atol=4e-5, rtol=0)


@BASES
def test_it_looks_both_ways(tmp_path, base):
    model = bidirectional.load(Folder(make_a2d(tmp_path / "m", base)), PLAIN)
    other = IDS.clone()
    other[:, -1] = (other[:, -1] + 1) % 420
    assert (everywhere(model, IDS)[:, 0] - everywhere(model, other)[:, 0]).abs().max() > 1e-3


@BASES
def test_padding_is_not_seen(tmp_path, base):
    model = bidirectional.load(Folder(make_a2d(tmp_path / "m", base, seed=4)), PLAIN)
    attend = torch.ones_like(IDS, dtype=torch.bool)
    attend[1, 20:] = False
    found = everywhere(model, IDS, attend=attend)
    torch.testing.assert_close(found[attend], both_ways(network(base, seed=4), IDS, attend)[attend], atol=4e-5, rtol=0)
    torch.testing.assert_close(found[1, :20], everywhere(model, IDS[1:, :20])[0], atol=4e-5, rtol=0)


def test_a_head_that_is_stored_beside_the_embedding_it_shares_is_not_needed(tmp_path):
    """Qwen3-0.6B itself is published so."""
    folder = make_a2d(tmp_path / "m")
    alone = everywhere(bidirectional.load(Folder(folder), PLAIN), IDS)
    tensors = load_file(folder / "model.safetensors")
    assert "lm_head.weight" not in tensors
    save_file(tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}, folder / "model.safetensors", {"format": "pt"})
    torch.testing.assert_close(everywhere(bidirectional.load(Folder(folder), PLAIN), IDS), alone)


def test_heads_of_qwen3_are_128_wide_where_its_config_says_nothing(tmp_path):
    folder = make_a2d(tmp_path / "m", head_dim=128)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "head_dim"}), encoding="utf-8")
    torch.testing.assert_close(
        everywhere(bidirectional.load(Folder(folder), PLAIN), IDS), both_ways(network("qwen3", head_dim=128), IDS), atol=4e-5, rtol=0
    )


@pytest.mark.parametrize("mask", ["<|mask|>", "<|MASK|>"])
def test_the_mask_is_found_by_its_spelling_where_no_file_names_it(tmp_path, mask):
    model = bidirectional.load(Folder(make_a2d(tmp_path / "m", mask=mask)), PLAIN)
    assert model.tokenizer is not None and model.mask_id == model.tokenizer.special(mask)
    assert model.mask_id in model.suppressed


def test_what_was_trained_to_answer_is_told_what_to_do_without_a_thought(tmp_path):
    folder = make_a2d(tmp_path / "Qwen3-tiny-diffusion-mdlm-v0.1", chat=THINKS)
    model = bidirectional.load(Folder(folder), PLAIN)
    assert model.tokenizer is not None
    ids, lead = model.frame([5, 6], starts=True, ends=True)
    special = model.tokenizer.special
    assert ids[0] == special("<|im_start|>") and ids[lead:] == [5, 6, special(SPECIALS["eos"]), *model.encode("\n")]
    assert model.decode(ids[:lead]) == f"user\n{REQUEST}\nassistant\n\n\n\n\n"
    assert [i for i in ids[:lead] if i in (special("<think>"), special("</think>"))] == [special("<think>"), special("</think>")]
    assert model.frame([5, 6], starts=True, ends=False)[0][lead:] == [5, 6]


def test_another_reads_the_draft_alone(tmp_path):
    model = bidirectional.load(Folder(make_a2d(tmp_path / "Qwen3-of-my-own", chat=THINKS)), PLAIN)
    assert model.frame([5, 6], starts=True, ends=True) == ([5, 6], 0)


@pytest.mark.parametrize("name", ["Qwen3-tiny-diffusion-bd3lm-v0.1", "OPDLM-tiny"])
def test_one_that_writes_block_by_block_is_refused(tmp_path, name):
    folder = make_a2d(tmp_path / name)
    with pytest.raises(LoadError, match="block by block, and sees no further than its block; take the mdlm one"):
        engine.load(folder, device="cpu", dtype="float32")


def test_a_folder_of_the_hubs_cache_is_called_as_on_the_hub(tmp_path):
    """By its digest nothing could be told from its name."""
    cached = tmp_path / "models--dllm-hub--Qwen3-tiny-diffusion-mdlm-v0.1" / "snapshots" / ("0" * 40)
    model = engine.load(make_a2d(cached, chat=THINKS), device="cpu", dtype="float32")
    assert model.name == "Qwen3-tiny-diffusion-mdlm-v0.1" and getattr(model, "answers", False)


@pytest.mark.parametrize(
    ("base", "fields", "named"),
    [
        ("qwen3", {"hidden_act": "gelu"}, "hidden_act"),
        ("qwen3", {"attention_bias": True}, "attention_bias"),
        ("qwen3", {"head_dim": 16}, "shape"),
        ("llama", {"mlp_bias": True}, "mlp_bias"),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}}, "'rope_parameters'"),
        ("qwen2", {"num_experts": 4}, "num_experts"),
        ("qwen2", {"num_attention_heads": 5}, "come out even"),
    ],
)
def test_another_network_is_refused_in_one_sentence(tmp_path, base, fields, named):
    folder = make_a2d(tmp_path / "odd", base)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | fields), encoding="utf-8")
    with pytest.raises(LoadError, match=named) as refusal:
        engine.load(folder, device="cpu", dtype="float32")
    assert str(refusal.value).count("\n") == 0 and str(refusal.value).endswith(".")


def test_illada_is_llamas_network_with_a_mask_that_only_its_spelling_tells(tmp_path):
    model = bidirectional.load(Folder(make_illada(tmp_path / "iLLaDA-tiny-Base", chat=THINKS, seed=5)), PLAIN)
    torch.testing.assert_close(everywhere(model, IDS), both_ways(network("llama", seed=5), IDS), atol=4e-5, rtol=0)
    assert model.tokenizer is not None and model.mask_id == model.tokenizer.special("<[MASK]>")
    assert model.frame([5], starts=True, ends=True) == ([5], 0) and not model.answers
    assert bidirectional.load(Folder(make_illada(tmp_path / "iLLaDA-tiny-Instruct", chat=THINKS)), PLAIN).answers


def test_an_illada_with_another_norm_is_refused(tmp_path):
    folder = make_illada(tmp_path / "odd")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-5}), encoding="utf-8")
    with pytest.raises(LoadError, match="'layer_norm_eps'"):
        engine.load(folder, device="cpu", dtype="float32")


@pytest.mark.parametrize("kv_heads", [2, 4])
def test_eurobert_predicts_as_transformers_does_and_stands_between_its_ends(tmp_path, kv_heads):
    model = bidirectional.load(Folder(make_eurobert(tmp_path / "EuroBERT-tiny", seed=6, num_key_value_heads=kv_heads)), PLAIN)
    with torch.inference_mode():
        theirs = network("eurobert", tied=False, seed=6, num_key_value_heads=kv_heads)(IDS).logits
    assert theirs.std() > 0.3
    torch.testing.assert_close(everywhere(model, IDS), theirs, atol=4e-5, rtol=0)
    assert model.tokenizer is not None
    start, end = (model.tokenizer.special(role) for role in ("bos", "eos"))
    assert model.frame([5, 6], starts=True, ends=True) == ([start, 5, 6, end], 1)
    assert model.frame([5, 6], starts=False, ends=False) == ([start, 5, 6], 1)
