"""Marks and deletions of timeline events within a batch: what a message finds, what is written, what is told of it. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from storage.marks import EventKey
from storage.rows import EventState, TimelineEvent


@dataclass(frozen=True, slots=True)
class EventChange:
    """What a message makes of an event; ``after`` None: it is deleted."""

    before: EventState
    after: EventState | None
    reason: str | None = None  # of the deletion


class Marks:
    """The events that the batch may mark or delete, as its messages so far left them.

    ``recorded`` is the directory's own list: what earlier messages of the batch wrote can be marked by later ones.
    """

    def __init__(self, loaded: Mapping[EventKey, EventState], recorded: Sequence[TimelineEvent]) -> None:
        self._first = dict(loaded)
        self._now: dict[EventKey, EventState | None] = {}
        self._recorded = recorded
        self._known = 0  # of the recorded: only who marks pays for looking at them

    def event(self, key: EventKey) -> EventState | None:
        """The event, if it is there."""
        for event in self._recorded[self._known :]:
            self._first[event.tenant_id, event.id] = state_of(event)
        self._known = len(self._recorded)
        return self._now[key] if key in self._now else self._first.get(key)

    def adopt(self, changes: Iterable[EventChange]) -> None:
        for change in changes:
            self._now[change.before.tenant_id, change.before.id] = change.after

    def marked(self) -> list[EventState]:
        """The events that are still there and not as they were."""
        return [event for key, event in self._now.items() if event is not None and event != self._first[key]]

    def deleted(self) -> list[EventState]:
        return [self._first[key] for key, event in self._now.items() if event is None]


def state_of(event: TimelineEvent) -> EventState:
    """Of an event that was just recorded."""
    return EventState(
        event.id,
        event.tenant_id,
        event.contact_id,
        event.created_at,
        event.visible_to_client,
        event.visible_to_agent,
        event.expires_at,
    )


def told(changes: Iterable[EventChange], at: datetime) -> Iterator[tuple[uuid.UUID, dict[str, Any]]]:
    """By contact: the data of contact.timeline_changed."""
    by_contact: dict[uuid.UUID, list[EventChange]] = {}
    for change in changes:
        by_contact.setdefault(change.before.contact_id, []).append(change)
    for contact_id, those in by_contact.items():
        yield (
            contact_id,
            {
                "contact_id": str(contact_id),
                "delivered": _ids(
                    c for c in those if c.after and c.after.delivered_at != c.before.delivered_at
                ),
                "read": _ids(c for c in those if c.after and c.after.read_at != c.before.read_at),
                "deleted": _ids(c for c in those if c.after is None),
                "skipped": _ids(c for c in those if c.after and c.after.skipped != c.before.skipped),
                "reason": those[0].reason,
                "at": at,
                "visible_to_client": _ids(c for c in those if c.before.visible_to_client),
                "visible_to_agent": _ids(c for c in those if c.before.visible_to_agent),
            },
        )


def _ids(changes: Iterable[EventChange]) -> list[str]:
    return [str(change.before.id) for change in changes]
