"""The search texts of contacts that were written before there were any."""

from __future__ import annotations

import uuid

import asyncpg
import orjson

from storage import identities
from storage.contacts import ContactKey
from storage.rows import Contact
from storage.search.text import search_text

CHUNK = 1000

_WITHOUT = """
select tenant_id, id, external_id, first_name, last_name, display_name, attributes, version from contacts
where search_text = '' and merged_into is null and (tenant_id, id) > ($1, $2)
order by tenant_id, id limit $3
"""

# One that was changed meanwhile has been given its text.
_WRITE = """
update contacts c set search_text = k.search_text
from unnest($1::text[], $2::uuid[], $3::bigint[], $4::text[]) as k(tenant_id, id, version, search_text)
where c.tenant_id = k.tenant_id and c.id = k.id and c.version = k.version
"""


async def fill(connection: asyncpg.Connection) -> None:
    """Give every contact its text, in transactions of a chunk each; those that have one are left alone."""
    after: ContactKey = ("", uuid.UUID(int=0))
    while True:
        rows = await connection.fetch(_WITHOUT, *after, CHUNK)
        contacts = {(row["tenant_id"], row["id"]): _contact(row) for row in rows}
        for key, identifier in await identities.of_contacts(connection, list(contacts)):
            contacts[key].identifiers[identifier.key, identifier.channel] = identifier
        found = contacts.values()
        await connection.execute(
            _WRITE,
            [c.tenant_id for c in found],
            [c.id for c in found],
            [c.version for c in found],
            [search_text(c) for c in found],
        )
        if len(rows) < CHUNK:
            return
        after = list(contacts)[-1]


def _contact(row: asyncpg.Record) -> Contact:
    """What a text is made of."""
    values = dict(row)
    values["attributes"] = orjson.loads(values["attributes"])
    return Contact(**values)
