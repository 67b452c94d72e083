"""Whom a part of a WhatsApp webhook is about: user id and phone number, joined with ``contacts[]`` by either."""

from __future__ import annotations

from typing import Any, NamedTuple

from contracts.webhooks.fields import MESSAGE_ID_LIMIT, identifier_of, name_of, object_of, objects_of, text_of
from contracts.webhooks.items import NamedIdentifier, PayloadError

CHANNEL = "whatsapp"

# ``contacts[]`` of a value, by wa_id and by user id; its order says nothing.
Contacts = dict[str, dict[str, Any]]


class Person(NamedTuple):
    """``identifiers`` hold the business-scoped user id first, then phone numbers; ``address`` is what to reply to."""

    identifiers: tuple[NamedIdentifier, ...]
    address: str
    name: str | None
    username: str | None


def contacts_of(value: dict[str, Any]) -> Contacts:
    contacts: Contacts = {}
    for contact in objects_of(value.get("contacts")):
        for field in ("wa_id", "user_id"):
            if (key := text_of(contact.get(field))) is not None:
                contacts[key] = contact
    return contacts


def person_of(contacts: Contacts, user_id: Any, wa_id: Any) -> Person | None:
    """The person with these ids, completed from ``contacts``; None where there is neither id."""
    user = identifier_of(user_id, "user_id")
    phone = identifier_of(wa_id, "wa_id")
    if user is None and phone is None:
        return None
    contact = contacts.get(user) if user is not None else None
    if contact is None and phone is not None:
        contact = contacts.get(phone)
    if contact is None:
        found = [NamedIdentifier(CHANNEL, known) for known in (user, phone) if known is not None]
        return Person(tuple(found), phone or user or "", None, None)
    user = user or identifier_of(contact.get("user_id"), "contacts.user_id")
    named = identifier_of(contact.get("wa_id"), "contacts.wa_id")
    found = [NamedIdentifier(CHANNEL, user)] if user is not None else []
    if phone is not None:
        found.append(NamedIdentifier(CHANNEL, phone))
    if named is not None and named != phone:
        found.append(NamedIdentifier(CHANNEL, named))
    profile = object_of(contact.get("profile"))
    address = phone or named or user or ""
    return Person(tuple(found), address, name_of(profile.get("name")), name_of(profile.get("username")))


def message_id_of(value: Any, field: str) -> str | None:
    text = text_of(value)
    if text is not None and len(text) > MESSAGE_ID_LIMIT:
        raise PayloadError(field, f"longer than {MESSAGE_ID_LIMIT} characters")
    return text
