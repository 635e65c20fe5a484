"""The families of models that can be loaded, and the marks in config.json that tell them apart. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from engine.text import command


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of model."""

    name: str
    """As a person says it."""
    module: str
    """The module of engine.backends whose `load(folder, placement)` makes a Denoiser of it."""
    package: str = ""
    """An optional Python package that it needs."""
    tokenizer: str = ""
    """The published model whose tokenizer it uses without bringing it."""

    @property
    def needs(self) -> str:
        """The package that is missing for it; empty when it can be loaded."""
        return self.package if self.package and find_spec(self.package) is None else ""


_MASKED_LM = {
    "bert": "BERT",
    "roberta": "RoBERTa",
    "distilbert": "DistilBERT",
    "albert": "ALBERT",
    "electra": "ELECTRA",
    "modernbert": "ModernBERT",
    "xlm-roberta": "XLM-R",
}

GPT2 = "openai-community/gpt2"
LACUNA, SEDD = "lacuna-dit-1", "sedd"
FAMILIES: dict[str, Family] = {
    LACUNA: Family("Lacuna", "dit"),
    "mdlm": Family("MDLM", "mdlm", tokenizer=GPT2),
    "bd3lm": Family("BD3LM", "bd3lm", tokenizer=GPT2),
    SEDD: Family("SEDD", "sedd", tokenizer=GPT2),
    "llada": Family("LLaDA", "llada"),
    "dream": Family("Dream", "dream"),
    **{f"a2d-{base}": Family("A2D", "bidirectional") for base in ("qwen3", "qwen2", "llama")},
    "illada": Family("iLLaDA", "bidirectional"),
    "eurobert": Family("EuroBERT", "bidirectional"),
    **{kind: Family(name, "masked_lm", "transformers") for kind, name in _MASKED_LM.items()},
}
"""By `model_type` in lower case; our own format and SEDD, which have no such field, by `kind_of`."""


def kind_of(config: Mapping[str, Any]) -> str:
    """The key of a config in FAMILIES, or what it says of itself; empty when it says nothing."""
    if "format" in config:
        return str(config["format"])
    if "model_type" in config:
        return str(config["model_type"]).lower()
    return SEDD if {"graph", "noise", "model", "tokens"} <= config.keys() else ""


def supported() -> str:
    """The families' names as one list for a sentence."""
    names = list(dict.fromkeys(family.name for family in FAMILIES.values()))
    return f"{', '.join(names[:-1])} and {names[-1]}"


_BLOCKWISE = ("bd3lm", "opdlm")
"""Parts of the names of A2D models that write block by block; nothing in their configs tells them from the others."""


def obstacle(name: str, config: Mapping[str, Any], where: Path | None = None) -> str:
    """Why a model with this config can't be loaded here, as a sentence; empty when nothing stands in the way. `where`: its folder."""
    kind = kind_of(config)
    if kind not in FAMILIES:
        return _refusal(name, kind)
    if blockwise(where or Path(name), config):
        return f"{name} can't fill gaps: it writes block by block, and sees no further than its block; take the mdlm one of its kind."
    return lack(name, FAMILIES[kind])


def blockwise(where: Path, config: Mapping[str, Any]) -> bool:
    """Whether a model, a name on the hub or a folder, sees nothing of what stands behind the block that it writes. dLLM's own runs lie in
    KIND/RUN/checkpoint-final, a model of the hub's cache in NAME/snapshots/DIGEST.
    """
    names = " ".join([*where.parts[-3:], str(config.get("_name_or_path", ""))]).lower()
    return kind_of(config).startswith("a2d-") and any(part in names for part in _BLOCKWISE)


def _refusal(name: str, kind: str) -> str:
    said = f"is of the family {kind[:40]!r}" if kind else "does not say of which family it is"
    return f"{name} {said}, which can't be loaded; there are {supported()}."


def lack(name: str, family: Family) -> str:
    """The sentence for a model whose family needs a package that is missing; empty when none is."""
    needs = family.needs
    return needs and f"{name} needs the package {needs}, as all {family.name} models do: run `{command('extras')}` and start again."
