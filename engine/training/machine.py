"""What the machine that trains can do, and what a run asks of it: numbers, kernels, compiler, memory, matrix rate."""

from __future__ import annotations

import shutil
import sys
import time

import torch
import torch._inductor.config

from engine.backends.precision import computes_in_bf16
from engine.model import DiT, ModelConfig

MIB = 2**20
WITHOUT_FP16 = "cooperlake"
"""The x86 machine to compile for on one whose vectors do half precision: for it g++ 12 makes gradients of NaN (DECISIONS, Training)."""


def can_compile(device: torch.device) -> bool:
    """Whether torch.compile can work: on a CPU it needs a C++ compiler, which a writer's laptop may lack."""
    return device.type == "cuda" or (device.type == "cpu" and any(map(shutil.which, ("c++", "g++", "clang++", "cl"))))


def set_up(device: torch.device) -> None:
    """TF32 for what stays in float32 on a GPU; room for a compiled step of each shape; a step that cannot be compiled runs as it is."""
    torch.set_float32_matmul_precision("high")
    torch._dynamo.config.recompile_limit = 64
    torch._dynamo.config.suppress_errors = True
    if device.type == "cpu" and torch.cpu.get_capabilities().get("avx512_fp16"):
        compiler = torch._inductor.config.cpp
        if not hasattr(compiler, "march"):  # before torch 2.13: shorter vectors have no half precision either
            compiler.simdlen = compiler.simdlen or 256
        elif compiler.march is None:
            compiler.march = WITHOUT_FP16


def flops_per_token(config: ModelConfig, length: int, predicted: float) -> float:
    """Floating-point operations of a training step for each token of a row, three times those of the forward pass.

    predicted: the share of tokens whose logits are computed. Embeddings, norms and the optimiser are left out.
    """
    blocks = config.depth * (4 + (3 if config.activation == "swiglu" else 2) * config.mlp_ratio) * config.width**2
    attention = config.depth * 2 * length * config.width * (0.5 if config.causal else 1.0)
    return 6 * (blocks + attention + predicted * config.width * config.vocab_size)


def matrix_rate(device: torch.device) -> float:
    """FLOP/s of this machine's best matrix products, measured (0.1 s on a GPU, some tenths of a second on a CPU)."""
    size, repeats = (8192, 20) if device.type == "cuda" else (1024, 8)
    dtype = torch.bfloat16 if computes_in_bf16(device) else torch.float32
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    for _ in range(3):
        a @ b
    _wait(device)
    began = time.perf_counter()
    for _ in range(repeats):
        a @ b
    _wait(device)
    return 2 * size**3 * repeats / (time.perf_counter() - began)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def memory_estimate(model: DiT, tokens: int, length: int, predicted: int, device: torch.device) -> int:
    """Bytes that training takes at its peak, roughly: Python and torch, the weights with what the optimiser keeps, one batch.

    tokens: in a batch; length: of a row; predicted: the positions with logits. Compiled steps need somewhat less.
    """
    config = model.config
    width = 2 if computes_in_bf16(device) else 4
    blocks = sum(p.numel() for p in model.blocks.parameters())
    weights = sum(p.numel() for p in model.parameters())
    optimiser = 4 * (3 * weights + 2 * blocks + 2 * (weights - blocks))  # weights, average, gradients; momentum and a step; two moments
    scores = config.heads * length * 3 * width if device.type == "cpu" else 0
    row = config.depth * (config.width * (10 * 4 + (8 + 3 * config.mlp_ratio) * width) + scores)
    started = 450 * MIB if device.type == "cpu" else 0
    return started + optimiser + tokens * row + predicted * config.vocab_size * (4 + 4 + 2 * width)


def peak_memory(device: torch.device) -> int | None:
    """Bytes at most so far: of the GPU that torch took, else of this process; None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
