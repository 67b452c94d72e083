"""The neutral form of what happened in a provider's webhook.

One raw body yields any number of items; each names the person it is about, so that nothing downstream knows
a provider. Identifiers are as the provider wrote them: canonical forms are the worker's business.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple


class PayloadError(Exception):
    """A body that its provider cannot have meant: the message is dead-lettered as ``invalid_payload``."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class NamedIdentifier(NamedTuple):
    """An identifier as given: channel (whatsapp, sms, email, …), the provider's spelling, and scope ("" for most)."""

    channel: str
    identifier: str
    scope: str = ""


@dataclass(slots=True)
class Item:
    """One thing that happened to one person, according to a provider. Not to be changed; frozen would cost its making.

    ``identifiers`` are of the person, the strongest first (a provider's user id before a phone number); never empty.
    ``occurred_at`` is None where the provider gives no time: the envelope's holds.
    """

    dedupe_key: str
    kind: Literal["message", "status", "identifier_changed", "consent"]
    channel: str
    identifiers: tuple[NamedIdentifier, ...]
    type: str  # of the timeline event
    category: str
    occurred_at: datetime | None = None
    profile_name: str | None = None
    description: str | None = None  # of the timeline event: a message's text
    payload: dict[str, Any] = field(default_factory=dict)  # of the timeline event
    session_id: str | None = None
    thread_id: str | None = None
    creates: bool = True  # False: about an unknown person, nothing happens
    touches: bool = False  # a message received or sent: moves last_contact_at
    message_id: str | None = None  # kind status: of the message that it speaks of
    status: str | None = None  # kind status: sent, delivered, read, failed, …
    # kind identifier_changed: what the person is reached by from now on
    new_identifiers: tuple[NamedIdentifier, ...] = ()
    consent: bool | None = None  # True granted, False revoked; may accompany a message (an opt-out keyword)


class NoPerson(list[Item]):
    """No items, for whoever the body is about is no person."""
