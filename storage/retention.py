"""How long timelines are kept. What goes, goes without a trace: nothing is written about it and nothing published."""

from __future__ import annotations

from datetime import timedelta

import asyncpg

EXPIRED_FOR = timedelta(days=7)  # how long an event stays in its table after it has expired

DELETE_EXPIRED = """
with expired as (
    select tenant_id, id, created_at from contact_events where expires_at < now() - $1::interval
    order by expires_at limit $2 for update skip locked
)
delete from contact_events as e using expired as x
where e.tenant_id = x.tenant_id and e.id = x.id and e.created_at = x.created_at
"""


async def drop_month(connection: asyncpg.Connection, months: int) -> str | None:
    """Drop the oldest partition whose month ended more than ``months`` months ago. Returns its name; None: there is none.

    Raises LockNotAvailableError when somebody has used the timeline for longer than half a second.
    """
    dropped: str | None = await connection.fetchval("select rollcall_drop_event_month($1)", months)
    return dropped


async def delete_old(connection: asyncpg.Connection, months: int, limit: int) -> int:
    """Delete at most ``limit`` events that are as old and lie in no month's partition. Returns how many went."""
    gone: int = await connection.fetchval("select rollcall_delete_old_events($1, $2)", months, limit)
    return gone


async def delete_expired(connection: asyncpg.Connection, limit: int) -> int:
    """Delete at most ``limit`` events that expired more than EXPIRED_FOR ago, but not those that somebody has locked.

    Returns how many went.
    """
    tag: str = await connection.execute(DELETE_EXPIRED, EXPIRED_FOR, limit)
    return int(tag.rpartition(" ")[2])
