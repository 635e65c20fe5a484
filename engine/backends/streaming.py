"""Weights on their way into a network: one tensor at a time, straight to the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from engine.backends import layers, quantised
from engine.backends.room import check_room, one_sentence
from engine.backends.shards import Entry, LoadError, Reader, in_order, reader


def fill(
    model: nn.Module,
    tensors: Mapping[str, Entry],
    rename: Callable[[str], str | None],
    device: torch.device,
    dtype: torch.dtype,
    bits: int,
    name: str,
) -> None:
    """Give a network on the meta device its weights and leave it frozen in eval mode. `bits`: 8 or 4 quantise its matrices, 0 doesn't.

    Floating-point tensors become `dtype`, others stay what the network wants. The network never is in memory twice: a tensor is read in
    pieces into its final place. LoadError when names, shapes or kinds of numbers don't match.
    """
    slots = _slots(model)
    chosen: dict[str, Entry] = {}
    for theirs, entry in tensors.items():
        ours = rename(theirs)
        if ours is None:
            continue
        if ours not in slots:
            raise LoadError(
                f"The weights of {name} hold a tensor {theirs[:80]!r} that the network does not have; they belong to another one."
            )
        if ours in chosen:
            raise LoadError(f"The weights of {name} hold {ours!r} twice; they belong to another network.")
        if entry.shape != (wanted := tuple(slots[ours].shape)):
            raise LoadError(f"The tensor {theirs[:80]!r} of {name} has shape {entry.shape}, the config asks for {wanted}.")
        if entry.dtype.is_floating_point != slots[ours].is_floating_point():
            raise LoadError(
                f"The tensor {theirs[:80]!r} of {name} is of the kind {entry.dtype}, not {slots[ours].dtype}: get plain weights."
            )
        chosen[ours] = entry
    met = {id(slots[ours]) for ours in chosen}
    if missing := sorted(ours for ours, slot in slots.items() if id(slot) not in met):
        raise LoadError(f"The weights of {name} lack the tensor {missing[0]!r}; they belong to another network.")
    tied = layers.tied(slots.values())
    needs, asked = _needs(model, slots, tied, dtype), f"int{bits}" if bits else _name(dtype)
    check_room(name, needs, asked, device)
    with one_sentence(name, needs, asked, device), reader() as read, torch.no_grad():
        made = quantised.replace(model, bits, tied, device, dtype) if bits else {}
        done: set[int] = set()
        for ours, entry in in_order(chosen.items()):
            slot = slots[ours]
            if id(slot) in done:  # a tied parameter that was published under both of its names
                continue
            done.add(id(slot))
            if ours in made:
                _quantise(made[ours], entry, read, device, dtype)
                continue
            tensor = torch.empty(entry.shape, dtype=dtype if slot.is_floating_point() else slot.dtype, device=device)
            read.read(entry, tensor)
            value = nn.Parameter(tensor, requires_grad=False) if isinstance(slot, nn.Parameter) else tensor
            for twin in (other for other, held in slots.items() if held is slot):
                _put(model, twin, value)
    for module in model.modules():
        for key, buffer in module._buffers.items():
            if buffer is not None and not buffer.is_meta:
                module._buffers[key] = buffer.to(device)
    model.eval().requires_grad_(False)


def _slots(model: nn.Module) -> dict[str, Tensor]:
    """What the network must be given: every name of every parameter and persistent buffer; tied names share one tensor."""

    def walk() -> Iterator[tuple[str, Tensor]]:
        yield from model.named_parameters(remove_duplicate=False)
        persistent = model.state_dict(keep_vars=True)
        yield from ((key, buffer) for key, buffer in model.named_buffers(remove_duplicate=False) if key in persistent)

    return dict(walk())


def _needs(model: nn.Module, slots: Mapping[str, Tensor], tied: set[int], dtype: torch.dtype) -> dict[str, int]:
    """Bytes that the network takes in memory, by dtype; those in fewer bits compute in `dtype`."""
    count = sum(slot.numel() for slot in {id(slot): slot for slot in slots.values()}.values())
    plain = {_name(kind): count * kind.itemsize for kind in (torch.float32, torch.bfloat16, torch.float16)}
    return plain | {f"int{bits}": quantised.needed(model, bits, tied, dtype) for bits in (8, 4)}


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _quantise(layer: quantised.QuantisedLinear, entry: Entry, read: Reader, device: torch.device, dtype: torch.dtype) -> None:
    """Read a matrix block by block into fewer bits: it never is in memory whole."""
    columns = layer.in_features
    for block in layer.blocks():
        rows = torch.empty(block.stop - block.start, columns, dtype=dtype, device=device)
        read.read(entry, rows, block.start * columns)
        layer.store(block, rows)


def _put(model: nn.Module, name: str, value: Tensor) -> None:
    path, _, leaf = name.rpartition(".")
    module = model.get_submodule(path)
    home = module._parameters if leaf in module._parameters else module._buffers
    home[leaf] = value  # type: ignore[assignment]
