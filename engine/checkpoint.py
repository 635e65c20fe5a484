"""Checkpoints: safetensors, config.json and a SentencePiece model in a folder, written whole and read with suspicion."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from engine.hub.families import LACUNA
from engine.hub.installed import CONFIG, WEIGHTS
from engine.length_head import LengthHead, LengthHeadConfig
from engine.lexicon import Lexicon
from engine.model import ConfigError, DiT, ModelConfig
from engine.reveal_order import RevealOrder
from engine.settings import Settings, SettingsError
from engine.tokenizer import Tokenizer, TokenizerError

TOKENIZER, LENGTHS, WORDS = "tokenizer.model", "lengths.safetensors", "words.txt.xz"
_FIELDS = {"format", "name", "model", "sha256", "length_bias", "lengths", "trained", "stored", "schedule", "reveal_order", "settings"}
_SCALE = ".scale"
STORED = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.int8}
"""The numbers that weights can be kept in."""


class CheckpointError(ValueError):
    """A model folder cannot be used; the message is one sentence."""


@dataclass
class Checkpoint:
    """A network with its tokenizer and what else config.json holds."""

    model: DiT
    tokenizer: Tokenizer
    name: str
    length_bias: dict[str, float] | None = None
    """Fitted by engine.lengths: the first step's mean confidence by gap length in tokens, whatever the context."""
    trained: dict[str, Any] = field(default_factory=dict)
    """What the weights saw: tokens, rows of how many tokens, the recipe. For who reports them or takes their mean; no fill
    depends on it."""
    lengths: LengthHead | None = None
    """Trained on these weights by engine.training.length_head."""
    schedule: tuple[float, ...] | None = None
    """Fitted to these weights' losses by engine.training.schedule: the times of engine.schedules.Learned."""
    reveal_order: RevealOrder | None = None
    """Trained on these weights' fills by engine.training.reveal_order."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What was measured to be best for this model, where it isn't the usual: fields of engine.Settings."""
    lexicon: Lexicon | None = None
    """The words that its texts hold; None: not told."""


