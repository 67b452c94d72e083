"""Changes of a person's identity on WhatsApp: a new phone number, a new business-scoped user id."""

from __future__ import annotations

import re
from typing import Any

from contracts.vocabulary import EventType
from contracts.webhooks.fields import identifier_of, moment_of, name_of, object_of, text_of
from contracts.webhooks.items import Item, NamedIdentifier
from contracts.webhooks.naming import SYSTEM, dedupe_key
from contracts.webhooks.whatsapp_people import CHANNEL, Contacts, person_of

_CHANGES = frozenset({"user_changed_number", "customer_changed_number", "user_changed_user_id"})
_USER_ID_IN_BODY = re.compile(r"changed from ([A-Z]{2}\.[A-Za-z0-9.]{1,128}) to \S+\s*$")


def identity_change(
    message: dict[str, Any], system: dict[str, Any], key: str, message_id: str | None
) -> Item | None:
    """The change that a system message tells of; None for any other, and where old or new is not said.

    ``from`` is the old number, ``customer`` the same in older versions; ``new_wa_id`` is their name of ``wa_id``.
    """
    reason = system.get("type")
    if type(reason) is not str or reason not in _CHANGES:
        return None
    new_phone = identifier_of(system.get("new_wa_id"), "system.new_wa_id") or identifier_of(
        system.get("wa_id"), "system.wa_id"
    )
    new_user = identifier_of(system.get("user_id"), "system.user_id")
    old_phone = _first_other(new_phone, message.get("from"), system.get("customer"))
    old_user = _first_other(
        new_user, system.get("previous_user_id"), message.get("from_user_id"), _user_id_in(system.get("body"))
    )
    if old_phone is None and old_user is None:
        # The number stays, only the user id is new.
        old_phone, new_phone = identifier_of(message.get("from"), "messages.from"), None
    item = _changed(key, (old_user, old_phone), (new_user, new_phone), message.get("timestamp"))
    if item is not None:
        item.payload.update({"message_id": message_id, "reason": reason, "text": text_of(system.get("body"))})
    return item


def user_id_update(update: dict[str, Any], contacts: Contacts) -> Item | None:
    """The change of a user id in a ``user_id_update`` field."""
    user_id = object_of(update.get("user_id"))
    old = identifier_of(user_id.get("previous"), "user_id_update.user_id.previous")
    new = identifier_of(user_id.get("current"), "user_id_update.user_id.current")
    person = person_of(contacts, old, update.get("wa_id"))
    if person is None or new is None:
        return None
    phone = next((known.identifier for known in person.identifiers if known.identifier != old), None)
    item = _changed(
        dedupe_key(CHANNEL, "user_id_update", old or phone or "", new),
        (old, phone),
        (new, None),
        update.get("timestamp"),
    )
    if item is not None:
        item.payload["reason"] = "user_id_update"
    return item


def _changed(
    key: str,
    old: tuple[str | None, str | None],
    new: tuple[str | None, str | None],
    timestamp: Any,
) -> Item | None:
    """Old and new are (user id, phone); the payload names the pair of one sort, the phones where both are known."""
    known = tuple(NamedIdentifier(CHANNEL, one) for one in old if one is not None)
    fresh = tuple(NamedIdentifier(CHANNEL, one) for one in new if one is not None)
    if not known or not fresh:
        return None
    sort = 1 if old[1] is not None and new[1] is not None else 0
    return Item(
        dedupe_key=key,
        kind="identifier_changed",
        channel=CHANNEL,
        identifiers=known,
        type=EventType.IDENTIFIER_CHANGED,
        category=SYSTEM,
        occurred_at=moment_of(timestamp),
        payload={"old": old[sort] or known[0].identifier, "new": new[sort] or fresh[0].identifier},
        creates=False,
        new_identifiers=fresh,
    )


def _first_other(new: str | None, *candidates: Any) -> str | None:
    for candidate in candidates:
        if (old := identifier_of(candidate, "system")) is not None and old != new:
            return old
    return None


def _user_id_in(body: Any) -> str | None:
    """The old user id, where only the sentence names it."""
    found = _USER_ID_IN_BODY.search(name_of(body) or "") if body is not None else None
    return found[1] if found is not None else None
