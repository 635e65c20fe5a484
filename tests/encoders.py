"""Small random masked language models in the layouts that the hub has of them, each with a real tokenizer of its kind."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor

from engine.backends.toy import TEXT
from tests.checkpoints import Random, save

PROSE = TEXT + (Path(__file__).parent / "data/dev_sample.txt").read_text(encoding="utf-8")[:40_000]
"""What the tokenizers are learned from."""

SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
CASES = {"max_position_embeddings": 128, "type_vocab_size": 2, "initializer_range": 0.02, "layer_norm_eps": 1e-12, "pad_token_id": 0}


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """A JSON file."""
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


# Tokenizers: each writes its files and says how many ids there are.


def word_pieces(folder: Path, *, lower: bool = True) -> int:
    """BERT's vocab.txt and tokenizer_config.json, with the places that BERT kept free."""
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=lower)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = ["[PAD]", *(f"[unused{n}]" for n in range(4)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made.train_from_iterator([PROSE], trainers.WordPieceTrainer(vocab_size=500, special_tokens=specials, show_progress=False))
    vocab = sorted(made.get_vocab(), key=made.get_vocab().__getitem__)
    (folder / "vocab.txt").write_text("\n".join(vocab) + "\n", encoding="utf-8")
    write_json(folder / "tokenizer_config.json", {"do_lower_case": lower, "model_max_length": 128})
    return len(vocab)


def _bytes(size: int, first: list[str]) -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made.train_from_iterator(
        [PROSE], trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, special_tokens=first, show_progress=False)
    )
    return made


def gpt2_files(folder: Path, *, first: list[str], last: list[str]) -> int:
    """vocab.json and merges.txt, with special tokens before and behind the pieces, as GPT-2's and RoBERTa's have them."""
    data = json.loads(_bytes(500, first).to_str())["model"]
    vocab = data["vocab"] | {token: len(data["vocab"]) + n for n, token in enumerate(last)}
    write_json(folder / "vocab.json", vocab)
    merges = (merge if isinstance(merge, str) else " ".join(merge) for merge in data["merges"])
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    return len(vocab)


def _modern(folder: Path) -> int:
    """ModernBERT's tokenizer.json: byte-level, special tokens last."""
    made = _bytes(500, [])
    made.add_special_tokens(["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"])
    made.save(str(folder / "tokenizer.json"))
    roles = {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    write_json(folder / "tokenizer_config.json", roles)
    return int(made.get_vocab_size())


def _sentence_pieces(path: Path, text: str = PROSE, **options: Any) -> int:
    proto = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text.split("\n")),
        model_writer=proto,
        vocab_size=400,
        hard_vocab_limit=False,
        model_type="unigram",
        num_threads=1,
        minloglevel=2,
        **options,
    )
    path.write_bytes(proto.getvalue())
    return int(sentencepiece.SentencePieceProcessor(model_proto=proto.getvalue()).vocab_size())


# Networks


def _tensors(classes: str, config: dict[str, Any], seed: int) -> dict[str, Tensor]:
    """Random tensors for the network of a config, by the names of transformers 5, tied ones once."""
    import transformers

    made = getattr(transformers, f"{classes}Config")(**{k: v for k, v in config.items() if k != "model_type"})
    with torch.device("meta"):
        network = getattr(transformers, f"{classes}ForMaskedLM")(made)
    random, found = Random(seed), {}
    for name, slot in network.named_parameters():
        if slot.ndim == 1:
            wide = random.around_one(len(slot))
            found[name] = wide if name.endswith("weight") else wide - 1
        else:
            found[name] = random.matrix(*slot.shape) * (3 if "embedding" in name else 1)
    return found


def _old_bert(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """As bert-base-uncased is: gamma and beta, tied tensors twice, buffers, and the heads of other tasks."""
    found = {n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): t for n, t in tensors.items()}
    found["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"].clone()
    wide = tensors["bert.embeddings.LayerNorm.bias"].shape[0]
    for name, shape in (("bert.pooler.dense", (wide, wide)), ("cls.seq_relationship", (2, wide))):
        found |= {f"{name}.weight": torch.zeros(*shape), f"{name}.bias": torch.zeros(shape[0])}
    return found | {"bert.embeddings.position_ids": torch.arange(128)[None]}


