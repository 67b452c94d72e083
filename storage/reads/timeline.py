"""Timelines: a contact's events, newest first, those of the contacts merged into it among them.

Events stay with the contact they happened to; a merge moves none. Expired ones are hidden everywhere.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

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


def document(row: Row[Any], visible_to: str | None = None) -> dict[str, Any]:
    """A row of FIELDS as INTERFACES shows a timeline event; a contact's client sees less of it."""
    shown: dict[str, Any] = dict(zip(NAMES, row, strict=True))
    if visible_to == "client":
        for name in CLIENT_NEVER_SEES:
            del shown[name]
    return shown


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
    e = contact_events.c
    order = (e.occurred_at, e.sequence, e.id)
    conditions = narrowed.conditions()
    after = [] if cursor is None else [tuple_(*order) < _position(paging.unseal(asked, cursor))]
    # A contact at a time, so that each is read off its index in order, and only as far as the page needs.
    of = _CONTACTS.subquery("of")
    lines = (
        _of_contact(of.c.id, [*conditions, *after])
        .order_by(*(column.desc() for column in order))
        .limit(limit + 1)
        .lateral("lines")
    )
    newest = (
        select(lines)
        .select_from(of.join(lines, true()))
        .order_by(lines.c.occurred_at.desc(), lines.c.sequence.desc(), lines.c.id.desc())
        .limit(limit + 1)
    )
    rows = await reads.rows(newest, contact_id=contact_id)
    counted = None
    if total:
        counted = await _count(reads, contact_id, conditions)
    last = rows[limit - 1] if len(rows) > limit else None
    return TimelinePage(
        [document(row, narrowed.visible_to) for row in rows[:limit]],
        paging.seal(asked, [last.occurred_at, last.sequence, last.id]) if last else None,
        counted,
    )


def _of_contact(contact: ColumnElement[Any], conditions: list[ColumnElement[bool]]) -> Select[Any]:
    e = contact_events.c
    return select(*FIELDS).where(e.tenant_id == TENANT, e.contact_id == contact, *conditions)


def _position(values: list[Any]) -> ColumnElement[Any]:
    at, sequence, event_id = values
    return tuple_(
        literal(datetime.fromisoformat(at), INSTANT),
        literal(sequence, BigInteger),
        literal(uuid.UUID(event_id), Uuid),
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
