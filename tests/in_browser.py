"""The built book in a real browser, cut off from all else, for the tests that read it there."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

import book
import browser

ROOT = Path(__file__).parents[1]

PATIENCE = 30_000  # milliseconds: a page of a busy machine comes late, and a fault never
expect.set_options(timeout=PATIENCE)
MISSING = "no Chromium here; install one or name it in LEAKLAB_CHROMIUM to check pages in it"
needs_chromium = pytest.mark.skipif(browser.find_chromium() is None, reason=MISSING)


@pytest.fixture(scope="module")
def opened():
    """The address of the built book, and a browser to open it."""
    with browser.opened(book.build(ROOT).parents[1]) as (base, context):
        yield base, context


@pytest.fixture
def page(opened):
    """A new page of that browser."""
    page = opened[1].new_page()
    page.set_default_timeout(PATIENCE)
    yield page
    page.close()
