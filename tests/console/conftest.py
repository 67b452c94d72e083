from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.conftest import NOTES
from tests.console.screen import Screen
from tests.helpers.browser import Browser, NoBrowser
from tests.helpers.realm import Realm


@pytest.fixture(scope="session")
async def browser(request: pytest.FixtureRequest) -> AsyncIterator[Browser]:
    try:
        async with Browser.open() as browser:
            yield browser
    except NoBrowser as error:
        request.config.stash[NOTES]["chromium"] = f"tests of the console skipped: {error}"
        pytest.skip(str(error))


@pytest.fixture(scope="session")
async def realm() -> AsyncIterator[Realm]:
    """A fleet whose realtime worker answers pings quickly, so that a dead one is noticed quickly."""
    async with Realm.open(ROLLCALL_REALTIME_HEARTBEAT_S="4") as realm:
        yield realm


@pytest.fixture
async def screen(browser: Browser, realm: Realm) -> AsyncIterator[Screen]:
    async with browser.open_page() as page:
        yield Screen(page, realm)