def save(checkpoint: Checkpoint, folder: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """Write weights, tokenizer and config.json, then the length head and the words where there are any; each appears whole or not at all.

    dtype: of the stored weights. int8 keeps each row of a matrix as whole numbers of a 127th of its largest, the scales in float32,
    and vectors in bfloat16.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {n: p.detach().cpu() for n, p in checkpoint.model.state_dict().items()}
    if checkpoint.model.config.tied:
        del tensors["head.weight"]
    if dtype == torch.int8:
        tensors = {n: t for name, tensor in tensors.items() for n, t in _quantised(name, tensor.float()).items()}
    else:
        tensors = {n: t.to(dtype).contiguous() for n, t in tensors.items()}
    _write_tensors(folder / WEIGHTS, tensors)
    written(folder / TOKENIZER, lambda path: path.write_bytes(checkpoint.tokenizer.proto))
    config = {
        "format": LACUNA,
        "name": checkpoint.name,
        "model": checkpoint.model.config.as_dict(),
        "length_bias": checkpoint.length_bias,
        "schedule": checkpoint.schedule,
        "reveal_order": checkpoint.reveal_order and checkpoint.reveal_order.numbers,
        "settings": checkpoint.settings,
        "trained": checkpoint.trained,
        "stored": next(name for name, kind in STORED.items() if kind == dtype),
        "sha256": {name: _digest(folder / name) for name in (WEIGHTS, TOKENIZER)},
    }
    _write_config(folder, config)
    (folder / LENGTHS).unlink(missing_ok=True)  # of weights that were here before
    if checkpoint.lengths is not None:
        set_length_head(folder, checkpoint.lengths)
    (folder / WORDS).unlink(missing_ok=True)
    if checkpoint.lexicon is not None:
        set_lexicon(folder, checkpoint.lexicon)


def set_length_bias(folder: Path, length_bias: dict[str, float]) -> None:
    """Put what engine.lengths fitted to a finished model into its config.json; the weights stay as they are."""
    _write_config(folder, _read_config(folder) | {"length_bias": length_bias})


def set_schedule(folder: Path, times: Sequence[float]) -> None:
    """Put a learned schedule, fitted to a finished model, into its config.json."""
    _write_config(folder, _read_config(folder) | {"schedule": list(times)})


def set_reveal_order(folder: Path, order: RevealOrder) -> None:
    """Put a reveal order that was trained on a finished model into its config.json."""
    _write_config(folder, _read_config(folder) | {"reveal_order": list(order.numbers)})


def set_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Put the settings that are best for a finished model into its config.json; SettingsError for what are none."""
    Settings.of(settings)
    _write_config(folder, _read_config(folder) | {"settings": settings})


def set_length_head(folder: Path, head: LengthHead) -> None:
    """Put a length head that was trained on a finished model beside its weights, which stay as they are."""
    config = _read_config(folder)
    tensors = {n: p.detach().to("cpu", torch.bfloat16).contiguous() for n, p in head.state_dict().items()}
    _write_tensors(folder / LENGTHS, tensors)
    sha256 = config["sha256"] | {LENGTHS: _digest(folder / LENGTHS)}
    _write_config(folder, config | {"lengths": head.config.as_dict(), "sha256": sha256})


def set_lexicon(folder: Path, lexicon: Lexicon) -> None:
    """Put the words of its texts beside a finished model."""
    config = _read_config(folder)
    written(folder / WORDS, lexicon.save)
    _write_config(folder, config | {"sha256": config["sha256"] | {WORDS: _digest(folder / WORDS)}})


def load(folder: Path, *, causal: bool | None = False) -> Checkpoint:
    """Read a folder that `save` wrote, weights in float32 on the CPU; CheckpointError for anything that is not whole and ours.

    `causal`: whether an autoregressive twin is asked for; the other kind of model is refused, unless it is None.
    """
    config = _read_config(folder)
    try:
        shape = ModelConfig.of(config["model"])
        if causal is not None and shape.causal != causal:
            raise CheckpointError(
                f"The model in {folder.name} fills gaps and is no autoregressive twin; name a folder that train --causal wrote."
                if causal
                else f"The model in {folder.name} is an autoregressive twin: it judges texts and can't fill gaps; choose another one."
            )
        tokenizer = Tokenizer.load(folder / TOKENIZER)
    except (ConfigError, TokenizerError) as error:
        raise CheckpointError(str(error)) from error
    for name in (WEIGHTS, TOKENIZER, *([LENGTHS] if config.get("lengths") else []), *([WORDS] if WORDS in config["sha256"] else [])):
        if not (folder / name).is_file():
            raise CheckpointError(f"The model folder {folder.name} has no {name}; copy it again.")
        if _digest(folder / name) != config["sha256"].get(name):
            raise CheckpointError(
                f"{name} in {folder.name} is not the file that config.json describes (truncated or changed); copy it again."
            )
    if tokenizer.vocab_size != shape.vocab_size:
        raise CheckpointError(
            f"The tokenizer has {tokenizer.vocab_size} pieces, the network {shape.vocab_size}; they do not belong together."
        )
    with torch.device("meta"):
        model = DiT(shape)
    tensors = tensors_of(folder / WEIGHTS)
    fit(model, _whole(tensors) if config.get("stored") == "int8" else tensors)
    head = _length_head(folder, config["lengths"], model) if config.get("lengths") else None
    return Checkpoint(
        model,
        tokenizer,
        config["name"],
        config.get("length_bias"),
        config.get("trained") or {},
        head,
        _schedule(folder, config),
        _reveal_order(folder, config),
        _settings(folder, config),
        _lexicon(folder) if WORDS in config["sha256"] else None,
    )


def _schedule(folder: Path, config: dict[str, Any]) -> tuple[float, ...] | None:
    times = config.get("schedule")
    if times is None:
        return None
    numbers = isinstance(times, list) and 2 <= len(times) <= 1025 and all(isinstance(t, float | int) for t in times)
    if not numbers or (times[0], times[-1]) != (0, 1) or any(b <= a for a, b in pairwise(times)):
        raise CheckpointError(f"The schedule in {folder.name} does not rise from 0 to 1; copy the model folder again.")
    return tuple(map(float, times))


def _reveal_order(folder: Path, config: dict[str, Any]) -> RevealOrder | None:
    values = config.get("reveal_order")
    if values is None:
        return None
    try:
        return RevealOrder.of(values)
    except ValueError as error:
        raise CheckpointError(f"The reveal order in {folder.name} is damaged; train it again or copy the model folder again.") from error


def _settings(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    values = config.get("settings") or {}
    try:
        Settings.of(values if isinstance(values, dict) else {str(values): None})
    except SettingsError as error:
        raise CheckpointError(f"The settings in {folder.name} can't be used; take them out of {CONFIG}: {error}") from error
    return dict(values)


def _lexicon(folder: Path) -> Lexicon:
    try:
        return Lexicon.load(folder / WORDS)
    except ValueError as error:
        raise CheckpointError(f"The list of words in {folder.name} can't be used; copy the model folder again: {error}") from error


def _length_head(folder: Path, values: Any, net: DiT) -> LengthHead:
    try:
        head = LengthHead(LengthHeadConfig.of(values, net))
        head.load_state_dict({n: t.float() for n, t in tensors_of(folder / LENGTHS).items()})
    except ConfigError as error:
        raise CheckpointError(str(error)) from error
    except RuntimeError as error:  # names or shapes that do not match
        raise CheckpointError(f"{LENGTHS} in {folder.name} is not the length head that config.json describes; copy it again.") from error
    return head


def tensors_of(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file; CheckpointError when it is missing or damaged."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path.name} in {path.parent.name} is missing or damaged; copy the model folder again.") from error


def _quantised(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """A matrix as int8 with a scale a row; anything else as bfloat16."""
    if tensor.dim() != 2:
        return {name: tensor.to(torch.bfloat16)}
    scale = tensor.abs().amax(dim=1).clamp_min(1e-12) / 127
    return {name: (tensor / scale[:, None]).round().to(torch.int8), name + _SCALE: scale}


def _whole(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors that were stored with scales, in float32, and the others as they are."""
    scales = {name: tensors[name + _SCALE] for name in tensors if name + _SCALE in tensors}
    if any(tensors[name].dim() != 2 or scale.shape != tensors[name].shape[:1] for name, scale in scales.items()):
        raise CheckpointError("A matrix and its scales do not fit together; copy the model folder again.")
    whole = {name: tensors[name].float() * scale.float()[:, None] for name, scale in scales.items()}
    return {name: tensor for name, tensor in tensors.items() if name.removesuffix(_SCALE) not in scales} | whole


def fit(model: DiT, tensors: dict[str, torch.Tensor]) -> None:
    """Give a network (on the meta device) its tensors, in float32; CheckpointError when names or shapes do not match."""
    if model.config.tied:
        tensors = {**tensors, "head.weight": tensors.get("head.weight", tensors.get("embedding.weight", torch.empty(0)))}
    wanted = {name: tuple(p.shape) for name, p in model.state_dict().items()}
    if missing := sorted(wanted.keys() - tensors.keys()):
        raise CheckpointError(f"The weights lack the tensor {missing[0]!r}; they belong to another network.")
    if extra := sorted(tensors.keys() - wanted.keys()):
        raise CheckpointError(f"The weights hold a tensor {extra[0]!r} that the network does not have; they belong to another one.")
    for name, shape in wanted.items():
        if tuple(tensors[name].shape) != shape:
            raise CheckpointError(f"The tensor {name!r} has shape {tuple(tensors[name].shape)}, the config asks for {shape}.")
    # Copies: a file that is mapped can't be replaced on Windows.
    model.load_state_dict({n: t.to(torch.float32, copy=True) for n, t in tensors.items()}, assign=True)
    if model.config.tied:
        model.head.weight = model.embedding.weight


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"There is no model in {folder}: it has no readable {CONFIG}.") from error
    except ValueError as error:
        raise CheckpointError(f"{CONFIG} in {folder.name} is not JSON; copy the model folder again.") from error
    if not isinstance(config, dict) or config.get("format") != LACUNA:
        raise CheckpointError(f"{CONFIG} in {folder.name} is not of the format {LACUNA}; this is not a Lacuna model.")
    if unknown := sorted(set(config) - _FIELDS):
        raise CheckpointError(f"{CONFIG} has a field {unknown[0]!r} that this version does not understand; update Lacuna.")
    bias = config.get("length_bias")
    well_formed = (
        isinstance(config.get("model"), dict)
        and isinstance(config.get("sha256"), dict)
        and isinstance(config.get("name"), str)
        and config.get("stored", "bfloat16") in STORED
        and (bias is None or (isinstance(bias, dict) and all(k.isdecimal() and isinstance(v, float) for k, v in bias.items())))
    )
    if not well_formed:
        raise CheckpointError(f"{CONFIG} in {folder.name} is incomplete; copy the model folder again.")
    return config


def _write_config(folder: Path, config: dict[str, Any]) -> None:
    written(folder / CONFIG, lambda path: path.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8"))


def _digest(path: Path) -> str:
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path.name} in {path.parent.name} cannot be read; copy the model folder again.") from error


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file; OSError, as other files raise it, where that can't be done."""
    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:
        raise OSError(None, str(error), str(path)) from error


def _write_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    written(path, lambda partial: write_tensors(partial, tensors, {"format": "pt"}))


def written(path: Path, write: Callable[[Path], object]) -> None:
    """Let something write a file, which appears whole or not at all."""
    partial = path.with_name(path.name + ".part")
    partial.unlink(missing_ok=True)
    partial.touch()
    mode = partial.stat().st_mode
    write(partial)
    with suppress(OSError):  # safetensors writes what only its owner may read; some disks know no modes
        partial.chmod(stat.S_IMODE(mode))
    os.replace(partial, path)
