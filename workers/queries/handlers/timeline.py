"""Queries about timelines: of a contact, of a session, of the tenant."""

from __future__ import annotations

from typing import Final

from contracts.queries import (
    ContactTimeline,
    TimelineByCategory,
    TimelineByType,
    TimelineCount,
    TimelineGet,
    TimelineSearch,
    TimelineSession,
    TimelineUndelivered,
)
from contracts.queries.contact import TimelineOf
from contracts.queries.timeline import EventsQuery
from contracts.reference import ContactReference
from storage.errors import ReadTimeout, TooLarge
from storage.reads import contacts, timeline
from storage.reads.events import (
    IN_SEQUENCE,
    LAST_WRITTEN,
    LONGEST_WAITING,
    NEWEST,
    OLDEST,
    EventFilter,
    Order,
)
from storage.reads.paging import CursorError
from storage.reads.session import TenantReads
from workers.queries.handlers.answer import (
    Answer,
    Refusal,
    asked,
    bad_cursor,
    found,
    name_of,
    redirected,
    too_large,
)
from workers.queries.handlers.context import Context

# The database writes a payload with spaces and long numbers: what fits an answer can have more bytes there.
SPARE: Final = 2


async def get(context: Context, request: TimelineGet) -> Answer:
    async with context.reads() as reads:
        event = await timeline.event(reads, request.event_id)
    if event is None:
        raise Refusal("event_not_found", "no such timeline event, or it expired")
    return Answer(event, {})


async def of_contact(context: Context, request: ContactTimeline) -> Answer:
    narrowed = _narrowed(request)
    async with context.reads() as reads:
        contact = await _found(context, reads, request.contact)
        answer = await _page(context, reads, request, narrowed, NEWEST, contact)
        if request.total:
            total = await timeline.count(reads, contact.id, narrowed, exact=False)
            answer.meta.update(total.meta())
    return answer


async def undelivered(context: Context, request: TimelineUndelivered) -> Answer:
    narrowed = EventFilter(undelivered=True, visible_to=request.visible_to)
    order = LONGEST_WAITING if request.contact is None else IN_SEQUENCE
    return await _answer(context, request, narrowed, order, request.contact)


async def session(context: Context, request: TimelineSession) -> Answer:
    narrowed = EventFilter(session_id=request.session_id, visible_to=request.visible_to)
    return await _answer(context, request, narrowed, OLDEST)


async def by_type(context: Context, request: TimelineByType) -> Answer:
    return await _answer(context, request, EventFilter(type=request.type, since=request.since), NEWEST)


async def by_category(context: Context, request: TimelineByCategory) -> Answer:
    narrowed = EventFilter(category=request.category, since=request.since)
    return await _answer(context, request, narrowed, NEWEST)


async def search(context: Context, request: TimelineSearch) -> Answer:
    """A contact's timeline is read off its index, the tenant's backwards off the primary key: text has no index."""
    tenant_wide = request.contact is None
    narrowed = EventFilter(
        containing=request.q,
        since=request.since,
        written_since=request.since if tenant_wide else None,
    )
    try:
        return await _answer(
            context, request, narrowed, LAST_WRITTEN if tenant_wide else NEWEST, request.contact
        )
    except ReadTimeout:
        raise Refusal("timeout", "the search took too long; narrow it by since or contact") from None


async def count(context: Context, request: TimelineCount) -> Answer:
    narrowed = _narrowed(request)
    async with context.reads() as reads:
        contact = await _found(context, reads, request.contact)
        total = await timeline.count(reads, contact.id, narrowed, exact=True)
    return Answer({"count": total.rows}, redirected(contact))


def _narrowed(request: TimelineOf) -> EventFilter:
    return EventFilter(
        category=request.category,
        type=request.type,
        source=request.source,
        since=request.since,
        until=request.until,
        visible_to=request.visible_to,
    )


async def _found(context: Context, reads: TenantReads, named: ContactReference) -> contacts.Found:
    """A deleted contact's timeline can be read: that it was deleted, and why, is written there."""
    name = name_of(**dict(named), region=context.region, within="contact.")
    return await found(reads, name, include_deleted=True, whole=False)


async def _answer(
    context: Context,
    request: ContactTimeline | EventsQuery,
    narrowed: EventFilter,
    order: Order,
    named: ContactReference | None = None,
) -> Answer:
    async with context.reads() as reads:
        contact = await _found(context, reads, named) if named is not None else None
        return await _page(context, reads, request, narrowed, order, contact)


async def _page(
    context: Context,
    reads: TenantReads,
    request: ContactTimeline | EventsQuery,
    narrowed: EventFilter,
    order: Order,
    contact: contacts.Found | None,
) -> Answer:
    resolved = {} if contact is None else {"contact": contact.id}
    try:
        page = await timeline.page(
            reads,
            contact.id if contact is not None else None,
            narrowed,
            order,
            limit=request.limit,
            cursor=request.cursor,
            asked=asked(request.NAME, context, request, **resolved),
            most_bytes=SPARE * context.most_bytes,
        )
    except CursorError:
        raise bad_cursor() from None
    except TooLarge:
        raise too_large("is too large", context.most_bytes) from None
    meta = {"limit": request.limit, "next_cursor": page.next_cursor}
    return Answer(page.events, meta if contact is None else {**meta, **redirected(contact)})
