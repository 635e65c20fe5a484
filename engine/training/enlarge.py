"""A larger network made of a smaller one: it begins with what the smaller one has learned."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from engine.model import DiT, ModelConfig
from engine.tokenizer import Tokenizer


def enlarged(model: DiT, config: ModelConfig) -> DiT:
    """The model with the blocks and parts that a config has besides; at first it computes what it did without them.

    A denoiser goes on as a twin and a twin as a denoiser with the same weights: what one has learned is worth much to the other
    (arXiv 2507.00994 finds so for encoders; docs/DECISIONS.md, Training, says what it gave here).
    """
    if config == model.config:
        return model
    larger = DiT(config)
    larger.load_state_dict(model.state_dict(), strict=False)
    last = larger.blocks[model.config.depth - 1].state_dict()
    for block in larger.blocks[model.config.depth :]:
        # It reads as the last block does and writes nothing yet, so that it has something to learn from at once.
        nothing = {name: torch.zeros_like(last[name]) for name in ("out.weight", "down.weight")}
        unmixed = {"input_mix": torch.tensor([1.0, 0.0])} if "input_mix" in last else {}
        block.load_state_dict(last | nothing | unmixed)
    return larger


def with_vocabulary(model: DiT, smaller: Tokenizer, larger: Tokenizer) -> DiT:
    """The model with a row for each piece that the larger tokenizer adds: the mean of the rows of the pieces that it was made of.

    What it knows of the other pieces is untouched; a text is cut into fewer tokens than before, which it has to learn.
    """
    config = replace(model.config, vocab_size=larger.vocab_size)
    wider = DiT(config)
    parts = [smaller.encode(larger.decode([i])) for i in range(smaller.vocab_size, larger.vocab_size)]

    def widened(rows: Tensor) -> Tensor:
        return torch.cat((rows, torch.stack([rows[ids].mean(0) for ids in parts])))

    wider.load_state_dict(
        {
            name: widened(tensor) if name.partition(".")[0] in ("embedding", "head") else tensor
            for name, tensor in model.state_dict().items()
        }
    )
    return wider
