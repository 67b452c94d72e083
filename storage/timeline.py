"""Timeline events, consents and message statuses: what a message leaves behind beside the contact itself."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import asyncpg
import orjson

from storage.copy import Rows
from storage.rows import Consent, MessageStatus, TimelineEvent

EVENT_COLUMNS = (
    "tenant_id",
    "id",
    "contact_id",
    "sequence",
    "contact_version",
    "session_id",
    "thread_id",
    "type",
    "category",
    "priority",
    "title",
    "description",
    "payload",
    "metadata",
    "source",
    "triggered_by",
    "integration_source",
    "realtime",
    "visible_to_client",
    "visible_to_agent",
    "expires_at",
    "occurred_at",
    "created_at",
)

MONTHS_AHEAD = 3

# The latest word counts, whatever order they come in; of two at one moment the refusal.
UPSERT_CONSENTS = """
insert into contact_consents as held (tenant_id, contact_id, channel, purpose, id, granted, granted_at, revoked_at, source)
select t, c, ch, p, gen_random_uuid(), coalesce(g > r, r is null), g, r, s
from unnest($1::text[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::text[])
    as k(t, c, ch, p, g, r, s)
order by t, c, ch, p
on conflict (tenant_id, contact_id, channel, purpose) do update set
    granted = coalesce(
        greatest(held.granted_at, excluded.granted_at) > greatest(held.revoked_at, excluded.revoked_at),
        excluded.revoked_at is null and held.revoked_at is null
    ),
    granted_at = greatest(held.granted_at, excluded.granted_at),
    revoked_at = greatest(held.revoked_at, excluded.revoked_at),
    source = case
        when greatest(excluded.granted_at, excluded.revoked_at) >= greatest(held.granted_at, held.revoked_at)
        then excluded.source else held.source
    end
"""

UPSERT_STATUSES = """
insert into message_statuses (tenant_id, channel, message_id, contact_id, status, rank, at)
select t, ch, m, c, s, r, at
from unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::smallint[], $7::timestamptz[])
    as k(t, ch, m, c, s, r, at)
order by t, ch, m
on conflict (tenant_id, channel, message_id) do update set
    status = excluded.status, rank = excluded.rank, at = excluded.at, contact_id = excluded.contact_id
where (excluded.rank, excluded.at) > (message_statuses.rank, message_statuses.at)
"""

PARTITIONS = "select count(*) from pg_inherits where inhparent = 'contact_events'::regclass"


async def make_partitions(connection: asyncpg.Connection, months_ahead: int) -> int:
    """Make the partitions of this month and of so many ahead; what the default one caught meanwhile moves there.

    Returns how many were made.
    """
    before: int = await connection.fetchval(PARTITIONS)
    await connection.execute("select rollcall_make_event_partitions($1)", months_ahead)
    after: int = await connection.fetchval(PARTITIONS)
    return after - before


def rows(events: Sequence[TimelineEvent]) -> Rows:
    """What writes the events."""
    values = [
        (
            e.tenant_id,
            e.id,
            e.contact_id,
            e.sequence,
            e.contact_version,
            e.session_id,
            e.thread_id,
            e.type,
            e.category,
            e.priority,
            e.title,
            e.description,
            orjson.dumps(e.payload).decode(),
            orjson.dumps(e.metadata).decode() if e.metadata else "{}",
            e.source,
            e.triggered_by,
            e.integration_source,
            e.realtime,
            e.visible_to_client,
            e.visible_to_agent,
            e.expires_at,
            e.occurred_at,
            e.created_at,
        )
        for e in events
    ]
    return Rows("contact_events", EVENT_COLUMNS, values)


async def upsert_consents(connection: asyncpg.Connection, consents: Sequence[Consent]) -> None:
    """Write when it was last granted and last revoked, by (contact, channel, purpose): the later of the two holds."""
    words: dict[tuple[str, uuid.UUID, str, str], dict[bool, Consent]] = {}
    for consent in consents:
        said = words.setdefault((consent.tenant_id, consent.contact_id, consent.channel, consent.purpose), {})
        if consent.granted not in said or consent.at >= said[consent.granted].at:
            said[consent.granted] = consent
    if words:
        keys = zip(*words, strict=True)
        await connection.execute(
            UPSERT_CONSENTS,
            *(list(column) for column in keys),
            [said[True].at if True in said else None for said in words.values()],
            [said[False].at if False in said else None for said in words.values()],
            [max(said.values(), key=lambda c: (c.at, not c.granted)).source for said in words.values()],
        )


async def upsert_statuses(connection: asyncpg.Connection, statuses: Sequence[MessageStatus]) -> None:
    """Write the highest rank by (channel, message id), of equal ones the later; a late, lower status changes nothing."""
    highest: dict[tuple[str, str, str], MessageStatus] = {}
    for status in statuses:
        key = (status.tenant_id, status.channel, status.message_id)
        if key not in highest or (status.rank, status.at) > (highest[key].rank, highest[key].at):
            highest[key] = status
    latest = list(highest.values())
    if latest:
        await connection.execute(
            UPSERT_STATUSES,
            [s.tenant_id for s in latest],
            [s.channel for s in latest],
            [s.message_id for s in latest],
            [s.contact_id for s in latest],
            [s.status for s in latest],
            [s.rank for s in latest],
            [s.at for s in latest],
        )
