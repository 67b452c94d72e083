"""The shapes in which storage hands state to the workers and takes it back.

Plain data, no I/O: handlers fold over these without a database. A ``Contact`` is the whole aggregate that
one message may change; ``version`` and ``timeline_sequence`` rise only while its row is locked.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple


class IdentifierKey(NamedTuple):
    """What makes an identifier unique within a tenant."""

    kind: str  # phone, email, or the channel's own name
    identifier: str  # canonical
    scope: str = ""


@dataclass(slots=True)
class Identifier:
    """One identifier of a contact on one channel; two channels may share a key (a phone number on sms and whatsapp).

    Never changed in place: a change is a new object (``dataclasses.replace``), so that states may share it.
    """

    id: uuid.UUID
    key: IdentifierKey
    channel: str
    raw: str
    aliases: tuple[str, ...] = ()
    is_primary: bool = False
    is_verified: bool = False
    shared: bool = False
    # A webhook's profile name is metadata["profile_name"].
    metadata: dict[str, Any] = field(default_factory=dict)
    slot: int = 0  # 0 owns the key; a further channel of the same contact takes 1, 2, …
    created_at: datetime | None = None


@dataclass(slots=True)
class Contact:
    """The aggregate; ``tags`` are names."""

    tenant_id: str
    id: uuid.UUID
    external_id: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    display_name: str | None = None
    email: str | None = None
    phone: str | None = None
    avatar_url: str | None = None
    status: str = "active"
    source: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    identifiers: dict[tuple[IdentifierKey, str], Identifier] = field(default_factory=dict)
    tags: frozenset[str] = frozenset()
    last_contact_at: datetime | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    deleted_at: datetime | None = None
    merged_into: uuid.UUID | None = None
    version: int = 0  # 0: not in the database yet
    timeline_sequence: int = 0

    def has(self, key: IdentifierKey) -> bool:
        """Whether the contact owns the identifier, on whichever channel."""
        return any(held == key for held, _ in self.identifiers)

    def copy(self) -> Contact:
        """A copy to change: its identifiers and attributes may be replaced without touching this one's."""
        return Contact(
            self.tenant_id,
            self.id,
            self.external_id,
            self.first_name,
            self.last_name,
            self.display_name,
            self.email,
            self.phone,
            self.avatar_url,
            self.status,
            self.source,
            self.attributes,
            self.identifiers.copy(),
            self.tags,
            self.last_contact_at,
            self.created_at,
            self.updated_at,
            self.deleted_at,
            self.merged_into,
            self.version,
            self.timeline_sequence,
        )


@dataclass(slots=True)
class TimelineEvent:
    """One row of contact_events; its fields are explained in docs/timeline.md."""

    id: uuid.UUID
    tenant_id: str
    contact_id: uuid.UUID
    sequence: int
    contact_version: int
    type: str
    category: str
    priority: str
    title: str
    source: str
    occurred_at: datetime
    created_at: datetime
    description: str | None = None
    payload: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    session_id: str | None = None
    thread_id: str | None = None
    triggered_by: str | None = None
    integration_source: str | None = None
    realtime: bool = False
    visible_to_client: bool = False
    visible_to_agent: bool = True
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class EventState:
    """What commands may still change of a timeline event, and what they decide it by."""

    id: uuid.UUID
    tenant_id: str
    contact_id: uuid.UUID  # the contact that answers: after a merge the survivor
    created_at: datetime
    visible_to_client: bool
    visible_to_agent: bool
    expires_at: datetime | None
    delivered_at: datetime | None = None
    read_at: datetime | None = None
    # Marked just now because it had expired; what was skipped before shows in its metadata alone.
    skipped: bool = False


@dataclass(slots=True)
class Consent:
    """One row of contact_consents: the latest word of a contact for a channel and purpose."""

    tenant_id: str
    contact_id: uuid.UUID
    channel: str
    purpose: str
    granted: bool
    at: datetime
    source: str


@dataclass(slots=True)
class MessageStatus:
    """The highest delivery status seen of one message that was sent to a contact."""

    tenant_id: str
    channel: str
    message_id: str
    contact_id: uuid.UUID
    status: str
    rank: int
    at: datetime
