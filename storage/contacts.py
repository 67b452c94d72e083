"""Contacts, set-based: lock, insert, update. Every write happens while the contact's row is locked."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import asyncpg
import orjson

from storage import copy
from storage.copy import Rows
from storage.errors import Restart
from storage.rows import Contact
from storage.search.text import search_text

LOCK = """
select c.tenant_id, c.id, c.external_id, c.first_name, c.last_name, c.display_name, c.email, c.phone, c.avatar_url,
    c.status, c.source, c.attributes, c.last_contact_at, c.created_at, c.updated_at, c.deleted_at, c.merged_into,
    c.version, c.timeline_sequence
from unnest($1::text[], $2::uuid[]) as k(tenant_id, id),
lateral (select * from contacts where tenant_id = k.tenant_id and id = k.id offset 0 for update) as c
"""

COLUMNS = (
    "tenant_id",
    "id",
    "external_id",
    "first_name",
    "last_name",
    "display_name",
    "email",
    "phone",
    "avatar_url",
    "status",
    "source",
    "attributes",
    "last_contact_at",
    "created_at",
    "updated_at",
    "deleted_at",
    "version",
    "timeline_sequence",
    "search_text",
)

UPDATE = """
update contacts c set
    external_id = k.external_id, first_name = k.first_name, last_name = k.last_name, display_name = k.display_name,
    email = k.email, phone = k.phone, avatar_url = k.avatar_url, status = k.status, source = k.source,
    attributes = k.attributes, last_contact_at = k.last_contact_at, updated_at = k.updated_at, deleted_at = k.deleted_at,
    version = k.version, timeline_sequence = k.timeline_sequence, search_text = k.search_text
from unnest($1::text[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
    $10::text[], $11::text[], $12::jsonb[], $13::timestamptz[], $14::timestamptz[], $15::timestamptz[],
    $16::bigint[], $17::bigint[], $18::text[])
    as k(tenant_id, id, external_id, first_name, last_name, display_name, email, phone, avatar_url, status, source,
        attributes, last_contact_at, updated_at, deleted_at, version, timeline_sequence, search_text)
where c.tenant_id = k.tenant_id and c.id = k.id
"""

# Before anything is written that may take one of them over.
RELEASE = """
update contacts c set external_id = null
from unnest($1::text[], $2::uuid[]) as k(tenant_id, id)
where c.tenant_id = k.tenant_id and c.id = k.id
"""

# What every message moves. Neither column is indexed, so the row stays where its index entries point.
TOUCH = """
update contacts c set last_contact_at = k.last_contact_at, timeline_sequence = k.timeline_sequence
from unnest($1::text[], $2::uuid[], $3::timestamptz[], $4::bigint[])
    as k(tenant_id, id, last_contact_at, timeline_sequence)
where c.tenant_id = k.tenant_id and c.id = k.id
"""

ContactKey = tuple[str, uuid.UUID]


async def lock(connection: asyncpg.Connection, keys: Sequence[ContactKey]) -> dict[ContactKey, Contact]:
    """Lock the contacts in the order of ``keys``, which is sorted, and read them; identifiers and tags are left out.

    Raises Restart when one has become a redirect since it was found.
    """
    locked: dict[ContactKey, Contact] = {}
    for row in await connection.fetch(LOCK, [k[0] for k in keys], [k[1] for k in keys]):
        values = dict(row)
        values["attributes"] = orjson.loads(values["attributes"])
        contact = Contact(**values)
        if contact.merged_into is not None:
            raise Restart("a contact was merged meanwhile")
        locked[contact.tenant_id, contact.id] = contact
    return locked


def _values(c: Contact) -> tuple[object, ...]:
    """In the order of COLUMNS."""
    return (
        c.tenant_id,
        c.id,
        c.external_id,
        c.first_name,
        c.last_name,
        c.display_name,
        c.email,
        c.phone,
        c.avatar_url,
        c.status,
        c.source,
        orjson.dumps(c.attributes).decode() if c.attributes else "{}",
        c.last_contact_at,
        c.created_at,
        c.updated_at,
        c.deleted_at,
        c.version,
        c.timeline_sequence,
        search_text(c),
    )


async def insert(connection: asyncpg.Connection, contacts: Sequence[Contact]) -> None:
    """Insert new contacts, sorted. Raises Restart when an external id was taken meanwhile."""
    in_order = sorted(contacts, key=lambda c: (c.tenant_id, c.external_id or "", c.id))
    await copy.insert(connection, Rows("contacts", COLUMNS, [_values(c) for c in in_order]))


async def release(connection: asyncpg.Connection, keys: Sequence[ContactKey]) -> None:
    """Take the external ids from contacts, for others of the batch to have."""
    if keys:
        await connection.execute(RELEASE, [k[0] for k in keys], [k[1] for k in keys])


async def update(connection: asyncpg.Connection, contacts: Sequence[Contact]) -> None:
    """Write every column of contacts whose version rose. Raises Restart when an external id was taken meanwhile."""
    if not contacts:
        return
    columns = [list(column) for column in zip(*(_values(c) for c in contacts), strict=True)]
    del columns[COLUMNS.index("created_at")]  # it never changes
    try:
        await connection.execute(UPDATE, *columns)
    except asyncpg.UniqueViolationError as error:
        raise Restart("an external id was taken meanwhile") from error


async def touch(connection: asyncpg.Connection, contacts: Sequence[Contact]) -> None:
    """Write what a message moves without a new version."""
    if contacts:
        await connection.execute(
            TOUCH,
            [c.tenant_id for c in contacts],
            [c.id for c in contacts],
            [c.last_contact_at for c in contacts],
            [c.timeline_sequence for c in contacts],
        )
