"""The search texts of contacts that were written before there were any, or when they were made differently."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import asyncpg
import orjson

from storage import identities
from storage.contacts import ContactKey
from storage.rows import Contact
from storage.search import state
from storage.search.text import search_text, values

CHUNK = 1000

_ALL = """
select tenant_id, id, external_id, first_name, last_name, display_name, attributes, version, search_text from contacts
where {which} and merged_into is null and (tenant_id, id) > ($1, $2)
order by tenant_id, id limit $3
"""
_WITHOUT = "search_text = ''"

# One that was changed meanwhile has been given its text.
_WRITE = """
update contacts c set search_text = k.search_text
from unnest($1::text[], $2::uuid[], $3::bigint[], $4::text[]) as k(tenant_id, id, version, search_text)
where c.tenant_id = k.tenant_id and c.id = k.id and c.version = k.version
"""

Derived = list[tuple[Contact, str, str]]  # each with the text that it has, and the one that it should have


async def fill(connection: asyncpg.Connection) -> None:
    """Give every contact its text, in transactions of a chunk each; those that have one are left alone."""
    async for chunk in _chunks(connection, _WITHOUT):
        await _write(connection, chunk)


async def derive_again(connection: asyncpg.Connection) -> None:
    """Write those texts that hold other values than they should, in transactions of a chunk each.

    Where there are any, the search index has to be built anew, for the versions of the contacts stay.
    """
    async for chunk in _chunks(connection, "true"):
        changed = [one for one in chunk if set(values(one[1])) != set(values(one[2]))]
        if changed:
            async with connection.transaction():
                await _write(connection, changed)
                await state.outdated(connection)


async def _chunks(connection: asyncpg.Connection, which: str) -> AsyncIterator[Derived]:
    after: ContactKey = ("", uuid.UUID(int=0))
    while True:
        rows = await connection.fetch(_ALL.format(which=which), *after, CHUNK)
        contacts = {(row["tenant_id"], row["id"]): _contact(row) for row in rows}
        for key, identifier in await identities.of_contacts(connection, list(contacts)):
            contacts[key].identifiers[identifier.key, identifier.channel] = identifier
        found = zip(rows, contacts.values(), strict=True)
        yield [(contact, row["search_text"], search_text(contact)) for row, contact in found]
        if len(rows) < CHUNK:
            return
        after = list(contacts)[-1]


async def _write(connection: asyncpg.Connection, derived: Derived) -> None:
    await connection.execute(
        _WRITE,
        [contact.tenant_id for contact, _, _ in derived],
        [contact.id for contact, _, _ in derived],
        [contact.version for contact, _, _ in derived],
        [text for _, _, text in derived],
    )


def _contact(row: asyncpg.Record) -> Contact:
    """What a text is made of."""
    values = dict(row)
    del values["search_text"]
    values["attributes"] = orjson.loads(values["attributes"])
    return Contact(**values)