def _twice(decoder: str, embedding: str, bias: str = "") -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """With the tied tensors under both of their names, as `transformers` 4 wrote them."""

    def layout(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        found = tensors | {f"{decoder}.weight": tensors[embedding].clone()}
        return found | ({f"{decoder}.bias": tensors[bias].clone()} if bias else {})

    return layout


def _make(
    folder: Path,
    classes: str,
    config: dict[str, Any],
    fields: Mapping[str, Any],
    seed: int,
    layout: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict,
) -> Path:
    config = config | dict(fields)
    save(folder, config | {"architectures": [f"{classes}ForMaskedLM"]}, layout(_tensors(classes, config, seed)))
    return folder


def make_bert(folder: Path, *, seed: int = 0, lower: bool = True, **fields: Any) -> Path:
    """A BERT folder, its tensors named as in 2018."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_type": "bert", "hidden_act": "gelu", "vocab_size": word_pieces(folder, lower=lower), **SMALL, **CASES}
    return _make(folder, "Bert", config, fields, seed, _old_bert)


def make_distilbert(folder: Path, *, seed: int = 0, **fields: Any) -> Path:
    """A DistilBERT folder."""
    folder.mkdir(parents=True, exist_ok=True)
    shape = {"dim": 32, "hidden_dim": 64, "n_heads": 2, "n_layers": 2, "max_position_embeddings": 128, "sinusoidal_pos_embds": False}
    config = {"model_type": "distilbert", "activation": "gelu", "vocab_size": word_pieces(folder, lower=False), "pad_token_id": 0, **shape}
    layout = _twice("vocab_projector", "distilbert.embeddings.word_embeddings.weight")
    return _make(folder, "DistilBert", config, fields, seed, layout)


def make_electra(folder: Path, *, seed: int = 0, **fields: Any) -> Path:
    """The folder of an ELECTRA generator, narrower than its embeddings."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_type": "electra", "embedding_size": 48, "vocab_size": word_pieces(folder), **SMALL, **CASES}
    layout = _twice("generator_lm_head", "electra.embeddings.word_embeddings.weight")
    return _make(folder, "Electra", config, fields, seed, layout)


def make_albert(folder: Path, *, seed: int = 0, **fields: Any) -> Path:
    """An ALBERT folder with spiece.model: one layer used several times."""
    folder.mkdir(parents=True, exist_ok=True)
    ends: dict[str, Any] = {"pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1, "control_symbols": ["[CLS]", "[SEP]", "[MASK]"]}
    count = _sentence_pieces(folder / "spiece.model", PROSE.lower(), **ends)
    config = {"model_type": "albert", "embedding_size": 16, "hidden_act": "gelu_new", "vocab_size": count, **SMALL, **CASES}
    write_json(folder / "tokenizer_config.json", {"do_lower_case": True})
    layout = _twice("predictions.decoder", "albert.embeddings.word_embeddings.weight", "predictions.bias")
    return _make(folder, "Albert", config | {"num_hidden_groups": 1, "inner_group_num": 1}, fields, seed, layout)


_ROBERTA = {"max_position_embeddings": 130, "type_vocab_size": 1, "layer_norm_eps": 1e-5, "pad_token_id": 1}


def make_roberta(folder: Path, *, seed: int = 0, **fields: Any) -> Path:
    """A RoBERTa folder with vocab.json and merges.txt; two of its positions stand for padding."""
    folder.mkdir(parents=True, exist_ok=True)
    count = gpt2_files(folder, first=["<s>", "<pad>", "</s>", "<unk>"], last=["<mask>"])
    config = {"model_type": "roberta", "vocab_size": count, **SMALL, **CASES, **_ROBERTA, "bos_token_id": 0, "eos_token_id": 2}
    layout = _twice("lm_head.decoder", "roberta.embeddings.word_embeddings.weight")
    return _make(folder, "Roberta", config, fields, seed, layout)


def make_xlm_roberta(folder: Path, *, seed: int = 0, **fields: Any) -> Path:
    """An XLM-R folder with sentencepiece.bpe.model, whose ids the network counts in fairseq's way."""
    folder.mkdir(parents=True, exist_ok=True)
    count = _sentence_pieces(folder / "sentencepiece.bpe.model", unk_id=0, bos_id=1, eos_id=2) + 2
    config = {"model_type": "xlm-roberta", "vocab_size": count, **SMALL, **CASES, **_ROBERTA, "bos_token_id": 0, "eos_token_id": 2}
    return _make(folder, "XLMRoberta", config, fields, seed)


def make_modernbert(folder: Path, *, seed: int = 0, **fields: Any) -> Path:
    """A ModernBERT folder, its config as on the hub: two rotary bases, a window, rows beyond the tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    count = _modern(folder)
    config = {
        "model_type": "modernbert",
        "vocab_size": count + 11,
        **SMALL,
        "num_hidden_layers": 4,
        "max_position_embeddings": 256,
        "global_attn_every_n_layers": 3,
        "global_rope_theta": 160000.0,
        "local_rope_theta": 10000.0,
        "local_attention": 16,
        "layer_norm_eps": 1e-5,
        "position_embedding_type": "absolute",
        "cls_token_id": count - 4,
        "sep_token_id": count - 3,
        "bos_token_id": count - 4,
        "eos_token_id": count - 3,
        "pad_token_id": count - 2,
    }
    return _make(folder, "ModernBert", config, fields, seed)


ENCODERS: dict[str, Callable[..., Path]] = {
    "bert": make_bert,
    "roberta": make_roberta,
    "distilbert": make_distilbert,
    "albert": make_albert,
    "electra": make_electra,
    "modernbert": make_modernbert,
    "xlm-roberta": make_xlm_roberta,
}
"""How to make a folder, by model_type."""
