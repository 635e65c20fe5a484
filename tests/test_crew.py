"""The processes that train together: which device each has."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engine.training import crew


@pytest.mark.parametrize("asked", ["cuda", "auto", "cuda:0"])
def test_each_process_of_torchrun_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    told: dict[str, Any] = {}
    # There is no GPU here: what torch makes of a name where there is one, and what it is told.
    monkeypatch.setattr(crew, "pick_device", lambda name: torch.device("cuda") if name == "auto" else torch.device("cuda", 0))
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda backend, **more: told.update(more, backend=backend))
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    for name, value in (("RANK", "3"), ("WORLD_SIZE", "4"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    made = crew.Crew.of_environment(asked)
    assert made.device == told["device_id"] == torch.device("cuda", 1) and told["backend"] == "nccl"
    assert told["timeout"] >= crew.PATIENCE and not made.leads


def test_a_process_alone_keeps_the_gpu_that_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(crew, "pick_device", torch.device)
    assert [crew.Crew.of_environment(name).device for name in ("cuda:2", "cuda", "cpu")] == [
        torch.device("cuda", 2),
        torch.device("cuda", 0),
        torch.device("cpu"),
    ]
