"""LLaDA's network against the published one, its variants against each other, and what its configs may not ask for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import engine
from engine.backends import LoadError, llada
from engine.backends.chat import REQUEST
from engine.backends.folder import Folder, Placement
from tests.checkpoints import CHAT, PLAIN, SPECIALS, everywhere, make_llada

GOLDEN = Path(__file__).parent / "golden/llada"
IO = load_file(GOLDEN / "io.safetensors")


@pytest.fixture(scope="module")
def published():
    return llada.load(Folder(GOLDEN), PLAIN)


@pytest.mark.parametrize("number", range(6))
def test_logits_are_the_published_ones(published, number):
    ids = IO[f"ids_{number}"]
    found = everywhere(published, ids)
    torch.testing.assert_close(found, IO[f"logits_{number}"], atol=1e-4, rtol=0)
    some = torch.rand(ids.shape, generator=torch.Generator().manual_seed(number)) < 0.4
    torch.testing.assert_close(published.logits(ids, some), found[some], atol=1e-5, rtol=0)


def test_padding_on_either_side_is_not_seen(published):
    padded = load_file(GOLDEN / "io_attention_mask.safetensors")
    attend = padded["padded.attention_mask"].bool()
    found = everywhere(published, padded["padded.ids"], attend=attend)
    assert not attend.all() and found.isfinite().all()
    torch.testing.assert_close(found[attend], padded["padded.logits"][attend], atol=1e-4, rtol=0)


def test_bfloat16_stays_near_the_published_bfloat16():
    wanted = load_file(GOLDEN / "io_bf16.safetensors")
    model = llada.load(Folder(GOLDEN), Placement(torch.device("cpu"), torch.bfloat16))
    for number in range(1, 6):
        found, exact = everywhere(model, IO[f"ids_{number}"]), IO[f"logits_{number}"]
        assert found.dtype == torch.float32
        theirs = (wanted[f"logits_bf16_{number}"].float() - exact).abs().max()
        assert (found - exact).abs().max() < 2 * theirs
        assert (found.argmax(-1) == exact.argmax(-1)).float().mean() > 0.9


def test_the_published_config_says_what_is_what(published):
    assert (published.mask_id, published.vocab_size, published.max_length) == (126, 128, 64)
    assert published.suppressed == [120, 126]
    assert published.frame([1, 2], starts=True, ends=True) == ([1, 2], 0)
    with pytest.raises(LoadError, match="has no tokenizer"):
        published.encode("a")


def test_grouped_queries_are_shared_heads(tmp_path):
    """Four query heads on two key heads are the same as on four of which two and two are equal."""
    shared = make_llada(tmp_path / "shared", kv_heads=2, tokenizer=False)
    full = make_llada(tmp_path / "full", kv_heads=4, tokenizer=False)
    tensors = load_file(shared / "model.safetensors")
    for name, tensor in tensors.items():
        if "k_proj" in name or "v_proj" in name:
            tensors[name] = tensor.view(2, 8, -1).repeat_interleave(2, 0).flatten(0, 1).contiguous()
    save_file(tensors, full / "model.safetensors")
    ids = torch.randint(0, 420, (2, 12), generator=torch.Generator().manual_seed(1))
    first, second = (everywhere(llada.load(Folder(folder), PLAIN), ids) for folder in (shared, full))
    torch.testing.assert_close(first, second, atol=1e-5, rtol=0)


def test_one_key_head_may_be_called_multi_query(tmp_path):
    folder = make_llada(tmp_path / "one", kv_heads=1, tokenizer=False, n_kv_heads=None, multi_query_attention=True)
    assert llada.shape_of(Folder(folder)).kv_heads == 1
    contradicted = make_llada(tmp_path / "two", kv_heads=2, tokenizer=False, multi_query_attention=True)
    with pytest.raises(LoadError, match="one head of keys and for 2"):
        llada.load(Folder(contradicted), PLAIN)


@pytest.mark.parametrize("twice", [False, True])
def test_a_tied_head_is_the_embedding(tmp_path, twice):
    tied = make_llada(tmp_path / "tied", tied=True, tokenizer=False)
    tensors = load_file(tied / "model.safetensors")
    apart = make_llada(tmp_path / "apart", tokenizer=False)
    published = tensors | {"model.transformer.ff_out.weight": tensors["model.transformer.wte.weight"].clone()}
    save_file(published, apart / "model.safetensors")
    if twice:  # some files hold the shared matrix under both names
        save_file(published, tied / "model.safetensors")
    ids = torch.arange(10)[None]
    first, second = (llada.load(Folder(folder), PLAIN) for folder in (tied, apart))
    assert first.network.head.weight is first.network.embedding.weight
    torch.testing.assert_close(everywhere(first, ids), everywhere(second, ids))


def test_biases_of_queries_keys_and_values_are_read(tmp_path):
    folder = make_llada(tmp_path / "biased", tokenizer=False, include_qkv_bias=True)
    with pytest.raises(LoadError, match="bias"):
        llada.load(Folder(folder), PLAIN)
    tensors = load_file(folder / "model.safetensors")
    for n in range(2):
        tensors |= {f"model.transformer.blocks.{n}.{part}_proj.bias": torch.zeros(32) for part in "qkv"}
    save_file(tensors, folder / "model.safetensors")
    ids = torch.arange(10)[None]
    zero = everywhere(llada.load(Folder(folder), PLAIN), ids)
    plain = everywhere(llada.load(Folder(make_llada(tmp_path / "plain", tokenizer=False)), PLAIN), ids)
    torch.testing.assert_close(zero, plain)
    tensors["model.transformer.blocks.0.v_proj.bias"] += 1
    save_file(tensors, folder / "model.safetensors")
    assert not torch.allclose(everywhere(llada.load(Folder(folder), PLAIN), ids), plain, atol=0.01)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"num_experts": 64, "num_experts_per_tok": 8}, "mixture of experts"),
        ({"alibi": True}, "alibi"),
        ({"block_type": "sequential"}, "block_type"),
        ({"block_group_size": 4}, "block_group_size"),
        ({"activation_type": "swiglu"}, "activation_type"),
        ({"layer_norm_type": "default"}, "layer_norm_type"),
        ({"rope": False}, "rope"),
        ({"rope_scaling": {"type": "linear", "factor": 4}}, "rope_scaling"),
        ({"attention_layer_norm": True}, "attention_layer_norm"),
        ({"input_emb_norm": True}, "input_emb_norm"),
        ({"scale_logits": True}, "scale_logits"),
        ({"include_bias": True}, "include_bias"),
        ({"bias_for_layer_norm": True}, "bias_for_layer_norm"),
        ({"sliding_window": 128}, "sliding_window"),
        ({"n_heads": 5}, "5 heads"),
        ({"n_kv_heads": 3}, "3 of them"),
        ({"d_model": "wide"}, "d_model"),
        ({"n_layers": 10**9}, "n_layers"),
        ({"embedding_size": 8}, "embedding_size"),
        ({"n_layers": 3}, "lack"),
        ({"n_layers": 1}, "does not have"),
        ({"mask_token_id": None}, "mask"),
        ({"mask_token_id": 5000}, "mask"),
        ({"rms_norm_eps": "1e-5"}, "rms_norm_eps"),
    ],
)
def test_another_network_is_refused_in_one_sentence(tmp_path, fields, named):
    folder = make_llada(tmp_path / "odd", tokenizer=False, **fields)
    with pytest.raises(LoadError, match=named) as refusal:
        engine.load(folder, device="cpu", dtype="float32")
    assert str(refusal.value).count("\n") == 0 and str(refusal.value).endswith(".")


def test_the_mask_comes_from_the_tokenizer_where_the_config_is_silent(tmp_path):
    folder = make_llada(tmp_path / "silent", mask_token_id=None)
    model = llada.load(Folder(folder), PLAIN)
    assert model.tokenizer is not None and model.mask_id == model.tokenizer.special(SPECIALS["mask"])


def test_ends_masks_and_ids_beyond_the_tokenizer_are_never_written(tmp_path):
    model = llada.load(Folder(make_llada(tmp_path / "m", spare_rows=12)), PLAIN)
    assert model.tokenizer is not None
    beyond = set(range(model.tokenizer.vocab_size, model.vocab_size))
    assert len(beyond) == 12
    assert {*beyond, model.mask_id, model.tokenizer.special("eos"), model.tokenizer.special("<|eot|>")} <= set(model.suppressed)
    assert all(model.decode([i]) for i in range(model.vocab_size) if i not in model.suppressed)
    assert model.decode([*beyond]) == ""


@pytest.mark.parametrize("sampler", ["confidence", "ancestral", "entropy_bound"])
def test_a_draft_is_filled(tmp_path, sampler):
    model = engine.load(make_llada(tmp_path / "m"), device="cpu", dtype="float32")
    before, after = "It was “so”, و 🙂 said ", " when\r\nthe <|endoftext|> 門 opened."
    *_, last = engine.fill(model, f"{before}[[5 tokens]]{after}", engine.Settings(steps=3, sampler=sampler, seed=3))
    assert last.text.startswith(before) and last.text.endswith(after) and len(last.text) > len(before + after)
    assert "\ufffd" not in last.text and "<|" not in last.text[len(before) : -len(after)]


def test_an_instruct_model_is_told_what_to_do(tmp_path):
    model = llada.load(Folder(make_llada(tmp_path / "LLaDA-tiny-Instruct", chat=CHAT)), PLAIN)
    for starts in (True, False):
        ids, lead = model.frame([5, 6], starts=starts, ends=True)
        assert ids[lead:] == [5, 6] and lead > 10
        assert model.tokenizer is not None
        bos, eot, start = (model.tokenizer.special(name) for name in ("bos", "<|eot|>", "<|start|>"))
        assert ids[0] == bos and [ids.count(i) for i in (eot, start) if i is not None] == [1, 2]
        assert model.decode(ids[:lead]) == f"user\n{REQUEST}assistant\n"
    loaded = engine.load(make_llada(tmp_path / "Small-Instruct", chat=CHAT), device="cpu", dtype="float32")
    *_, last = engine.fill(loaded, "It was [[3]] when.", engine.Settings(steps=2))
    assert last.text.startswith("It was ") and last.text.endswith(" when.") and "missing" not in last.text


def test_a_base_model_with_a_template_is_not_told_anything(tmp_path):
    folder = make_llada(tmp_path / "LLaDA-tiny-Base", chat=CHAT)
    assert llada.load(Folder(folder), PLAIN).frame([5], starts=True, ends=True) == ([5], 0)
    assert llada.load(Folder(folder, "somebody/LLaDA-tiny-Instruct"), PLAIN).frame([5], starts=True, ends=True)[1] > 10


def test_a_template_of_its_own_file_and_named_templates_are_found(tmp_path):
    own = make_llada(tmp_path / "a-Instruct")
    (own / "chat_template.jinja").write_text("{{ bos_token }}{{ messages[0].content[:4] }}!", encoding="utf-8")
    named = make_llada(tmp_path / "b-Instruct")
    settings = json.loads((named / "tokenizer_config.json").read_text())
    settings["chat_template"] = [{"name": "tools", "template": "no"}, {"name": "default", "template": "yes"}]
    (named / "tokenizer_config.json").write_text(json.dumps(settings))
    for folder, said in ((own, "Some!"), (named, "yes")):
        model = llada.load(Folder(folder), PLAIN)
        assert model.decode(model.frame([], starts=True, ends=True)[0]) == said


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{{ 'hello' * 100 }}{% endfor %}",
        "{{ 'x' * 10**10 }}",
        "{{ 'x' | center(10**10) }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{% include '/etc/passwd' %}",
        "{{ raise_exception('only with a system turn') }}",
        "{% if %}",
        "{{ nothing.there }}",
    ],
)
def test_a_hostile_template_is_refused(tmp_path, template):
    with pytest.raises(LoadError, match="chat template of bad-Instruct") as refusal:
        llada.load(Folder(make_llada(tmp_path / "bad-Instruct", chat=template)), PLAIN)
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 400
