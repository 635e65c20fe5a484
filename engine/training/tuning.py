"""Fine-tuning on a writer's own texts: defaults by the amount of text, a part held out, the loss before and after."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch

from engine.backends.dit import DiTDenoiser
from engine.checkpoint import Checkpoint
from engine.forward import low_variance_t, nelbo
from engine.tokenizer import Tokenizer
from engine.training.corpus import CorpusError
from engine.training.mean import mean
from engine.training.rows import Rows
from engine.training.twin import Twin

LEAST_TOKENS = 200
"""Fewer tokens teach nothing but themselves."""
STEPS_WORTH = 2_000_000
"""Tokens of training that a long text is given; a longer one is read once."""
EPOCHS = 16
"""How often a short text is read: masks differ each time, so a masked model gains from it where a causal one repeats by heart."""
BATCH_TOKENS = 2048
HELD_OUT_TOKENS = 8192
LOOKED_AT = 200_000
"""Tokens that are looked at for letters that the tokenizer lacks."""
FEW_BYTES, MOST_BYTES = 0.01, 0.3
"""Shares of tokens that are single bytes: what is told, and what can't be learned. A letter takes two to four of them."""
JUDGED_TOKENS = 8192
"""Tokens that are judged before and after, a short text several times over."""
CHOOSING_TOKENS = 4096
"""And while it is chosen how much of what was learned is kept."""
JUDGED_AT_ONCE = 2048
"""Tokens in a batch."""
SHARES = (1.0, 0.8, 0.6, 0.45, 0.3, 0.15)
"""How much of what was learned may be kept."""


def check(tokens: int) -> None:
    """CorpusError when there is too little text to learn from."""
    if tokens < LEAST_TOKENS:
        raise CorpusError(f"The texts hold {tokens} tokens, some {tokens * 3 // 4} words; a model needs a page or more: add text.")


def letters_it_lacks(rows: Rows, tokenizer: Tokenizer) -> str:
    """A sentence on letters of the texts that the tokenizer can only spell in bytes, which no fill ever holds; empty where they are few.

    CorpusError when that is much of the text: it is of another language than the model.
    """
    ids = np.concatenate([stream[: LOOKED_AT // len(rows.streams)] for stream in rows.streams])
    spelled = np.isin(ids, tokenizer.byte_ids)
    if (share := spelled.mean()) < FEW_BYTES:
        return ""
    found = Counter(char for char in tokenizer.decode(ids[spelled].tolist()) if char != "\ufffd")
    letters = " ".join(char for char, _ in found.most_common(8))
    if share > MOST_BYTES:
        raise CorpusError(
            f"The model's tokenizer has no pieces for most of these texts ({letters} …), so it could never write them: "
            "train a model of your own for this language, without --init."
        )
    return f"The model's tokenizer has no pieces for some letters of these texts, which it will never write: {letters}."


def budget(tokens: int, *, causal: bool) -> int:
    """Tokens of training for so many tokens of text."""
    epochs = EPOCHS // 4 if causal else EPOCHS
    return max(tokens, min(epochs * tokens, STEPS_WORTH))


def stages(tokens: int, longest: int) -> str:
    """Batches of some 2,000 tokens, half of them in short rows: drafts may be short. A row holds a tenth of the text at most."""
    long = min(longest, 2 ** max(4, int(math.log2(tokens / 10))))
    short = max(16, long // 4)
    return f"0:{max(1, BATCH_TOKENS // long)}x{long}+{max(1, BATCH_TOKENS // short)}x{short}"


def hold_out(rows: Rows, share: float) -> tuple[Rows, list[np.ndarray]]:
    """Rows without the ends of the texts, and these ends, of `share` of the tokens but no more than are needed."""
    share = min(share, HELD_OUT_TOKENS / max(1, rows.tokens))
    kept, held = [], []
    for stream in rows.streams:
        cut = len(stream) - int(share * len(stream))
        kept.append(stream[:cut])
        held.append(np.asarray(stream[cut:]))
    return rows.of(kept), [stream for stream in held if len(stream) > 1]


def halves(held: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Held-out streams to choose by, and others to tell by; all of them twice where they are too short to be parted."""
    cuts = [(stream[: len(stream) // 2], stream[len(stream) // 2 :]) for stream in held if len(stream) > 3]
    return ([first for first, _ in cuts], [second for _, second in cuts]) if cuts else (list(held), list(held))


def judge(model: Checkpoint, held: Sequence[np.ndarray], device: torch.device, tokens: int = JUDGED_TOKENS) -> float:
    """Nats a token of held-out streams: the NELBO, of so many `tokens` at least, or a twin's cost; the same masks each time."""
    net, tokenizer = model.model.to(device), model.tokenizer
    longest = net.config.max_length
    pieces = [torch.from_numpy(stream[i : i + longest].astype(np.int64)) for stream in held for i in range(0, len(stream), longest)]
    count = sum(map(len, pieces))
    if net.config.causal:
        twin = Twin(net, tokenizer, model.name)
        return float(sum(twin.nats(piece[None]).sum() for piece in pieces)) / count
    denoiser, passes = DiTDenoiser(net, tokenizer, name=model.name, mask_id=tokenizer.mask_id), max(1, tokens // count)
    generator = torch.Generator().manual_seed(0)
    times = low_variance_t(passes * len(pieces), shuffle=True, generator=generator).clamp_min(1e-3)
    by_length: dict[int, list[int]] = {}
    for number in range(len(times)):
        by_length.setdefault(len(pieces[number % len(pieces)]), []).append(number)
    nats = 0.0
    for length, numbers in by_length.items():
        rows = max(1, JUDGED_AT_ONCE // length)
        for some in (numbers[i : i + rows] for i in range(0, len(numbers), rows)):
            ids = torch.stack([pieces[number % len(pieces)] for number in some])
            nats += float(nelbo(denoiser, ids, t=times[some], generator=generator).per_sequence.sum())
    return nats / count / passes


def mixed(before: Checkpoint, after: Checkpoint, held: Sequence[np.ndarray], device: torch.device) -> tuple[float, Checkpoint]:
    """How much of what was learned held-out text likes best, of SHARES, and the mean of both models so weighted.

    A short text read many times teaches its own words by heart and more than it can know: between the weights before and after lie
    better ones than either (arXiv 2109.01903). Let another text tell how good they are than the one that they were chosen by.
    """
    nats = {share: judge(mean([after, before], [share, 1 - share]), held, device, CHOOSING_TOKENS) for share in SHARES}
    best = min(nats, key=lambda share: nats[share])
    return best, mean([after, before], [best, 1 - best])


def verdict(before: float | None, after: float, share: float = 1.0) -> str:
    """What the training did to the held-out text, for people. before: None for a new model; `share`: as of `mixed`."""
    if before is None:
        return f"Text of yours that was held out: {after:.3f} nats a token, perplexity {math.exp(after):.1f}."
    told = f"Text of yours that was held out: {before:.3f} nats a token before, {after:.3f} after"
    if after >= before:
        return f"{told}: no better, so there is too little text, or it was read too often; the model you began from is the better one."
    kept = f" Of what was learned {share:.0%} is kept, which another part of it likes best." if share < 1 else ""
    return f"{told}; perplexity {math.exp(before):.1f} became {math.exp(after):.1f}.{kept}"
