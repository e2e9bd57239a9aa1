"""
A real Chromium in front of a whole stack.

Where there is none the tests skip and say why, or fail if CROSSDOCK_REQUIRE_BROWSER is set.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Final

import pytest

from tests.browser.stack import Stack
from tests.browser.ui import Ui

if TYPE_CHECKING:
    from playwright.async_api import Browser

_QUIET: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    absent = pytest.fail if os.environ.get("CROSSDOCK_REQUIRE_BROWSER") else pytest.skip
    if importlib.util.find_spec("playwright") is None:
        absent("install tests/browser/requirements.lock to drive a browser")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        absent("there is no chromium on the PATH")
    driver = importlib.import_module("playwright.async_api")
    async with driver.async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=_QUIET)
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
def stack(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("stack"))
    stack.up()
    yield stack
    stack.does("down")


@pytest.fixture
async def stranger(chromium: Browser, stack: Stack) -> AsyncIterator[Ui]:
    """Someone who has not signed in."""
    context = await chromium.new_context(viewport={"width": 1440, "height": 1000})
    yield Ui(await context.new_page(), stack.ui)
    await context.close()


@pytest.fixture(scope="session")
async def ui(chromium: Browser, stack: Stack) -> AsyncIterator[Ui]:
    """Operations, signed in, with the UI's codec set up."""
    context = await chromium.new_context(viewport={"width": 1440, "height": 1000})
    ui = Ui(await context.new_page(), stack.ui)
    await ui.sign_in(stack.api, stack.key("ops"))
    await ui.use_codec(f"{stack.api}/codec")
    yield ui
    await context.close()
