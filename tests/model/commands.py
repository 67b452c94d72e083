"""What each command does to people; raises Refused with the code of its rejection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.model import timeline
from tests.model.change import Change, find, live
from tests.model.decode import Meaning
from tests.model.people import FIELDS, Key, Person, Refused, given_key_of, key_of

STATUSES = {"active", "inactive", "blocked"}
NEW = {*FIELDS, "email", "phone", "status", "attributes", "tags", "identifiers", "region"}
WHICH = {
    "contact", "channel", "identifier", "scope", "is_primary", "is_verified", "shared", "metadata", "region",
}  # fmt: skip
ALLOWED: dict[str, set[str]] = {
    "contact.create": NEW,
    "contact.upsert": NEW | {"contact", "mode"},
    "contact.update": {"contact", "set", "unset", "expected_version"},
    "contact.delete": {"contact", "reason"},
    "contact.restore": {"contact", "reason"},
    "identifier.add": WHICH,
    "identifier.remove": WHICH,
    "identifier.verify": WHICH,
    "identifier.set_primary": WHICH,
    "timeline.record": timeline.RECORD,
    "timeline.record_many": {"events", "contact"},
    "timeline.mark_delivered": timeline.SOME | {"reader", "expired"},
    "timeline.mark_read": timeline.SOME | {"reader"},
    "timeline.delete": timeline.SOME | {"reason"},
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
    named = data.get("contact")
    try:
        chosen, others = (find(change, named) if named is not None else None), []
    except Refused as refused:
        if refused.code != "contact_not_found" or "id" in named:
            raise
        chosen = None
    if chosen is None:
        chosen, others = change.choose([key for _, key, _ in wanted], data.get("external_id"))
        data = _named_by(data, named or {})
        wanted = _identifiers(data)
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


def _named_by(data: dict[str, Any], named: dict[str, Any]) -> dict[str, Any]:
    """The command, by whose reference nobody was found: the person gets what it names."""
    if "identifier" in named:
        return {**data, "identifiers": [*(data.get("identifiers") or []), named]}
    return {**data, "external_id": data.get("external_id") or named.get("external_id")}


def _update(change: Change, meaning: Meaning, data: dict[str, Any]) -> Person:
    new, gone = data.get("set") or {}, data.get("unset") or []
    if not isinstance(new, dict) or not set(new) <= NEW - {"identifiers", "region"}:
        raise Refused("invalid")
    _check(new)
    person = live(change, data)
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
    given_key_of(channel, data["identifier"])
    person = change.draft(live(change, data))
    if change.owner(key) not in (None, person):
        raise Refused("identifier_taken")
    change.silent_fields = True
    person.add(
        channel, key, data["identifier"], primary=data.get("is_primary"), verified=data.get("is_verified")
    )
    return person


def _of(change: Change, data: dict[str, Any]) -> tuple[Person, tuple[Key, str]]:
    channel, key = _which(data)
    person = change.draft(live(change, data))
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
    person.identifiers[at].is_verified = data.get("is_verified") is not False
    return person


def _set_primary(change: Change, meaning: Meaning, data: dict[str, Any]) -> Person:
    person, at = _of(change, data)
    person.make_primary(person.identifiers[at])
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
            wanted.append((channel, given_key_of(channel, data[field]), {"identifier": data[field]}))
    for given in data.get("identifiers") or []:
        channel = given["channel"]
        wanted.append((channel, given_key_of(channel, given["identifier"], given.get("scope")), given))
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
    "timeline.record": timeline.record,
    "timeline.record_many": timeline.record_many,
    "timeline.mark_delivered": timeline.mark_delivered,
    "timeline.mark_read": timeline.mark_read,
    "timeline.delete": timeline.delete,
}
