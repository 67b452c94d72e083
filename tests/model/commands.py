"""What each command does to people; raises Refused with the code of its rejection."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tests.model.change import Change, find
from tests.model.decode import Meaning, parse_time
from tests.model.people import FIELDS, Happening, Key, Person, Refused, key_of

STATUSES = {"active", "inactive", "blocked"}
CATEGORIES = {
    "general", "status", "pipeline", "assignment", "tag", "note", "session", "custom_field", "system", "notification",
    "tracking",
}  # fmt: skip
NEW = {*FIELDS, "email", "phone", "status", "attributes", "tags", "identifiers", "region"}
WHICH = {"contact", "channel", "identifier", "scope", "region"}
RECORD = {
    "contact", "type", "category", "priority", "title", "description", "payload", "metadata", "source", "triggered_by",
    "integration_source", "session_id", "thread_id", "realtime", "visible_to_client", "visible_to_agent", "expires_at",
    "occurred_at",
}  # fmt: skip
SOME = {"event_ids", "contact"}
MOST_EVENTS = 500
ALLOWED: dict[str, set[str]] = {
    "contact.create": NEW,
    "contact.upsert": NEW | {"contact", "mode"},
    "contact.update": {"contact", "set", "unset", "expected_version"},
    "contact.delete": {"contact", "reason"},
    "contact.restore": {"contact", "reason"},
    "identifier.add": WHICH | {"is_primary", "is_verified", "shared", "metadata"},
    "identifier.remove": WHICH,
    "identifier.verify": WHICH,
    "identifier.set_primary": WHICH,
    "timeline.record": RECORD,
    "timeline.record_many": {"events", "contact"},
    "timeline.mark_delivered": SOME | {"reader", "expired"},
    "timeline.mark_read": SOME | {"reader"},
    "timeline.delete": SOME | {"reason"},
}


def run(change: Change, meaning: Meaning) -> Person | None:
    """The person that the command was about, where it was one."""
    data = meaning.data
    if not isinstance(data, dict) or not set(data) <= ALLOWED[meaning.name]:
        raise Refused("invalid")
    return COMMANDS[meaning.name](change, meaning, data)


def _create(change: Change, meaning: Meaning, data: dict[str, Any]) -> Person:
    wanted = _identifiers(data)
    _check(data)
    if any(change.owner(key) for _, key, _ in wanted):
        raise Refused("identifier_taken")
    if change.by_external_id(data.get("external_id")):
        raise Refused("external_id_taken")
    person = change.new()
    _fill(person, data, overwrite=True)
    person.tags = set(data.get("tags") or [])
    for channel, key, given in wanted:
        person.add(
            channel,
            key,
            given["identifier"],
            primary=given.get("is_primary"),
            verified=given.get("is_verified"),
        )
    return person


def _upsert(change: Change, meaning: Meaning, data: dict[str, Any]) -> Person:
    wanted = _identifiers(data)
    _check(data)
    if data.get("mode", "fill") not in {"fill", "overwrite"}:
        raise Refused("invalid")
    if data.get("contact") is not None:
        person, others = find(change, data["contact"]), []
    else:
        chosen, others = change.choose([key for _, key, _ in wanted], data.get("external_id"))
        if chosen is None:
            plain = {name: value for name, value in data.items() if name not in {"mode", "contact"}}
            return _create(change, meaning, plain)
        person = chosen
    if person.deleted:
        raise Refused("contact_deleted")
    person = change.draft(person)
    _fill(person, data, overwrite=data.get("mode") == "overwrite")
    person.tags |= set(data.get("tags") or [])
    for channel, key, given in wanted:
        if change.owner(key) in (None, person):
            person.add(
                channel,
                key,
                given["identifier"],
                primary=given.get("is_primary"),
                verified=given.get("is_verified"),
            )
    change.conflict(person, others)
    return person


def _update(change: Change, meaning: Meaning, data: dict[str, Any]) -> Person:
    new, gone = data.get("set") or {}, data.get("unset") or []
    if not isinstance(new, dict) or not set(new) <= NEW - {"identifiers", "region"}:
        raise Refused("invalid")
    _check(new)
    person = _live(change, data)
    if data.get("expected_version") not in (None, person.version):
        raise Refused("version_conflict")
    person = change.draft(person)
    _fill(person, new, overwrite=True)
    if "tags" in new:
        person.tags = set(new["tags"])
    for field, channel in (("email", "email"), ("phone", "sms")):
        if new.get(field):
            key = key_of(channel, new[field])
            if change.owner(key) not in (None, person):
                raise Refused("identifier_taken")
            person.add(channel, key, new[field], primary=True)
    for name in gone:
        if name.startswith("attributes."):
            person.attributes.pop(name.removeprefix("attributes."), None)
        elif name in FIELDS:
            person.fields[name] = None
        else:
            raise Refused("invalid")
    return person


def _delete(change: Change, meaning: Meaning, data: dict[str, Any]) -> Person:
    return _life(change, data, deleted=True)


def _restore(change: Change, meaning: Meaning, data: dict[str, Any]) -> Person:
    return _life(change, data, deleted=False)


def _life(change: Change, data: dict[str, Any], *, deleted: bool) -> Person:
    person = change.draft(find(change, data.get("contact")))
    person.deleted = deleted
    change.reasons[person.number] = data.get("reason")
    return person


def _add(change: Change, meaning: Meaning, data: dict[str, Any]) -> Person:
    channel, key = _which(data)
    person = change.draft(_live(change, data))
    if change.owner(key) not in (None, person):
        raise Refused("identifier_taken")
    change.silent_fields = True
    person.add(
        channel, key, data["identifier"], primary=data.get("is_primary"), verified=data.get("is_verified")
    )
    return person


def _of(change: Change, data: dict[str, Any]) -> tuple[Person, tuple[Key, str]]:
    channel, key = _which(data)
    person = change.draft(_live(change, data))
    if (key, channel) not in person.identifiers:
        raise Refused("identifier_not_found")
    change.silent_fields = True
    return person, (key, channel)


def _remove(change: Change, meaning: Meaning, data: dict[str, Any]) -> Person:
    person, at = _of(change, data)
    gone = person.identifiers.pop(at)
    left = [i for i in person.identifiers.values() if i.channel == gone.channel]
    if gone.is_primary and left:
        person.make_primary(left[0])  # the oldest: a channel is not left without a primary
    return person


def _verify(change: Change, meaning: Meaning, data: dict[str, Any]) -> Person:
    person, at = _of(change, data)
    person.identifiers[at].is_verified = True
    return person


def _set_primary(change: Change, meaning: Meaning, data: dict[str, Any]) -> Person:
    person, at = _of(change, data)
    person.make_primary(person.identifiers[at])
    return person


def _record(change: Change, meaning: Meaning, data: dict[str, Any]) -> Person:
    if not data.get("type") or data.get("category") not in CATEGORIES:
        raise Refused("invalid")
    person = _live(change, data)
    copied = RECORD - {"contact", "type", "category", "occurred_at"}
    facts = {name: data[name] for name in copied if data.get(name) is not None}
    facts.setdefault("triggered_by", meaning.actor)
    facts["occurred_at"] = parse_time(data["occurred_at"]) if data.get("occurred_at") else meaning.time
    change.write(person, data["type"], data["category"], **facts)
    return person


def _record_many(change: Change, meaning: Meaning, data: dict[str, Any]) -> None:
    events = data.get("events")
    if not isinstance(events, list) or not 1 <= len(events) <= MOST_EVENTS:
        raise Refused("invalid")
    for event in events:
        try:
            if not isinstance(event, dict) or not set(event) <= RECORD:
                raise Refused("invalid")
            named = {"contact": event.get("contact") or data.get("contact")}
            _record(change, meaning, {**event, **named})
        except Refused as refused:
            change.refused.append(refused.code)
            change.items.append("rejected")
        else:
            change.items.append("applied")


def _some(change: Change, data: dict[str, Any]) -> list[tuple[Person, Happening]]:
    """The events that the command names and that are there, each once."""
    ids = data.get("event_ids")
    if not isinstance(ids, list) or not 1 <= len(ids) <= MOST_EVENTS:
        raise Refused("invalid")
    try:
        named = dict.fromkeys(str(uuid.UUID(each)) for each in ids)
    except (ValueError, AttributeError):
        raise Refused("invalid") from None
    of = find(change, data["contact"]) if data.get("contact") is not None else None
    found = [event for each in named if (event := change.event(each)) is not None]
    return [(person, happening) for person, happening in found if of is None or person.number == of.number]


def _of_reader(happening: Happening, data: dict[str, Any]) -> bool:
    """Marks speak of the client where the client may see the event, else of an agent."""
    if data.get("reader") not in (None, "client", "agent"):
        raise Refused("invalid")
    speaks_of = "client" if happening.facts.get("visible_to_client") else "agent"
    return data.get("reader") in (None, speaks_of)


def _mark_delivered(change: Change, meaning: Meaning, data: dict[str, Any]) -> None:
    for person, happening in _some(change, data):
        expires_at = happening.facts.get("expires_at")
        expired = expires_at is not None and parse_time(expires_at) <= datetime.now(UTC)
        if not _of_reader(happening, data) or "delivered" in happening.marks:
            continue
        if data.get("expired") and not expired:
            continue
        change.mark(person, "delivered", happening)
        if data.get("expired"):
            change.mark(person, "skipped", happening)


def _mark_read(change: Change, meaning: Meaning, data: dict[str, Any]) -> None:
    for person, happening in _some(change, data):
        if _of_reader(happening, data) and "read" not in happening.marks:
            change.mark(person, "read", happening)
            if "delivered" not in happening.marks:
                change.mark(person, "delivered", happening)


def _delete_events(change: Change, meaning: Meaning, data: dict[str, Any]) -> None:
    for person, happening in _some(change, data):
        change.mark(person, "deleted", happening)


def _live(change: Change, data: dict[str, Any]) -> Person:
    person = find(change, data.get("contact"))
    if person.deleted:
        raise Refused("contact_deleted")
    return person


def _which(data: dict[str, Any]) -> tuple[str, Key]:
    if not data.get("channel") or not data.get("identifier"):
        raise Refused("invalid")
    return data["channel"], key_of(data["channel"], data["identifier"], data.get("scope"))


def _identifiers(data: dict[str, Any]) -> list[tuple[str, Key, dict[str, Any]]]:
    """Every identifier that the command brings: e-mail and phone are primary ones."""
    wanted: list[tuple[str, Key, dict[str, Any]]] = []
    for field, channel in (("email", "email"), ("phone", "sms")):
        if data.get(field):
            wanted.append((channel, key_of(channel, data[field]), {"identifier": data[field]}))
    for given in data.get("identifiers") or []:
        channel = given["channel"]
        wanted.append((channel, key_of(channel, given["identifier"], given.get("scope")), given))
    return wanted


def _check(data: dict[str, Any]) -> None:
    if data.get("status") is not None and data["status"] not in STATUSES:
        raise Refused("invalid")
    for name in ("first_name", "last_name"):
        if len(data.get(name) or "") > 100:
            raise Refused("invalid")


def _fill(person: Person, data: dict[str, Any], *, overwrite: bool) -> None:
    for name in FIELDS:
        if data.get(name) is not None and (overwrite or person.fields[name] is None):
            person.fields[name] = data[name]
    for name, value in (data.get("attributes") or {}).items():
        if overwrite or name not in person.attributes:
            person.attributes[name] = value
    if data.get("status") is not None and overwrite:
        person.status = data["status"]


COMMANDS: dict[str, Callable[[Change, Meaning, dict[str, Any]], Person | None]] = {
    "contact.create": _create,
    "contact.upsert": _upsert,
    "contact.update": _update,
    "contact.delete": _delete,
    "contact.restore": _restore,
    "identifier.add": _add,
    "identifier.remove": _remove,
    "identifier.verify": _verify,
    "identifier.set_primary": _set_primary,
    "timeline.record": _record,
    "timeline.record_many": _record_many,
    "timeline.mark_delivered": _mark_delivered,
    "timeline.mark_read": _mark_read,
    "timeline.delete": _delete_events,
}
