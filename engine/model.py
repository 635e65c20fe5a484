"""The denoiser network: a bidirectional transformer that serves our model and MDLM's published DiT weights alike.

Rotary positions, pre-norm, scaled dot product attention, an output head that runs only where a prediction is asked
for. With `cond_width` it is conditioned on the noise level sigma by adaptive layer norms, as DiT (arXiv 2212.09748)
and MDLM (arXiv 2406.07524) are; without it, it knows the noise level from the masks it sees.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.attention import attention, by_row, rotary, rotate, taken
from engine.caches import ContextCache, KVCache, Recall
from engine.ngrams import Ngrams


class ConfigError(ValueError):
    """A model config cannot be used; the message is one sentence."""


DEEPEST = 1024
"""More blocks than any network has: a config is believed, and the network made block by block, before the weights are seen."""
NORM_EPS = 1e-5
"""What is added to a mean square before its root divides."""


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the network. Defaults are those of the embedded model's recipe."""

    vocab_size: int
    width: int
    depth: int
    heads: int
    max_length: int
    """The longest row seen in training, in tokens."""
    mlp_ratio: int = 4
    norm: Literal["rms", "layer"] = "rms"
    """RMSNorm (arXiv 1910.07467), or LayerNorm without bias."""
    activation: Literal["relu2", "gelu", "swiglu"] = "relu2"
    """Squared ReLU (arXiv 2109.08668), GELU in its tanh form, or SwiGLU (arXiv 2002.05202), which has a third matrix for its gate."""
    qk_norm: bool = True
    """RMS-normalise queries and keys (arXiv 2010.04245)."""
    embed_norm: bool = True
    """RMS-normalise the token embeddings."""
    biases: bool = False
    """Biases in the MLP and the head."""
    tied: bool = False
    """The head uses the embedding matrix."""
    cond_width: int = 0
    """Width of the noise-level embedding; 0 leaves the conditioning out."""
    time_conditioning: bool = False
    """Feed the noise level to the conditioning; when false it is fed zeros (MDLM-OWT)."""
    rotary_base: float = 10000.0
    value_residual: bool = False
    """Each block's values are mixed with the first block's (arXiv 2410.17897), by two learned numbers that begin at 1 and 0."""
    embedding_residual: bool = False
    """Each block's input is mixed with the embeddings, by two learned numbers that begin at 1 and 0."""
    ngram_rows: int = 0
    """Rows of the table of hashed pairs of neighbours (`Ngrams`); 0 leaves it out."""
    causal: bool = False
    """Attend to earlier tokens only, row j predicting token j + 1: the autoregressive twin, which judges but cannot fill."""

    def __post_init__(self) -> None:
        """Raise ConfigError when the numbers do not fit together."""
        for name in ("vocab_size", "width", "depth", "heads", "max_length", "mlp_ratio"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= 2**24:
                raise ConfigError(f"The config's {name} must be a whole number above 0, not {value!r}.")
        if self.depth > DEEPEST:
            raise ConfigError(f"The config's depth {self.depth} is beyond {DEEPEST} blocks.")
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ConfigError(f"The config's width {self.width} does not split into {self.heads} heads of even width.")
        if self.norm not in ("rms", "layer") or self.activation not in ("relu2", "gelu", "swiglu"):
            raise ConfigError(f"The config names norm {self.norm!r} and activation {self.activation!r}, which this network does not have.")
        for name in ("ngram_rows", "cond_width"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 2**24:
                raise ConfigError(f"The config's {name} must be a whole number from 0 on, not {value!r}.")
        base = self.rotary_base
        if not isinstance(base, int | float) or isinstance(base, bool) or not 1 <= base <= 1e12:
            raise ConfigError(f"The config's rotary_base must be a number from 1 on, not {base!r}.")
        if self.time_conditioning and not self.cond_width:
            raise ConfigError("The config asks for time conditioning but has no cond_width.")

    @classmethod
    def of(cls, values: dict[str, Any]) -> ModelConfig:
        """The config in a JSON object; ConfigError for a field that is missing or not understood."""
        names = {f.name for f in fields(cls)}
        if unknown := sorted(set(values) - names):
            raise ConfigError(f"The config has a field {unknown[0]!r} that this version does not understand; update Lacuna.")
        try:
            return cls(**values)
        except TypeError as error:
            raise ConfigError(f"The config is incomplete: {error}.") from error

    def as_dict(self) -> dict[str, Any]:
        """The config as a JSON object."""
        return asdict(self)


class Norm(nn.Module):
    """RMSNorm or LayerNorm without bias."""

    def __init__(self, width: int, kind: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., width)."""
        if self.kind == "rms":
            return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), NORM_EPS)
        return F.layer_norm(x, (x.shape[-1],), self.weight.to(x.dtype), None, NORM_EPS)


@dataclass(slots=True)
class First:
    """What later blocks may look back at."""

    embeddings: Tensor
    """(B, L, width)."""
    values: Tensor | None = None
    """(B, heads, L, head_width), of the first block's attention."""


def attended(
    q: Tensor, k: Tensor, v: Tensor, attend: Tensor | None, recall: Recall | None, asked: Tensor | None, *, causal: bool
) -> Tensor:
    """What places, or those `asked` for, take from all others, (B, n, width), of (B, heads, L, head_width) queries, keys and values; the
    keys and values kept before are `recall`'s.
    """
    length = q.shape[2]
    if asked is not None:
        q = taken(q, asked[:, None])
        attend = attend if attend is None or attend.shape[2] == 1 else taken(attend, asked[:, None])
    if recall is not None:
        k, v = recall(k, v)
    # A single new token sees every key there is; several behind a cache come with a mask of their own.
    mixed = attention(q, k, v, attend, causal=causal and attend is None and k.shape[2] == length)
    return mixed.transpose(1, 2).flatten(2)


class Block(nn.Module):
    """Attention and MLP, each behind a norm and, in a conditioned network, an adaptive scale, shift and gate."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, hidden = config.width, config.mlp_ratio * config.width
        self.heads, self.qk_norm, self.activation, self.causal = config.heads, config.qk_norm, config.activation, config.causal
        self.norm1, self.norm2 = Norm(width, config.norm), Norm(width, config.norm)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, (2 if config.activation == "swiglu" else 1) * hidden, bias=config.biases)
        self.down = nn.Linear(hidden, width, bias=config.biases)
        self.condition = nn.Linear(config.cond_width, 6 * width) if config.cond_width else None
        self.value_mix = nn.Parameter(torch.tensor([1.0, 0.0])) if config.value_residual else None
        self.input_mix = nn.Parameter(torch.tensor([1.0, 0.0])) if config.embedding_residual else None

    def forward(
        self,
        x: Tensor,
        turn: tuple[Tensor, Tensor],
        attend: Tensor | None,
        c: Tensor | None,
        recall: Recall | None = None,
        first: First | None = None,
        asked: Tensor | None = None,
    ) -> Tensor:
        """(B, L, width) -> (B, L, width); `attend` bool, as wide as (B, 1, L, keys) when spread; `c` (B, cond_width).

        `asked` (B, n): the only places that are wanted, (B, n, width); every place is still attended to.
        """
        if self.input_mix is not None and first is not None:
            mix = self.input_mix.to(x.dtype)
            x = mix[0] * x + mix[1] * first.embeddings
        kept = x if asked is None else taken(x, asked)
        if self.condition is None or c is None:
            x = kept + self.attention(self.norm1(x), turn, attend, recall, first, asked)
            return x + self.mlp(self.norm2(x))
        shift1, scale1, gate1, shift2, scale2, gate2 = self.condition(c)[:, None].chunk(6, dim=-1)
        x = kept + gate1 * self.attention(self.norm1(x) * (1 + scale1) + shift1, turn, attend, recall, first, asked)
        return x + gate2 * self.mlp(self.norm2(x) * (1 + scale2) + shift2)

    def attention(
        self,
        x: Tensor,
        turn: tuple[Tensor, Tensor],
        attend: Tensor | None,
        recall: Recall | None = None,
        first: First | None = None,
        asked: Tensor | None = None,
    ) -> Tensor:
        """Every position, or those asked for, to every other or, in a causal network, to itself and the earlier ones."""
        batch, length, width = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads)
        qk, v = qkv[:, :, :2], qkv[:, :, 2].transpose(1, 2)
        if self.qk_norm:
            qk = F.rms_norm(qk, qk.shape[-1:])
        cos, sin = turn
        # Autocast leaves what is turned in float32, and the fast kernels want one dtype.
        qk = rotate(qk, cos[..., None, None, :], sin[..., None, None, :]).to(v.dtype)
        q, k = qk[:, :, 0].transpose(1, 2), qk[:, :, 1].transpose(1, 2)
        if self.value_mix is not None and first is not None:
            first.values = v if first.values is None else first.values
            mix = self.value_mix.to(v.dtype)
            v = mix[0] * v + mix[1] * first.values
        out: Tensor = self.out(attended(q, k, v, attend, recall, asked, causal=self.causal))
        return out

    def mlp(self, x: Tensor) -> Tensor:
        """The position-wise half of the block."""
        hidden = self.up(x)
        if self.activation == "swiglu":
            gate, hidden = hidden.chunk(2, dim=-1)
            hidden = F.silu(gate) * hidden
        else:
            hidden = F.relu(hidden).square() if self.activation == "relu2" else F.gelu(hidden, approximate="tanh")
        out: Tensor = self.down(hidden)
        return out


class NoiseLevel(nn.Module):
    """sigma (B,) -> (B, cond_width): 256 cosines and sines of sigma itself, then a two-layer MLP (MDLM)."""

    FREQUENCIES = 128

    def __init__(self, cond_width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(2 * self.FREQUENCIES, cond_width)
        self.outer = nn.Linear(cond_width, cond_width)

    def forward(self, sigma: Tensor) -> Tensor:
        """Embed noise levels."""
        steps = torch.arange(self.FREQUENCIES, device=sigma.device, dtype=torch.float32) / self.FREQUENCIES
        angles = sigma.float()[:, None] * torch.exp(-math.log(10000.0) * steps)
        waves = torch.cat((angles.cos(), angles.sin()), dim=-1).to(self.inner.weight.dtype)
        return F.silu(self.outer(F.silu(self.inner(waves))))


class DiT(nn.Module):
    """The denoiser: token ids in, logits over the vocabulary out."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        self.ngrams = Ngrams(config.ngram_rows, config.width, config.vocab_size, causal=config.causal) if config.ngram_rows else None
        self.noise_level = NoiseLevel(config.cond_width) if config.cond_width else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = Norm(config.width, config.norm)
        self.condition = nn.Linear(config.cond_width, 2 * config.width) if config.cond_width else None
        self.head = nn.Linear(config.width, config.vocab_size, bias=config.biases)
        if config.tied:
            self.head.weight = self.embedding.weight
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        """Initialise: every branch starts as zero, so that each block starts as the identity."""
        nn.init.normal_(self.embedding.weight, std=0.02)
        if self.ngrams is not None:
            nn.init.zeros_(self.ngrams.table.weight)
        for block in self.blocks:
            assert isinstance(block, Block)
            nn.init.zeros_(block.out.weight)
            nn.init.zeros_(block.down.weight)
            if block.condition is not None:
                nn.init.zeros_(block.condition.weight)
                nn.init.zeros_(block.condition.bias)
                # Gates of one, so that the zeroed outputs can learn.
                block.condition.bias.view(6, -1)[[2, 5]] = 1.0
        if self.condition is not None:
            nn.init.zeros_(self.condition.weight)
            nn.init.zeros_(self.condition.bias)
        if not self.config.tied:
            nn.init.zeros_(self.head.weight)

    def forward(
        self,
        ids: Tensor,
        where: Tensor,
        sigma: Tensor | None = None,
        attend: Tensor | None = None,
        cache: KVCache | None = None,
        context: ContextCache | None = None,
    ) -> Tensor:
        """Raw logits (N, V) at flat positions `where` (N,) of ids (B, L), row-major; the rest as for `states`."""
        logits: Tensor = self.head(self.states(ids, sigma, attend, cache, where, context))
        return logits

    def states(
        self,
        ids: Tensor,
        sigma: Tensor | None = None,
        attend: Tensor | None = None,
        cache: KVCache | None = None,
        where: Tensor | None = None,
        context: ContextCache | None = None,
    ) -> Tensor:
        """What the head reads, (B, L, width), of ids (B, L); or (N, width), at flat positions `where` (N,), row-major.

        The last block computes the keys and values of every place, the rest for the places in `where` alone, if these are few.
        `sigma` (B,) is the noise level, used by a time-conditioned network (None there: sigma 0).
        `attend` (B, L) bool, False where there is only padding; or (B, L, L), where row i says what position i may see.
        `cache` holds what came before `ids` in a causal network, and then `ids` too; it knows of no padding.
        `context` holds what a network that is not causal made of other places: where it names places, only those are computed,
        and `where` is among them.
        """
        config = self.config
        places = context.places if context is not None else None
        x = self.embedding(ids if places is None else ids.gather(1, places))
        if config.embed_norm:
            x = F.rms_norm(x, x.shape[-1:])
        if self.ngrams is not None:
            x = x + self.ngrams(ids, attend, cache.take(ids) if cache else None, places)
        c = None
        if self.noise_level is not None:
            if sigma is None or not config.time_conditioning:
                sigma = torch.zeros(len(ids), device=ids.device)
            c = self.noise_level(sigma)
        past, length = cache.used if cache else 0, ids.shape[1]
        cos, sin = rotary(past + length, config.width // config.heads, config.rotary_base, x.device, x.dtype)
        seen = None if attend is None else attend[:, None, None, :] if attend.dim() == 2 else attend[:, None]
        if config.causal and length > 1 and (seen is not None or past):
            earlier = torch.ones(length, past + length, dtype=torch.bool, device=ids.device).tril(past)
            seen = earlier if seen is None else seen & earlier
        asked, kept, turn = None, where, (cos[past:], sin[past:])
        if context is not None and places is not None:
            kept, turn = context.among(where), (cos[places], sin[places])
        elif where is not None and not config.causal and (few := by_row(where, *ids.shape)) is not None:
            asked, kept = few
        first = First(x) if config.value_residual or config.embedding_residual else None
        memory = cache or context
        for layer, block in enumerate(self.blocks):
            last = layer == config.depth - 1
            x = block(x, turn, seen, c, partial(memory.extend, layer) if memory else None, first, asked if last else None)
        if cache:
            cache.used = past + length
        x = self.norm(x)
        if self.condition is not None:
            assert c is not None
            shift, scale = self.condition(c)[:, None].chunk(2, dim=-1)
            x = x * (1 + scale) + shift
        return x if kept is None else x.flatten(0, 1)[kept]
