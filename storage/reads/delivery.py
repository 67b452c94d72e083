"""What waits for a contact that was away: realtime events that its client may see and has not been sent."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Interval, Text, Uuid, bindparam, cast, func, or_, select

from storage.reads.contacts import TENANT
from storage.reads.events import FIELDS, NAMES, UNEXPIRED, document
from storage.reads.session import TenantReads
from storage.tables import contact_events, contacts

PAGE = 100  # events
PAGE_BYTES = 1 << 20  # of their texts, one event of any size aside

_e = contact_events.c
_CONTACT = bindparam("contact_id", type_=Uuid)
_FOR_CLIENT = (_e.tenant_id == TENANT, _e.contact_id == _CONTACT, _e.realtime, _e.visible_to_client)
_UNDELIVERED = _e.delivered_at.is_(None)

_SEQUENCE = select(contacts.c.timeline_sequence).where(
    contacts.c.tenant_id == TENANT, contacts.c.id == _CONTACT
)
_EXPIRED = select(_e.id).where(*_FOR_CLIENT, _UNDELIVERED, _e.expires_at <= func.now()).limit(500)
_FOUND = (
    select(*FIELDS)
    .where(
        *_FOR_CLIENT,
        UNEXPIRED,
        or_(_UNDELIVERED, _e.delivered_at > func.now() - bindparam("age", type_=Interval)),
        _e.sequence > bindparam("after", type_=BigInteger),
        _e.sequence <= bindparam("upto", type_=BigInteger),
    )
    .order_by(_e.sequence)
    .limit(PAGE)
    .subquery()
)
_SIZE = sum(
    func.octet_length(func.coalesce(cast(_FOUND.c[name], Text), ""))
    for name in ("title", "description", "payload", "metadata")
)
_SIZED = select(
    *_FOUND.c, func.sum(_SIZE).over(order_by=_FOUND.c.sequence, rows=(None, -1)).label("before")
).subquery()
_WAITING = (
    select(*(_SIZED.c[name] for name in NAMES))
    .where(func.coalesce(_SIZED.c.before, 0) < PAGE_BYTES)
    .order_by(_SIZED.c.sequence)
)


class Waiting(NamedTuple):
    """Events in the contact's sequence, at most PAGE and, but for the last, PAGE_BYTES.

    ``upto``: the last of its sequences that is taken into account.
    """

    events: list[dict[str, Any]]
    upto: int


async def waiting(
    reads: TenantReads, contact_id: uuid.UUID, *, after: int, since: datetime, upto: int | None
) -> Waiting:
    """What waits behind the sequence ``after``; ``upto`` is that of the first page.

    An event that another device has acknowledged ``since`` still belongs to what waits here. How long ago that was is told
    to the database, whose clock may be another; within its transaction, so that it reaches rather too far than too short.
    """
    if upto is None:
        upto = await reads.scalar(_SEQUENCE, contact_id=contact_id) or 0
    age = datetime.now(UTC) - since
    rows = await reads.rows(_WAITING, contact_id=contact_id, after=after, upto=upto, age=age)
    return Waiting([document(row) for row in rows], upto)


async def expired(reads: TenantReads, contact_id: uuid.UUID) -> list[uuid.UUID]:
    """Events that expired before they were sent, at most 500."""
    return [row.id for row in await reads.rows(_EXPIRED, contact_id=contact_id)]


async def contacts_of(reads: TenantReads, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, uuid.UUID]:
    """Whose events these are; unknown ones are left out."""
    found = await reads.rows(select(_e.id, _e.contact_id).where(_e.tenant_id == TENANT, _e.id.in_(ids)))
    return {row.id: row.contact_id for row in found}
