"""Masked language models of the BERT family, through the network classes of `transformers` (an optional extra).

Only its network code is used, and only for the families in NETWORKS: the config is taken field by field (never `auto_map`,
never an attention kernel from the hub), the network is made without weights, and the weights stream in through Folder.fill.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from engine.backends.chat import Chat, chat_of
from engine.backends.folder import Folder, LoadError, Placement
from engine.backends.hub_tokenizer import HubTokenizer
from engine.backends.speech import Speech
from engine.hub.families import kind_of
from engine.model import DEEPEST

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Head = Callable[[Any, Tensor], Tensor]
"""The network and (N, width) hidden rows -> (N, V) logits."""


@dataclass(frozen=True, slots=True)
class Family:
    """What differs between the families; the names are those of `transformers` 5."""

    classes: str
    """The classes are called so, with Config and ForMaskedLM behind."""
    embedding: str
    """The token embedding's weight, which most of the family's heads share."""
    decoder: str
    """The head's last layer."""
    bias: str
    """Where the head's bias is kept; the same parameter as the decoder's own."""
    head: Head
    mask_id: int
    """The id of [MASK] in the published vocabularies (negative: from the end), for folders without a tokenizer."""
    positions_after_padding: bool = False
    """Position ids begin behind the padding id, which takes as many from the longest row (RoBERTa)."""
    position_table: bool = True
    """Positions are looked up, so rows can't be longer; ModernBERT turns by angles."""


def _distilbert_head(model: Any, rows: Tensor) -> Tensor:
    return model.vocab_projector(model.vocab_layer_norm(model.activation(model.vocab_transform(rows))))


def _roberta(classes: str) -> Family:
    where = "roberta.embeddings.word_embeddings.weight"
    return Family(classes, where, "lm_head.decoder", "lm_head.bias", lambda m, x: m.lm_head(x), -1, positions_after_padding=True)


NETWORKS: dict[str, Family] = {
    "bert": Family(
        "Bert",
        "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder",
        "cls.predictions.bias",
        lambda m, x: m.cls(x),
        103,
    ),
    "roberta": _roberta("Roberta"),
    "xlm-roberta": _roberta("XLMRoberta"),
    "distilbert": Family(
        "DistilBert",
        "distilbert.embeddings.word_embeddings.weight",
        "vocab_projector",
        "vocab_projector.bias",
        _distilbert_head,
        103,
    ),
    "albert": Family(
        "Albert",
        "albert.embeddings.word_embeddings.weight",
        "predictions.decoder",
        "predictions.bias",
        lambda m, x: m.predictions(x),
        4,
    ),
    "electra": Family(
        "Electra",
        "electra.embeddings.word_embeddings.weight",
        "generator_lm_head",
        "generator_lm_head.bias",
        lambda m, x: m.generator_lm_head(m.generator_predictions(x)),
        103,
    ),
    "modernbert": Family(
        "ModernBert",
        "model.embeddings.tok_embeddings.weight",
        "decoder",
        "decoder.bias",
        lambda m, x: m.decoder(m.head(x)),
        50284,
        position_table=False,
    ),
}
"""By model_type in config.json."""


