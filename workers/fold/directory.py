"""The state of a batch in memory, and one message's private view of it.

Every message folds over a ``Scratch``: what it changes is seen by later messages of the batch only once ``Directory.adopt``
took it over, so a message that is rejected or fails half-way leaves no trace. No I/O, no clock.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import datetime
from typing import Any

from storage.batch import Changes, Loaded
from storage.contacts import ContactKey
from storage.ids import uuid7
from storage.inbox import SeenKey
from storage.references import Lookup
from storage.rows import (
    Consent,
    Contact,
    EventState,
    Identifier,
    IdentifierKey,
    MessageStatus,
    TimelineEvent,
)
from workers.fold.draft import Draft, Entry
from workers.fold.equality import same_identifier
from workers.fold.marks import EventChange, Marks


class Rejection(Exception):
    """A command that the state does not allow; the codes are in docs/codes.md, "Rejections"."""

    def __init__(
        self,
        code: str,
        message: str,
        details: dict[str, Any] | None = None,
        contact_id: uuid.UUID | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details
        self.contact_id = contact_id


class Directory:
    """Contacts and who owns which identifier, as the messages of the batch so far left them."""

    def __init__(self, loaded: Loaded) -> None:
        self.at = loaded.at
        self._loaded = loaded
        self._contacts = dict(loaded.contacts)
        self._owners = loaded.owners
        self._external_ids = loaded.external_ids
        self._baseline: dict[ContactKey, Contact | None] = {}
        self.seen: dict[SeenKey, str] = loaded.first_outcomes
        self.taken: dict[SeenKey, str] = {}
        self.events: list[TimelineEvent] = []
        self.marks = Marks(loaded.events, self.events)
        self.consents: list[Consent] = []
        self.statuses: list[MessageStatus] = []
        self.rebuilds: dict[str, uuid.UUID] = {}  # asked for, by tenant

    def first_outcome(self, key: SeenKey) -> str | None:
        return self.seen.get(key) or self.taken.get(key)

    def named(self, tenant: str, contact_id: uuid.UUID) -> Contact | None:
        """The contact that answers for an id."""
        answers = self._loaded.answering.get((tenant, contact_id))
        return self._contacts[tenant, answers] if answers else self._contacts.get((tenant, contact_id))

    def contact(self, tenant: str, contact_id: uuid.UUID) -> Contact:
        return self._contacts[tenant, contact_id]

    def by_external_id(self, tenant: str, external_id: str) -> uuid.UUID | None:
        return self._external_ids.get((tenant, external_id))

    def owners(self, tenant: str, kind: str, identifier: str) -> dict[str, uuid.UUID]:
        """Scope -> the contact that owns the identifier there."""
        return self._owners.get(Lookup(tenant, kind, identifier), {})

    def rebuild(self, tenant: str) -> uuid.UUID | None:
        """The rebuild of the tenant's part of the search index that has not ended."""
        return self.rebuilds.get(tenant) or self._loaded.rebuilds.get(tenant)

    def adopt(self, scratch: Scratch) -> None:
        """Take over what a message did."""
        tenant = scratch.tenant
        for contact_id, draft in scratch.drafts.items():
            key = (tenant, contact_id)
            self._baseline.setdefault(key, draft.before)
            self._contacts[key] = draft.after
            if draft.changed:
                self._index(tenant, draft)
        self.events += scratch.events
        self.marks.adopt(scratch.event_changes.values())
        self.consents += scratch.consents
        self.statuses += scratch.statuses
        if scratch.rebuild is not None:
            self.rebuilds[tenant] = scratch.rebuild
        self.taken.update(scratch.taken)

    def _index(self, tenant: str, draft: Draft) -> None:
        before, after = draft.before, draft.after
        if before is not None:
            for key, _ in before.identifiers.keys() - after.identifiers.keys():
                owners = self._owners.get(Lookup(tenant, key.kind, key.identifier))
                if owners and owners.get(key.scope) == after.id and not after.has(key):
                    del owners[key.scope]
            if before.external_id and before.external_id != after.external_id:
                self._external_ids.pop((tenant, before.external_id), None)
        for key, _ in after.identifiers:
            self._owners.setdefault(Lookup(tenant, key.kind, key.identifier), {})[key.scope] = after.id
        if after.external_id:
            self._external_ids[tenant, after.external_id] = after.id

    def changes(self) -> Changes:
        """What the batch must write: the difference between what was loaded and what is now."""
        changes = Changes(
            self.at,
            events=self.events,
            events_marked=self.marks.marked(),
            events_deleted=self.marks.deleted(),
            consents=self.consents,
            statuses=self.statuses,
            rebuilds=self.rebuilds,
            outcomes=self.taken,
        )
        for key, before in self._baseline.items():
            after = self._contacts[key]
            if before is None:
                changes.created.append(after)
            elif after.version != before.version:
                changes.updated.append(after)
                if before.external_id not in (None, after.external_id):
                    changes.released.append(key)
            else:
                changes.touched.append(after)
                continue
            old = before.identifiers if before else {}
            new = after.identifiers
            changes.identifiers_removed += [
                (key[0], i) for k, i in old.items() if not _is_same_row(i, new.get(k))
            ]
            changes.identifiers_changed += [
                (key[0], i)
                for k, i in new.items()
                if _is_same_row(i, old.get(k)) and not same_identifier(i, old[k])
            ]
            changes.identifiers_added += [(key, i) for k, i in new.items() if not _is_same_row(i, old.get(k))]
            old_tags = before.tags if before else frozenset()
            changes.tags_added += [(*key, name) for name in sorted(after.tags - old_tags)]
            changes.tags_removed += [(*key, name) for name in sorted(old_tags - after.tags)]
        changes.touched.sort(key=lambda c: (c.tenant_id, c.id))
        changes.updated.sort(key=lambda c: (c.tenant_id, c.id))
        return changes


