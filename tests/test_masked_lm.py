"""Masked language models of the BERT family: the published logits, from files of any age, and nothing of theirs ever run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine import backends
from engine.backends.chat import REQUEST
from engine.backends.masked_lm import MaskedLM
from engine.denoiser import Denoiser
from tests.encoders import ENCODERS, make_electra, make_modernbert

GOLDEN = Path(__file__).parent / "golden"
ATOL = 1e-4


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """A folder of every family."""
    home = tmp_path_factory.mktemp("encoders")
    return {kind: make(home / kind) for kind, make in ENCODERS.items()}


def load(folder: Path, dtype: str = "float32") -> MaskedLM:
    found = backends.load(folder, device="cpu", dtype=dtype)
    assert isinstance(found, MaskedLM) and isinstance(found, Denoiser)
    return found


def edited(folder: Path, to: Path, **fields: object) -> Path:
    """A copy of a folder with other fields in its config."""
    shutil.copytree(folder, to, dirs_exist_ok=True)
    config = json.loads((to / "config.json").read_text()) | fields
    (to / "config.json").write_text(json.dumps(config))
    return to


def published(folder: Path, ids: torch.Tensor, attend: torch.Tensor) -> torch.Tensor:
    """What the installed transformers computes from the same folder."""
    from transformers import AutoModelForMaskedLM

    model = AutoModelForMaskedLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    with torch.inference_mode():
        return model(ids, attention_mask=attend.long()).logits


def canvas(model: MaskedLM, padding: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Three rows of random tokens and masks between their two ends, the last two ending early, and where they are real."""
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(9, model.vocab_size, (3, 40), generator=generator)
    ids[torch.rand(ids.shape, generator=generator) < 0.3] = model.mask_id
    ends = torch.tensor(model.frame([], starts=True, ends=True)[0])
    widths = torch.tensor([40, 27, 9])
    attend = torch.arange(40)[None] < widths[:, None]
    ids[:, 0] = ends[0]
    ids[torch.arange(3), widths - 1] = ends[1]
    return torch.where(attend, ids, padding), attend


@pytest.mark.parametrize("kind", ENCODERS)
def test_logits_are_those_of_the_installed_transformers(folders, kind):
    model = load(folders[kind])
    ids, attend = canvas(model, padding=model.network.config.pad_token_id)
    torch.testing.assert_close(model.logits(ids, attend, attend=attend), published(folders[kind], ids, attend)[attend], rtol=0, atol=ATOL)


@pytest.mark.parametrize("kind", ENCODERS)
def test_only_the_rows_asked_for_and_nothing_of_the_padding(folders, kind):
    model = load(folders[kind])
    ids, attend = canvas(model)
    whole = torch.zeros(*ids.shape, model.vocab_size)
    whole[attend] = model.logits(ids, attend, attend=attend)
    masked = (ids == model.mask_id) & attend
    torch.testing.assert_close(model.logits(ids, masked, attend=attend, t=torch.rand(3)), whole[masked], rtol=0, atol=ATOL)
    assert model.logits(ids, torch.zeros_like(masked), attend=attend).shape == (0, model.vocab_size)
    alone, width = ids[1:2, :27], masked[1:2, :27]
    torch.testing.assert_close(model.logits(alone, width), whole[1:2, :27][width], rtol=0, atol=ATOL)
    other = torch.where(attend, ids, model.mask_id)  # what padding holds doesn't matter
    torch.testing.assert_close(model.logits(other, masked, attend=attend), whole[masked], rtol=0, atol=ATOL)


@pytest.mark.parametrize("kind", ENCODERS)
def test_what_is_never_written_and_the_two_ends(folders, kind):
    model = load(folders[kind])
    assert model.mask_id in model.suppressed and not model.time_conditioned
    rows, put = model.frame(model.encode("The lamp"), starts=False, ends=False)
    assert put == 1 and {rows[0], rows[-1]} < set(model.suppressed)
    assert model.frame([], starts=True, ends=True)[0] == [rows[0], rows[-1]]
    assert model.tokenizer is not None
    assert set(range(model.tokenizer.vocab_size, model.vocab_size)) <= set(model.suppressed)
    written = {model.decode([i]).strip() for i in range(model.vocab_size) if i not in set(model.suppressed)}
    assert not {
        text for text in written if "##" in text or "unused" in text or text in ("[PAD]", "<pad>", "[UNK]", "<unk>", "[MASK]", "<mask>")
    }


