"""Timelines: a contact's events in the order in which they happened, those of the contacts merged into it among them.

Events stay with the contact they happened to; a merge moves none. Expired ones are hidden everywhere.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Row,
    Select,
    Uuid,
    and_,
    bindparam,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
    union_all,
)
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from storage.reads import paging
from storage.reads.contacts import TENANT
from storage.reads.session import TenantReads
from storage.tables import contact_events, contacts
from storage.tables.metadata import INSTANT

CLIENT_NEVER_SEES = ("metadata", "triggered_by", "integration_source")
NAMES = (
    "id",
    "contact_id",
    "sequence",
    "contact_version",
    "session_id",
    "thread_id",
    "type",
    "category",
    "priority",
    "title",
    "description",
    "payload",
    "metadata",
    "source",
    "triggered_by",
    "integration_source",
    "realtime",
    "delivered_at",
    "read_at",
    "visible_to_client",
    "visible_to_agent",
    "expires_at",
    "occurred_at",
    "created_at",
)
FIELDS = tuple(contact_events.c[name] for name in NAMES)

UNEXPIRED = or_(contact_events.c.expires_at.is_(None), contact_events.c.expires_at > func.now())


@dataclass(frozen=True, slots=True)
class TimelineFilter:
    """What a timeline is narrowed to: ``since`` is included, ``until`` is not."""

    category: str | None = None
    type: str | None = None
    source: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    visible_to: Literal["client", "agent"] | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        e = contact_events.c
        conditions: list[ColumnElement[bool]] = [UNEXPIRED]
        conditions += [
            e[name] == value for name in ("category", "type", "source") if (value := getattr(self, name))
        ]
        if self.since is not None:
            conditions.append(e.occurred_at >= self.since)
        if self.until is not None:
            conditions.append(e.occurred_at < self.until)
        if self.visible_to is not None:
            conditions.append(e[f"visible_to_{self.visible_to}"])
        return conditions


@dataclass(frozen=True, slots=True)
class TimelinePage:
    events: list[dict[str, Any]]
    next_cursor: str | None
    total: paging.Total | None


def names(visible_to: str | None = None) -> tuple[str, ...]:
    """The fields of a timeline event, in order; a contact's client sees fewer of them."""
    return tuple(name for name in NAMES if visible_to != "client" or name not in CLIENT_NEVER_SEES)


def document(row: Row[Any], visible_to: str | None = None) -> dict[str, Any]:
    """A row of FIELDS as INTERFACES shows a timeline event to whoever it is for."""
    shown = dict(zip(NAMES, row, strict=True))
    return {name: shown[name] for name in names(visible_to)}


_CONTACTS = union_all(
    select(bindparam("contact_id", type_=Uuid).label("id")),
    select(contacts.c.id).where(
        contacts.c.tenant_id == TENANT, contacts.c.merged_into == bindparam("contact_id", type_=Uuid)
    ),
)


async def page(
    reads: TenantReads,
    contact_id: uuid.UUID,
    narrowed: TimelineFilter,
    *,
    limit: int,
    cursor: str | None,
    total: bool,
    asked: Mapping[str, Any],
) -> TimelinePage:
    """A page of a contact's timeline. ``asked`` is what the cursor is bound to. Raises CursorError."""
    place = None if cursor is None else _place(paging.unseal(asked, cursor))
    rows = await reads.rows(_lines(narrowed, place, limit + 1, newest_first=True), contact_id=contact_id)
    counted = None
    if total:
        counted = await _count(reads, contact_id, narrowed.conditions())
    last = rows[limit - 1] if len(rows) > limit else None
    return TimelinePage(
        [document(row, narrowed.visible_to) for row in rows[:limit]],
        paging.seal(asked, list(_Place(last.occurred_at, last.sequence, last.id))) if last else None,
        counted,
    )


async def oldest_first(
    reads: TenantReads,
    contact_id: uuid.UUID,
    narrowed: TimelineFilter,
    *,
    limit: int,
    after: Mapping[str, Any] | None,
) -> list[dict[str, Any]]:
    """At most ``limit`` events of a contact's timeline, those that follow the event ``after``; None: from the first one on."""
    place = None if after is None else _Place(after["occurred_at"], after["sequence"], after["id"])
    rows = await reads.rows(_lines(narrowed, place, limit, newest_first=False), contact_id=contact_id)
    return [document(row, narrowed.visible_to) for row in rows]


class _Place(NamedTuple):
    """Where an event stands in the order of its timeline."""

    occurred_at: datetime
    sequence: int
    id: uuid.UUID


def _place(values: list[Any]) -> _Place:
    at, sequence, event_id = values
    return _Place(datetime.fromisoformat(at), sequence, uuid.UUID(event_id))


def _lines(narrowed: TimelineFilter, place: _Place | None, limit: int, *, newest_first: bool) -> Select[Any]:
    """Rows of FIELDS that come after the place, which is of either order."""
    e = contact_events.c
    conditions = narrowed.conditions()
    if place is not None:
        here, there = tuple_(e.occurred_at, e.sequence, e.id), _values(place)
        conditions.append(here < there if newest_first else here > there)

    def by(columns: ReadOnlyColumnCollection[str, Any]) -> list[ColumnElement[Any]]:
        return [columns[name].desc() if newest_first else columns[name].asc() for name in _Place._fields]

    # A contact at a time, so that each is read off its index in order, and only as far as the page needs.
    of = _CONTACTS.subquery("of")
    of_contact = select(*FIELDS).where(e.tenant_id == TENANT, e.contact_id == of.c.id, *conditions)
    lines = of_contact.order_by(*by(e)).limit(limit).lateral("lines")
    return select(lines).select_from(of.join(lines, true())).order_by(*by(lines.c)).limit(limit)


def _values(place: _Place) -> ColumnElement[Any]:
    return tuple_(
        literal(place.occurred_at, INSTANT), literal(place.sequence, BigInteger), literal(place.id, Uuid)
    )


async def _count(
    reads: TenantReads, contact_id: uuid.UUID, conditions: list[ColumnElement[bool]]
) -> paging.Total:
    of = _CONTACTS.subquery("of")
    e = contact_events.c
    matching = select(e.id).join(of, and_(e.tenant_id == TENANT, e.contact_id == of.c.id)).where(*conditions)
    some = matching.limit(paging.EXACT_TO + 1).subquery()
    found = await reads.scalar(select(func.count()).select_from(some), contact_id=contact_id)
    return paging.Total(min(found, paging.EXACT_TO), at_least=found > paging.EXACT_TO)


_EVENT = select(*FIELDS).where(
    contact_events.c.tenant_id == TENANT, contact_events.c.id == bindparam("id", type_=Uuid), UNEXPIRED
)


async def event(reads: TenantReads, event_id: uuid.UUID) -> dict[str, Any] | None:
    """One event by its id; None also when it expired."""
    rows = await reads.rows(_EVENT, id=event_id)
    return document(rows[0]) if rows else None
