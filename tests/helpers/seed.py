"""Rows put straight into the tables, for tests of what reads them."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from uuid_utils.compat import uuid7

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(minutes: float) -> datetime:
    """A moment so many minutes after START."""
    return START + timedelta(minutes=minutes)


async def insert(connection: asyncpg.Connection, table: str, **columns: Any) -> None:
    values = [json.dumps(v) if isinstance(v, dict) else v for v in columns.values()]
    places = ", ".join(f"${n}" for n in range(1, len(values) + 1))
    await connection.execute(f"insert into {table} ({', '.join(columns)}) values ({places})", *values)


async def contact(connection: asyncpg.Connection, tenant: str, **columns: Any) -> uuid.UUID:
    """A contact; what is not given is as in a fresh one."""
    fresh = {
        "id": uuid7(),
        "status": "active",
        "attributes": {},
        "created_at": START,
        "updated_at": START,
        "version": 1,
        "timeline_sequence": 0,
    }
    row = {"tenant_id": tenant, **fresh, **columns}
    await insert(connection, "contacts", **row)
    return row["id"]


async def identifier(
    connection: asyncpg.Connection,
    tenant: str,
    contact_id: uuid.UUID,
    channel: str,
    value: str,
    **columns: Any,
) -> uuid.UUID:
    """An identifier of a contact; ``value`` is canonical."""
    kind = "phone" if channel in {"whatsapp", "sms", "voice"} else channel
    fresh = {"id": uuid7(), "kind": kind, "raw": value, "created_at": START}
    row = {
        "tenant_id": tenant,
        "contact_id": contact_id,
        "channel": channel,
        "identifier": value,
        **fresh,
        **columns,
    }
    await insert(connection, "channel_identifiers", **row)
    return row["id"]


async def tag(connection: asyncpg.Connection, tenant: str, contact_id: uuid.UUID, *names: str) -> None:
    for name in names:
        await connection.execute(
            "insert into contact_tags (tenant_id, id, name, created_at) values ($1, $2, $3, now()) on conflict do nothing",
            tenant,
            uuid7(),
            name,
        )
        await connection.execute(
            "insert into contact_tag_mappings (tenant_id, contact_id, tag_id, created_at) "
            "select tenant_id, $2, id, now() from contact_tags where tenant_id = $1 and name = $3",
            tenant,
            contact_id,
            name,
        )


async def event(
    connection: asyncpg.Connection, tenant: str, contact_id: uuid.UUID, sequence: int, **columns: Any
) -> uuid.UUID:
    """A timeline event, by default at so many minutes as its sequence."""
    fresh = {
        "id": uuid7(),
        "contact_version": 1,
        "type": "note_added",
        "category": "note",
        "priority": "normal",
        "title": "Note added",
        "payload": {},
        "metadata": {},
        "source": "agent",
        "realtime": False,
        "visible_to_client": False,
        "visible_to_agent": True,
        "occurred_at": at(sequence),
        "created_at": datetime.now(UTC),
    }
    row = {"tenant_id": tenant, "contact_id": contact_id, "sequence": sequence, **fresh, **columns}
    await insert(connection, "contact_events", **row)
    return row["id"]


async def message_status(
    connection: asyncpg.Connection,
    tenant: str,
    contact_id: uuid.UUID,
    channel: str,
    message_id: str,
    status: str,
) -> None:
    await insert(
        connection,
        "message_statuses",
        tenant_id=tenant,
        channel=channel,
        message_id=message_id,
        contact_id=contact_id,
        status=status,
        rank=1,
        at=START,
    )