def test_one_that_was_trained_to_answer_is_told_what_to_do(tmp_path):
    """dLLM's ModernBERT-large-chat-v0.1 is one: nothing stands before its question."""
    folder = make_modernbert(tmp_path / "ModernBERT-tiny-chat")
    template = (
        "[Question]\n{{ messages[0]['content'] | trim }}\n[/Question]\n\n"
        "{% if messages[1:] %}[Answer]\n{{ messages[1]['content'] }}\n[/Answer]\n\n{% endif %}"
        "{% if add_generation_prompt %}[Answer]\n{% endif %}"
    )
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    model = backends.load(folder, device="cpu", dtype="float32")
    ids, lead = model.frame([5, 6], starts=False, ends=False)
    assert model.decode(ids[:lead]) == f"[Question]\n{REQUEST}\n[/Question]\n\n[Answer]\n"
    assert ids[lead:] == [5, 6]
    whole, _ = model.frame([5, 6], starts=False, ends=True)
    assert whole[: lead + 2] == ids and model.decode(whole[lead + 2 :]) == "\n[/Answer]\n\n"


def test_lengths_leave_out_the_positions_of_padding(folders):
    assert load(folders["bert"]).max_length == load(folders["distilbert"]).max_length == 128
    for kind in ("roberta", "xlm-roberta"):
        model = load(folders[kind])
        assert model.max_length == 128 and model.network.config.max_position_embeddings == 130
        longest = torch.full((1, 128), 7)
        assert model.logits(longest, torch.ones_like(longest, dtype=torch.bool)).shape == (128, model.vocab_size)


@pytest.mark.parametrize("kind", ENCODERS)
def test_rows_longer_than_the_table_of_positions_are_a_sentence(folders, kind):
    model = load(folders[kind])
    ids = torch.full((1, model.max_length + 1), 7)
    if kind == "modernbert":
        assert model.logits(ids, ids == 7).isfinite().all()
        return
    with pytest.raises(ValueError, match="reads at most 128 tokens at once, not 129"):
        model.logits(ids, ids == 7)


def test_untied_decoders(folders, tmp_path):
    folder = edited(folders["bert"], tmp_path / "untied", tie_word_embeddings=False)
    tensors = load_file(folder / "model.safetensors")
    tensors["cls.predictions.decoder.weight"] = tensors["cls.predictions.decoder.weight"].flip(0).contiguous()
    tensors["cls.predictions.decoder.bias"] = tensors.pop("cls.predictions.bias")
    save_file(tensors, folder / "model.safetensors")
    model = load(folder)
    ids, attend = canvas(model)
    expected = load(folders["bert"])
    assert not torch.allclose(model.logits(ids, attend), expected.logits(ids, attend), atol=0.1)
    tensors["cls.predictions.bias"] = tensors["cls.predictions.decoder.bias"].clone()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    torch.testing.assert_close(load(folder).logits(ids, attend, attend=attend), published(folder, ids, attend)[attend], rtol=0, atol=ATOL)


def test_a_decoder_without_bias(tmp_path):
    model = load(make_modernbert(tmp_path, decoder_bias=False))
    ids, attend = canvas(model, padding=model.network.config.pad_token_id)
    torch.testing.assert_close(model.logits(ids, attend, attend=attend), published(tmp_path, ids, attend)[attend], rtol=0, atol=ATOL)


def test_bfloat16_is_near(folders):
    for kind in ("bert", "modernbert"):
        wide, narrow = load(folders[kind]), load(folders[kind], "bfloat16")
        ids, attend = canvas(wide)
        assert next(narrow.network.parameters()).dtype == torch.bfloat16
        got, expected = narrow.logits(ids, attend, attend=attend), wide.logits(ids, attend, attend=attend)
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, expected, rtol=0, atol=0.1 * float(expected.std()))


@pytest.mark.parametrize(("bits", "near"), [("int8", 0.05), ("int4", 0.4)])
def test_matrices_in_fewer_bits_are_near(tmp_path, bits, near):
    folder = make_modernbert(tmp_path, hidden_size=256, intermediate_size=256, num_attention_heads=4)
    wide, narrow = load(folder), load(folder, bits)
    ids, attend = canvas(wide)
    kept = {name for name, _ in narrow.network.named_parameters()}
    assert not any("Wqkv" in name for name in kept) and "model.embeddings.tok_embeddings.weight" in kept
    got, expected = narrow.logits(ids, attend, attend=attend), wide.logits(ids, attend, attend=attend)
    assert 0 < float((got - expected).square().mean().sqrt()) < near * float(expected.std())


