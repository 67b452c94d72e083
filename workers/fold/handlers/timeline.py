"""timeline.record, record_many, mark_delivered, mark_read, delete. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from pydantic import ValidationError

from contracts.commands.base import validation_errors
from contracts.commands.timeline import (
    EventFields,
    EventOfMany,
    EventsCommand,
    MarkCommand,
    TimelineDelete,
    TimelineMarkDelivered,
    TimelineRecordMany,
)
from contracts.reference import ContactReference
from contracts.vocabulary import Audience
from storage.rows import EventState
from workers.engine.record import Outcome
from workers.fold.directory import Rejection, Scratch
from workers.fold.draft import Entry
from workers.fold.handlers.command import Prepared, Reference, invalid, placed, refer, rejection, require
from workers.fold.marks import EventChange

FAULTS: Final = 5  # explained of one event of many: the answer holds those of all


def record(scratch: Scratch, command: Prepared) -> Outcome:
    model: EventFields = command.model
    contact = require(scratch, command.reference)
    entry = Entry(
        model.type,
        str(model.category),
        model.payload or {},
        model.occurred_at,
        title=model.title,
        description=model.description,
        priority=str(model.priority),
        metadata=model.metadata or {},
        source=str(model.source) if model.source else None,
        triggered_by=model.triggered_by,
        integration_source=model.integration_source,
        session_id=model.session_id,
        thread_id=model.thread_id,
        realtime=model.realtime,
        visible_to_client=model.visible_to_client,
        visible_to_agent=model.visible_to_agent,
        expires_at=model.expires_at,
    )
    scratch.record(contact.id, entry)
    return Outcome("applied", contact.id, details={"timeline_event_id": str(entry.id)})


def parts(model: TimelineRecordMany, region: str | None) -> Iterator[Prepared | Rejection]:
    """Each event of the command, prepared or rejected alone. Raises Rejection for what is meant for all of them."""
    shared = refer(model.contact, region) if model.contact is not None else None
    for n, given in enumerate(model.events):
        try:
            event = EventOfMany.model_validate(given)
        except ValidationError as error:
            yield rejection(validation_errors(error, within=("events", n), most=FAULTS))
            continue
        if event.contact is not None:
            place = f"events.{n}."
            reference = _refer(event.contact, region)
            yield (
                placed(reference, place)
                if isinstance(reference, Rejection)
                else Prepared(event, reference, place=place)
            )
        elif shared is None:
            yield invalid(
                f"events.{n}.contact", "is required; name it here, or beside events for all of them"
            )
        else:
            yield Prepared(event, shared)


def _refer(given: Any, region: str | None) -> Reference | Rejection:
    try:
        return refer(ContactReference.model_validate(given), region)
    except ValidationError as error:
        return rejection(validation_errors(error, within=("contact",), most=FAULTS))
    except Rejection as rejected:
        return rejected


def record_many(scratch: Scratch, command: Prepared) -> Outcome:
    """What is rejected of it is told as a command's rejection is, and leaves no trace."""
    items: list[dict[str, Any]] = []
    touched: set[uuid.UUID] = set()
    for part in command.parts:
        recorded = part if isinstance(part, Rejection) else _record_part(scratch, part)
        if isinstance(recorded, Rejection):
            scratch.rejections.append(recorded)
            rejected = {"code": recorded.code, "message": recorded.message, "details": recorded.details}
            items.append(
                {
                    "status": "rejected",
                    **{name: value for name, value in rejected.items() if value is not None},
                }
            )
        else:
            assert recorded.contact_id is not None
            touched.add(recorded.contact_id)
            items.append(
                {"status": "applied", "contact_id": str(recorded.contact_id), **(recorded.details or {})}
            )
    return Outcome("applied", _only(touched), items=items)


def _record_part(scratch: Scratch, part: Prepared) -> Outcome | Rejection:
    try:
        return record(scratch, part)
    except Rejection as rejected:
        return placed(rejected, part.place)


def mark_delivered(scratch: Scratch, command: Prepared) -> Outcome:
    model: TimelineMarkDelivered = command.model

    def marked(event: EventState) -> EventState:
        if model.expired and (event.expires_at is None or event.expires_at > scratch.at):
            return event
        return _delivered(event, scratch.at, skipped=model.expired)

    return _mark(scratch, command, marked)


def mark_read(scratch: Scratch, command: Prepared) -> Outcome:
    def marked(event: EventState) -> EventState:
        if event.read_at is not None:
            return event
        return replace(_delivered(event, scratch.at), read_at=scratch.at)

    return _mark(scratch, command, marked)


def _delivered(event: EventState, at: datetime, *, skipped: bool = False) -> EventState:
    return event if event.delivered_at is not None else replace(event, delivered_at=at, skipped=skipped)


def _mark(scratch: Scratch, command: Prepared, marked: Callable[[EventState], EventState]) -> Outcome:
    """Make of each event what ``marked`` says, where its marks speak of the command's reader."""
    model: MarkCommand = command.model
    found, unknown, contact_id = _find(scratch, command)
    changed: list[str] = []
    for event in found:
        reader = Audience.CLIENT if event.visible_to_client else Audience.AGENT
        unseen = model.reader is Audience.AGENT and not event.visible_to_agent
        after = marked(event) if model.reader in (None, reader) and not unseen else event
        if after != event:
            scratch.change_event(EventChange(event, after))
            changed.append(str(event.id))
    return Outcome("applied", contact_id, details={"marked": changed, "unknown": unknown})


def delete(scratch: Scratch, command: Prepared) -> Outcome:
    model: TimelineDelete = command.model
    found, unknown, contact_id = _find(scratch, command)
    for event in found:
        scratch.change_event(EventChange(event, None, model.reason))
    deleted = [str(event.id) for event in found]
    return Outcome("applied", contact_id, details={"deleted": deleted, "unknown": unknown})


def _find(scratch: Scratch, command: Prepared) -> tuple[list[EventState], list[str], uuid.UUID | None]:
    """The events that the command names, the ids that are unknown, and the contact where it is one alone.

    A deleted contact's events are found too: they can be read, so they can be marked.
    """
    model: EventsCommand = command.model
    of = require(scratch, command.reference, deleted=True) if command.reference is not None else None
    found: list[EventState] = []
    unknown: list[str] = []
    for event_id in dict.fromkeys(model.event_ids):
        event = scratch.event(event_id)
        if event is None or (of is not None and event.contact_id != of.id):
            unknown.append(str(event_id))
        else:
            found.append(event)
    return found, unknown, of.id if of is not None else _only({event.contact_id for event in found})


def _only(contact_ids: set[uuid.UUID]) -> uuid.UUID | None:
    return next(iter(contact_ids)) if len(contact_ids) == 1 else None
