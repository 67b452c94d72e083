from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.helpers.realm import Realm


@pytest.fixture(scope="session")
async def realm() -> AsyncIterator[Realm]:
    """A fleet with one realtime worker, shared: tests take a tenant each, and leave the workers running."""
    async with Realm.open(ROLLCALL_REALTIME_ORIGINS="https://app.example.com") as realm:
        yield realm
