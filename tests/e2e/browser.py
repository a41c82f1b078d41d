"""Debian's Chromium, driven by Playwright. It runs in processes of its own: its event loop is not the reactor's.

It serves page_session.py and screenshots.py.
"""

import contextlib
import shutil
import time
from collections.abc import Iterator
from typing import Final

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

PROGRAMS: Final = ("chromium", "chromium-browser", "google-chrome")
FLAGS: Final = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking")
WAIT_S: Final = 20.0
"""Longest wait for what the page is to show."""
POLL_MS: Final = 30
FAILED_TO_LOAD: Final = "Failed to load resource"
"""A browser reports each answer that is an error, and each connection that is refused; no page keeps it from that."""


def find_program() -> str | None:
    """Return the path of the browser, None where there is none."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


@contextlib.contextmanager
def running_browser() -> Iterator[Browser]:
    """Start the browser without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_program(), args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


def await_true(page: Page, function: str, argument: object = None, wait_s: float = WAIT_S) -> None:
    """Wait until a function returns true in the page. Playwright's own wait needs what the page's policy forbids.

    Raises:
        TimeoutError: it does not.
    """
    give_up = time.monotonic() + wait_s
    while not page.evaluate(function, argument):
        if time.monotonic() > give_up:
            raise TimeoutError(f"in vain for {wait_s:g} s: {function}, with {argument!r}")
        page.wait_for_timeout(POLL_MS)


def open_page(context: BrowserContext, url: str, errors: list[str]) -> Page:
    """Open a page, and collect what goes wrong in it."""
    page = context.new_page()
    page.set_default_timeout(WAIT_S * 1000)

    def note(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and FAILED_TO_LOAD not in message.text:
            errors.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(url)
    return page
