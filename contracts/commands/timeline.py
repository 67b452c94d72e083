"""timeline.record, record_many, mark_delivered, mark_read, delete."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, ClassVar

from pydantic import Field, SkipValidation

from contracts.commands.base import Command
from contracts.fields import Flag, Moment, Text100, Text128, Text255, Text500
from contracts.reference import ContactReference
from contracts.vocabulary import Audience, Category, Priority, Source

MOST_EVENTS = 500  # of one command


class EventFields(Command):
    """What a command says of an event on a timeline."""

    type: Text100
    category: Category = Category.GENERAL
    priority: Priority = Priority.NORMAL
    title: Text255 | None = None
    description: str | None = None
    payload: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    source: Source | None = None  # default: agent for the actor user:…, else system
    triggered_by: Text255 | None = None
    integration_source: Text100 | None = None
    session_id: Text128 | None = None
    thread_id: Text128 | None = None
    realtime: Flag = False
    visible_to_client: Flag = False
    visible_to_agent: Flag = True
    expires_at: Moment | None = None
    occurred_at: Moment | None = None


class TimelineRecord(EventFields):
    """Write an event on a contact's timeline. Its version stays."""

    TYPE: ClassVar[str] = "timeline.record"

    contact: ContactReference


class EventOfMany(EventFields):
    """One event of timeline.record_many. Without a contact of its own it is the command's ``contact`` that it is about."""

    contact: ContactReference | None = None


class TimelineRecordMany(Command):
    """Write events on timelines. One that is refused is refused alone; the result's ``items`` say what became of each."""

    TYPE: ClassVar[str] = "timeline.record_many"

    contact: ContactReference | None = None
    # Taken as they come, so that a fault in one refuses that one, and not the command.
    events: Annotated[list[SkipValidation[EventOfMany]], Field(min_length=1, max_length=MOST_EVENTS)]


class EventsCommand(Command):
    """Which events. With ``contact`` only those of that contact; others count as unknown."""

    event_ids: Annotated[list[uuid.UUID], Field(min_length=1, max_length=MOST_EVENTS)]
    contact: ContactReference | None = None


class MarkCommand(EventsCommand):
    """``reader`` says who had the events, and leaves alone those that speak of the other; without it all are marked."""

    reader: Audience | None = None


class TimelineMarkDelivered(MarkCommand):
    """Mark events delivered, each once. The result's ``details`` hold the ids ``marked`` and the ids ``unknown``.

    ``expired``: nobody was there in time. Only events that have expired are marked; their metadata says "skipped": "expired".
    """

    TYPE: ClassVar[str] = "timeline.mark_delivered"

    expired: Flag = False


class TimelineMarkRead(MarkCommand):
    """Mark events read, each once, and delivered where they were not. ``details`` as of timeline.mark_delivered."""

    TYPE: ClassVar[str] = "timeline.mark_read"


class TimelineDelete(EventsCommand):
    """Delete events for good. The result's ``details`` hold the ids ``deleted`` and the ids ``unknown``."""

    TYPE: ClassVar[str] = "timeline.delete"

    reason: Text500 | None = None
