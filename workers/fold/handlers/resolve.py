"""Which of several contacts a message is about, and what is written down when its identifiers disagree. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

from contracts.vocabulary import EventType
from storage.rows import IdentifierKey
from workers.fold.directory import Scratch
from workers.fold.draft import Entry

_EXTERNAL_ID = "external id"  # no channel can be spelled so
_SHARED = 5  # the strength of what several people have
_LATE = datetime.max.replace(tzinfo=UTC)


def external_key(external_id: str) -> IdentifierKey:
    """An external id among the identifiers that a message names."""
    return IdentifierKey(_EXTERNAL_ID, external_id)


def _strength(scratch: Scratch, key: IdentifierKey, contact_id: uuid.UUID) -> int:
    """Smaller is stronger: external id, verified, a provider's user id, phone, e-mail; shared ones speak last."""
    if key.kind == _EXTERNAL_ID:
        return 0
    held = [i for i in scratch.contact(contact_id).identifiers.values() if i.key == key]
    if any(i.shared for i in held):
        return _SHARED
    if any(i.is_verified for i in held):
        return 1
    return {"phone": 3, "email": 4}.get(key.kind, 2)


def strongest(scratch: Scratch, owners: Mapping[IdentifierKey, uuid.UUID]) -> uuid.UUID:
    """The contact that the strongest identifier points to; of equals the older one."""
    ids = set(owners.values())
    if len(ids) == 1:
        return next(iter(ids))

    def rank(key: IdentifierKey) -> tuple[int, datetime, uuid.UUID]:
        contact = scratch.contact(owners[key])
        return _strength(scratch, key, contact.id), contact.created_at or _LATE, contact.id

    return owners[min(owners, key=rank)]


def conflict(scratch: Scratch, chosen: uuid.UUID, owners: Mapping[IdentifierKey, uuid.UUID]) -> None:
    """Write on the chosen contact and on each other that an identifier of one message belongs to the other.

    A shared identifier brings nobody together, so it is no sign of a duplicate.
    """
    others: dict[uuid.UUID, list[IdentifierKey]] = {}
    for key, owner in owners.items():
        if owner != chosen and _strength(scratch, key, owner) != _SHARED:
            others.setdefault(owner, []).append(key)
    for other, keys in others.items():
        about = [{"kind": key.kind, "identifier": key.identifier, "scope": key.scope} for key in keys]
        for contact_id, counterpart in ((chosen, other), (other, chosen)):
            payload = {"contact_id": str(counterpart), "identifiers": about, "chosen": str(chosen)}
            scratch.record(contact_id, Entry(EventType.IDENTIFIER_CONFLICT, "system", payload))
