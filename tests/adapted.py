"""Small random networks of Qwen's and Llama's shape as `transformers` writes them, in folders of A2D, iLLaDA and EuroBERT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.checkpoints import byte_level, save_tokenizer

THINKS = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
"""A chat template as Qwen3 has one: unless told otherwise an answer begins with thoughts."""

SPECIALS = {"eos": "<|im_end|>", "start": "<|im_start|>", "pad": "<|endoftext|>", "think": "<think>", "thought": "</think>"}


def network(base: str, *, tied: bool = True, seed: int = 0, **fields: Any) -> Any:
    """The network of `transformers` for "qwen3", "qwen2", "llama" or "eurobert", with random numbers in every tensor."""
    import transformers

    classes, head = {"eurobert": ("EuroBert", "MaskedLM")}.get(base, (base.capitalize(), "CausalLM"))
    made = {
        "vocab_size": 480,
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0},
        "tie_word_embeddings": tied,
        **({"head_dim": 32} if base == "qwen3" else {}),
        **(dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "mask_token_id"), 0) if base == "eurobert" else {}),
    }
    torch.manual_seed(seed)
    found = getattr(transformers, f"{classes}For{head}")(getattr(transformers, f"{classes}Config")(**made | fields)).eval()
    for name, parameter in found.named_parameters():
        wide = parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else 0.2
        torch.nn.init.normal_(parameter, mean=float("norm" in name), std=wide)
    return found


@torch.inference_mode()
def both_ways(network: Any, ids: Tensor, attend: Tensor | None = None) -> Tensor:
    """(B, L, rows) logits of a causal network that is shown the whole row, which is all that dLLM changes in it."""
    seen = torch.ones_like(ids, dtype=torch.bool) if attend is None else attend
    shut = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
    where = torch.arange(ids.shape[1])[None]
    logits: Tensor = network(ids, attention_mask=shut[:, None, None, :].expand(-1, 1, ids.shape[1], -1), position_ids=where).logits
    return logits


def make_illada(folder: Path, *, chat: str | None = None, seed: int = 0, **fields: Any) -> Path:
    """An iLLaDA folder: Llama's network, a mask that no file names, and fields of its own in config.json."""
    make_a2d(folder, "llama", mask="<[MASK]>", chat=chat, seed=seed, **fields)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {"model_type": "illada", "architectures": ["ILLaDAForCausalLM"], "layer_norm_eps": None, "resid_pdrop": 0.1}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def make_eurobert(folder: Path, *, seed: int = 0, **fields: Any) -> Path:
    """A EuroBERT folder, its config as on the hub: older than `transformers` 5, with the names of tokens in it."""
    made = network("eurobert", tied=False, seed=seed, **fields)
    made.save_pretrained(folder)
    reader = byte_level(specials=["<|begin_of_text|>", "<|end_of_text|>", "<|mask|>", "<|pad|>"])
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    names = {"bos": "<|begin_of_text|>", "eos": "<|end_of_text|>", "mask": "<|mask|>", "pad": "<|pad|>"}
    for role, spelling in names.items():
        config |= {f"{role}_token": spelling, f"{role}_token_id": reader.token_to_id(spelling)}
    config |= {"clf_pooling": "late", "hidden_dropout": 0.1, "rope_theta": config.pop("rope_parameters")["rope_theta"]}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_tokenizer(folder, reader, roles=names)
    return folder


def make_a2d(folder: Path, base: str = "qwen3", *, mask: str = "<|mask|>", chat: str | None = None, seed: int = 0, **fields: Any) -> Path:
    """An A2D folder; `fields` are those of the network's config."""
    network(base, seed=seed, **fields).save_pretrained(folder)
    reader = byte_level(specials=[*SPECIALS.values(), mask])
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    ends = {"eos_token_id": reader.token_to_id(SPECIALS["eos"]), "pad_token_id": reader.token_to_id(SPECIALS["pad"])}
    config |= {"model_type": f"a2d-{base}", "architectures": [f"A2D{base.capitalize()}LMHeadModel"], **ends}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_tokenizer(folder, reader, chat=chat, roles=SPECIALS)
    return folder
