"""From what a message changed to what is told of it: versions, timeline events, ``contact.*`` and ``timeline.*`` events.

Invariants: a contact's version rises by one for a message that changes its document, and every event of that message
carries it; sequences of its timeline rise by one an event; a document and its events say the same
(old document + ``changes`` = new document). Pure.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

import orjson

from contracts import subjects
from contracts.vocabulary import EventType
from storage.ids import uuid7
from storage.outbox import OutboundEvent
from storage.rows import Contact, Identifier, TimelineEvent
from workers import marks
from workers.directory import Rejection, Scratch
from workers.draft import Draft, Entry

SOURCE = "rollcall"
JSON_OPTIONS = orjson.OPT_UTC_Z
EVENT_BYTES = 4_000_000  # an event's text is cut above this, far below what the broker takes
CUT_CHARACTERS = 10_000

PLAIN_FIELDS = (
    "external_id",
    "first_name",
    "last_name",
    "display_name",
    "email",
    "phone",
    "avatar_url",
    "source",
)
CHANNEL_NAMES = {"whatsapp": "WhatsApp", "sms": "SMS", "email": "E-mail", "rcs": "RCS"}


@dataclass(slots=True)
class Origin:
    """Which message is the cause, for the events that it brings about."""

    tenant: str
    kind: str  # webhook.whatsapp, command.contact.update
    message_id: str
    time: datetime  # when it happened: the envelope's, or the broker's
    correlation_id: str | None
    actor: str | None
    traceparent: str | None

    @property
    def source(self) -> str:
        """The ``source`` of the timeline events that a change writes by itself."""
        return "agent" if self.actor and self.actor.startswith("user:") else "system"


@lru_cache(maxsize=1024)
def title_of(event_type: str) -> str:
    """The default title: a sentence made from the type."""
    words = event_type.split("_")
    first = CHANNEL_NAMES.get(words[0], words[0].capitalize())
    return " ".join([first, *words[1:]])[:255]


def identifier_document(identifier: Identifier) -> dict[str, Any]:
    return {
        "id": str(identifier.id),
        "channel": identifier.channel,
        "scope": identifier.key.scope,
        "identifier": identifier.key.identifier,
        "raw": identifier.raw,
        "aliases": list(identifier.aliases),
        "is_primary": identifier.is_primary,
        "is_verified": identifier.is_verified,
        "shared": identifier.shared,
        "metadata": identifier.metadata,
    }


def identifier_documents(contact: Contact) -> list[dict[str, Any]]:
    """Identifiers in the order in which they came."""
    return [identifier_document(i) for i in sorted(contact.identifiers.values(), key=lambda i: i.id)]


def document(contact: Contact) -> dict[str, Any]:
    """The contact as events and queries show it: ContactDocument in contracts/documents.py."""
    return {
        "id": str(contact.id),
        "external_id": contact.external_id,
        "first_name": contact.first_name,
        "last_name": contact.last_name,
        "display_name": contact.display_name,
        "email": contact.email,
        "phone": contact.phone,
        "avatar_url": contact.avatar_url,
        "status": contact.status,
        "source": contact.source,
        "attributes": contact.attributes,
        "tags": sorted(contact.tags),
        "identifiers": identifier_documents(contact),
        "last_contact_at": contact.last_contact_at,
        "created_at": contact.created_at,
        "updated_at": contact.updated_at,
        "deleted_at": contact.deleted_at,
        "version": contact.version,
    }


def derive(contact: Contact) -> None:
    """Set what follows from the rest: email, phone, display_name."""
    identifiers = sorted(contact.identifiers.values(), key=lambda i: i.id)
    primary = {i.channel: i.key.identifier for i in identifiers if i.is_primary}
    contact.email = primary.get("email")
    contact.phone = primary.get("sms")
    profiles = [
        (i.metadata.get("profile_name_at") or "", n, name)
        for n, i in enumerate(identifiers)
        if (name := i.metadata.get("profile_name"))
    ]
    name = " ".join(part for part in (contact.first_name, contact.last_name) if part)
    contact.display_name = (
        name
        or (max(profiles)[2] if profiles else None)
        or contact.email
        or contact.phone
        or (identifiers[0].key.identifier if identifiers else None)
    )


def changes_of(before: Contact, after: Contact) -> dict[str, dict[str, Any]]:
    """By field of the document: old and new, where they differ. Deletion has events of its own."""
    changes: dict[str, dict[str, Any]] = {}
    for name in (*PLAIN_FIELDS, "status", "attributes"):
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            changes[name] = {"old": old, "new": new}
    if before.tags != after.tags:
        changes["tags"] = {"old": sorted(before.tags), "new": sorted(after.tags)}
    if before.identifiers != after.identifiers:
        old_documents, new_documents = identifier_documents(before), identifier_documents(after)
        if old_documents != new_documents:
            changes["identifiers"] = {"old": old_documents, "new": new_documents}
    return changes


def derived_entries(draft: Draft, changes: dict[str, dict[str, Any]], origin: Origin) -> list[Entry]:
    """The timeline events that a change writes by itself."""
    before, after = draft.before, draft.after
    if before is None:
        return [
            Entry(
                EventType.CONTACT_CREATED,
                "system",
                {"display_name": after.display_name, "source": after.source},
            )
        ]
    entries: list[Entry] = []
    if before.deleted_at is None and after.deleted_at is not None:
        entries.append(Entry(EventType.CONTACT_DELETED, "system", {"reason": draft.reason}))
    if before.deleted_at is not None and after.deleted_at is None:
        entries.append(Entry(EventType.CONTACT_RESTORED, "system", {"reason": draft.reason}))
    if "status" in changes:
        entries.append(Entry(EventType.STATUS_CHANGED, "status", changes["status"]))
    if "attributes" in changes:
        for key in sorted(before.attributes.keys() | after.attributes.keys()):
            old, new = before.attributes.get(key), after.attributes.get(key)
            if key not in after.attributes:
                entries.append(
                    Entry(EventType.CUSTOM_FIELD_CLEARED, "custom_field", {"key": key, "old": old})
                )
            elif key not in before.attributes or old != new:
                entries.append(
                    Entry(EventType.CUSTOM_FIELD_SET, "custom_field", {"key": key, "old": old, "new": new})
                )
    entries += [Entry(EventType.TAG_ADDED, "tag", {"tag": name}) for name in sorted(after.tags - before.tags)]
    entries += [
        Entry(EventType.TAG_REMOVED, "tag", {"tag": name}) for name in sorted(before.tags - after.tags)
    ]
    if "identifiers" in changes and not any(e.type == EventType.IDENTIFIER_CHANGED for e in draft.entries):
        entries += _identifier_entries(before, after)
    rest: dict[str, Any] = {}
    if not origin.kind.startswith(
        "command.identifier."
    ):  # there they follow from what the identifier's event says
        rest = {name: change for name, change in changes.items() if name in PLAIN_FIELDS}
    if "identifiers" in changes and origin.kind.startswith(
        "command."
    ):  # a webhook's item writes an event itself
        rest |= _untold(before, after)
    if rest:
        entries.append(Entry(EventType.CONTACT_UPDATED, "system", {"changes": rest}))
    return entries


def _identifier_entries(before: Contact, after: Contact) -> list[Entry]:
    entries: list[Entry] = []
    had_primary = {i.channel for i in before.identifiers.values() if i.is_primary}
    for at, new in after.identifiers.items():
        old = before.identifiers.get(at)
        about = {"channel": new.channel, "identifier": new.key.identifier, "scope": new.key.scope}
        if old is None:
            entries.append(Entry(EventType.IDENTIFIER_ADDED, "system", about))
        if new.is_verified and old is not None and not old.is_verified:
            entries.append(Entry(EventType.IDENTIFIER_VERIFIED, "system", about))
        if new.is_primary and (not old.is_primary if old else new.channel in had_primary):
            entries.append(Entry(EventType.IDENTIFIER_PRIMARY_CHANGED, "system", about))
    for at, old in before.identifiers.items():
        if at not in after.identifiers:
            about = {"channel": old.channel, "identifier": old.key.identifier, "scope": old.key.scope}
            entries.append(Entry(EventType.IDENTIFIER_REMOVED, "system", about))
    return entries


def _untold(before: Contact, after: Contact) -> dict[str, Any]:
    """Of the identifiers, those that differ in what no event of their own says: a spelling, metadata, a flag taken away."""
    pairs = [(old, new) for at, new in after.identifiers.items() if (old := before.identifiers.get(at))]
    differing = [(old, new) for old, new in pairs if _as_told(old, new) != new]
    if not differing:
        return {}
    old_documents, new_documents = (
        [identifier_document(i) for i in side] for side in zip(*differing, strict=True)
    )
    return {"identifiers": {"old": old_documents, "new": new_documents}}


def _as_told(old: Identifier, new: Identifier) -> Identifier:
    """The identifier before, with what identifier_verified and identifier_primary_changed say of it since."""
    return replace(
        old, slot=new.slot, is_primary=new.is_primary, is_verified=old.is_verified or new.is_verified
    )


def settle(scratch: Scratch, origin: Origin) -> list[OutboundEvent]:
    """Fix versions and sequences of what a message did, and say it: its events in the order they leave."""
    outbound: list[OutboundEvent] = []
    for contact_id, draft in scratch.drafts.items():
        after = draft.after
        shard = subjects.shard_of(contact_id)
        entries = draft.entries
        if draft.changed:
            entries = _settle_changes(draft, origin, scratch.at, shard, outbound) + entries
        for entry in entries:
            after.timeline_sequence += 1
            event = _timeline_event(entry, after, origin, scratch.at)
            scratch.events.append(event)
            data = timeline_document(event)
            outbound.append(
                _outbound(f"timeline.{event.category}", event.id, data, contact_id, origin, scratch.at, shard)
            )
    for contact_id, data in marks.told(scratch.event_changes.values(), scratch.at):
        shard = subjects.shard_of(contact_id)
        outbound.append(
            _outbound("contact.timeline_changed", uuid7(), data, contact_id, origin, scratch.at, shard)
        )
    outbound += [rejected(origin, rejection) for rejection in scratch.rejections]
    return outbound


def _settle_changes(
    draft: Draft, origin: Origin, at: datetime, shard: int, outbound: list[OutboundEvent]
) -> list[Entry]:
    before, after = draft.before, draft.after
    derive(after)
    changes = changes_of(before, after) if before else {}
    life = before is not None and before.deleted_at != after.deleted_at
    if before is not None and not changes and not life:
        draft.changed = False
        return []
    after.version += 1
    after.updated_at = at
    base = {"contact_id": str(after.id), "version": after.version}

    def say(event_type: str, **facts: Any) -> None:
        outbound.append(_outbound(event_type, uuid7(), {**base, **facts}, after.id, origin, at, shard))

    if before is None:
        say("contact.created", contact=document(after))
    if life:
        say("contact.deleted" if after.deleted_at else "contact.restored", reason=draft.reason)
    if changes:
        say("contact.updated", changes=changes)
    if before is not None:
        for name in sorted(after.tags - before.tags):
            say("contact.tagged", tag=name)
        for name in sorted(before.tags - after.tags):
            say("contact.untagged", tag=name)
    return derived_entries(draft, changes, origin)


def _timeline_event(entry: Entry, contact: Contact, origin: Origin, at: datetime) -> TimelineEvent:
    return TimelineEvent(
        id=entry.id,
        tenant_id=contact.tenant_id,
        contact_id=contact.id,
        sequence=contact.timeline_sequence,
        contact_version=contact.version,
        type=entry.type,
        category=entry.category,
        priority=entry.priority,
        title=entry.title or title_of(entry.type),
        source=entry.source or origin.source,
        occurred_at=entry.occurred_at or origin.time,
        created_at=at,
        description=entry.description,
        payload=entry.payload,
        metadata=entry.metadata,
        session_id=entry.session_id,
        thread_id=entry.thread_id,
        triggered_by=entry.triggered_by or origin.actor,
        integration_source=entry.integration_source,
        realtime=entry.realtime,
        visible_to_client=entry.visible_to_client,
        visible_to_agent=entry.visible_to_agent,
        expires_at=entry.expires_at,
    )


def timeline_document(event: TimelineEvent) -> dict[str, Any]:
    """The timeline event as events and queries show it: TimelineDocument in contracts/documents.py."""
    return {
        "id": str(event.id),
        "contact_id": str(event.contact_id),
        "sequence": event.sequence,
        "contact_version": event.contact_version,
        "session_id": event.session_id,
        "thread_id": event.thread_id,
        "type": event.type,
        "category": event.category,
        "priority": event.priority,
        "title": event.title,
        "description": event.description,
        "payload": event.payload,
        "metadata": event.metadata,
        "source": event.source,
        "triggered_by": event.triggered_by,
        "integration_source": event.integration_source,
        "realtime": event.realtime,
        "delivered_at": None,
        "read_at": None,
        "visible_to_client": event.visible_to_client,
        "visible_to_agent": event.visible_to_agent,
        "expires_at": event.expires_at,
        "occurred_at": event.occurred_at,
        "created_at": event.created_at,
    }


def rejected(origin: Origin, rejection: Rejection) -> OutboundEvent:
    """``contact.rejected``: what a sender that did not ask for a result can still read."""
    contact_id = rejection.contact_id
    data = {
        "contact_id": str(contact_id) if contact_id else None,
        "type": origin.kind,
        "message_id": origin.message_id,
        "code": rejection.code,
        "message": rejection.message,
        "details": rejection.details,
    }
    shard = subjects.shard_of(contact_id) if contact_id else 0
    return _outbound("contact.rejected", uuid7(), data, contact_id, origin, origin.time, shard)


def _outbound(
    event_type: str,
    event_id: uuid.UUID,
    data: dict[str, Any],
    contact_id: uuid.UUID | None,
    origin: Origin,
    at: datetime,
    shard: int,
) -> OutboundEvent:
    about = str(contact_id) if contact_id else "-"
    envelope = {
        "specversion": "1.0",
        "id": str(event_id),
        "source": SOURCE,
        "type": event_type,
        "subject": about,
        "time": at,
        "datacontenttype": "application/json",
        "tenantid": origin.tenant,
        "correlationid": origin.correlation_id or origin.message_id,
        "causationid": origin.message_id,
        "actor": origin.actor or "system",
        "dataversion": "1.0",
        "data": data,
    }
    if origin.traceparent:
        envelope["traceparent"] = origin.traceparent
    payload = orjson.dumps(envelope, option=JSON_OPTIONS)
    if len(payload) > EVENT_BYTES:
        envelope["data"] = {**_cut(data), "truncated": True}
        payload = orjson.dumps(envelope, option=JSON_OPTIONS)
    return OutboundEvent(shard, f"{event_type}.{origin.tenant}.{about}", str(event_id), payload)


def _cut(data: dict[str, Any]) -> dict[str, Any]:
    """The facts without what is long: whoever needs it asks for it by id."""

    def short(value: Any) -> Any:
        return value if len(orjson.dumps(value)) <= CUT_CHARACTERS else None

    return {name: short(value) for name, value in data.items()}
