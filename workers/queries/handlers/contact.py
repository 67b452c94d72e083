"""Queries about contacts: one by its name, or a page of them."""

from __future__ import annotations

from typing import Any, Final

from contracts.queries import ContactFind, ContactGet, ContactList
from storage.reads import contact_list
from storage.reads.contact_list import ContactFilter, Order
from storage.reads.paging import CursorError, Total
from storage.search.criteria import Criteria, Filters
from workers.queries.handlers import finding
from workers.queries.handlers.answer import Answer, asked, bad_cursor, found, invalid, name_of, redirected
from workers.queries.handlers.context import Context

MOST_PAGES: Final = 1_000_000  # of a list without a search: each one before is read


async def get(context: Context, request: ContactGet) -> Answer:
    name = name_of(**dict(request.contact), region=context.region, within="contact.")
    async with context.reads() as reads:
        contact = await found(reads, name, include_deleted=request.include_deleted)
    return Answer(contact.document, redirected(contact))


async def find(context: Context, request: ContactFind) -> Answer:
    name = name_of(
        external_id=request.external_id,
        channel=request.channel,
        identifier=request.identifier,
        scope=request.scope,
        region=context.region,
    )
    async with context.reads() as reads:
        contact = await found(reads, name, include_deleted=request.include_deleted)
    return Answer(contact.document, redirected(contact))


async def list_contacts(context: Context, request: ContactList) -> Answer:
    if request.cursor is not None and request.page is not None:
        raise invalid([{"field": "page", "message": "give page or cursor, not both"}])
    return await (_listed(context, request) if request.search is None else _searched(context, request))


async def _listed(context: Context, request: ContactList) -> Answer:
    narrowed = ContactFilter(**_filters(request))
    number, size = request.page or 1, request.page_size
    if number > MOST_PAGES:
        raise invalid(
            [{"field": "page", "message": f"at most {MOST_PAGES:,} can be numbered; use the cursor"}]
        )
    async with context.reads() as reads:
        try:
            page = await contact_list.page(
                reads,
                narrowed,
                Order(request.sort_by, descending=request.sort_order == "desc"),
                size=size,
                offset=(number - 1) * size,
                cursor=request.cursor,
                asked=asked("contact.list", context, request),
            )
        except CursorError:
            raise bad_cursor() from None
        meta = {"page_size": size, "next_cursor": page.next_cursor}
        if request.cursor is None:  # whoever pages by cursor has seen the total on the first page
            total = await contact_list.total(reads, narrowed, exact=request.count == "exact")
            meta |= _counted(number, size, total)
    return Answer(page.contacts, meta)


async def _searched(context: Context, request: ContactList) -> Answer:
    """With ``search`` the list is a search: the same engines, the same meaning."""
    criteria = Criteria(
        text=finding.text_of("search", request.search),
        filters=Filters(**_filters(request)),
        sort_by=request.sort_by,
        descending=request.sort_order == "desc",
        size=request.page_size,
        exact=request.count == "exact" and request.cursor is None,
    )
    found, meta = await finding.find(
        context,
        criteria,
        page=request.page,
        cursor=request.cursor,
        asked=asked("contact.list", context, request),
    )
    if request.cursor is None:
        meta |= _counted(request.page or 1, request.page_size, found.total)
    return Answer(found.contacts, meta)


def _filters(request: ContactList) -> dict[str, Any]:
    """What the list is narrowed to besides the text."""
    return {
        "status": request.status,
        "source": request.source,
        "tags": tuple(dict.fromkeys(request.tags or ())),
        "tags_match": request.tags_match,
        "created_after": request.created_after,
        "created_before": request.created_before,
        "updated_after": request.updated_after,
        "last_contact_before": request.last_contact_before,
        "has_email": request.has_email,
        "has_phone": request.has_phone,
        "include_deleted": request.include_deleted,
    }


def _counted(page: int, size: int, total: Total) -> dict[str, Any]:
    return {"page": page, **total.meta(), "total_pages": -(-total.rows // size)}
