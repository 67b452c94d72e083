"""What follows from a change of a contact: fields that it sets, what is different, and the timeline events that it writes. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from contracts.vocabulary import EventType
from storage.rows import Contact, Identifier
from workers.fold.documents import identifier_document, identifier_documents
from workers.fold.draft import Draft, Entry
from workers.fold.equality import same_identifier, same_json
from workers.fold.outbound import Origin

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
    for name in (*PLAIN_FIELDS, "status"):
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            changes[name] = {"old": old, "new": new}
    if not same_json(before.attributes, after.attributes):
        changes["attributes"] = {"old": before.attributes, "new": after.attributes}
    if before.tags != after.tags:
        changes["tags"] = {"old": sorted(before.tags), "new": sorted(after.tags)}
    kept = all(after.identifiers.get(at) is held for at, held in before.identifiers.items())
    if not kept or len(before.identifiers) != len(after.identifiers):
        old_documents, new_documents = identifier_documents(before), identifier_documents(after)
        if not same_json(old_documents, new_documents):
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
            elif key not in before.attributes or not same_json(old, new):
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
    # In a command about identifiers these follow from what the identifier's event says.
    if not origin.kind.startswith("command.identifier."):
        rest = {name: change for name, change in changes.items() if name in PLAIN_FIELDS}
    # A webhook's item writes an event itself.
    if "identifiers" in changes and origin.kind.startswith("command."):
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
    differing = [(old, new) for old, new in pairs if not same_identifier(_as_told(old, new), new)]
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