class MaskedLM(Speech):
    """A network of the BERT family behind the Denoiser protocol."""

    time_conditioned: bool = False

    def __init__(
        self,
        network: PreTrainedModel,
        family: Family,
        tokenizer: HubTokenizer | None,
        *,
        name: str,
        device: torch.device,
        chat: Chat | None = None,
    ) -> None:
        self.network = network
        self.family, self.tokenizer, self.name, self.device = family, tokenizer, name, device
        config = network.config
        self.vocab_size: int = config.vocab_size
        self._padding: int = config.pad_token_id or 0
        self.max_length: int = config.max_position_embeddings - (self._padding + 1 if family.positions_after_padding else 0)
        self.mask_id = _mask_id(family, tokenizer, self.vocab_size, name)
        self.chat = chat
        self._front, self._back = _special(tokenizer, "cls", "bos"), _special(tokenizer, "sep", "eos")
        self.suppressed: Sequence[int] = sorted({self.mask_id} | self.unwritten(self.vocab_size))

    def frame(self, ids: list[int], *, starts: bool, ends: bool, instruction: str = "") -> tuple[list[int], int]:
        """[CLS] canvas [SEP], or <s> canvas </s>, wherever in the document the canvas lies; of a talk the question and what ends an answer.

        Every row of these families' training stood between the two, the middles of long documents too.
        """
        self.reader()  # says so when there is none
        front = self.chat.lead(instruction) if self.chat else self._front
        back = self._back if self.chat is None else self.chat.close if ends else []
        return [*front, *ids, *back], len(front)

    @torch.inference_mode()
    def logits(self, ids: Tensor, positions: Tensor, *, t: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
        """(B, L) ids, (B, L) bool positions -> (N, V) float32 raw logits, on the device of `ids`; `t` is not looked at.

        The head runs on the marked rows only. ValueError for rows longer than the network's table of positions.
        """
        if ids.shape[-1] > self.max_length and self.family.position_table:
            raise ValueError(f"{self.name} reads at most {self.max_length} tokens at once, not {ids.shape[-1]}.")
        there, seen = ids.to(self.device), None if attend is None else attend.to(self.device)
        if seen is not None:
            # RoBERTa counts its positions by the padding id, not by the mask.
            there = torch.where(seen, there, self._padding)
        hidden = self.network.base_model(there, attention_mask=None if seen is None else seen.long())[0]
        return self.family.head(self.network, hidden[positions.to(self.device)]).float().to(ids.device)


def load(folder: Folder, placement: Placement) -> MaskedLM:
    """A folder whose model_type is in NETWORKS; LoadError with a sentence for one that can't be used."""
    kind = kind_of(folder.config)
    family = NETWORKS[kind]
    shapes = folder.shapes()
    if kind == "electra" and not any(name.startswith("generator_predictions.") for name in shapes):
        raise LoadError(f"{folder.name} is the half of ELECTRA that tells true words from false; load the generator beside it.")
    network = _network(folder, family)
    tied = bool(network.config.tie_word_embeddings)
    _tie(network, family, tied)
    folder.fill(network, renamer(family, shapes, tied), placement)
    _compute_buffers(network, placement.device)
    tokenizer = HubTokenizer.of(folder)
    return MaskedLM(network, family, tokenizer, name=folder.name, device=placement.device, chat=chat_of(folder, tokenizer))


_OTHER_HEADS = ("cls.seq_relationship.", "sop_classifier.", "discriminator_predictions.")
_OTHER_HEAD_PARTS = (".pooler.", ".position_ids", ".token_type_ids")


def renamer(family: Family, names: Iterable[str], tied: bool) -> Callable[[str], str | None]:
    """From the tensor names of hub files of any age to those of `transformers` 5; None for what the network doesn't need.

    Old files call a LayerNorm's tensors gamma and beta, hold buffers, heads of other tasks, and tied tensors twice.
    """
    held = set(names)

    def rename(name: str) -> str | None:
        if name.startswith(_OTHER_HEADS) or any(part in name for part in _OTHER_HEAD_PARTS):
            return None
        if name == f"{family.decoder}.weight" and tied and family.embedding in held:
            return None
        if name == f"{family.decoder}.bias":
            return family.bias
        if name == family.bias and f"{family.decoder}.bias" in held:
            return None  # a copy
        return re.sub(r"\.beta$", ".bias", re.sub(r"\.gamma$", ".weight", name))

    return rename


LARGEST, MOST_GROUPS = 2**24, 64
"""No number of a config may exceed these, in general, for layers and for ALBERT's groups: a network is made before its weights are seen."""

_OLD_FIELDS = ("global_rope_theta", "local_rope_theta", "global_attn_every_n_layers")
"""ModernBERT's before `transformers` 5."""

_NOT_OURS = {"is_decoder", "add_cross_attention", "use_cache"}


def _network(folder: Folder, family: Family) -> PreTrainedModel:
    """The network of the config, without weights."""
    import transformers

    config_class = getattr(transformers, f"{family.classes}Config")
    model_class = getattr(transformers, f"{family.classes}ForMaskedLM")
    known = {*config_class.__annotations__, *_OLD_FIELDS} - _NOT_OURS
    fields = {name: value for name, value in folder.config.items() if name in known}
    for name, value in fields.items():
        numbers = [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, int)]
        most = DEEPEST if "layers" in name else MOST_GROUPS if "group" in name else LARGEST
        if any(abs(v) > most for v in numbers):
            raise LoadError(f"The config of {folder.name} has {name} {str(value)[:60]}, which no network has; copy the model again.")
    folder.only("is_decoder", False)
    positions = folder.config.get("position_embedding_type", "absolute")
    if family.classes != "ModernBert" and positions != "absolute":
        raise LoadError(f"{folder.name} counts its positions in a way, {str(positions)[:40]!r}, that this version does not know.")
    try:
        with torch.device("meta"):
            network: PreTrainedModel = model_class(config_class(**fields, attn_implementation="sdpa"))
    except Exception as error:  # transformers answers a config that makes no sense with whatever it stumbles on
        raise LoadError(f"The config of {folder.name} makes no network ({' '.join(str(error).split())[:200]}).") from error
    return network


def _tie(network: nn.Module, family: Family, tied: bool) -> None:
    """The decoder shares the embedding matrix, and its bias is the head's."""
    decoder = network.get_submodule(family.decoder)
    if tied:
        decoder.weight = network.get_parameter(family.embedding)
    if decoder.bias is not None:  # ModernBERT's may be left out
        decoder.bias = network.get_parameter(family.bias)


def _compute_buffers(network: nn.Module, device: torch.device) -> None:
    """Give the buffers that no file holds their values; the rest of the network is in place."""
    for name, buffer in list(network.named_buffers()):
        if not buffer.is_meta:
            continue
        owner, leaf = network.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]
        if leaf == "position_ids":
            owner.position_ids = torch.arange(buffer.shape[-1], device=device)[None]
        elif leaf == "token_type_ids":
            owner.token_type_ids = torch.zeros(buffer.shape, dtype=torch.long, device=device)
        elif leaf.endswith("inv_freq"):
            setattr(owner, leaf, getattr(type(owner)(owner.config), leaf).to(device))
        else:
            raise LoadError(f"The network has a buffer {name!r} that this version cannot compute; update Lacuna.")


def _mask_id(family: Family, tokenizer: HubTokenizer | None, vocab_size: int, name: str) -> int:
    if tokenizer is None:
        return family.mask_id if 0 <= family.mask_id < vocab_size else vocab_size - 1
    if tokenizer.vocab_size > vocab_size:
        raise LoadError(
            f"The tokenizer of {name} has {tokenizer.vocab_size} tokens, the network {vocab_size}; they do not belong together."
        )
    found = tokenizer.special("mask")
    if found is None:
        raise LoadError(f"The tokenizer of {name} has no mask token, so no gap can be shown to it; get the model's folder again.")
    return found


def _special(tokenizer: HubTokenizer | None, *roles: str) -> list[int]:
    """The first special token that there is of these roles."""
    return [found for role in roles if tokenizer is not None and (found := tokenizer.special(role)) is not None][:1]
