"""What the stream EVENTS says about timelines, and what of it each kind of watcher is shown. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal

import orjson

from contracts import subjects
from contracts.moments import moment
from contracts.subjects import SubjectError
from contracts.vocabulary import Audience, Role
from storage.reads.events import CLIENT_NEVER_SEES

CHANGED: Final = "contact.timeline_changed"

Kind = Literal["event", "changed"]


class Entry:
    """One message of the stream: a timeline event, or the marks and deletions of some.

    ``shown`` is the rest of a frame after its type, sub and cursor; None for who may not see it. It is made once for all
    watchers of a kind.
    """

    __slots__ = ("_data", "_shown", "contact_id", "cursor", "expires_at", "kind", "sequence", "tenant")

    def __init__(
        self, sequence: int, tenant: str, contact_id: uuid.UUID, kind: Kind, data: Mapping[str, Any]
    ) -> None:
        self.sequence = sequence
        self.tenant = tenant
        self.contact_id = contact_id
        self.kind = kind
        self.cursor = ""  # of its frames; whoever reads the stream fills it in
        self.expires_at = _moment(data.get("expires_at"))
        self._data = data
        self._shown: dict[Role, str | None] = {}

    @property
    def contact_sequence(self) -> int | None:
        """Of a timeline event: its place among the contact's."""
        return self._data.get("sequence") if self.kind == "event" else None

    @property
    def is_whole(self) -> bool:
        """False where the event was too large for the bus, so that nobody can say here who may see it."""
        return self.kind == "changed" or (
            "visible_to_agent" in self._data and "visible_to_client" in self._data
        )

    def shown(self, role: Role, now: datetime) -> str | None:
        return None if self._has_expired(now) else self._text(role)

    def missed(self, role: Role, now: datetime) -> uuid.UUID | None:
        """The id of an event that would be shown, had it not expired."""
        return _id(self._data.get("id")) if self._has_expired(now) and self._text(role) is not None else None

    def _has_expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now

    def _text(self, role: Role) -> str | None:
        if role not in self._shown:
            self._shown[role] = self._show(role)
        return self._shown[role]

    def _show(self, role: Role) -> str | None:
        data = self._data
        if self.kind == "changed":
            return _changed(data, _known_by(role))
        return event_text(data, role)


def event_text(data: Mapping[str, Any], role: Role) -> str | None:
    """A timeline event as the rest of a frame; None for who is not pushed it."""
    if not data.get(_known_by(role)):
        return None
    if role.audience is Audience.CLIENT:
        if not data.get("realtime"):
            return None
        data = {name: value for name, value in data.items() if name not in CLIENT_NEVER_SEES}
    return f'"event":{orjson.dumps(data, option=orjson.OPT_UTC_Z, default=str).decode()}'


def _known_by(role: Role) -> str:
    """The field that says whether whoever has the role may know of an event, or which events."""
    return f"visible_to_{role.audience}"


def _changed(data: Mapping[str, Any], known: str) -> str | None:
    """The marks and deletions of those events that a watcher may know of."""
    visible = frozenset(data.get(known) or ())
    told = {
        name: [i for i in data.get(name) or () if i in visible] for name in ("delivered", "read", "deleted")
    }
    if not any(told.values()):
        return None
    told_of = {"contact_id": data["contact_id"], **told, "at": data["at"]}
    return orjson.dumps(told_of).decode()[1:-1]


def parse(sequence: int, subject: str, body: bytes) -> Entry | None:
    """A message of the stream; None for one that is not about a timeline, or cannot be read."""
    try:
        parsed = subjects.parse(subject)
        is_event = parsed.prefix == "timeline"
        if not is_event and parsed.type != CHANGED:
            return None
        contact_id = uuid.UUID(parsed.key)
        data = orjson.loads(body)["data"]
    except (SubjectError, ValueError, KeyError, TypeError):
        return None
    if not isinstance(data, dict):
        return None
    return Entry(sequence, parsed.tenant, contact_id, "event" if is_event else "changed", data)


def _id(value: Any) -> uuid.UUID | None:
    try:
        return uuid.UUID(str(value))
    except ValueError:
        return None


def _moment(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value
    try:
        return moment(value) if isinstance(value, str) else None
    except ValueError:
        return None
