"""What a message makes of one contact: how it leaves it, and the timeline events that it writes."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from storage.ids import uuid7
from storage.rows import Contact


@dataclass(slots=True)
class Entry:
    """A timeline event on its way: what is None is filled in when the message's changes are settled."""

    type: str
    category: str
    payload: dict[str, Any] = field(default_factory=dict)
    occurred_at: datetime | None = None
    title: str | None = None
    description: str | None = None
    priority: str = "normal"
    metadata: dict[str, Any] = field(default_factory=dict)
    source: str | None = None
    triggered_by: str | None = None
    integration_source: str | None = None
    session_id: str | None = None
    thread_id: str | None = None
    realtime: bool = False
    visible_to_client: bool = False
    visible_to_agent: bool = True
    expires_at: datetime | None = None
    id: uuid.UUID = field(default_factory=uuid7)


@dataclass(slots=True)
class Draft:
    """One contact as a message leaves it. ``before`` is None for a contact that the message made."""

    before: Contact | None
    after: Contact
    # Whether the document may differ; False: only the timeline and last_contact_at moved.
    changed: bool = False
    entries: list[Entry] = field(default_factory=list)
    reason: str | None = None  # of a deletion or a restoration
