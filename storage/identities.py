"""Identifiers, set-based: what a contact has.

Invariant: slot 0 of (tenant, kind, identifier, scope) names the owner; every row of that key belongs to the same
contact and is written while that contact's row is locked.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import asyncpg
import orjson

from storage import copy
from storage.contacts import ContactKey
from storage.copy import Rows
from storage.rows import Identifier, IdentifierKey

OF_CONTACTS = """
select i.tenant_id, i.contact_id, i.id, i.kind, i.identifier, i.scope, i.slot, i.channel, i.raw, i.aliases, i.is_primary,
    i.is_verified, i.shared, i.metadata, i.created_at
from unnest($1::text[], $2::uuid[]) as k(tenant_id, contact_id),
lateral (
    select * from channel_identifiers where tenant_id = k.tenant_id and contact_id = k.contact_id offset 0
) as i
"""

DELETE = """
delete from channel_identifiers i
using unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::smallint[]) as k(tenant_id, kind, identifier, scope, slot)
where i.tenant_id = k.tenant_id and i.kind = k.kind and i.identifier = k.identifier and i.scope = k.scope
    and i.slot = k.slot
"""

# By the id beside the key: a row may move to another slot of its key, once the one there is gone.
CHANGE = """
update channel_identifiers i
set slot = k.slot, channel = k.channel, raw = k.raw, is_primary = k.is_primary, is_verified = k.is_verified,
    shared = k.shared, metadata = k.metadata::jsonb, aliases = array(select jsonb_array_elements_text(k.aliases::jsonb))
from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::uuid[], $6::smallint[], $7::text[], $8::text[], $9::boolean[],
        $10::boolean[], $11::boolean[], $12::text[], $13::text[])
    as k(tenant_id, kind, identifier, scope, id, slot, channel, raw, is_primary, is_verified, shared, metadata, aliases)
where i.tenant_id = k.tenant_id and i.kind = k.kind and i.identifier = k.identifier and i.scope = k.scope and i.id = k.id
"""

COLUMNS = (
    "tenant_id",
    "kind",
    "identifier",
    "scope",
    "slot",
    "id",
    "contact_id",
    "channel",
    "raw",
    "aliases",
    "is_primary",
    "is_verified",
    "shared",
    "metadata",
    "created_at",
)


async def of_contacts(
    connection: asyncpg.Connection, keys: Collection[ContactKey]
) -> list[tuple[ContactKey, Identifier]]:
    """Every identifier of the contacts, which the caller has locked."""
    rows = await connection.fetch(OF_CONTACTS, [k[0] for k in keys], [k[1] for k in keys])
    return [
        (
            (r["tenant_id"], r["contact_id"]),
            Identifier(
                id=r["id"],
                key=IdentifierKey(r["kind"], r["identifier"], r["scope"]),
                channel=r["channel"],
                raw=r["raw"],
                aliases=tuple(r["aliases"]),
                is_primary=r["is_primary"],
                is_verified=r["is_verified"],
                shared=r["shared"],
                metadata=orjson.loads(r["metadata"]),
                slot=r["slot"],
                created_at=r["created_at"],
            ),
        )
        for r in rows
    ]


async def delete(connection: asyncpg.Connection, rows: Sequence[tuple[str, Identifier]]) -> None:
    """Remove rows, each (tenant, identifier)."""
    if rows:
        await connection.execute(
            DELETE,
            [t for t, _ in rows],
            [i.key.kind for _, i in rows],
            [i.key.identifier for _, i in rows],
            [i.key.scope for _, i in rows],
            [i.slot for _, i in rows],
        )


async def change(connection: asyncpg.Connection, rows: Sequence[tuple[str, Identifier]]) -> None:
    """Write rows that are there already, each (tenant, identifier)."""
    if rows:
        await connection.execute(
            CHANGE,
            [t for t, _ in rows],
            [i.key.kind for _, i in rows],
            [i.key.identifier for _, i in rows],
            [i.key.scope for _, i in rows],
            [i.id for _, i in rows],
            [i.slot for _, i in rows],
            [i.channel for _, i in rows],
            [i.raw for _, i in rows],
            [i.is_primary for _, i in rows],
            [i.is_verified for _, i in rows],
            [i.shared for _, i in rows],
            [orjson.dumps(i.metadata).decode() for _, i in rows],
            [orjson.dumps(i.aliases).decode() for _, i in rows],
        )


async def insert(connection: asyncpg.Connection, rows: Sequence[tuple[ContactKey, Identifier]]) -> None:
    """Insert rows, sorted by key. Raises Restart when another transaction took one of the keys meanwhile."""
    values = [
        (
            tenant_id,
            *(i.key.kind, i.key.identifier, i.key.scope, i.slot),
            i.id,
            contact_id,
            i.channel,
            i.raw,
            i.aliases,
            i.is_primary,
            i.is_verified,
            i.shared,
            orjson.dumps(i.metadata).decode() if i.metadata else "{}",
            i.created_at,
        )
        for (tenant_id, contact_id), i in sorted(rows, key=lambda row: (row[0][0], row[1].key, row[1].slot))
    ]
    await copy.insert(connection, Rows("channel_identifiers", COLUMNS, values))
