"""Marks and deletions of timeline events, set-based: find by id, read under the lock, write.

Invariant: an event's row changes only while the contact that answers for its contact is locked.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg

from storage.rows import EventState

EventKey = tuple[str, uuid.UUID]


class Found(NamedTuple):
    """Where an event is: the contact that answers for its own, and the moment that names its partition."""

    contact_id: uuid.UUID
    created_at: datetime


# An id does not say which partition it is in: the primary key of each is asked.
FIND = """
select k.ord::int as ord, coalesce(c.merged_into, c.id) as contact_id, e.created_at
from unnest($1::text[], $2::uuid[]) with ordinality as k(tenant_id, id, ord),
lateral (
    select contact_id, created_at from contact_events where tenant_id = k.tenant_id and id = k.id offset 0
) as e,
lateral (select id, merged_into from contacts where tenant_id = k.tenant_id and id = e.contact_id offset 0) as c
"""

READ = """
select e.id, e.tenant_id, coalesce(c.merged_into, c.id) as contact_id, e.created_at, e.visible_to_client,
    e.visible_to_agent, e.expires_at, e.delivered_at, e.read_at
from unnest($1::text[], $2::uuid[], $3::timestamptz[]) as k(tenant_id, id, created_at),
lateral (
    select * from contact_events where tenant_id = k.tenant_id and id = k.id and created_at = k.created_at offset 0
) as e,
lateral (select id, merged_into from contacts where tenant_id = k.tenant_id and id = e.contact_id offset 0) as c
"""

MARK = """
update contact_events e set delivered_at = k.delivered_at, read_at = k.read_at,
    metadata = case when k.skipped then e.metadata || '{"skipped": "expired"}' else e.metadata end
from unnest($1::text[], $2::uuid[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[], $6::boolean[])
    as k(tenant_id, id, created_at, delivered_at, read_at, skipped)
where e.tenant_id = k.tenant_id and e.id = k.id and e.created_at = k.created_at
"""

DELETE = """
delete from contact_events e
using unnest($1::text[], $2::uuid[], $3::timestamptz[]) as k(tenant_id, id, created_at)
where e.tenant_id = k.tenant_id and e.id = k.id and e.created_at = k.created_at
"""


async def find(connection: asyncpg.Connection, keys: Sequence[EventKey]) -> dict[EventKey, Found]:
    """Those of the events that there are."""
    rows = await connection.fetch(FIND, [k[0] for k in keys], [k[1] for k in keys])
    return {keys[r["ord"] - 1]: Found(r["contact_id"], r["created_at"]) for r in rows}


async def read(connection: asyncpg.Connection, found: Mapping[EventKey, Found]) -> dict[EventKey, EventState]:
    """The events as they are, without those that have gone since they were found. Their contacts are locked."""
    rows = await connection.fetch(
        READ, [k[0] for k in found], [k[1] for k in found], [f.created_at for f in found.values()]
    )
    return {(r["tenant_id"], r["id"]): EventState(**r) for r in rows}


async def mark(connection: asyncpg.Connection, events: Sequence[EventState]) -> None:
    """Write when they were delivered and read, and in the metadata of those that were skipped why."""
    if events:
        await connection.execute(
            MARK,
            *_keys(events),
            [e.delivered_at for e in events],
            [e.read_at for e in events],
            [e.skipped for e in events],
        )


async def delete(connection: asyncpg.Connection, events: Sequence[EventState]) -> None:
    if events:
        await connection.execute(DELETE, *_keys(events))


def _keys(events: Sequence[EventState]) -> tuple[list[str], list[uuid.UUID], list[datetime]]:
    return [e.tenant_id for e in events], [e.id for e in events], [e.created_at for e in events]
