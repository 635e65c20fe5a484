"""Weights on their way from a folder into a network: whole, in shards, tied, in other numbers, and never twice in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from engine import backends
from engine.backends import room
from engine.backends.folder import Folder, LoadError, Placement
from tests import folders

ROOT = Path(__file__).resolve().parent.parent
CPU = Placement(torch.device("cpu"), torch.float32)


def folder_of(path: Path, **tensors: torch.Tensor) -> Folder:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text("{}")
    save_file(tensors, path / "model.safetensors")
    return Folder(path)


def on_meta(network: Callable[[], Any]) -> Any:
    with torch.device("meta"):
        return network()


class Tied(nn.Module):
    """An embedding that is also the head, a bias, a counter and a buffer that isn't saved."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.head = nn.Linear(4, 7)
        self.head.weight = self.embedding.weight
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("angles", torch.arange(3.0, device="cpu"), persistent=False)


@pytest.mark.parametrize("shard_bytes", [None, 4000, 1])
def test_one_file_and_shards_give_the_same_network(tmp_path: Path, shard_bytes: int | None) -> None:
    whole = folders.load(folders.mdlm(tmp_path / "whole"), device="cpu", dtype="float32")
    parts = folders.load(folders.mdlm(tmp_path / "parts", shard_bytes=shard_bytes), device="cpu", dtype="float32")
    ids = torch.randint(0, 97, (2, 9))
    assert torch.equal(whole.logits(ids, ids < 30), parts.logits(ids, ids < 30))
    assert not any(p.is_meta or p.requires_grad for p in parts.network.parameters())


@pytest.mark.parametrize("names", [("embedding.weight",), ("head.weight",), ("embedding.weight", "head.weight")])
def test_tied_parameters_stay_one_whichever_name_is_published(tmp_path: Path, names: tuple[str, ...]) -> None:
    shared, steps = torch.randn(7, 4), torch.tensor(3)
    folder = folder_of(tmp_path, **{name: shared.clone() for name in names}, **{"head.bias": torch.zeros(7), "steps": steps})
    model = on_meta(Tied)
    folder.fill(model, lambda name: name, CPU)
    assert model.head.weight is model.embedding.weight and torch.equal(model.head.weight, shared)
    assert model.steps == 3 and torch.equal(model.angles, torch.arange(3.0)) and not model.training


def test_numbers_are_converted_and_pieces_join(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends.shards, "PIECE", 24)
    given = {"weight": torch.randn(11, 5, dtype=torch.float64), "bias": torch.randn(11).half()}
    model = on_meta(lambda: nn.Linear(5, 11))
    folder_of(tmp_path, **given).fill(model, lambda name: name, Placement(torch.device("cpu"), torch.bfloat16))
    assert torch.equal(model.weight, given["weight"].bfloat16()) and torch.equal(model.bias, given["bias"].bfloat16())


def test_a_tensor_without_numbers_and_a_scalar(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.none = nn.Parameter(torch.empty(0, 3))
            self.one = nn.Parameter(torch.empty(()))

    model = on_meta(Odd)
    folder_of(tmp_path, none=torch.empty(0, 3), one=torch.tensor(2.5)).fill(model, lambda name: name, CPU)
    assert model.none.shape == (0, 3) and model.one == 2.5


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"weight": torch.ones(2, 3)}, "lack the tensor 'bias'"),
        ({"weight": torch.ones(2, 3), "bias": torch.ones(2), "more": torch.ones(1)}, "hold a tensor 'more'"),
        ({"weight": torch.ones(3, 2), "bias": torch.ones(2)}, r"'weight' of \S+ has shape \(3, 2\), the config asks for \(2, 3\)"),
        ({"weight": torch.ones(2, 3, dtype=torch.int8), "bias": torch.ones(2)}, "int8, not torch.float32: get plain weights"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, tensors: dict[str, torch.Tensor], says: str) -> None:
    model = on_meta(lambda: nn.Linear(3, 2))
    with pytest.raises(LoadError, match=says):
        folder_of(tmp_path, **tensors).fill(model, lambda name: name, CPU)
    assert all(p.is_meta for p in model.parameters())


def test_two_tensors_for_one_place_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="twice"):
        folder_of(tmp_path, a=torch.ones(2, 3), b=torch.ones(2, 3)).fill(on_meta(lambda: nn.Linear(3, 2)), lambda _: "weight", CPU)


@pytest.mark.parametrize(
    ("free", "says"),
    [
        (10_000, "needs 2 MB of memory in float32 and 0 MB are free: close other programs, or try a smaller model."),
        (10**6, "needs 2 MB of memory in float32 and 1 MB are free: close other programs, or try dtype='bfloat16' (1 MB)."),
    ],
)
def test_too_little_memory_is_a_sentence_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, says: str
) -> None:
    folder = folders.mdlm(tmp_path / "small", vocab_size=5000, hidden_dim=40)
    monkeypatch.setattr(room, "free_memory", lambda device: free)
    with pytest.raises(LoadError) as refused:
        backends.load(folder, device="cpu", dtype="float32")
    assert str(refused.value) == f"small {says}"


