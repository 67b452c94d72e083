"""Webhook items: find out who the item is about, make the contact if need be, and write down what happened.

Pure, but for the count of what was ignored.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import orjson

from contracts.vocabulary import EventType, Purpose
from contracts.webhooks.items import Item
from contracts.webhooks.naming import status_rank
from ops import metrics
from storage.ids import uuid7
from storage.inbox import SeenKey
from storage.rows import Consent, Identifier, MessageStatus
from workers.fold.directory import Scratch
from workers.fold.draft import Entry
from workers.fold.handlers.claim import Claim, is_full, spelled
from workers.fold.handlers.resolve import conflict, strongest
from workers.fold.message import Opened

PROFILE_NAME_CHARACTERS = 255


@dataclass(slots=True)
class Inbound:
    """An item with the canonical forms of the identifiers that it names."""

    item: Item
    provider: str
    seen_key: SeenKey
    claims: tuple[Claim, ...]
    new_claims: tuple[Claim, ...]


def handle(scratch: Scratch, inbound: Inbound, opened: Opened) -> tuple[dict[str, Any], uuid.UUID | None]:
    """Apply one item; the answer is its line of the result's ``items``, and the contact that it touched."""
    item = inbound.item
    answer: dict[str, Any] = {"dedupe_key": item.dedupe_key}
    first = scratch.first_outcome(inbound.seen_key)
    if first is not None:
        return {**answer, "status": "duplicate", **orjson.loads(first)}, None
    at = item.occurred_at or opened.time
    # What overrules by its time must not come from the future: a date of next year would hold until then.
    ruling_at = opened.no_later(at)
    contact_id = _person(scratch, inbound, ruling_at)
    if contact_id is None:
        metrics.IGNORED.labels("unknown_person").inc()
        scratch.taken[inbound.seen_key] = "{}"
        return {**answer, "status": "applied"}, None
    contact = scratch.contact(contact_id)
    if contact.deleted_at is not None:
        scratch.edit(contact_id).deleted_at = None
        scratch.drafts[contact_id].reason = "inbound"
    payload = item.payload
    if inbound.new_claims:
        payload = {
            **payload,
            "old": inbound.claims[0].key.identifier,
            "new": inbound.new_claims[0].key.identifier,
        }
    entry = Entry(
        item.type,
        item.category,
        payload,
        at,
        description=item.description,
        source="webhook",
        integration_source=inbound.provider,
        session_id=item.session_id,
        thread_id=item.thread_id,
    )
    scratch.record(contact_id, entry)
    if item.touches:
        scratch.touch(contact_id, at)
    if item.kind == "status" and item.message_id and item.status:
        scratch.statuses.append(
            MessageStatus(
                scratch.tenant,
                item.channel,
                item.message_id,
                contact_id,
                item.status,
                status_rank(item.status),
                at,
            )
        )
    if item.consent is not None:
        _consent(scratch, contact_id, inbound, ruling_at, item.consent)
    if inbound.new_claims:
        _move(scratch, contact_id, inbound.new_claims, ruling_at)
    known = {"contact_id": str(contact_id), "timeline_event_id": str(entry.id)}
    scratch.taken[inbound.seen_key] = orjson.dumps(known).decode()
    return {**answer, "status": "applied", **known}, contact_id


def _person(scratch: Scratch, inbound: Inbound, at: datetime) -> uuid.UUID | None:
    """The contact that the item is about, with everything that the item says of its identifiers."""
    owned = [(claim, scratch.owner(claim.key)) for claim in inbound.claims]
    owners = {claim.key: owner for claim, owner in owned if owner is not None}
    if owners:
        contact_id = strongest(scratch, owners)
        if len(owners) > 1:
            conflict(scratch, contact_id, owners)
    elif inbound.item.creates:
        contact_id = scratch.create(inbound.provider).id
    else:
        return None
    free = [claim for claim, owner in owned if owner is None or owner == contact_id]
    _attach(scratch, contact_id, free, at, inbound.item.profile_name)
    return contact_id


def _move(scratch: Scratch, contact_id: uuid.UUID, claims: Sequence[Claim], at: datetime) -> None:
    """The person is reached by further identifiers from now on, unless they are somebody else's already."""
    owned = [(claim, scratch.owner(claim.key)) for claim in claims]
    conflict(scratch, contact_id, {claim.key: owner for claim, owner in owned if owner is not None})
    _attach(scratch, contact_id, [c for c, owner in owned if owner is None or owner == contact_id], at, None)


def _attach(
    scratch: Scratch, contact_id: uuid.UUID, claims: Sequence[Claim], at: datetime, profile_name: str | None
) -> None:
    """Give the contact identifiers that are nobody else's, and keep every spelling; the first takes the profile name."""
    for n, claim in enumerate(claims):
        contact = scratch.contact(contact_id)
        held = contact.identifiers.get((claim.key, claim.channel))
        name = profile_name[:PROFILE_NAME_CHARACTERS] if profile_name and n == 0 else None
        if held is None:
            if is_full(contact):
                continue
            identifier = Identifier(
                uuid7(),
                claim.key,
                claim.channel,
                claim.raw,
                is_primary=not any(
                    i.channel == claim.channel and i.is_primary for i in contact.identifiers.values()
                ),
                metadata={"profile_name": name, "profile_name_at": at.isoformat()} if name else {},
                created_at=scratch.at,
            )
            scratch.put_identifier(contact_id, identifier)
            continue
        renamed = name is not None and _renames(held, name, at)
        aliases = spelled(held, claim.raw)
        if renamed or aliases != held.aliases:
            metadata = (
                {**held.metadata, "profile_name": name, "profile_name_at": at.isoformat()}
                if renamed
                else held.metadata
            )
            scratch.put_identifier(contact_id, replace(held, metadata=metadata, aliases=aliases))


def _renames(held: Identifier, name: str, at: datetime) -> bool:
    """Whether a profile name is news: another one, and not from before the one that is there."""
    known_at = held.metadata.get("profile_name_at")
    return bool(
        held.metadata.get("profile_name") != name
        and (known_at is None or at >= datetime.fromisoformat(known_at))
    )


def _consent(scratch: Scratch, contact_id: uuid.UUID, inbound: Inbound, at: datetime, granted: bool) -> None:
    item = inbound.item
    scratch.consents.append(
        Consent(scratch.tenant, contact_id, item.channel, Purpose.MARKETING, granted, at, inbound.provider)
    )
    if item.kind != "consent":
        scratch.record(
            contact_id,
            Entry(
                EventType.CONSENT_GRANTED if granted else EventType.CONSENT_REVOKED,
                "system",
                {"channel": item.channel, "purpose": str(Purpose.MARKETING), "dedupe_key": item.dedupe_key},
                at,
                source="webhook",
                integration_source=inbound.provider,
            ),
        )