def _is_same_row(identifier: Identifier, other: Identifier | None) -> bool:
    """Whether two are one row of the table: an identifier that was removed and came back is another one."""
    return other is not None and other.id == identifier.id


class Scratch:
    """One message's private view: reads fall through to the directory, writes stay here until adopted."""

    def __init__(self, directory: Directory, tenant: str) -> None:
        self.tenant = tenant
        self.at = directory.at
        self.directory = directory
        self.drafts: dict[uuid.UUID, Draft] = {}
        self.events: list[TimelineEvent] = []
        self.event_changes: dict[uuid.UUID, EventChange] = {}
        self.rejections: list[Rejection] = []  # of parts of the message; the rest of it applies
        self.consents: list[Consent] = []
        self.statuses: list[MessageStatus] = []
        # Of the tenant's part of the search index, if this message asks for it.
        self.rebuild: uuid.UUID | None = None
        self.taken: dict[SeenKey, str] = {}
        # (kind, identifier) -> scope -> the contact that this message gave it to last.
        self._given: dict[tuple[str, str], dict[str, uuid.UUID]] = {}

    def first_outcome(self, key: SeenKey) -> str | None:
        """The first outcome of an id that was taken before, this message's own items included."""
        return self.taken.get(key) or self.directory.first_outcome(key)

    def draft(self, contact_id: uuid.UUID) -> Draft:
        """The contact, for a timeline event or a touch. To change it, ask ``edit``."""
        draft = self.drafts.get(contact_id)
        if draft is None:
            before = self.directory.contact(self.tenant, contact_id)
            draft = self.drafts[contact_id] = Draft(before, before.copy())
        return draft

    def edit(self, contact_id: uuid.UUID) -> Contact:
        """The contact, to be changed."""
        draft = self.draft(contact_id)
        draft.changed = True
        return draft.after

    def create(self, source: str | None) -> Contact:
        """A new contact."""
        contact = Contact(self.tenant, uuid7(), source=source, created_at=self.at, updated_at=self.at)
        self.drafts[contact.id] = Draft(None, contact, changed=True)
        return contact

    def contact(self, contact_id: uuid.UUID) -> Contact:
        """The contact as this message sees it; not to be changed."""
        draft = self.drafts.get(contact_id)
        return draft.after if draft else self.directory.contact(self.tenant, contact_id)

    def owner(self, key: IdentifierKey) -> uuid.UUID | None:
        """Who owns the identifier, this message's own changes included."""
        owner = self._given.get((key.kind, key.identifier), {}).get(key.scope)
        if owner is None:
            owner = self.directory.owners(self.tenant, key.kind, key.identifier).get(key.scope)
        return owner if owner is not None and self._owns(owner, key) else None

    def owners(self, kind: str, identifier: str) -> dict[str, uuid.UUID]:
        """Scope -> owner of the identifier, this message's own changes included."""
        owners = {
            **self.directory.owners(self.tenant, kind, identifier),
            **self._given.get((kind, identifier), {}),
        }
        return {
            scope: owner
            for scope, owner in owners.items()
            if self._owns(owner, IdentifierKey(kind, identifier, scope))
        }

    def _owns(self, contact_id: uuid.UUID, key: IdentifierKey) -> bool:
        """Whether the contact, which owned the key or was given it, still does."""
        draft = self.drafts.get(contact_id)
        return draft is None or not draft.changed or draft.after.has(key)

    def by_external_id(self, external_id: str) -> uuid.UUID | None:
        """Who has the external id, this message's own changes included."""
        for contact_id, draft in self.drafts.items():
            if draft.changed and draft.after.external_id == external_id:
                return contact_id
        owner = self.directory.by_external_id(self.tenant, external_id)
        own = self.drafts.get(owner) if owner else None
        given_up = own and own.changed and own.before and own.before.external_id == external_id
        return None if given_up else owner

    def record(self, contact_id: uuid.UUID, entry: Entry) -> None:
        """Write a timeline event of the contact."""
        self.draft(contact_id).entries.append(entry)

    def event(self, event_id: uuid.UUID) -> EventState | None:
        """The timeline event as earlier messages left it."""
        return self.directory.marks.event((self.tenant, event_id))

    def change_event(self, change: EventChange) -> None:
        """Mark a timeline event or delete it; a message does so once to each."""
        self.event_changes[change.before.id] = change

    def touch(self, contact_id: uuid.UUID, at: datetime) -> None:
        """A message was received or sent: last_contact_at is the latest of them, in whatever order they come."""
        after = self.draft(contact_id).after
        if after.last_contact_at is None or after.last_contact_at < at:
            after.last_contact_at = at

    def put_identifier(self, contact_id: uuid.UUID, identifier: Identifier) -> None:
        """Give the contact an identifier, or replace the one it has there. The caller knows that nobody else owns it."""
        contact = self.edit(contact_id)
        given = self._given.setdefault((identifier.key.kind, identifier.key.identifier), {})
        given[identifier.key.scope] = contact_id
        slots = {i.slot for (key, channel), i in contact.identifiers.items() if key == identifier.key}
        at = (identifier.key, identifier.channel)
        held = contact.identifiers.get(at)
        slot = held.slot if held else next(n for n in range(len(slots) + 1) if n not in slots)
        contact.identifiers[at] = replace(identifier, slot=slot)

    def drop_identifier(self, contact_id: uuid.UUID, key: IdentifierKey, channel: str) -> None:
        """Take an identifier from the contact; where another channel shares its key, that one comes to own it."""
        contact = self.edit(contact_id)
        dropped = contact.identifiers.pop((key, channel))
        if dropped.slot == 0:
            for at, other in contact.identifiers.items():
                if at[0] == key:
                    contact.identifiers[at] = replace(other, slot=0)
                    break
