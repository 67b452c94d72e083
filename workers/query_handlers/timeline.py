"""Queries about timelines."""

from __future__ import annotations

from contracts.queries import ContactTimeline, TimelineGet
from storage.reads import timeline
from storage.reads.paging import CursorError
from storage.reads.timeline import TimelineFilter
from workers.query_handlers.answer import Answer, Refusal, asked, bad_cursor, found, name_of, redirected
from workers.query_handlers.context import Context


async def of_contact(context: Context, request: ContactTimeline) -> Answer:
    """A deleted contact's timeline can be read: that it was deleted, and why, is written there."""
    name = name_of(**dict(request.contact), region=context.region, within="contact.")
    narrowed = TimelineFilter(
        category=request.category,
        type=request.type,
        source=request.source,
        since=request.since,
        until=request.until,
        visible_to=request.visible_to,
    )
    async with context.reads() as reads:
        contact = await found(reads, name, include_deleted=True, whole=False)
        try:
            page = await timeline.page(
                reads,
                contact.id,
                narrowed,
                limit=request.limit,
                cursor=request.cursor,
                total=request.total,
                asked=asked("contact.timeline", context, request, contact=contact.id),
            )
        except CursorError:
            raise bad_cursor() from None
    meta = {"limit": request.limit, "next_cursor": page.next_cursor, **redirected(contact)}
    if page.total is not None:
        meta |= page.total.meta()
    return Answer(page.events, meta)


async def get(context: Context, request: TimelineGet) -> Answer:
    async with context.reads() as reads:
        event = await timeline.event(reads, request.event_id)
    if event is None:
        raise Refusal("event_not_found", "no such timeline event, or it expired")
    return Answer(event, {})
