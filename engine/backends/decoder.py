"""The transformer that LLaDA, Dream, A2D, iLLaDA and EuroBERT share, and the Denoiser around it.

A Llama-shaped network (RMSNorm, rotary positions, grouped-query attention, SwiGLU) whose attention sees both ways. The output head,
which at 150,000 rows is a good part of the work, runs only where a prediction is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.attention import rotary, rotate, taken
from engine.backends.chat import Chat, chat_of
from engine.backends.folder import Folder, LoadError, Placement, Rename
from engine.backends.hub_tokenizer import HubTokenizer
from engine.backends.speech import Speech
from engine.caches import ContextCache, Recall
from engine.forward import guided


@dataclass(frozen=True, slots=True)
class Shape:
    """The numbers that make the network; `rows` is the width of a row of logits."""

    rows: int
    width: int
    depth: int
    heads: int
    kv_heads: int
    """Heads of keys and values, each shared by heads / kv_heads queries (GQA, arXiv 2305.13245)."""
    hidden: int
    """Width of the MLP."""
    eps: float
    rotary_base: float
    head_width: int = 0
    """Of each head; 0 for an even share of the width."""
    qkv_bias: bool = False
    qk_norm: bool = False
    """Queries and keys pass a norm of their own, head by head, before they are turned."""
    tied: bool = False
    """The head uses the embedding matrix."""
    wide_rotation: bool = True
    """Turn queries and keys in float32, whatever the network computes in."""

    @property
    def head(self) -> int:
        """Numbers of a query, a key or a value."""
        return self.head_width or self.width // self.heads

    def check(self, name: str) -> None:
        """Raise LoadError when the numbers do not fit together."""
        if (not self.head_width and self.width % self.heads) or self.head % 2 or self.heads % self.kv_heads:
            raise LoadError(
                f"The config of {name} has {self.heads} heads, {self.kv_heads} of them for keys, in a width of {self.width}, "
                "which doesn't come out even; get the model again."
            )


class RMSNorm(nn.Module):
    """Root mean square norm (arXiv 1910.07467), taken in float32."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., width)."""
        return self.weight * F.rms_norm(x.float(), x.shape[-1:], eps=self.eps).to(x.dtype)


class Layer(nn.Module):
    """Attention and a gated MLP, each behind a norm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.norm1, self.norm2 = RMSNorm(shape.width, shape.eps), RMSNorm(shape.width, shape.eps)
        self.q = nn.Linear(shape.width, shape.heads * shape.head, bias=shape.qkv_bias)
        self.k = nn.Linear(shape.width, shape.kv_heads * shape.head, bias=shape.qkv_bias)
        self.v = nn.Linear(shape.width, shape.kv_heads * shape.head, bias=shape.qkv_bias)
        self.q_norm, self.k_norm = (RMSNorm(shape.head, shape.eps) if shape.qk_norm else nn.Identity() for _ in "qk")
        self.out = nn.Linear(shape.heads * shape.head, shape.width, bias=False)
        self.gate = nn.Linear(shape.width, shape.hidden, bias=False)
        self.up = nn.Linear(shape.width, shape.hidden, bias=False)
        self.down = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], attend: Tensor | None, recall: Recall | None = None) -> Tensor:
        """(B, L, width) -> (B, L, width); `attend` (B, 1, 1, keys) bool, False for keys that are not seen."""
        x = x + self.attention(self.norm1(x), turn, attend, recall)
        inner = self.norm2(x)
        out: Tensor = x + self.down(F.silu(self.gate(inner)) * self.up(inner))
        return out

    def attention(self, x: Tensor, turn: tuple[Tensor, Tensor], attend: Tensor | None, recall: Recall | None) -> Tensor:
        """Every position to every other, and to those that are recalled."""
        batch, length, _ = x.shape
        q, k, v = (part(x).view(batch, length, -1, self.shape.head).transpose(1, 2) for part in (self.q, self.k, self.v))
        q, k = self.q_norm(q), self.k_norm(k)
        wide = turn[0].dtype
        q, k = rotate(q.to(wide), *turn).to(v.dtype), rotate(k.to(wide), *turn).to(v.dtype)
        if recall is not None:
            k, v = recall(k, v)
        if (share := self.shape.heads // self.shape.kv_heads) > 1:  # not every fast kernel takes shared heads together with a mask
            k, v = k.repeat_interleave(share, 1), v.repeat_interleave(share, 1)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=attend)
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, length, -1))
        return out


class Decoder(nn.Module):
    """Token ids in, logits out. Make it on the meta device: it has no initialisation of its own."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.rows, shape.width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.depth))
        self.norm = RMSNorm(shape.width, shape.eps)
        self.head = nn.Linear(shape.width, shape.rows, bias=False)
        if shape.tied:
            self.head.weight = self.embedding.weight

    def forward(self, ids: Tensor, where: Tensor, attend: Tensor | None = None, context: ContextCache | None = None) -> Tensor:
        """(B, L) ids, (N,) flat positions -> (N, rows) logits of these positions. `attend` (B, L) bool, False = padding.

        `context`: where it names places, only those are computed, and `where` is among them.
        """
        x = self.embedding(ids)
        shape = self.shape
        dtype = torch.float32 if shape.wide_rotation else x.dtype
        turn = rotary(ids.shape[1], shape.head, shape.rotary_base, ids.device, dtype)
        seen = None if attend is None or bool(attend.all()) else attend[:, None, None, :]
        rows: Tensor | None = where
        if context is not None and context.places is not None:
            x, rows = taken(x, context.places), context.among(where)
            turn = turn[0][context.places][:, None], turn[1][context.places][:, None]
        for number, layer in enumerate(self.layers):
            x = layer(x, turn, seen, partial(context.extend, number) if context else None)
        out: Tensor = self.head(self.norm(x.flatten(0, 1)[rows]))
        return out


