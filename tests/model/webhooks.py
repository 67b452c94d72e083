"""What each provider's body says happened, item by item, and what an item does to people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.model.change import Change
from tests.model.decode import Dead, Meaning, parse_time
from tests.model.people import Key, Person, Refused, key_of


@dataclass
class Item:
    """One thing that happened to one person."""

    dedupe_key: str
    channel: str
    identifiers: list[tuple[str, str, str]]  # channel, identifier, scope
    type: str
    category: str | None
    occurred_at: datetime
    touches: bool
    profile_name: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def items(meaning: Meaning) -> list[Item]:
    """Raises Dead where the body is none of its provider's."""
    if not isinstance(meaning.data, dict):
        raise Dead("invalid_payload")
    read = {"message": _neutral, "whatsapp": _whatsapp}[meaning.name]
    try:
        found = list(read(meaning, meaning.data))
        for item in found:
            for channel, identifier, scope in item.identifiers:
                key_of(channel, identifier, scope)
    except (KeyError, TypeError, ValueError, AttributeError, Refused):
        raise Dead("invalid_payload") from None
    return found


def _neutral(meaning: Meaning, data: dict[str, Any]) -> Iterator[Item]:
    channel = data["channel"]
    others = [(i["channel"], i["identifier"], i.get("scope") or "") for i in data.get("identifiers") or []]
    chat = channel not in {"sms", "email"}
    own = (data.get("message_id") or "").strip()
    yield Item(
        # Any injective key will do: the model compares keys with its own alone.
        dedupe_key=repr(("message", channel, own) if own else ("envelope", meaning.source, meaning.id)),
        channel=channel,
        identifiers=[(channel, data["from"], data.get("scope") or ""), *others],
        type=f"{channel}_message_received" if chat else f"{channel}_received",
        category="general",
        occurred_at=parse_time(data["occurred_at"]) if data.get("occurred_at") else meaning.time,
        touches=True,
        profile_name=data.get("profile_name"),
        facts={
            "description": data.get("text"),
            "session_id": (data.get("session_id") or "").strip() or None,
            "thread_id": (data.get("thread_id") or "").strip() or None,
        },
    )


def _whatsapp(meaning: Meaning, data: dict[str, Any]) -> Iterator[Item]:
    for entry in data["entry"]:
        for each in entry["changes"]:
            value = each["value"]
            names = {c["wa_id"]: c.get("profile", {}).get("name") for c in value.get("contacts", [])}
            for message in value.get("messages", []):
                yield Item(
                    dedupe_key=repr(("whatsapp", message["id"])),
                    channel="whatsapp",
                    identifiers=[("whatsapp", message["from"], "")],
                    type="whatsapp_message_received",
                    category="general",
                    occurred_at=datetime.fromtimestamp(int(message["timestamp"]), UTC),
                    touches=True,
                    profile_name=names.get(message["from"]),
                    facts={"description": message["text"]["body"]},
                )
            for status in value.get("statuses", []):
                yield Item(
                    dedupe_key=repr(("whatsapp", status["id"], status["status"])),
                    channel="whatsapp",
                    identifiers=[("whatsapp", status["recipient_id"], "")],
                    type=f"whatsapp_message_{status['status']}",
                    category=None if status["status"] == "sent" else "tracking",
                    occurred_at=datetime.fromtimestamp(int(status["timestamp"]), UTC),
                    touches=False,
                )


def take(change: Change, meaning: Meaning, item: Item) -> Person:
    """Resolve or create whom the item is about, and write it."""
    wanted: list[tuple[str, Key, str]] = [(c, key_of(c, i, s), i) for c, i, s in item.identifiers]
    chosen, others = change.choose([key for _, key, _ in wanted])
    person = change.draft(chosen) if chosen else change.new()
    if person.deleted:
        person.deleted = False
        change.reasons[person.number] = "inbound"
    for number, (channel, key, raw) in enumerate(wanted):
        if change.owner(key) in (None, person):
            identifier = person.add(channel, key, raw)
            # A producer's retry may come after what happened later: the newest name stays.
            is_late = identifier.named_at is not None and item.occurred_at < identifier.named_at
            if number == 0 and item.profile_name not in (None, identifier.profile_name) and not is_late:
                identifier.profile_name, identifier.named_at = item.profile_name, item.occurred_at
    change.conflict(person, others)
    if item.touches:
        person.last_contact_at = max(filter(None, [person.last_contact_at, item.occurred_at]))
    facts = {"source": "webhook", "integration_source": meaning.name, "occurred_at": item.occurred_at}
    change.write(person, item.type, item.category, **facts, **item.facts)
    return person
