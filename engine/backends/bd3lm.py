"""BD3-LM, block diffusion (kuleshov-group/bd3lms, arXiv 2503.09573): MDLM's network under a block-causal mask.

p(x) is a product over blocks of `block_size` tokens, each denoised given the clean blocks to its left:

- A position sees its own block, masks included, and the blocks before it. It never sees a later block, so a gap's right
  context helps as far as its last block reaches, and no further.
- In training the blocks to the left are clean. So the blocks are to be filled from left to right; the rows of a block whose left
  neighbours still hold masks are a guess from masks that the network was not trained to read there.

The published code trains on [x_t ; x_0] at once. Where x_t and x_0 agree up to a block, which they do when blocks are filled in
order, that is the same as one pass over the canvas under the block-causal mask: half the cost, and what runs here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.backends.dit import DiTDenoiser
from engine.backends.folder import Folder, Placement
from engine.backends.mdlm import network_of, speech


class BD3LM(DiTDenoiser):
    """Documents in the training rows were parted by <|endoftext|>; the rows had no ends of their own (as DiTDenoiser.frame has it)."""

    block_size: int = 1
    """Tokens in a block; the first block begins with the canvas."""

    @torch.inference_mode()
    def logits(self, ids: Tensor, positions: Tensor, *, t: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
        """(B, L) ids, (B, L) bool positions -> (N, V) float32 raw logits, on the device of `ids`.

        A position is predicted from its block and the blocks before it; what comes after the last block asked for is not computed.
        `t` as for DiTDenoiser: the published networks are not time-conditioned and don't look at it.
        """
        sigma = self.noise_level(ids, t, attend) if self.time_conditioned else None
        block = torch.arange(ids.shape[1], device=ids.device) // self.block_size
        asked = positions.any(0)
        end = int((block <= block[asked].max()).sum()) if asked.any() else 1
        block = block[:end]
        sees = (block[:, None] >= block)[None]
        if attend is not None:
            sees = sees & (attend[:, None, :end] | torch.eye(end, dtype=torch.bool, device=ids.device))
        return self.network_rows(ids[:, :end], positions[:, :end], sigma, sees).to(ids.device)


def load(folder: Folder, placement: Placement) -> BD3LM:
    """A folder of model_type bd3lm; LoadError with a sentence otherwise."""
    for field, value in (("causal", False), ("cross_attn", True), ("adaln", True)):
        folder.only(field, value)
    network = network_of(folder, placement, time_conditioning=folder.flag("time_conditioning", False))
    model = BD3LM(network, **speech(folder, network))
    model.block_size = folder.integer("block_size")
    return model