def test_nothing_that_a_config_names_is_run_or_fetched(folders, tmp_path):
    """auto_map and attention kernels of the hub are how a config makes transformers run somebody's code."""
    folder = edited(
        folders["bert"],
        tmp_path / "bert",
        auto_map={"AutoConfig": "evil.Config", "AutoModelForMaskedLM": "evil.Model"},
        _attn_implementation="somebody/kernel",
        attn_implementation="somebody/kernel",
        _experts_implementation="somebody/kernel",
        quantization_config={"quant_method": "somebody"},
        output_attentions=True,
        return_dict=False,
    )
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    model = load(folder)
    assert model.network.config._attn_implementation == "sdpa"
    ids, attend = canvas(model)
    torch.testing.assert_close(model.logits(ids, attend), load(folders["bert"]).logits(ids, attend))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"hidden_size": "wide"},
        {"hidden_size": -32},
        {"hidden_size": 33},
        {"num_hidden_layers": 10**9},
        {"num_hidden_layers": 2.5},
        {"is_decoder": True},
        {"max_position_embeddings": 2**40},
        {"hidden_act": "__import__('os')"},
        {"position_embedding_type": "relative_key"},
        {"vocab_size": None},
        {"pad_token_id": 10**6},
    ],
    ids=str,
)
def test_configs_that_make_no_network_are_refused_in_one_sentence(folders, tmp_path, fields):
    with pytest.raises(ValueError, match=r"\.$") as refused:
        load(edited(folders["bert"], tmp_path / "bert", **fields))
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400


@pytest.mark.parametrize("field", ["num_hidden_groups", "inner_group_num", "num_hidden_layers"])
def test_layers_without_end_are_refused_before_they_are_made(folders, tmp_path, field):
    with pytest.raises(backends.LoadError, match=f"has {field} 16777216, which no network has"):
        load(edited(folders["albert"], tmp_path, **{field: 2**24}))


def test_groups_of_shared_layers(tmp_path):
    folder = ENCODERS["albert"](tmp_path, num_hidden_layers=6, num_hidden_groups=3, inner_group_num=2)
    model = load(folder)
    ids, attend = canvas(model)
    torch.testing.assert_close(model.logits(ids, attend, attend=attend), published(folder, ids, attend)[attend], rtol=0, atol=ATOL)


def test_the_other_half_of_electra_is_refused(tmp_path):
    folder = make_electra(tmp_path)
    tensors = {n: t for n, t in load_file(folder / "model.safetensors").items() if not n.startswith("generator_")}
    save_file(tensors | {"discriminator_predictions.dense.bias": torch.zeros(4)}, folder / "model.safetensors")
    with pytest.raises(backends.LoadError, match="load the generator"):
        load(folder)


def test_a_network_without_its_head_is_refused(folders, tmp_path):
    folder = edited(folders["roberta"], tmp_path / "headless")
    tensors = {n: t for n, t in load_file(folder / "model.safetensors").items() if not n.startswith("lm_head.")}
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(backends.LoadError, match=r"lack the tensor 'lm_head\."):
        load(folder)


def test_without_a_tokenizer_only_text_is_missing(folders, tmp_path):
    folder = edited(folders["roberta"], tmp_path / "mute")
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()
    model, whole = load(folder), load(folders["roberta"])
    ids, attend = canvas(whole)
    torch.testing.assert_close(model.logits(ids, attend), whole.logits(ids, attend))
    for ask in (lambda: model.encode("a"), lambda: model.decode([5]), lambda: model.frame([], starts=True, ends=True)):
        with pytest.raises(backends.LoadError, match="has no tokenizer"):
            ask()


def test_a_tokenizer_of_another_model_is_refused(folders, tmp_path):
    folder = edited(folders["roberta"], tmp_path / "longer")
    vocab = json.loads((folder / "vocab.json").read_text())
    (folder / "vocab.json").write_text(json.dumps(vocab | {"one more": len(vocab)}))
    with pytest.raises(backends.LoadError, match="do not belong together"):
        load(folder)
    folder = edited(folders["bert"], tmp_path / "maskless")
    (folder / "vocab.txt").write_text((folder / "vocab.txt").read_text().replace("[MASK]", "mask"))
    with pytest.raises(backends.LoadError, match="has no mask token"):
        load(folder)


def test_transformers_is_imported_for_these_models_only(folders):
    code = "import sys; from engine import backends; backends.load(sys.argv[1]); print('transformers' in sys.modules)"
    for model, imported in (("toy", "False"), (str(GOLDEN / "mdlm_dit"), "False"), (str(folders["bert"]), "True")):
        done = subprocess.run([sys.executable, "-c", code, model], capture_output=True, text=True, check=False, cwd=GOLDEN.parents[1])
        assert done.stdout.split()[-1:] == [imported], done.stderr
