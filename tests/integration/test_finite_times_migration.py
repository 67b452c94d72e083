"""Rows from before that hold infinite times are rows with times like others."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from contracts.moments import EARLIEST, LATEST
from storage.migrate import migrate, script
from tests.helpers import seed


@pytest.fixture
async def owner(empty: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(empty)
    yield connection
    await connection.close()


async def test_infinite_times_become_moments(empty: str, owner: asyncpg.Connection) -> None:
    await owner.execute(script(None, "0008"))
    contact = await seed.contact(owner, "a")
    for n, word in enumerate(("-infinity", "infinity")):
        event = await seed.event(owner, "a", contact, n + 1)
        await owner.execute(
            "update contact_events set occurred_at = $1::text::timestamptz, expires_at = $1::text::timestamptz where id = $2",
            word,
            event,
        )
        await owner.execute("update contacts set last_contact_at = $1::text::timestamptz", word)
    await migrate(empty)
    assert await owner.fetchval("select last_contact_at from contacts") == LATEST
    rows = await owner.fetch("select occurred_at, expires_at from contact_events order by sequence")
    assert [tuple(row) for row in rows] == [(EARLIEST, EARLIEST), (LATEST, LATEST)]
