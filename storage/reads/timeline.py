"""Timelines: pages of events, of a contact or of the tenant, and how many there are.

Events stay with the contact they happened to; a merge moves none. So a contact's are its own and those of the contacts that
were merged into it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Uuid, and_, bindparam, select, true, union_all

from storage.reads import paging
from storage.reads.contacts import TENANT
from storage.reads.events import FIELDS, UNEXPIRED, EventFilter, Order, document
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
) -> TimelinePage:
    """A page of a contact's events; without a contact of the tenant's. ``asked`` is what the cursor is bound to.

    Raises CursorError.
    """
    e = contact_events
    conditions = [e.c.tenant_id == TENANT, *narrowed.conditions()]
    if cursor is not None:
        conditions.append(order.after(paging.unseal(asked, cursor)))
    lines = select(*FIELDS).where(*conditions).order_by(*order.of(e)).limit(limit + 1)
    if contact_id is None:
        rows = await reads.rows(lines)
    else:
        # A contact at a time, so that each is read off its index in order, and only as far as the page needs.
        of = _CONTACTS.subquery("of")
        each = lines.where(e.c.contact_id == of.c.id).lateral("lines")
        merged = select(each).select_from(of.join(each, true())).order_by(*order.of(each)).limit(limit + 1)
        rows = await reads.rows(merged, contact_id=contact_id)
    last = rows[limit - 1] if len(rows) > limit else None
    return TimelinePage(
        [document(row, narrowed.visible_to) for row in rows[:limit]],
        paging.seal(asked, order.position(last)) if last else None,
    )


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
