"""A real Chromium for the page's tests, where one is installed."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.waiting import DEADLINE_S

NAMES: Final = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
OPTIONS: Final = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking")


def program() -> str:
    """The path of an installed Chromium; without one the test is skipped."""
    for name in NAMES:
        found = shutil.which(name)
        if found is not None:
            return found
    pytest.skip("no Chromium is installed: apt-get install chromium")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser; ends with the block. What a test expects of a page has our one deadline."""
    expect.set_options(timeout=1_000 * DEADLINE_S)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program(), args=list(OPTIONS))
        try:
            yield browser
        finally:
            browser.close()