def test_an_allocation_that_fails_is_a_sentence() -> None:
    needs = {"float32": 4 * 10**9, "bfloat16": 2 * 10**9}
    says = r"^It needs 4.0 GB of memory in float32 and not as much is free: .*dtype='bfloat16' \(2.0 GB\)"
    with pytest.raises(LoadError, match=says), room.one_sentence("It", needs, "float32", torch.device("cpu")):
        torch.empty(2**60, dtype=torch.uint8)
    with pytest.raises(RuntimeError, match="other"), room.one_sentence("It", {"float32": 1}, "float32", torch.device("cpu")):
        raise RuntimeError("other trouble")


def test_free_memory_heeds_the_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_CGROUP", tmp_path)
    host = room.free_memory(torch.device("cpu"))
    (tmp_path / "memory.max").write_text("5000000\n")
    (tmp_path / "memory.current").write_text("3000000\n")
    (tmp_path / "memory.stat").write_text("anon 1000000\nfile 500000\n")
    assert room.free_memory(torch.device("cpu")) == 2_500_000
    (tmp_path / "memory.max").write_text("max\n")
    assert host is None or (room.free_memory(torch.device("cpu")) or 0) > 2_500_000


PEAK = """
import sys, torch
from engine import backends

def status(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(field + ":"))

backends.load(sys.argv[2], device="cpu", dtype=sys.argv[1])  # what torch itself takes is not the checkpoint's
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # VmHWM begins anew
before = status("VmRSS")
model = backends.load(sys.argv[3], device="cpu", dtype=sys.argv[1])
grown = status("VmHWM") - before
ids = torch.full((1, 8), model.mask_id)
logits = model.logits(ids, ids == ids)
print(grown, sum(t.nbytes for t in [*model.network.parameters(), *model.network.buffers()]), bool(torch.isfinite(logits).all()))
"""
TINY: dict[str, Any] = {"d_model": 64, "mlp_hidden_size": 128, "n_heads": 2, "n_kv_heads": 2, "n_layers": 1}
TINY |= {"vocab_size": 100, "embedding_size": 128, "mask_token_id": 99}


def peak(tmp_path: Path, folder: Path, dtype: str) -> tuple[int, int]:
    """Bytes by which a process grew at most while it loaded a model (VmHWM: file pages count too), and bytes of what it loaded."""
    small = folders.llada(tmp_path / "small", **TINY)
    command = [sys.executable, "-c", PEAK, dtype, str(small), str(folder)]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}  # threads that wait for each other on a busy machine cost more than they bring
    done = subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    grown, held, finite = done.stdout.split()
    assert finite == "True"
    return int(grown), int(held)


if sys.platform == "linux":  # where a process can be asked for its peak, from a moment on

    def test_a_gigabyte_in_shards_takes_its_own_size(tmp_path: Path) -> None:
        folder = folders.llada(
            tmp_path / "big", shard_bytes=200_000_000, d_model=1536, mlp_hidden_size=4608, n_heads=12, n_kv_heads=12, n_layers=4
        )
        on_disk = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        assert on_disk > 1_000_000_000 and len(list(folder.glob("*.safetensors"))) > 3
        for dtype, least, most in (("bfloat16", 0.999, 1), ("int4", 0.5, 0.6)):
            grown, held = peak(tmp_path, folder, dtype)
            assert least * on_disk < held < most * on_disk
            assert 0.98 * held < grown < 1.15 * held, f"{dtype}: {grown / held:.3f} times the weights"

    @pytest.mark.long
    def test_the_8b_shape_takes_its_own_size(tmp_path: Path) -> None:
        """16 GB on disk, in the widest numbers that fit in memory."""
        free = room.free_memory(torch.device("cpu")) or 0
        dtype = next(dtype for dtype, least in (("bfloat16", 20e9), ("int8", 16e9), ("int4", 0)) if free > least)
        folder = folders.llada(tmp_path / "big", shard_bytes=2_000_000_000)
        assert sum(file.stat().st_size for file in folder.glob("*.safetensors")) > 16_000_000_000
        grown, held = peak(tmp_path, folder, dtype)
        assert 0.98 * held < grown < 1.15 * held, f"{dtype}: {grown / held:.3f} times the weights"


@pytest.mark.parametrize("shared", [False, True])
def test_index_and_files_are_read_from_a_hub_cache_through_its_links(tmp_path: Path, shared: bool) -> None:
    """The cache keeps a file among its model's blobs, which may in turn be a link to the blobs that several models share."""
    whole = folders.mdlm(tmp_path / "whole", shard_bytes=4000)
    snapshot = tmp_path / "models--a--b" / "snapshots" / ("0" * 40)
    (blobs := tmp_path / "models--a--b" / "blobs").mkdir(parents=True)
    (common := tmp_path / "blobs" / "ab").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted(whole.iterdir())):
        file.rename((common if shared else blobs) / str(number))
        if shared:
            (blobs / str(number)).symlink_to(Path("..", "..", "blobs", "ab", str(number)))
        (snapshot / file.name).symlink_to(Path("..", "..", "blobs", str(number)))
    assert backends.load(snapshot, device="cpu").vocab_size == 97


def test_the_numbers_on_disk_are_the_numbers_in_memory(tmp_path: Path) -> None:
    folder = folders.mdlm(tmp_path, shard_bytes=3000)
    where = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    model = folders.load(folder, device="cpu", dtype="float32").network
    name = "backbone.blocks.1.mlp.2.weight"
    assert torch.equal(model.blocks[1].down.weight, load_file(folder / where[name])[name])
