"""WhatsApp Cloud API webhooks: messages, their delivery, echoes of the business's own app, preferences, new identities.

Read leniently, as Meta adds fields and types without notice: what is missing, null or unknown is passed over, and
only a body that cannot be a webhook of a WhatsApp account is refused. Account-level fields yield nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from contracts.envelope import Envelope
from contracts.vocabulary import EventType
from contracts.webhooks import whatsapp_content, whatsapp_system
from contracts.webhooks.fields import is_status, moment_of, object_of, objects_of, text_of, thread_of
from contracts.webhooks.items import Item, PayloadError
from contracts.webhooks.naming import (
    GENERAL,
    SYSTEM,
    TRACKING,
    consent_of,
    dedupe_key,
    event_type,
    keyword_of,
)
from contracts.webhooks.whatsapp_people import (
    CHANNEL,
    Contacts,
    Person,
    contacts_of,
    message_id_of,
    person_of,
)

_OBJECT = "whatsapp_business_account"
_MARKETING = "marketing_messages"
_CONSENT = {"stop": False, "resume": True}
_EVENTS = {what: event_type(CHANNEL, what) for what in ("received", "sent", "edited", "deleted")}
_REVISIONS = {"edit": "edited", "revoke": "deleted"}
_NO_IDS = frozenset({"preference", "user_id_update"})  # what their keys have in place of a message's id
_STATUS_DETAILS = ("conversation", "pricing", "biz_opaque_callback_data")


def parse(envelope: Envelope) -> list[Item]:
    """The items of one body, in its order; raises PayloadError for what is no WhatsApp webhook."""
    data = envelope.data
    if type(data) is not dict:
        raise PayloadError("data", "not an object")
    if data.get("object", _OBJECT) != _OBJECT:
        raise PayloadError("object", f"not {_OBJECT}")
    entries = data.get("entry")
    if type(entries) is not list:
        raise PayloadError("entry", "not a list")
    items: list[Item] = []
    for entry in entries:
        for change in objects_of(entry.get("changes")) if type(entry) is dict else ():
            value = change.get("value")
            field = change.get("field") or "messages"
            if type(value) is dict and type(field) is str and (read := _FIELDS.get(field)) is not None:
                read(value, envelope, items)
    return items


def _read_messages(value: dict[str, Any], envelope: Envelope, items: list[Item]) -> None:
    contacts = contacts_of(value)
    business = text_of(object_of(value.get("metadata")).get("display_phone_number"))
    for message in objects_of(value.get("messages")):
        _append(items, _message(message, contacts, business, envelope, len(items), outbound=False))
    for message in objects_of(value.get("message_echoes")):
        _append(items, _message(message, contacts, business, envelope, len(items), outbound=True))
    for status in objects_of(value.get("statuses")):
        _append(items, _status(status, contacts))


def _read_standby(value: dict[str, Any], envelope: Envelope, items: list[Item]) -> None:
    """Traffic that Meta's own agent handles: the same messages and statuses, one level deeper."""
    _read_messages({**value, **object_of(value.get("standby"))}, envelope, items)


def _read_preferences(value: dict[str, Any], envelope: Envelope, items: list[Item]) -> None:
    contacts = contacts_of(value)
    for preference in objects_of(value.get("user_preferences")):
        person = person_of(contacts, preference.get("user_id"), preference.get("wa_id"))
        choice = text_of(preference.get("value")) or ""
        granted = _CONSENT.get(choice)
        if person is None or granted is None or preference.get("category", _MARKETING) != _MARKETING:
            continue
        timestamp = text_of(preference.get("timestamp"))
        at = (envelope.source, envelope.id) if timestamp is None else (timestamp,)
        key = dedupe_key(CHANNEL, "preference", person.address, *at, choice)
        items.append(_consent(key, person, preference, preference.get("detail"), granted=granted))


def _read_user_ids(value: dict[str, Any], _: Envelope, items: list[Item]) -> None:
    contacts = contacts_of(value)
    for update in objects_of(value.get("user_id_update")):
        _append(items, whatsapp_system.user_id_update(update, contacts))


_FIELDS: dict[str, Callable[[dict[str, Any], Envelope, list[Item]], None]] = {
    "messages": _read_messages,
    "smb_message_echoes": _read_messages,
    "message_echoes": _read_messages,
    "standby": _read_standby,
    "user_preferences": _read_preferences,
    "user_id_update": _read_user_ids,
}


def _key(message_id: str, *parts: str) -> str:
    """Of what happened to a message; an id that is the first word of another key stands after an empty part."""
    return dedupe_key(CHANNEL, *([""] if message_id in _NO_IDS else []), message_id, *parts)


def _append(items: list[Item], item: Item | None) -> None:
    if item is not None:
        items.append(item)