class DecoderDenoiser(Speech):
    """A Decoder behind the Denoiser protocol; families differ in their frame and in which row predicts a position."""

    time_conditioned: bool = False
    tokenizer: HubTokenizer | None

    def __init__(
        self,
        network: Decoder,
        tokenizer: HubTokenizer | None,
        *,
        name: str,
        mask_id: int,
        max_length: int,
        device: torch.device,
        chat: Chat | None = None,
        lead: Sequence[int] = (),
        close: Sequence[int] = (),
        shifted: bool = False,
        silent: Sequence[int] = (),
    ) -> None:
        """`lead`: the tokens before every canvas where there is no chat; `close`: those where the document ends; `silent`: no text."""
        self.network, self.tokenizer, self.name, self.device = network, tokenizer, name, device
        self.mask_id, self.max_length, self.vocab_size = mask_id, max_length, network.shape.rows
        self.chat, self._lead, self._close, self._shifted = chat, list(lead), list(close), shifted
        special = {mask_id, *(i for i in silent if 0 <= i < self.vocab_size)}
        self.suppressed: Sequence[int] = sorted(special | self.unwritten(self.vocab_size))

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without special tokens; LoadError where the network has no row for one."""
        return self._known(super().encode(text))

    def frame(self, ids: list[int], *, starts: bool, ends: bool, instruction: str = "") -> tuple[list[int], int]:
        """Put what the family wants to read before the canvas, and behind it where the document ends."""
        lead = self.chat.lead(instruction) if self.chat else self._lead
        return [*self._known(lead), *ids, *(self._known(self._close) if ends else ())], len(lead)

    @torch.inference_mode()
    def logits(self, ids: Tensor, positions: Tensor, *, t: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
        """(B, L) ids, (B, L) bool positions -> (N, V) float32 raw logits on the device of `ids`; `t` is not needed.

        In a shifted family row j of the network predicts position j + 1. Here each row predicts its own position; a row's first
        token, which nothing predicts, gets its own row.
        """
        return self._predictions(ids, positions, attend)

    @property
    def kept_bytes(self) -> int:
        """Keys and values of all layers."""
        shape = self.network.shape
        numbers = 2 * shape.depth * shape.kv_heads * shape.head
        return numbers * self.network.norm.weight.element_size()

    def read_from(self, positions: Tensor, attend: Tensor | None) -> Tensor:
        """In a shifted family each position from the place before it; see `logits`."""
        read = torch.zeros_like(positions)
        read.view(-1)[self._rows_of(positions, attend)] = True
        return read

    @torch.inference_mode()
    def logits_beside(
        self, ids: Tensor, positions: Tensor, context: ContextCache, *, attend: Tensor | None = None, guidance: float = 0.0
    ) -> Tensor:
        """As `logits` (KeepsContext); the context's places are on the network's device."""
        return guided(self._predictions(ids, positions, attend, context), guidance)

    def _predictions(self, ids: Tensor, positions: Tensor, attend: Tensor | None, context: ContextCache | None = None) -> Tensor:
        where = self._rows_of(positions, attend).to(self.device)
        seen = None if attend is None else attend.to(self.device)
        return self.network(ids.to(self.device), where, seen, context).to(ids.device).float()

    def _rows_of(self, positions: Tensor, attend: Tensor | None) -> Tensor:
        """(N,) flat places of the network's rows that predict the positions."""
        where = positions.flatten().nonzero()[:, 0]
        if not self._shifted:
            return where
        first = torch.zeros_like(positions)
        first[:, 0] = True
        if attend is not None:
            first[:, 1:] |= ~attend[:, :-1]
        return where - (~first.flatten()[where]).long()

    def _known(self, ids: list[int]) -> list[int]:
        if max(ids, default=0) >= self.vocab_size:
            raise LoadError(f"The tokenizer of {self.name} has more tokens than its network has rows; get the model's folder again.")
        return ids


