"""Find a Chromium for the browser tests, or fetch one, or say in one sentence what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Playwright, sync_playwright
from playwright.sync_api import Error as PlaywrightError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge", "msedge")
PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
)
QUIET = [  # nothing of the browser's own goes out to the network during a test
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
ADVICE = (
    "The browser tests need Chromium and none was found or could be fetched: install Chromium, Chrome or Edge, "
    "or name one in CHROMIUM_PATH, and run the tests again."
)

DRAWN = """
(() => {  // of the app's own files alone: Gradio tells its sessions apart by what it draws
    const {random} = Math;
    let state = (Number(window.name) || 0) + 1;  // another one after each load of the page
    window.name = state;
    Math.random = () => {
        if (!new Error().stack.includes("/lacuna/static/")) return random();
        let t = (state += 0x6d2b79f5);  // mulberry32
        t = Math.imul(t ^ (t >>> 15), t | 1);
        t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
        return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
})();
"""


class NoBrowser(RuntimeError):
    """There is no Chromium to test with; the message is one sentence that says what to do."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium, driven by Playwright; raises NoBrowser."""
    with sync_playwright() as playwright:
        path = find(playwright) or fetch(playwright)
        if path is None:
            raise NoBrowser(ADVICE)
        root = hasattr(os, "geteuid") and os.geteuid() == 0
        try:
            browser = playwright.chromium.launch(executable_path=path, args=[*QUIET, *(["--no-sandbox"] if root else [])])
        except PlaywrightError as error:
            reason = error.message.strip().splitlines()[0]
            raise NoBrowser(f"{path} did not start ({reason}): name a working Chromium in CHROMIUM_PATH.") from None
        try:
            yield browser
        finally:
            browser.close()


def repeatable(browser: Browser, **options: Any) -> BrowserContext:
    """A new context whose pages draw the same random numbers in every run, so that the engine gets the same seeds."""
    context = browser.new_context(**options)
    context.add_init_script(DRAWN)
    return context


def find(playwright: Playwright) -> str | None:
    """The Chromium to use of those on this machine; one named in CHROMIUM_PATH must be there."""
    if named := os.environ.get("CHROMIUM_PATH"):
        if not Path(named).is_file():
            raise NoBrowser(f"CHROMIUM_PATH names {named}, which is not there: correct it or unset it.")
        return named
    candidates = [playwright.chromium.executable_path, *map(shutil.which, NAMES), *PLACES]
    return next((path for path in candidates if path and Path(path).is_file()), None)


def fetch(playwright: Playwright) -> str | None:
    """Try Playwright's own download, then apt as root; the path of what came, or None."""
    attempts = [[sys.executable, "-m", "playwright", "install", "chromium"]]
    if shutil.which("apt-get") and os.geteuid() == 0:
        attempts += [["apt-get", "update", "-q"], ["apt-get", "install", "-q", "-y", "--no-install-recommends", "chromium"]]
    for attempt in attempts:
        print(f"No Chromium yet; trying: {' '.join(attempt[-3:])}", file=sys.__stderr__, flush=True)
        try:
            subprocess.run(attempt, capture_output=True, timeout=600, check=False, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"})
        except (OSError, subprocess.TimeoutExpired):
            continue
        if path := find(playwright):
            return path
    return None
