"""SEDD, score entropy (louaaron/Score-Entropy-Discrete-Diffusion, arXiv 2310.16834) with the absorbing graph: MDLM's network, always
told the noise level, whose outputs are log-scores.

The score of token v at a masked position is p_t(x with v there) / p_t(x). With the absorbing graph this is p(x_0 = v | x_t) / expm1(sigma),
so the scores are, once normalised, the distribution that every sampler here draws from.
"""

from __future__ import annotations

import math
from copy import copy

import torch
from torch import Tensor

from engine.backends.dit import DiTDenoiser
from engine.backends.folder import Folder, LoadError, Placement
from engine.backends.mdlm import dit, speech
from engine.model import DEEPEST


class SEDD(DiTDenoiser):
    """Documents in the training rows were parted by <|endoftext|>; the rows had no ends of their own (as DiTDenoiser.frame has it)."""

    scaled: bool = True
    """Whether the network's output is divided by (V - 1) expm1(sigma) to make a score."""

    @torch.inference_mode()
    def logits(self, ids: Tensor, positions: Tensor, *, t: Tensor | None = None, attend: Tensor | None = None) -> Tensor:
        """(B, L) ids, (B, L) bool positions -> (N, V) float32 log-scores, on the device of `ids`; 0 for the token that is there.

        The published network's own output at sigma = -log(1 - (1 - 1e-3) t). Normalised without the mask's, a masked row is p(x_0 | x_t);
        times expm1(sigma) its exponentials add up to about 1 already, when the network is well trained.
        """
        sigma = self.noise_level(ids, t, attend)
        rows = self.network_rows(ids, positions, sigma, attend)
        if self.scaled:
            # expm1(0) has no logarithm; nothing is masked there.
            level = torch.expm1(sigma.clamp_min(1e-6)).log() + math.log(self.vocab_size - 1)
            rows = rows - level.repeat_interleave(positions.sum(-1).to(self.device))[:, None]
        return rows.to(ids.device).scatter(-1, ids[positions][:, None], 0.0)


def load(folder: Folder, placement: Placement) -> SEDD:
    """A folder in SEDD's hub layout, whose config.json has no model_type; LoadError with a sentence otherwise."""
    tokens = folder.integer("tokens")
    graph, shape = _part(folder, "graph"), _part(folder, "model")
    graph.only("type", "absorb")
    network = dit(
        folder,
        placement,
        vocab_size=tokens + 1,
        width=shape.integer("hidden_size"),
        depth=shape.integer("n_blocks", most=DEEPEST),
        heads=shape.integer("n_heads"),
        max_length=shape.integer("length"),
        cond_width=shape.integer("cond_dim"),
        time_conditioning=True,
    )
    model = SEDD(network, **speech(folder, network))
    model.scaled = shape.flag("scale_by_sigma")
    return model


def _part(folder: Folder, name: str) -> Folder:
    """The folder as if one object of its config were all of it."""
    held = folder.config.get(name)
    if not isinstance(held, dict):
        raise LoadError(f"The config of {folder.name} has no object {name!r}; this is not a whole SEDD checkpoint.")
    part = copy(folder)
    part.config = held
    return part
