"""What all tests share: the browser, the options --long and --cuda, and a quiet, offline, repeatable environment."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

# Before torch, gradio or the hub client is imported by any test.
os.environ.setdefault("OMP_NUM_THREADS", "2" if (os.cpu_count() or 1) < 4 else "4")
if "PYTEST_XDIST_WORKER" in os.environ:  # beside another one, and what it was given is the line above
    os.environ["OMP_NUM_THREADS"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

    import engine

# Timings say nothing on a busy machine, so no deadline; derandomize makes every run of the suite the same run.
settings.register_profile("suite", derandomize=True, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("long", settings.get_profile("suite"), derandomize=False, max_examples=2000)
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="full counts: also the tests marked long, and more random cases")
    parser.addoption("--cuda", action="store_true", help="also the tests marked cuda, on this machine's GPU")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--long"):
        settings.load_profile("long")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out (not skip) what was not asked for."""
    unwanted = {mark for mark in ("long", "cuda") if not config.getoption(f"--{mark}")}
    left_out = [item for item in items if any(item.get_closest_marker(mark) for mark in unwanted)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """Whether full counts are asked for: `count = 20_000 if long else 1_000`."""
    return bool(request.config.getoption("--long"))


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> Iterator[None]:
    """Ctrl+C is heard by the tests and by the processes that they start, also where whoever started the run ignores it (nohup)."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


@pytest.fixture(scope="session")
def model() -> engine.Denoiser:
    """The embedded model in float32 on the CPU, one for the whole run: no test changes it, but by monkeypatch."""
    import engine

    return engine.load(device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One headless Chromium for the whole run. Without one the tests fail with one sentence; they never skip."""
    from tests.browser import NoBrowser, chromium  # only here, so that the engine's tests run where there is no Playwright

    problem = ""
    try:
        with chromium() as running:
            yield running
    except NoBrowser as error:
        problem = str(error)
    if problem:
        pytest.fail(problem, pytrace=False)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of the app's own server with the toy model, one for a module."""
    from engine.backends.toy import Toy
    from tests.page import serving  # only here, so that the engine's tests run where there is no Gradio

    with serving(Toy) as (address, _):
        yield address


@pytest.fixture
def new_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Pages of this test, each in a context of its own; at the end no page may have logged or thrown an error.

    `new_page(width=1280, height=800, dark=False, phone=False)`: `phone` is a touch screen 390 px wide.
    """
    from tests.browser import repeatable

    problems: list[str] = []
    contexts = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            problems.append(f"{message.text} ({message.location.get('url', '')})")

    def make(width: int = 1280, height: int = 800, *, dark: bool = False, phone: bool = False) -> Page:
        context = repeatable(
            browser,
            viewport={"width": 390, "height": 844} if phone else {"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            has_touch=phone,
            is_mobile=phone,
            device_scale_factor=2 if phone else 1,
        )
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", note)
        return page

    yield make
    for context in contexts:
        context.close()
    assert problems == [], "the page reported errors: " + "; ".join(problems)
