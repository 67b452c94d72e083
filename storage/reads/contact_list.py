"""Lists of contacts: filters, orders, pages. Deleted contacts are hidden unless asked for, redirects always.

Every order but ``last_contact_at`` (which has no index: it moves with every message) is read off an index, from the
cursor on, so that a page far down costs what the first one costs. Lists with a text to find are searches.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, String, Uuid, and_, literal, or_, select, tuple_, union_all

from storage.reads import paging
from storage.reads.contacts import FIELDS, TENANT, document, with_parts
from storage.reads.session import TenantReads
from storage.tables import contact_tag_mappings, contact_tags, contacts
from storage.tables.metadata import INSTANT

SortKey = Literal["created_at", "updated_at", "last_contact_at", "display_name"]


@dataclass(frozen=True, slots=True)
class ContactFilter:
    """What a list is narrowed to. Times are bounds that do not count themselves."""

    status: str | None = None
    source: str | None = None
    tags: tuple[str, ...] = ()
    tags_match: Literal["any", "all"] = "any"
    created_after: datetime | None = None
    created_before: datetime | None = None
    updated_after: datetime | None = None
    last_contact_before: datetime | None = None
    has_email: bool | None = None
    has_phone: bool | None = None
    include_deleted: bool = False

    def conditions(self) -> list[ColumnElement[bool]]:
        c = contacts.c
        conditions: list[ColumnElement[bool]] = [c.tenant_id == TENANT, c.merged_into.is_(None)]
        if not self.include_deleted:
            conditions.append(c.deleted_at.is_(None))
        conditions += [c[name] == value for name in ("status", "source") if (value := getattr(self, name))]
        if self.created_after is not None:
            conditions.append(c.created_at > self.created_after)
        if self.created_before is not None:
            conditions.append(c.created_at < self.created_before)
        if self.updated_after is not None:
            conditions.append(c.updated_at > self.updated_after)
        if self.last_contact_before is not None:
            conditions.append(c.last_contact_at < self.last_contact_before)
        for column, wanted in ((c.email, self.has_email), (c.phone, self.has_phone)):
            if wanted is not None:
                conditions.append(column.is_not(None) if wanted else column.is_(None))
        if self.tags:
            tagged = (
                [_tagged(self.tags)] if self.tags_match == "any" else [_tagged((tag,)) for tag in self.tags]
            )
            conditions += tagged
        return conditions


@dataclass(frozen=True, slots=True)
class Order:
    """Contacts without a value come last either way; equal values follow the id."""

    by: SortKey = "created_at"
    descending: bool = True


@dataclass(frozen=True, slots=True)
class ContactPage:
    contacts: list[dict[str, Any]]
    next_cursor: str | None


def _tagged(names: Sequence[str]) -> ColumnElement[bool]:
    m, t = contact_tag_mappings, contact_tags
    having = (
        select(m.c.contact_id)
        .join(t, and_(t.c.tenant_id == m.c.tenant_id, t.c.id == m.c.tag_id))
        .where(m.c.tenant_id == TENANT, t.c.name.in_(names))
    )
    return contacts.c.id.in_(having)


async def page(
    reads: TenantReads,
    narrowed: ContactFilter,
    order: Order,
    *,
    size: int,
    offset: int = 0,
    cursor: str | None = None,
    asked: Mapping[str, Any],
) -> ContactPage:
    """A page from an offset or a cursor. ``asked`` is what the cursor is bound to. Raises CursorError."""
    position = None if cursor is None else _position(order, paging.unseal(asked, cursor))
    wanted = _ordered(narrowed.conditions(), order, position, size + 1, offset).subquery("wanted")
    statement = with_parts(wanted)
    rows = await reads.rows(statement.order_by(*_by(wanted.c.part, wanted.c[order.by], wanted.c.id, order)))
    last = rows[size - 1] if len(rows) > size else None
    return ContactPage(
        [document(row) for row in rows[:size]],
        paging.seal(asked, [getattr(last, order.by), last.id]) if last else None,
    )


async def total(reads: TenantReads, narrowed: ContactFilter, *, exact: bool) -> paging.Total:
    return await paging.count(reads, select(contacts.c.id).where(*narrowed.conditions()), exact=exact)


@dataclass(frozen=True, slots=True)
class _Position:
    key: datetime | str | None
    id: uuid.UUID


def _position(order: Order, values: list[Any]) -> _Position:
    key, contact_id = values
    if key is not None and order.by != "display_name":
        key = datetime.fromisoformat(key)
    return _Position(key, uuid.UUID(contact_id))


def _ordered(
    conditions: list[ColumnElement[bool]], order: Order, position: _Position | None, limit: int, offset: int
) -> Select[Any]:
    """Rows of FIELDS and ``part``: 0 for those with a value, 1 for those without, which come after.

    The index on display_name holds its nulls at the wrong end of a descending order, so that it is read in two parts.
    """
    key, identity = contacts.c[order.by], contacts.c.id
    parts = [(0, _after(order, position))]
    if order.by == "display_name":
        parts = [(0, [key.is_not(None), *_after(order, position)]), (1, [key.is_(None)])]
        if position is not None and position.key is None:
            parts = [(1, _after(order, position))]
    selects = [
        select(*FIELDS, literal(number).label("part"))
        .where(*conditions, *part)
        .order_by(*_by(None, key, identity, order))
        for number, part in parts
    ]
    if len(selects) == 1:
        return selects[0].limit(limit).offset(offset)
    both = union_all(*(select(part.limit(offset + limit).subquery()) for part in selects)).subquery("both")
    return (
        select(both)
        .order_by(*_by(both.c.part, both.c[order.by], both.c.id, order))
        .limit(limit)
        .offset(offset)
    )


def _by(
    part: ColumnElement[Any] | None, key: ColumnElement[Any], identity: ColumnElement[Any], order: Order
) -> list[ColumnElement[Any]]:
    by: list[ColumnElement[Any]] = [] if part is None else [part]
    if not order.descending:
        return [*by, key.asc(), identity.asc()]
    # "nulls last" is said only where nulls can be: an index read backwards has them first.
    down = key.desc().nulls_last() if order.by == "last_contact_at" else key.desc()
    return [*by, down, identity.desc()]


def _after(order: Order, position: _Position | None) -> list[ColumnElement[bool]]:
    """What comes after the position in the order."""
    if position is None:
        return []
    key, identity = contacts.c[order.by], contacts.c.id
    at = literal(position.id, Uuid)
    later_id = identity < at if order.descending else identity > at
    if position.key is None:
        return [key.is_(None), later_id]
    value = literal(position.key, String if order.by == "display_name" else INSTANT)
    place, there = tuple_(key, identity), tuple_(value, at)
    later: ColumnElement[bool] = place < there if order.descending else place > there
    return [or_(later, key.is_(None))] if order.by == "last_contact_at" else [later]
