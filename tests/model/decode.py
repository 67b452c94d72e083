"""From an accepted message to what it means, or to the reason why it means nothing. A second reading of docs/codes.md."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
PROVIDERS = {"message", "whatsapp", "twilio"}
COMMANDS = {
    "contact.create",
    "contact.upsert",
    "contact.update",
    "contact.delete",
    "contact.restore",
    "identifier.add",
    "identifier.remove",
    "identifier.verify",
    "identifier.set_primary",
    "timeline.record",
    "timeline.record_many",
    "timeline.mark_delivered",
    "timeline.mark_read",
    "timeline.delete",
}
SUBJECT_TOKENS = {"webhook": 4, "command": 5}


class Dead(Exception):
    """The message ends as a dead letter."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Accepted:
    """One message as the bus accepted it; ``time`` is the broker's."""

    stream: str
    sequence: int
    subject: str
    headers: Mapping[str, str]
    body: bytes
    time: datetime


@dataclass(frozen=True)
class Meaning:
    """An accepted message, understood."""

    kind: str  # webhook | command
    name: str  # the provider, or the command
    tenant: str
    key: str
    id: str
    source: str
    actor: str | None
    time: datetime
    data: Any


def decode(message: Accepted, max_body: int) -> Meaning:
    kind, name, tenant, key = _subject(message.subject)
    if len(message.body) > max_body:
        raise Dead("too_large")
    attributes = _envelope(message)
    if _unstorable(attributes):
        raise Dead("unstorable")
    if any(not isinstance(attributes.get(a), str) or not attributes[a] for a in ("id", "source")):
        raise Dead("bad_envelope")
    if attributes.get("tenantid") not in (None, tenant):
        raise Dead("tenant_mismatch")
    if kind == "command" and attributes.get("type") not in (None, "", f"command.{name}"):
        raise Dead("type_mismatch")
    if name not in (PROVIDERS if kind == "webhook" else COMMANDS):
        raise Dead("unknown_type")
    if attributes.get("dataversion", "1.0") != "1.0":
        raise Dead("unknown_version")
    return Meaning(
        kind=kind,
        name=name,
        tenant=tenant,
        key=key,
        id=attributes["id"],
        source=attributes["source"],
        actor=attributes.get("actor"),
        time=_time(attributes.get("time"), message.time),
        data=attributes.get("data"),
    )


def id_of(message: Accepted) -> str | None:
    """The id of a message that means nothing, where it can be read: its result names it."""
    try:
        attributes = _envelope(message, strictly=False)
    except Dead:
        return None
    found = attributes.get("id")
    good = isinstance(found, str) and found.strip() and len(found) <= 255 and not _unstorable(found)
    return found if good else None


def parse_time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _subject(subject: str) -> tuple[str, str, str, str]:
    tokens = subject.split(".")
    if len(tokens) != SUBJECT_TOKENS.get(tokens[0]) or not all(TOKEN.match(token) for token in tokens):
        raise Dead("bad_subject")
    if tokens[-2] == "-":  # nobody is called so
        raise Dead("bad_subject")
    return tokens[0], ".".join(tokens[1:-2]), tokens[-2], tokens[-1]


def _envelope(message: Accepted, *, strictly: bool = True) -> dict[str, Any]:
    """The attributes and data; structured or binary, where not ``strictly`` also of a binary one without a body to read."""
    headers = {name.lower(): value for name, value in message.headers.items()}
    structured = headers.get("content-type", "").startswith("application/cloudevents")
    try:
        body = json.loads(message.body.decode())  # UTF-8 and no other
    except (ValueError, RecursionError):
        body = None
        unparsed = True
    else:
        unparsed = False
    if structured or (isinstance(body, dict) and "specversion" in body):
        if unparsed:
            raise Dead("not_json")
        if not isinstance(body, dict):
            raise Dead("bad_envelope")
        return body
    if "ce-id" not in headers:
        raise Dead("not_json" if unparsed else "bad_envelope")
    attributes: dict[str, Any] = {n[3:]: value for n, value in headers.items() if n.startswith("ce-")}
    if headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return {**attributes, "data": message.body.decode(errors="replace")}
    if unparsed and strictly:
        raise Dead("not_json")
    return {**attributes, "data": body}


def _unstorable(value: Any) -> bool:
    """A NUL or a lone surrogate anywhere: Postgres can hold neither."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str) and ("\0" in value or any("\ud800" <= c <= "\udfff" for c in value)):
            return True
        if isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            waiting += value
    return False


def _time(given: Any, broker: datetime) -> datetime:
    if given is None:
        return broker
    try:
        moment = parse_time(given)
    except (TypeError, ValueError):
        raise Dead("bad_envelope") from None
    return broker if moment > broker + timedelta(minutes=5) else moment
