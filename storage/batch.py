"""The unit of work of one batch: what it reads, what it locks, what it writes, and in which order.

Every transaction takes its locks by class in this order, and within a class sorted by key, so that two batches never wait
for each other in a circle:

    cursors (the engine) -> contacts -> external ids -> identifiers -> tag names -> statuses, consents
        -> rebuilds of the search index -> message ids

Found is not locked: what ``load`` found without a lock is compared with what it reads under the lock, and any difference
raises ``Restart``. A key that was free and is taken by the time it is inserted raises ``Restart`` as well. So a batch either
commits on a state that it saw whole, or begins again.

Timeline events that are marked or deleted have no place of their own in that order: whoever writes them has their contacts
locked.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import asyncpg

from storage import contacts, copy, identities, inbox, marks, references, tags, timeline
from storage.contacts import ContactKey
from storage.errors import Restart
from storage.inbox import SeenKey
from storage.marks import EventKey
from storage.references import Lookup
from storage.rows import Consent, Contact, EventState, Identifier, MessageStatus, TimelineEvent
from storage.search import state
from storage.tags import TagMapping


@dataclass(slots=True)
class Wanted:
    """Everything that the messages of a batch refer to."""

    message_ids: set[SeenKey] = field(default_factory=set)
    contact_ids: set[ContactKey] = field(default_factory=set)
    external_ids: set[tuple[str, str]] = field(default_factory=set)
    identifiers: set[Lookup] = field(default_factory=set)
    tags: bool = False  # whether any message looks at tags
    event_ids: set[EventKey] = field(default_factory=set)  # to be marked or deleted
    rebuilds: set[str] = field(default_factory=set)  # tenants whose contacts are to be indexed anew


@dataclass(slots=True)
class Loaded:
    """The state that a batch folds over; its contacts are locked until the transaction ends."""

    at: datetime  # the database's clock
    first_outcomes: dict[SeenKey, str]
    answering: dict[ContactKey, uuid.UUID]  # an id as named -> the contact that answers for it
    external_ids: dict[tuple[str, str], uuid.UUID]
    owners: dict[Lookup, dict[str, uuid.UUID]]  # scope -> contact
    contacts: dict[ContactKey, Contact]
    events: dict[EventKey, EventState] = field(default_factory=dict)  # their contacts are among the locked
    # By tenant: the one that has not ended.
    rebuilds: Mapping[str | None, uuid.UUID] = field(default_factory=dict)


@dataclass(slots=True)
class Changes:
    """What a fold made of it."""

    at: datetime
    created: list[Contact] = field(default_factory=list)
    updated: list[Contact] = field(default_factory=list)  # the version rose
    touched: list[Contact] = field(default_factory=list)  # it did not
    released: list[ContactKey] = field(default_factory=list)  # gave up the external id that they had
    identifiers_removed: list[tuple[str, Identifier]] = field(default_factory=list)
    identifiers_changed: list[tuple[str, Identifier]] = field(default_factory=list)
    identifiers_added: list[tuple[ContactKey, Identifier]] = field(default_factory=list)
    tags_added: list[TagMapping] = field(default_factory=list)
    tags_removed: list[TagMapping] = field(default_factory=list)
    events: list[TimelineEvent] = field(default_factory=list)
    events_marked: list[EventState] = field(default_factory=list)
    events_deleted: list[EventState] = field(default_factory=list)
    consents: list[Consent] = field(default_factory=list)
    statuses: list[MessageStatus] = field(default_factory=list)
    rebuilds: dict[str, uuid.UUID] = field(default_factory=dict)  # asked for, by tenant
    outcomes: dict[SeenKey, str] = field(default_factory=dict)


async def load(connection: asyncpg.Connection, wanted: Wanted) -> Loaded:
    """Find, lock and read. Raises Restart when a finding did not hold once the lock was there."""
    found = await references.find(
        connection,
        message_ids=sorted(wanted.message_ids),
        contact_ids=sorted(wanted.contact_ids),
        external_ids=sorted(wanted.external_ids),
        identifiers=sorted(wanted.identifiers),
    )
    external_ids = {key: answers for key, (_, answers) in found.external_ids.items()}
    found_events = await marks.find(connection, sorted(wanted.event_ids)) if wanted.event_ids else {}

    keys = {(tenant, answers) for (tenant, _), answers in found.answering.items()}
    keys |= {(tenant, answers) for (tenant, _), answers in external_ids.items()}
    keys |= {
        (lookup.tenant_id, owner) for lookup, by_scope in found.owners.items() for owner in by_scope.values()
    }
    keys |= {(tenant, event.contact_id) for (tenant, _), event in found_events.items()}
    locked: dict[ContactKey, Contact] = {}
    if keys:
        in_order = sorted(keys)
        locked = await contacts.lock(connection, in_order)
        for key, identifier in await identities.of_contacts(connection, in_order):
            locked[key].identifiers[identifier.key, identifier.channel] = identifier
        if wanted.tags:
            for tenant, contact_id, name in await tags.of_contacts(connection, in_order):
                contact = locked[tenant, contact_id]
                contact.tags = contact.tags | {name}
    events = await marks.read(connection, found_events) if found_events else {}
    if any(event.contact_id != found_events[key].contact_id for key, event in events.items()):
        raise Restart("the contact of a timeline event was merged meanwhile, or no longer is")
    rebuilds = await state.unfinished(connection, wanted.rebuilds) if wanted.rebuilds else {}
    loaded = Loaded(
        found.at, found.first_outcomes, found.answering, external_ids, found.owners, locked, events, rebuilds
    )
    own = {key for key, (named, answers) in found.external_ids.items() if named == answers}
    _verify(loaded, own)
    redirected = {key: both for key, both in found.external_ids.items() if key not in own}
    if redirected:
        again = await references.find(connection, external_ids=sorted(redirected))
        if again.external_ids != redirected:
            raise Restart("an external id of a merged contact changed hands meanwhile")
    return loaded


def _verify(loaded: Loaded, own_external_ids: Collection[tuple[str, str]]) -> None:
    owned = {
        (tenant, i.key.kind, i.key.identifier, i.key.scope): contact_id
        for (tenant, contact_id), contact in loaded.contacts.items()
        for i in contact.identifiers.values()
    }
    for lookup, by_scope in loaded.owners.items():
        for scope, owner in by_scope.items():
            if owned.get((*lookup, scope)) != owner:
                raise Restart("an identifier changed hands meanwhile")
    for tenant, external_id in own_external_ids:
        owner = loaded.external_ids[tenant, external_id]
        if loaded.contacts[tenant, owner].external_id != external_id:
            raise Restart("an external id changed hands meanwhile")


async def persist(connection: asyncpg.Connection, changes: Changes) -> None:
    """Write the changes. Raises Restart when another transaction took a key meanwhile."""
    await contacts.release(connection, changes.released)
    await contacts.insert(connection, changes.created)
    await contacts.update(connection, changes.updated)
    await contacts.touch(connection, changes.touched)
    await _write_identifiers(connection, changes)
    await tags.add(connection, changes.tags_added, changes.at)
    await tags.remove(connection, changes.tags_removed)
    await timeline.upsert_statuses(connection, changes.statuses)
    await timeline.upsert_consents(connection, changes.consents)
    if changes.rebuilds and not await state.insert(connection, changes.rebuilds.items()):
        raise Restart("a rebuild was asked for meanwhile")
    # On events nobody races: their contacts are locked.
    await copy.insert(connection, timeline.rows(changes.events), inbox.rows(changes.outcomes, changes.at))
    await marks.mark(connection, changes.events_marked)
    await marks.delete(connection, changes.events_deleted)


async def _write_identifiers(connection: asyncpg.Connection, changes: Changes) -> None:
    """New keys first, in order: whoever waits for one of those that we have let go of may hold one that we want."""
    let_go = {(tenant, i.key) for tenant, i in changes.identifiers_removed}
    new = [row for row in changes.identifiers_added if (row[0][0], row[1].key) not in let_go]
    again = [row for row in changes.identifiers_added if (row[0][0], row[1].key) in let_go]
    await identities.insert(connection, new)
    await identities.delete(connection, changes.identifiers_removed)
    await identities.change(connection, changes.identifiers_changed)
    await identities.insert(connection, again)
