"""What the commands of timelines do; raises Refused with the code of a rejection."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from tests.model.change import Change, find, live
from tests.model.decode import Meaning, parse_time
from tests.model.people import Happening, Person, Refused

CATEGORIES = {
    "general", "status", "pipeline", "assignment", "tag", "note", "session", "custom_field", "system", "notification",
    "tracking",
}  # fmt: skip
RECORD = {
    "contact", "type", "category", "priority", "title", "description", "payload", "metadata", "source", "triggered_by",
    "integration_source", "session_id", "thread_id", "realtime", "visible_to_client", "visible_to_agent", "expires_at",
    "occurred_at",
}  # fmt: skip
SOME = {"event_ids", "contact"}
MOST_EVENTS = 500


def record(change: Change, meaning: Meaning, data: dict[str, Any]) -> Person:
    if not data.get("type") or data.get("category") not in CATEGORIES:
        raise Refused("invalid")
    person = live(change, data)
    copied = RECORD - {"contact", "type", "category", "occurred_at"}
    facts = {name: data[name] for name in copied if data.get(name) is not None}
    facts.setdefault("triggered_by", meaning.actor)
    facts["occurred_at"] = parse_time(data["occurred_at"]) if data.get("occurred_at") else meaning.time
    change.write(person, data["type"], data["category"], **facts)
    return person


def record_many(change: Change, meaning: Meaning, data: dict[str, Any]) -> None:
    events = data.get("events")
    if not isinstance(events, list) or not 1 <= len(events) <= MOST_EVENTS:
        raise Refused("invalid")
    for event in events:
        try:
            if not isinstance(event, dict) or not set(event) <= RECORD:
                raise Refused("invalid")
            named = {"contact": event.get("contact") or data.get("contact")}
            record(change, meaning, {**event, **named})
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


def mark_delivered(change: Change, meaning: Meaning, data: dict[str, Any]) -> None:
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


def mark_read(change: Change, meaning: Meaning, data: dict[str, Any]) -> None:
    for person, happening in _some(change, data):
        if _of_reader(happening, data) and "read" not in happening.marks:
            change.mark(person, "read", happening)
            if "delivered" not in happening.marks:
                change.mark(person, "delivered", happening)


def delete(change: Change, meaning: Meaning, data: dict[str, Any]) -> None:
    for person, happening in _some(change, data):
        change.mark(person, "deleted", happening)
