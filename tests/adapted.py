"""Small random Qwen and Llama networks as `transformers` writes them, in folders that call themselves A2D."""

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
    """The network of `transformers` for "qwen3", "qwen2" or "llama", with random numbers in every tensor."""
    import transformers

    classes = {"qwen3": "Qwen3", "qwen2": "Qwen2", "llama": "Llama"}[base]
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
    }
    torch.manual_seed(seed)
    found = getattr(transformers, f"{classes}ForCausalLM")(getattr(transformers, f"{classes}Config")(**made | fields)).eval()
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
