"""The rows of dead letters: what an operator deletes, and what stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from storage import dead_letters
from storage.postgres import WRITER, connect
from tests.integration.test_announcer import letter


@pytest.fixture
async def connection(database: str):
    found = await connect(database, WRITER)
    await found.execute("delete from dead_letters")
    yield found
    await found.close()


async def test_what_died_before_is_deleted_step_by_step(connection):
    old = await dead_letters.insert(
        connection, [letter(tenant="acme" if n % 2 else "globex") for n in range(8)]
    )
    (young,) = await dead_letters.insert(connection, [letter()])
    await connection.execute(
        "update dead_letters set created_at = now() - interval '40 days' where id = any($1::uuid[])", old
    )
    before = datetime.now(UTC) - timedelta(days=30)
    assert await dead_letters.delete(connection, before, "acme", step=3) == 4
    assert await dead_letters.delete(connection, before, step=3) == 4
    assert await dead_letters.delete(connection, before) == 0
    assert [left.id async for left in dead_letters.listed(connection)] == [young]