def _message(
    message: dict[str, Any],
    contacts: Contacts,
    business: str | None,
    envelope: Envelope,
    index: int,
    *,
    outbound: bool,
) -> Item | None:
    side = "to" if outbound else "from"
    if outbound and (message.get("recipient_type") == "group" or message.get("group_id")):
        return None  # to a group: about no single person
    message_id = message_id_of(message.get("id"), "messages.id")
    # Without an id only the envelope's own can tell a repetition.
    key = _key(message_id) if message_id else dedupe_key("envelope", envelope.source, envelope.id, str(index))
    kind = message.get("type")
    if type(kind) is not str or not kind:
        kind = "unknown"
    if kind == "system":
        return _system(message, contacts, key, message_id)
    person = person_of(contacts, message.get(f"{side}_user_id"), message.get(side))
    if person is None:
        return None
    payload: dict[str, Any] = {
        "message_id": message_id,
        "direction": "outbound" if outbound else "inbound",
        "message_type": kind,
        "from": business if outbound else person.address,
        "to": person.address if outbound else business,
    }
    if person.username is not None:
        payload["username"] = person.username
    revision = _REVISIONS.get(kind)
    content = message
    if revision is not None:
        change = object_of(message.get(kind))
        payload["original_message_id"] = text_of(change.get("original_message_id"))
        content = object_of(change.get("message"))
        kind = text_of(content.get("type")) or kind
    text = whatsapp_content.describe(content, kind, payload)
    if (group := text_of(message.get("group_id"))) is not None:
        payload["group_id"] = group
    keyword = keyword_of(text) if revision is None and not outbound and kind in ("text", "button") else None
    return Item(
        dedupe_key=key,
        kind="message",
        channel=CHANNEL,
        identifiers=person.identifiers,
        type=_EVENTS[revision or ("sent" if outbound else "received")],
        category=GENERAL,
        occurred_at=moment_of(message.get("timestamp")),
        profile_name=person.name,
        description=text,
        payload=payload,
        thread_id=thread_of(group) if group is not None else None,
        touches=revision is None,
        consent=consent_of(keyword),
    )


def _system(message: dict[str, Any], contacts: Contacts, key: str, message_id: str | None) -> Item | None:
    """What WhatsApp itself says of a person whom we may know: it makes nobody."""
    system = object_of(message.get("system"))
    if system.get("type") != "user_preference_changed":
        return whatsapp_system.identity_change(message, system, key, message_id)
    person = person_of(contacts, message.get("from_user_id"), message.get("from"))
    granted = _CONSENT.get(text_of(system.get("marketing")) or "")
    if person is None or granted is None:
        return None
    return _consent(key, person, message, system.get("body"), granted=granted)


def _consent(key: str, person: Person, source: dict[str, Any], detail: Any, *, granted: bool) -> Item:
    return Item(
        dedupe_key=key,
        kind="consent",
        channel=CHANNEL,
        identifiers=person.identifiers,
        type=EventType.CONSENT_GRANTED if granted else EventType.CONSENT_REVOKED,
        category=SYSTEM,
        occurred_at=moment_of(source.get("timestamp")),
        profile_name=person.name,
        description=text_of(detail),
        payload={"channel": CHANNEL, "purpose": "marketing", "granted": granted},
        consent=granted,
    )


def _status(status: dict[str, Any], contacts: Contacts) -> Item | None:
    message_id = message_id_of(status.get("id"), "statuses.id")
    word = (text_of(status.get("status")) or "").lower()
    if message_id is None or not is_status(word):
        return None
    key = _key(message_id, word)
    group = None
    if status.get("recipient_type") == "group":
        # One message to a group has a status for each participant; without one it is about no person.
        group = text_of(status.get("recipient_id"))
        wa_id = status.get("recipient_participant_id") or status.get("recipient_participant_recipient_id")
        person = person_of(contacts, status.get("recipient_participant_user_id"), wa_id)
        key = _key(message_id, word, person.address) if person is not None else key
    else:
        person = person_of(contacts, status.get("recipient_user_id"), status.get("recipient_id"))
    if person is None:
        return None
    payload: dict[str, Any] = {"message_id": message_id, "status": word}
    if (errors := status.get("errors")) is not None:
        payload["errors"] = whatsapp_content.errors_of(errors)
    for name in _STATUS_DETAILS:
        if (detail := status.get(name)) is not None:
            payload[name] = detail
    if group is not None:
        payload["group_id"] = group
    return Item(
        dedupe_key=key,
        kind="status",
        channel=CHANNEL,
        identifiers=person.identifiers,
        type=event_type(CHANNEL, word),
        category=TRACKING,
        occurred_at=moment_of(status.get("timestamp")),
        profile_name=person.name,
        payload=payload,
        thread_id=thread_of(group) if group is not None else None,
        message_id=message_id,
        status=word,
    )
