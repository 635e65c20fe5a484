"""Small random checkpoints in the layout of the hub, with real tokenizers trained on a few paragraphs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor

from engine import checkpoint
from engine.backends.folder import Placement
from engine.backends.toy import TEXT
from engine.denoiser import Denoiser
from engine.model import DiT, ModelConfig
from engine.training.tokenizer import train_tokenizer

CODE = '''\
def total(items, rate=0.5):
    """Sum what is left of each."""
    found = {}
    for name, price in items:
        if price > 0:
            found[name] = price * (1 - rate)
    return sum(found.values())


class Counter:
    def __init__(self):
        self.count = [0, 0]

    def add(self, key="left"):
        self.count[0 if key == "left" else 1] += 1
'''
"""Some Python, so that a tokenizer knows indentation."""

CHAT = (
    "{% for message in messages %}{% if loop.first %}{{ bos_token }}{% endif %}<|start|>{{ message['role'] }}<|end|>\n"
    "{{ message['content'] | trim }}<|eot|>{% endfor %}{% if add_generation_prompt %}<|start|>assistant<|end|>\n{% endif %}"
)
"""A chat template such as instruct models bring."""

SPECIALS = {
    "bos": "<|startoftext|>",
    "eos": "<|endoftext|>",
    "mask": "<|mdm_mask|>",
    "start": "<|start|>",
    "end": "<|end|>",
    "eot": "<|eot|>",
}


def byte_level(size: int = 420, specials: Sequence[str] = tuple(SPECIALS.values())) -> Tokenizer:
    """A byte-level BPE tokenizer whose special tokens come last, as LLaDA's and Dream's do."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
    made.train_from_iterator([TEXT, CODE], trainer)
    made.add_special_tokens(list(specials))
    return made


def save(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor], shards: int = 1) -> None:
    """Write config.json and the weights, as one file or as several with an index."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    if shards == 1:
        save_file(dict(tensors), folder / "model.safetensors", {"format": "pt"})
        return
    names, where = list(tensors), {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = names[number::shards]
        save_file({name: tensors[name] for name in part}, folder / file, {"format": "pt"})
        where |= dict.fromkeys(part, file)
    total = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def save_tokenizer(folder: Path, tokenizer: Tokenizer, *, chat: str | None = None, roles: Mapping[str, str] = SPECIALS) -> None:
    """Write tokenizer.json and tokenizer_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings: dict[str, Any] = {f"{role}_token": roles[role] for role in ("bos", "eos", "mask") if role in roles}
    settings |= {"pad_token": roles["eos"], "tokenizer_class": "PreTrainedTokenizerFast"}
    if chat is not None:
        settings["chat_template"] = chat
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


class Random:
    """Random tensors, the same ones for the same seed."""

    def __init__(self, seed: int = 0) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def matrix(self, *shape: int) -> Tensor:
        """Normal numbers that keep the size of what passes through."""
        return torch.randn(*shape, generator=self._generator) / shape[-1] ** 0.5

    def around_one(self, width: int) -> Tensor:
        """Weights of a norm."""
        return 1 + 0.1 * torch.randn(width, generator=self._generator)


PLAIN = Placement(torch.device("cpu"), torch.float32)
"""Where published logits are compared."""


def everywhere(model: Denoiser, ids: Tensor, **given: Tensor) -> Tensor:
    """(B, L, V): the logits at every position."""
    return model.logits(ids, torch.ones_like(ids, dtype=torch.bool), **given).view(*ids.shape, -1)


