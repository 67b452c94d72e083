"""contact.*: what became of a contact."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from contracts.documents import ContactDocument, Document
from contracts.events.base import ContactEvent, Event
from contracts.fields import Moment
from contracts.vocabulary import RejectionCode


class Change(Document):
    """A field before and after."""

    old: Any
    new: Any


class ContactCreated(ContactEvent):
    """A contact was made."""

    TYPE: ClassVar[str] = "contact.created"

    contact: ContactDocument


class ContactUpdated(ContactEvent):
    """Fields of the contact's document changed: old document and ``changes`` give the new one."""

    TYPE: ClassVar[str] = "contact.updated"

    changes: dict[str, Change]


class ContactDeleted(ContactEvent):
    """The contact was deleted softly."""

    TYPE: ClassVar[str] = "contact.deleted"

    reason: str | None


class ContactRestored(ContactEvent):
    """A deleted contact is back; the reason is ``inbound`` where a message from the person did it."""

    TYPE: ClassVar[str] = "contact.restored"

    reason: str | None


class ContactTagged(ContactEvent):
    """The contact was given a tag."""

    TYPE: ClassVar[str] = "contact.tagged"

    tag: str


class ContactUntagged(ContactEvent):
    """A tag was taken from the contact."""

    TYPE: ClassVar[str] = "contact.untagged"

    tag: str


class ContactTimelineChanged(Event):
    """Events on the contact's timeline were delivered, read or deleted, by their ids; its version stays.

    ``at`` is the delivered_at and read_at that they now have. ``skipped`` are those of ``delivered`` that expired before
    anybody could be told: their metadata has "skipped": "expired". The last two say which of the ids each audience may know of.
    """

    TYPE: ClassVar[str] = "contact.timeline_changed"

    contact_id: uuid.UUID
    delivered: list[uuid.UUID]
    read: list[uuid.UUID]
    deleted: list[uuid.UUID]
    skipped: list[uuid.UUID]
    reason: str | None
    at: Moment
    visible_to_client: list[uuid.UUID]
    visible_to_agent: list[uuid.UUID]


class ContactRejected(Event):
    """A command was refused, or an event of timeline.record_many. ``type`` and ``message_id`` are the command's; without a contact the key is ``-``."""

    TYPE: ClassVar[str] = "contact.rejected"

    contact_id: uuid.UUID | None
    type: str
    message_id: str
    code: RejectionCode
    message: str
    details: dict[str, Any] | None
