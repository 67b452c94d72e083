"""Queries about contacts: one by its name, or a page of them."""

from __future__ import annotations

from contracts.queries import ContactFind, ContactGet, ContactList
from storage.reads import contact_list
from storage.reads.contact_list import ContactFilter, Order
from storage.reads.paging import CursorError
from storage.reads.session import TenantReads
from workers.query_handlers.answer import Answer, asked, bad_cursor, found, invalid, name_of, redirected


async def get(reads: TenantReads, request: ContactGet, region: str | None) -> Answer:
    name = name_of(**dict(request.contact), region=region, within="contact.")
    contact = await found(reads, name, include_deleted=request.include_deleted)
    return Answer(contact.document, redirected(contact))


async def find(reads: TenantReads, request: ContactFind, region: str | None) -> Answer:
    name = name_of(
        external_id=request.external_id,
        channel=request.channel,
        identifier=request.identifier,
        scope=request.scope,
        region=region,
    )
    contact = await found(reads, name, include_deleted=request.include_deleted)
    return Answer(contact.document, redirected(contact))


async def list_contacts(reads: TenantReads, request: ContactList, _region: str | None) -> Answer:
    if request.cursor is not None and request.page is not None:
        raise invalid([{"field": "page", "message": "give page or cursor, not both"}])
    narrowed = ContactFilter(
        status=request.status,
        source=request.source,
        tags=tuple(dict.fromkeys(request.tags or ())),
        tags_match=request.tags_match,
        created_after=request.created_after,
        created_before=request.created_before,
        updated_after=request.updated_after,
        last_contact_before=request.last_contact_before,
        has_email=request.has_email,
        has_phone=request.has_phone,
        search=request.search,
        include_deleted=request.include_deleted,
    )
    number, size = request.page or 1, request.page_size
    try:
        page = await contact_list.page(
            reads,
            narrowed,
            Order(request.sort_by, descending=request.sort_order == "desc"),
            size=size,
            offset=(number - 1) * size,
            cursor=request.cursor,
            asked=asked("contact.list", reads, request),
        )
    except CursorError:
        raise bad_cursor() from None
    meta = {"page_size": size, "next_cursor": page.next_cursor}
    if request.cursor is None:  # whoever pages by cursor has seen the total on the first page
        total = await contact_list.total(reads, narrowed, exact=request.count == "exact")
        meta |= {"page": number, **total.meta(), "total_pages": -(-total.rows // size)}
    return Answer(page.contacts, meta)
