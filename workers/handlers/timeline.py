"""timeline.record. Pure."""

from __future__ import annotations

from contracts.commands.timeline import TimelineRecord
from workers.directory import Entry, Scratch
from workers.engine.record import Outcome
from workers.handlers.command import Prepared, require


def record(scratch: Scratch, command: Prepared) -> Outcome:
    model: TimelineRecord = command.model
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
