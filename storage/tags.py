"""Tags by name: a contact's tags, and the names themselves, which the first use makes."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from datetime import datetime

import asyncpg

from storage.contacts import ContactKey

OF_CONTACTS = """
select m.tenant_id, m.contact_id, t.name
from unnest($1::text[], $2::uuid[]) as k(tenant_id, contact_id),
lateral (
    select * from contact_tag_mappings where tenant_id = k.tenant_id and contact_id = k.contact_id offset 0
) as m,
lateral (select name from contact_tags where tenant_id = m.tenant_id and id = m.tag_id offset 0) as t
"""

MAKE = """
insert into contact_tags (tenant_id, id, name, created_at)
select t, gen_random_uuid(), n, $3 from (select distinct * from unnest($1::text[], $2::text[]) as k(t, n)) as d
order by t, n
on conflict do nothing
"""

ADD = """
insert into contact_tag_mappings (tenant_id, contact_id, tag_id, created_at)
select k.tenant_id, k.contact_id, t.id, $4
from unnest($1::text[], $2::uuid[], $3::text[]) as k(tenant_id, contact_id, name)
join contact_tags t on t.tenant_id = k.tenant_id and t.name = k.name
on conflict do nothing
"""

REMOVE = """
delete from contact_tag_mappings m
using unnest($1::text[], $2::uuid[], $3::text[]) as k(tenant_id, contact_id, name)
join contact_tags t on t.tenant_id = k.tenant_id and t.name = k.name
where m.tenant_id = k.tenant_id and m.contact_id = k.contact_id and m.tag_id = t.id
"""

TagMapping = tuple[str, uuid.UUID, str]  # tenant, contact, tag's name


async def of_contacts(connection: asyncpg.Connection, keys: Collection[ContactKey]) -> list[TagMapping]:
    rows = await connection.fetch(OF_CONTACTS, [k[0] for k in keys], [k[1] for k in keys])
    return [(r["tenant_id"], r["contact_id"], r["name"]) for r in rows]


async def add(connection: asyncpg.Connection, mappings: Sequence[TagMapping], at: datetime) -> None:
    """Give contacts tags; unknown names are made."""
    if mappings:
        tenants, contacts, names = (list(column) for column in zip(*mappings, strict=True))
        await connection.execute(MAKE, tenants, names, at)
        await connection.execute(ADD, tenants, contacts, names, at)


async def remove(connection: asyncpg.Connection, mappings: Sequence[TagMapping]) -> None:
    if mappings:
        await connection.execute(REMOVE, *(list(column) for column in zip(*mappings, strict=True)))
