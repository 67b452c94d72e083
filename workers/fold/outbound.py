"""An event on its way out: its envelope, and the message that is its cause. Pure."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from storage.outbox import OutboundEvent
from workers.engine.replies import SOURCE

JSON_OPTIONS = orjson.OPT_UTC_Z
EVENT_BYTES = 4_000_000  # an event's text is cut above this, far below what the broker takes
CUT_CHARACTERS = 10_000


@dataclass(slots=True)
class Origin:
    """Which message is the cause, for the events that it brings about."""

    tenant: str
    kind: str  # webhook.whatsapp, command.contact.update
    message_id: str
    time: datetime  # when it happened: the envelope's, or the broker's
    correlation_id: str | None
    actor: str | None
    traceparent: str | None

    @property
    def source(self) -> str:
        """The ``source`` of the timeline events that a change writes by itself."""
        return "agent" if self.actor and self.actor.startswith("user:") else "system"


def outbound_event(
    event_type: str,
    event_id: uuid.UUID,
    data: dict[str, Any],
    contact_id: uuid.UUID | None,
    origin: Origin,
    at: datetime,
    shard: int,
) -> OutboundEvent:
    about = str(contact_id) if contact_id else "-"
    envelope = {
        "specversion": "1.0",
        "id": str(event_id),
        "source": SOURCE,
        "type": event_type,
        "subject": about,
        "time": at,
        "datacontenttype": "application/json",
        "tenantid": origin.tenant,
        "correlationid": origin.correlation_id or origin.message_id,
        "causationid": origin.message_id,
        "actor": origin.actor or "system",
        "dataversion": "1.0",
        "data": data,
    }
    if origin.traceparent:
        envelope["traceparent"] = origin.traceparent
    payload = orjson.dumps(envelope, option=JSON_OPTIONS)
    if len(payload) > EVENT_BYTES:
        envelope["data"] = {**_cut(data), "truncated": True}
        payload = orjson.dumps(envelope, option=JSON_OPTIONS)
    return OutboundEvent(shard, f"{event_type}.{origin.tenant}.{about}", str(event_id), payload)


def _cut(data: dict[str, Any]) -> dict[str, Any]:
    """The facts without what is long: whoever needs it asks for it by id."""

    def short(value: Any) -> Any:
        return value if len(orjson.dumps(value)) <= CUT_CHARACTERS else None

    return {name: short(value) for name, value in data.items()}
