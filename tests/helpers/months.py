"""Months of the timeline from before the database was made, with an event in each."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import asyncpg

from tests.helpers import seed

TENANT = "acme"


def begins(ago: int) -> datetime:
    """The first moment of the month so many months ago; negative: ahead."""
    now = datetime.now(UTC)
    years, month = divmod(now.year * 12 + now.month - 1 - ago, 12)
    return datetime(years, month + 1, 1, tzinfo=UTC)


def name(ago: int) -> str:
    return f"contact_events_{begins(ago):%Y_%m}"


async def make(owner: asyncpg.Connection, ago: int) -> uuid.UUID:
    """The partition of a month, with an event at its first moment. Answers the event's id."""
    await owner.execute(
        f"create table {name(ago)} partition of contact_events "
        f"for values from ('{begins(ago).isoformat()}') to ('{begins(ago - 1).isoformat()}')"
    )
    return await seed.event(owner, TENANT, uuid.uuid4(), 1, created_at=begins(ago))


async def there(connection: asyncpg.Connection) -> set[str]:
    """The names of the partitions."""
    rows = await connection.fetch(
        "select inhrelid::regclass::text from pg_inherits where inhparent = 'contact_events'::regclass"
    )
    return {row[0] for row in rows}
