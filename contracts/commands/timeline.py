"""timeline.record."""

from __future__ import annotations

from typing import Any, ClassVar

from contracts.commands.base import Command
from contracts.fields import Flag, Moment, Text100, Text128, Text255
from contracts.reference import ContactReference
from contracts.vocabulary import Category, Priority, Source


class TimelineRecord(Command):
    """Write an event on a contact's timeline. Its version stays."""

    TYPE: ClassVar[str] = "timeline.record"

    contact: ContactReference
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
