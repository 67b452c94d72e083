"""Timelines: pages of events, of a contact or of the tenant, and how many there are.

Events stay with the contact they happened to; a merge moves none. So a contact's are its own and those of the contacts that
were merged into it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, Uuid, and_, bindparam, cast, func, select, true, union_all

from storage.errors import TooLarge
from storage.reads import paging
from storage.reads.contacts import TENANT
from storage.reads.events import FIELDS, UNEXPIRED, EventFilter, Order, document, names
from storage.reads.session import TenantReads
from storage.tables import contact_events, contacts


@dataclass(frozen=True, slots=True)
class TimelinePage:
    events: list[dict[str, Any]]
    next_cursor: str | None


_CONTACTS = union_all(
    select(bindparam("contact_id", type_=Uuid).label("id")),
    select(contacts.c.id).where(
        contacts.c.tenant_id == TENANT, contacts.c.merged_into == bindparam("contact_id", type_=Uuid)
    ),
)


async def page(
    reads: TenantReads,
    contact_id: uuid.UUID | None,
    narrowed: EventFilter,
    order: Order,
    *,
    limit: int,
    cursor: str | None,
    asked: Mapping[str, Any],
    most_bytes: int | None = None,
) -> TimelinePage:
    """A page of a contact's events; without a contact of the tenant's. ``asked`` is what the cursor is bound to.

    No more than about ``most_bytes``, and one event, are read. Raises CursorError, and TooLarge where that is no whole page.
    """
    e = contact_events
    conditions = [e.c.tenant_id == TENANT, *narrowed.conditions()]
    if cursor is not None:
        conditions.append(order.after(paging.unseal(asked, cursor)))
    shown = names(narrowed.visible_to)
    lines = select(*(e.c[name] for name in shown)).where(*conditions).order_by(*order.of(e)).limit(limit + 1)
    parameters = {}
    if contact_id is not None:
        # A contact at a time, so that each is read off its index in order, and only as far as the page needs.
        of = _CONTACTS.subquery("of")
        each = lines.where(e.c.contact_id == of.c.id).lateral("lines")
        lines = select(each).select_from(of.join(each, true())).order_by(*order.of(each)).limit(limit + 1)
        parameters = {"contact_id": contact_id}
    rows = await reads.rows(_bounded(lines, order, most_bytes), **parameters)
    held = rows[0].held if rows else 0  # by the page and, where another follows, its first event
    if len(rows) < min(held, limit):
        raise TooLarge
    last = rows[limit - 1] if held > limit else None
    return TimelinePage(
        [dict(zip(shown, row[:-1], strict=True)) for row in rows[:limit]],
        paging.seal(asked, order.position(last)) if last else None,
    )


def _bounded(lines: Select[Any], order: Order, most_bytes: int | None) -> Select[Any]:
    """The lines and, as ``held``, how many there are; of them only those before which no more than the bytes come.

    The sizes are the database's to know: what is left out never gets here. A text's is known without reading it.
    """
    page = lines.subquery("page")
    sizes: list[ColumnElement[Any]] = [func.coalesce(func.octet_length(page.c.description), 0)]
    sizes += [
        func.octet_length(cast(page.c[name], Text)) for name in ("payload", "metadata") if name in page.c
    ]
    size = sum(sizes[1:], sizes[0])
    before = func.sum(size).over(order_by=order.of(page), rows=(None, -1))
    measured = select(page, func.count().over().label("held"), before.label("before")).subquery("measured")
    columns = [column for column in measured.c if column.name != "before"]
    wanted = select(*columns).order_by(*order.of(measured))
    return wanted if most_bytes is None else wanted.where(func.coalesce(measured.c.before, 0) <= most_bytes)


async def count(
    reads: TenantReads, contact_id: uuid.UUID, narrowed: EventFilter, *, exact: bool
) -> paging.Total:
    """How many events of a contact there are."""
    e = contact_events.c
    of = _CONTACTS.subquery("of")
    of_contact = and_(e.tenant_id == TENANT, e.contact_id == of.c.id)
    matching = select(e.id).join(of, of_contact).where(*narrowed.conditions())
    return await paging.count(reads, matching, exact=exact, contact_id=contact_id)


_EVENT = select(*FIELDS).where(
    contact_events.c.tenant_id == TENANT, contact_events.c.id == bindparam("id", type_=Uuid), UNEXPIRED
)


async def event(reads: TenantReads, event_id: uuid.UUID) -> dict[str, Any] | None:
    """One event by its id; None also when it expired."""
    rows = await reads.rows(_EVENT, id=event_id)
    return document(rows[0]) if rows else None