def make_llada(
    folder: Path,
    *,
    width: int = 32,
    depth: int = 2,
    heads: int = 4,
    kv_heads: int = 4,
    tied: bool = False,
    spare_rows: int = 12,
    chat: str | None = None,
    tokenizer: bool = True,
    shards: int = 1,
    seed: int = 0,
    **fields: Any,
) -> Path:
    """A LLaDA folder. `spare_rows`: how many ids the network has beyond the tokenizer; `fields`: what else config.json says."""
    reader, random, hidden, kv = byte_level(), Random(seed), 2 * width, width // heads * kv_heads
    vocabulary = reader.get_vocab_size()
    rows = vocabulary + spare_rows
    top = "model.transformer."
    tensors = {f"{top}wte.weight": random.matrix(rows, width), f"{top}ln_f.weight": random.around_one(width)}
    if not tied:
        tensors[f"{top}ff_out.weight"] = 3 * random.matrix(rows, width)
    for n in range(depth):
        at = f"{top}blocks.{n}."
        for name in ("attn_norm", "ff_norm"):
            tensors[f"{at}{name}.weight"] = random.around_one(width)
        sizes = {"q_proj": (width, width), "k_proj": (kv, width), "v_proj": (kv, width), "attn_out": (width, width)}
        sizes |= {"ff_proj": (hidden, width), "up_proj": (hidden, width), "ff_out": (width, hidden)}
        for name, shape in sizes.items():
            tensors[f"{at}{name}.weight"] = random.matrix(*shape)
    config = {
        "model_type": "llada",
        "architectures": ["LLaDAModelLM"],
        "activation_type": "silu",
        "alibi": False,
        "block_group_size": 1,
        "block_type": "llama",
        "d_model": width,
        "embedding_size": rows,
        "eos_token_id": reader.token_to_id(SPECIALS["eos"]),
        "include_bias": False,
        "include_qkv_bias": False,
        "layer_norm_type": "rms",
        "layer_norm_with_affine": True,
        "mask_token_id": reader.token_to_id(SPECIALS["mask"]),
        "max_sequence_length": 256,
        "mlp_hidden_size": hidden,
        "n_heads": heads,
        "n_kv_heads": kv_heads,
        "n_layers": depth,
        "rms_norm_eps": 1e-5,
        "rope": True,
        "rope_full_precision": True,
        "rope_theta": 500000.0,
        "vocab_size": vocabulary,
        "weight_tying": tied,
    }
    save(folder, config | fields, tensors, shards)
    if tokenizer:
        save_tokenizer(folder, reader, chat=chat)
    return folder


DREAM_SPECIALS = {
    "eos": "<|endoftext|>",
    "bos": "<|beginoftext|>",
    "mask": "<|mask|>",
    "start": "<|start|>",
    "end": "<|end|>",
    "eot": "<|eot|>",
}


def make_dream(
    folder: Path,
    *,
    width: int = 32,
    depth: int = 2,
    heads: int = 4,
    kv_heads: int = 2,
    tied: bool = False,
    expand: bool = False,
    spare_rows: int = 12,
    chat: str | None = None,
    tokenizer: bool = True,
    shards: int = 1,
    seed: int = 0,
    **fields: Any,
) -> Path:
    """A Dream folder; with `expand` a DreamOn folder."""
    specials = [*DREAM_SPECIALS.values(), *(["<|expand|>"] if expand else [])]
    reader, random, hidden, kv = byte_level(specials=specials), Random(seed), 2 * width, width // heads * kv_heads
    rows = reader.get_vocab_size() + spare_rows
    tensors = {"model.embed_tokens.weight": random.matrix(rows, width), "model.norm.weight": random.around_one(width)}
    if not tied:
        tensors["lm_head.weight"] = 3 * random.matrix(rows, width)
    for n in range(depth):
        at = f"model.layers.{n}."
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{at}{name}.weight"] = random.around_one(width)
        for name, size in (("q", width), ("k", kv), ("v", kv)):
            tensors[f"{at}self_attn.{name}_proj.weight"] = random.matrix(size, width)
            tensors[f"{at}self_attn.{name}_proj.bias"] = random.matrix(size)
        tensors[f"{at}self_attn.o_proj.weight"] = random.matrix(width, width)
        for name, shape in (("gate", (hidden, width)), ("up", (hidden, width)), ("down", (width, hidden))):
            tensors[f"{at}mlp.{name}_proj.weight"] = random.matrix(*shape)
    config = {
        "model_type": "Dream",
        "architectures": ["DreamModel"],
        "bos_token_id": reader.token_to_id(DREAM_SPECIALS["bos"]),
        "eos_token_id": reader.token_to_id(DREAM_SPECIALS["eos"]),
        "hidden_act": "silu",
        "hidden_size": width,
        "intermediate_size": hidden,
        "mask_token_id": reader.token_to_id(DREAM_SPECIALS["mask"]),
        "max_position_embeddings": 256,
        "num_attention_heads": heads,
        "num_hidden_layers": depth,
        "num_key_value_heads": kv_heads,
        "rms_norm_eps": 1e-6,
        "rope_scaling": None,
        "rope_theta": 1000000.0,
        "sliding_window": None,
        "tie_word_embeddings": tied,
        "use_sliding_window": False,
        "vocab_size": rows,
    }
    save(folder, config | fields, tensors, shards)
    if tokenizer:
        save_tokenizer(folder, reader, chat=chat, roles=DREAM_SPECIALS)
    return folder


def make_untrained(folder: Path, shape: ModelConfig, texts: Sequence[str], *, std: float) -> Path:
    """A network of ours with random numbers of this spread and a tokenizer of these texts; the folder."""
    tokenizer = train_tokenizer(iter(texts), shape.vocab_size)
    torch.manual_seed(0)
    net = DiT(shape)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=std)
    checkpoint.save(checkpoint.Checkpoint(net, tokenizer, "small"), folder)
    return folder
