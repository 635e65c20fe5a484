"""The engine's front door: true to the running code. (What opening it costs stands in test_architecture.py.)"""

from __future__ import annotations

import pytest

import engine


def test_names_and_help_read_from_the_source_are_those_of_the_running_code() -> None:
    from engine.samplers import SAMPLERS
    from engine.schedules import SCHEDULES

    assert engine.sampler_help() == {name: (sampler.__doc__ or "").splitlines()[0] for name, sampler in SAMPLERS.items()}
    assert all(engine.sampler_help().values())
    assert engine.schedule_names() == list(SCHEDULES)
    assert engine.SAMPLERS is SAMPLERS and engine.SCHEDULES is SCHEDULES


def test_every_name_of_the_front_door_is_there() -> None:
    for name in engine.__all__:
        assert getattr(engine, name) is not None
    assert dir(engine) == sorted(engine.__all__)
    with pytest.raises(AttributeError, match="no attribute 'fil'"):
        engine.fil  # noqa: B018
