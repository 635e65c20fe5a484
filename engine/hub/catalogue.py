"""Published checkpoints that Lacuna knows by name. Licences as their cards say, sizes by their parameters. No torch."""

from __future__ import annotations

from dataclasses import dataclass

EMBEDDED_LICENCE = "CC-BY-SA-4.0"
"""Of the model in assets/model, as its card says."""


@dataclass(frozen=True, slots=True)
class Published:
    """One checkpoint on the hub."""

    name: str
    kind: str
    """Its key in engine.hub.families.FAMILIES."""
    parameters: int
    size: int
    """Bytes of its safetensors."""
    licence: str
    """SPDX; empty where the card says nothing."""


def _entry(name: str, kind: str, millions: float, bytes_a_parameter: int, licence: str) -> Published:
    parameters = round(millions * 1e6)
    return Published(name, kind, parameters, parameters * bytes_a_parameter, licence)


CATALOGUE: tuple[Published, ...] = (
    _entry("kuleshov-group/mdlm-owt", "mdlm", 169.6, 4, "Apache-2.0"),
    _entry("kuleshov-group/mdlm-no_flashattn-fp32-owt", "mdlm", 169.6, 4, "Apache-2.0"),
    _entry("kuleshov-group/mdlm-noeos-owt", "mdlm", 169.6, 4, "Apache-2.0"),
    _entry("GSAI-ML/LLaDA-8B-Base", "llada", 8015.6, 2, "MIT"),
    _entry("GSAI-ML/LLaDA-8B-Instruct", "llada", 8015.6, 2, "MIT"),
    _entry("GSAI-ML/LLaDA-1.5", "llada", 8015.6, 2, "MIT"),
    _entry("Dream-org/Dream-v0-Base-7B", "dream", 7615.6, 2, "Apache-2.0"),
    _entry("Dream-org/Dream-v0-Instruct-7B", "dream", 7615.6, 2, "Apache-2.0"),
    _entry("Dream-org/DreamOn-v0-7B", "dream", 7615.6, 2, "Apache-2.0"),
    _entry("GSAI-ML/iLLaDA-8B-Base", "illada", 8255.0, 2, "Apache-2.0"),
    _entry("GSAI-ML/iLLaDA-8B-Instruct", "illada", 8255.0, 2, "Apache-2.0"),
    _entry("dllm-hub/Qwen3-0.6B-diffusion-mdlm-v0.1", "a2d-qwen3", 751.6, 2, "Apache-2.0"),
    _entry("dllm-hub/Qwen2.5-Coder-0.5B-Instruct-diffusion-mdlm-v0.1", "a2d-qwen2", 630.2, 2, "Apache-2.0"),
    _entry("EuroBERT/EuroBERT-210m", "eurobert", 310.0, 4, "Apache-2.0"),
    _entry("answerdotai/ModernBERT-base", "modernbert", 149.7, 4, "Apache-2.0"),
    _entry("answerdotai/ModernBERT-large", "modernbert", 395.9, 4, "Apache-2.0"),
    _entry("google-bert/bert-base-uncased", "bert", 110.1, 4, "Apache-2.0"),
    _entry("google-bert/bert-base-cased", "bert", 108.9, 4, "Apache-2.0"),
    _entry("google-bert/bert-large-uncased", "bert", 336.2, 4, "Apache-2.0"),
    _entry("google-bert/bert-large-cased", "bert", 334.7, 4, "Apache-2.0"),
    _entry("FacebookAI/roberta-base", "roberta", 124.7, 4, "MIT"),
    _entry("FacebookAI/roberta-large", "roberta", 355.4, 4, "MIT"),
    _entry("FacebookAI/xlm-roberta-base", "xlm-roberta", 278.9, 4, "MIT"),
    _entry("distilbert/distilbert-base-uncased", "distilbert", 67.0, 4, "Apache-2.0"),
    _entry("distilbert/distilbert-base-cased", "distilbert", 65.8, 4, "Apache-2.0"),
    _entry("albert/albert-base-v2", "albert", 11.8, 4, "Apache-2.0"),
    _entry("albert/albert-large-v2", "albert", 17.8, 4, "Apache-2.0"),
    _entry("google/electra-small-generator", "electra", 13.5, 4, "Apache-2.0"),
    _entry("google/electra-base-generator", "electra", 33.6, 4, "Apache-2.0"),
    _entry("google/electra-large-generator", "electra", 51.1, 4, "Apache-2.0"),
    _entry("kuleshov-group/bd3lm-owt-block_size4", "bd3lm", 169.6, 4, "Apache-2.0"),
    _entry("kuleshov-group/bd3lm-owt-block_size8", "bd3lm", 169.6, 4, "Apache-2.0"),
    _entry("kuleshov-group/bd3lm-owt-block_size16", "bd3lm", 169.6, 4, "Apache-2.0"),
    _entry("louaaron/sedd-small", "sedd", 169.6, 4, ""),
    _entry("louaaron/sedd-medium", "sedd", 424.0, 4, ""),
)
