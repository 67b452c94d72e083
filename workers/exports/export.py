"""The one door to exports, for the command line and for HTTP."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any, Final, Literal

from contracts.vocabulary import Audience
from storage.reads import events, timeline
from storage.reads.contacts import ById, Found
from storage.reads.events import OLDEST, EventFilter
from storage.reads.session import Reads
from workers.exports import csv
from workers.queries.handlers.answer import found

Format = Literal["csv", "pdf"]
MEDIA_TYPES: Final[dict[Format, str]] = {
    "csv": "text/csv; charset=utf-8; header=present",
    "pdf": "application/pdf",
}
PAGE: Final = 200  # events a transaction


class NotInstalled(Exception):
    """What lays out a PDF is not there: which module is missing, and how to install it."""


async def export(
    reads: Reads,
    tenant: str,
    contact_id: uuid.UUID,
    format: Format,  # noqa: A002 - the word of the command line and of HTTP
    visible_to: Audience | None = None,
) -> AsyncIterator[bytes]:
    """The contact's whole timeline, in pieces. ``visible_to`` narrows it as contact.timeline does; None: all events.

    Raises Refusal (contact_not_found) and NotInstalled now, not at the first piece. A deleted contact's timeline can be
    exported, and a merged id stands for the survivor. Each page is read in a transaction of its own, so that a slow reader
    holds none: what is committed meanwhile may be in the export or not.
    """
    async with reads.of(tenant) as reading:
        contact = await found(reading, ById(contact_id), include_deleted=True)
    pages = _pages(reads, tenant, contact.id, EventFilter(visible_to=visible_to))
    if format == "csv":
        return csv.pieces(events.names(visible_to), pages)
    try:
        from workers.exports import pdf  # noqa: PLC0415 - an extra, and 100 MB of it
    except ModuleNotFoundError as error:
        raise NotInstalled(
            f"a PDF cannot be made without {error.name}: install the extra, pip install '.[export]' in a checkout"
        ) from error
    return pdf.pieces(_headed(contact, visible_to), pages)


def _headed(contact: Found, visible_to: Audience | None) -> dict[str, Any]:
    """What a PDF says of the contact itself. Of what a tenant keeps of it, its client is shown nothing but the id."""
    if visible_to == Audience.CLIENT:
        return {"id": contact.id, "display_name": None, "identifiers": []}
    assert contact.document is not None
    return contact.document


async def _pages(
    reads: Reads, tenant: str, contact_id: uuid.UUID, narrowed: EventFilter
) -> AsyncIterator[list[dict[str, Any]]]:
    """The events, oldest first, as queries show them (docs/timeline.md). No transaction is open while a page is out."""
    cursor = None
    while True:
        async with reads.of(tenant) as reading:
            page = await timeline.page(
                reading, contact_id, narrowed, OLDEST, limit=PAGE, cursor=cursor, asked={}
            )
        if page.events:
            yield page.events
        cursor = page.next_cursor
        if cursor is None:
            return
