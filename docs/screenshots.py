"""Take the README's picture of the page: `.venv/bin/python docs/screenshots.py [--model MODEL]` writes docs/page.png.

It fills the first example and shows the run at a step in its middle. `--all FOLDER` also takes the page before, during
and after a run, the window of a word and that of models, in light and dark, on a desk and on a phone: what to look at after a
change to the page.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import engine  # noqa: E402
from app import main  # noqa: E402
from app.service import Service  # noqa: E402
from tests.browser import chromium  # noqa: E402

USABLE = "() => document.querySelector('.lacuna[data-ready] .go:enabled')"
DONE = "() => document.querySelector('.dock').dataset.run === 'idle' && document.querySelector('.draft .ink')"
MIDDLE = 0.55  # of the run


def take(browser: Any, url: str, target: Path, *, dark: bool = False, phone: bool = False, stages: bool = False) -> None:
    """One run on a new page, and its picture; with `stages` also one before and one after."""
    context = browser.new_context(
        viewport={"width": 390, "height": 844} if phone else {"width": 1280, "height": 800},
        color_scheme="dark" if dark else "light",
        device_scale_factor=2,
        is_mobile=phone,
        has_touch=phone,
    )
    page = context.new_page()
    page.goto(url)
    page.wait_for_function(USABLE, timeout=120_000)
    page.get_by_text("Advanced", exact=True).evaluate("(summary) => (summary.parentElement.open = true)")
    seed = page.get_by_label("Seed", exact=True)
    seed.evaluate("(input) => { input.value = 4; input.dispatchEvent(new Event('change')); }")
    page.get_by_text("Advanced", exact=True).evaluate("(summary) => (summary.parentElement.open = false)")
    if stages:
        page.screenshot(path=target.with_stem(target.stem + "-before"))
        page.get_by_title("Choose a model").click()
        page.get_by_role("dialog", name="Models").get_by_role("listitem").first.wait_for()
        page.screenshot(path=target.with_stem(target.stem + "-models"))
        page.keyboard.press("Escape")
    page.get_by_role("button", name="Fill").click()
    page.wait_for_function(DONE, timeout=300_000)
    if stages:
        page.screenshot(path=target.with_stem(target.stem + "-after"))
        page.locator(".draft .ink").first.click()
        page.get_by_role("dialog", name="Alternatives").wait_for()
        page.screenshot(path=target.with_stem(target.stem + "-fills"))
        page.keyboard.press("Escape")
    slider = page.get_by_role("slider", name="Step")
    slider.fill(str(round(MIDDLE * int(slider.get_attribute("max") or 0))))
    slider.blur()
    page.mouse.move(0, 0)  # no button looks pressed
    page.wait_for_timeout(600)  # the settling words finish their fade
    page.screenshot(path=target)
    context.close()


def run() -> None:
    """The command."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--model", help="the model to fill with (default: the embedded one)")
    options.add_argument("--all", type=Path, metavar="FOLDER", help="also every width, theme and stage, into this folder")
    chosen = options.parse_args()
    service = Service(engine.load, chosen.model)
    server = main.serve(service, "127.0.0.1", main.free_port("127.0.0.1", 7990))
    service.start()
    with chromium() as browser:
        take(browser, server.url, ROOT / "docs" / "page.png")
        if chosen.all:
            chosen.all.mkdir(parents=True, exist_ok=True)
            for phone in (False, True):
                for dark in (False, True):
                    name = f"{'phone' if phone else 'desk'}-{'dark' if dark else 'light'}.png"
                    take(browser, server.url, chosen.all / name, dark=dark, phone=phone, stages=True)
    server.close()


if __name__ == "__main__":
    run()
