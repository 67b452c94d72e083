"""From what a message changed to what is told of it: versions, timeline events, ``contact.*`` and ``timeline.*`` events.

Invariants: a contact's version rises by one for a message that changes its document, and every event of that message
carries it; sequences of its timeline rise by one an event; a document and its events say the same
(old document + ``changes`` = new document). Pure.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any

from contracts import subjects
from storage.ids import uuid7
from storage.outbox import OutboundEvent
from storage.rows import Contact, TimelineEvent
from workers.fold import marks
from workers.fold.derived import changes_of, derive, derived_entries
from workers.fold.directory import Rejection, Scratch
from workers.fold.documents import document, timeline_document
from workers.fold.draft import Draft, Entry
from workers.fold.outbound import Origin, outbound_event

CHANNEL_NAMES = {"whatsapp": "WhatsApp", "sms": "SMS", "email": "E-mail", "rcs": "RCS"}


@lru_cache(maxsize=1024)
def title_of(event_type: str) -> str:
    """The default title: a sentence made from the type."""
    words = event_type.split("_")
    first = CHANNEL_NAMES.get(words[0], words[0].capitalize())
    return " ".join([first, *words[1:]])[:255]


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
                outbound_event(
                    f"timeline.{event.category}", event.id, data, contact_id, origin, scratch.at, shard
                )
            )
    for contact_id, data in marks.told(scratch.event_changes.values(), scratch.at):
        shard = subjects.shard_of(contact_id)
        outbound.append(
            outbound_event("contact.timeline_changed", uuid7(), data, contact_id, origin, scratch.at, shard)
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
        outbound.append(outbound_event(event_type, uuid7(), {**base, **facts}, after.id, origin, at, shard))

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
    return outbound_event("contact.rejected", uuid7(), data, contact_id, origin, origin.time, shard)