def network_of(folder: Folder, shape: Shape, rename: Rename, placement: Placement) -> Decoder:
    """The network of this shape with the folder's weights."""
    with torch.device("meta"):
        network = Decoder(shape)
    folder.fill(network, rename, placement)
    return network


def mask_of(folder: Folder, tokenizer: HubTokenizer | None, rows: int) -> int:
    """The mask's id, from the config or else the tokenizer; LoadError when neither knows."""
    found = folder.config.get("mask_token_id")
    found = tokenizer.special("mask") if found is None and tokenizer is not None else found
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < rows:
        raise LoadError(
            f"Neither the config nor the tokenizer of {folder.name} says which token is the mask; get the model's folder again."
        )
    return found


def reading_of(folder: Folder, shape: Shape) -> tuple[HubTokenizer | None, int, Chat | None]:
    """What a folder is read with, its tokenizer, the mask's id and the chat frame; LoadError where these or the shape can't be used."""
    shape.check(folder.name)
    tokenizer = HubTokenizer.of(folder)
    return tokenizer, mask_of(folder, tokenizer, shape.rows), chat_of(folder, tokenizer)


def special_id(folder: Folder, tokenizer: HubTokenizer | None, role: str, rows: int) -> int | None:
    """The id that the config, or else the tokenizer, has for `bos`, `eos` or another role; None when neither names one of the network's."""
    for found in (folder.config.get(f"{role}_token_id"), tokenizer.special(role) if tokenizer else None):
        if isinstance(found, int) and not isinstance(found, bool) and 0 <= found < rows:
            return found
    return None


def silent_ids(folder: Folder) -> list[int]:
    """Ids that the config names as ends and padding: they spell nothing, whatever the tokenizer says."""
    named: list[Any] = [folder.config.get(f"{role}_token_id") for role in ("bos", "eos", "pad")]
    return [i for one in named for i in (one if isinstance(one, list) else [one]) if isinstance(i, int)]


_HARMLESS = frozenset(
    {
        "_name_or_path",
        "architectures",
        "auto_map",
        "attention_dropout",
        "bos_token",
        "classifier_dropout",
        "classifier_pooling",
        "clf_pooling",
        "dtype",
        "embd_pdrop",
        "embedding_dropout",
        "eos_token",
        "hidden_dropout",
        "initializer_range",
        "mask_token",
        "model_type",
        "output_attentions",
        "output_hidden_states",
        "pad_token",
        "resid_pdrop",
        "residual_dropout",
        "return_dict",
        "tokenizer_class",
        "torch_dtype",
        "transformers_version",
        "use_cache",
    }
)
"""Fields of config.json that don't change what the network computes."""


def check_fields(folder: Folder, known: frozenset[str]) -> None:
    """LoadError for a field of config.json that may change the network in a way that is not known here; unset ones pass."""
    for field, value in sorted(folder.config.items()):
        if field not in known | _HARMLESS and not field.endswith("_token_id") and value not in (None, False, 0, "", [], {}):
            raise LoadError(f"The config of {folder.name} has a field {field[:80]!r} that this version does not understand; update Lacuna.")
