"""The contacts that the messages of a batch refer to, and the ids that were seen before, found in one statement. Nothing is locked.

However they are referred to, the round trip is one: at a few messages a batch the round trips are most of what it costs. And one
statement sees one moment: no two of its findings contradict each other.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

import asyncpg

from storage.contacts import ContactKey
from storage.inbox import SeenKey


class Lookup(NamedTuple):
    """An identifier to look up in every scope."""

    tenant_id: str
    kind: str
    identifier: str


class Answering(NamedTuple):
    """The contact that has an external id, and the one that answers for it: after a merge the survivor."""

    named: uuid.UUID
    answers: uuid.UUID


@dataclass(slots=True)
class Found:
    """What is not there is not in here."""

    at: datetime  # when the transaction began, by the database's clock
    first_outcomes: dict[SeenKey, str] = field(default_factory=dict)  # JSON, of each id that is taken
    # An id as named -> the contact that answers for it.
    answering: dict[ContactKey, uuid.UUID] = field(default_factory=dict)
    external_ids: dict[tuple[str, str], Answering] = field(default_factory=dict)
    owners: dict[Lookup, dict[str, uuid.UUID]] = field(default_factory=dict)  # scope -> contact


_AT, _MESSAGE, _CONTACT, _EXTERNAL, _IDENTIFIER = range(5)

# Here and in every statement over keys: a lateral subquery with offset 0 is looked up key by key. A plain join leaves the
# planner to walk the whole table instead while it still believes it empty. A redirect answers with its survivor; merged_into
# never names another redirect.
FIND: Final = f"""
select {_AT} as what, 0 as place, null::text as text, null::uuid as named, null::uuid as id, now() as at
union all
select {_MESSAGE}, k.place::int, m.outcome, null, null, null
from unnest($1::text[], $2::bytea[]) with ordinality as k(tenant_id, digest, place),
lateral (select outcome from inbox_messages where tenant_id = k.tenant_id and digest = k.digest offset 0) as m
union all
select {_CONTACT}, k.place::int, null, null, coalesce(c.merged_into, c.id), null
from unnest($3::text[], $4::uuid[]) with ordinality as k(tenant_id, id, place),
lateral (select id, merged_into from contacts where tenant_id = k.tenant_id and id = k.id offset 0) as c
union all
select {_EXTERNAL}, k.place::int, null, c.id, coalesce(c.merged_into, c.id), null
from unnest($5::text[], $6::text[]) with ordinality as k(tenant_id, external_id, place),
lateral (
    select id, merged_into from contacts where tenant_id = k.tenant_id and external_id = k.external_id offset 0
) as c
union all
select {_IDENTIFIER}, k.place::int, i.scope, null, i.contact_id, null
from unnest($7::text[], $8::text[], $9::text[]) with ordinality as k(tenant_id, kind, identifier, place),
lateral (
    select scope, contact_id from channel_identifiers
    where tenant_id = k.tenant_id and kind = k.kind and identifier = k.identifier and slot = 0
    offset 0
) as i
"""


async def find(
    connection: asyncpg.Connection,
    *,
    message_ids: Sequence[SeenKey] = (),
    contact_ids: Sequence[ContactKey] = (),
    external_ids: Sequence[tuple[str, str]] = (),
    identifiers: Sequence[Lookup] = (),
) -> Found:
    """Look up ids of messages, contacts by id and by external id, and the owners of identifiers."""
    rows = await connection.fetch(
        FIND,
        [tenant for tenant, _ in message_ids],
        [digest for _, digest in message_ids],
        [tenant for tenant, _ in contact_ids],
        [contact_id for _, contact_id in contact_ids],
        [tenant for tenant, _ in external_ids],
        [external_id for _, external_id in external_ids],
        [tenant for tenant, _, _ in identifiers],
        [kind for _, kind, _ in identifiers],
        [identifier for _, _, identifier in identifiers],
    )
    found = Found(next(row["at"] for row in rows if row["what"] == _AT))
    for what, place, text, named, contact_id, _ in rows:
        if what == _IDENTIFIER:
            found.owners.setdefault(identifiers[place - 1], {})[text] = contact_id
        elif what == _MESSAGE:
            found.first_outcomes[message_ids[place - 1]] = text
        elif what == _CONTACT:
            found.answering[contact_ids[place - 1]] = contact_id
        elif what == _EXTERNAL:
            found.external_ids[external_ids[place - 1]] = Answering(named, contact_id)
    return found
