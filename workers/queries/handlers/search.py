"""Queries about searching: contacts by what is typed, and how the search itself is."""

from __future__ import annotations

from contracts.queries import ContactSearch, SearchStatus
from storage.reads import rebuilds
from storage.search.criteria import Criteria, Filters, Scalar
from workers.queries.handlers import finding
from workers.queries.handlers.answer import Answer, asked, invalid
from workers.queries.handlers.context import Context
from workers.queries.search import Version


async def contacts(context: Context, request: ContactSearch) -> Answer:
    if request.cursor is not None and request.page is not None:
        raise invalid([{"field": "page", "message": "give page or cursor, not both"}])
    text = finding.text_of("q", request.q)
    criteria = Criteria(
        text=text,
        filters=_filters(request),
        sort_by=request.sort_by,
        descending=request.sort_order == "desc",
        size=request.page_size,
    )
    wait_for = Version(request.wait_for.contact_id, request.wait_for.version) if request.wait_for else None
    found, meta = await finding.find(
        context,
        criteria,
        page=request.page,
        cursor=request.cursor,
        asked=asked("contact.search", context, request),
        wait_for=wait_for,
    )
    meta |= {"forgiving": found.forgiving, **found.total.meta()}
    if request.cursor is None:
        meta |= {"page": request.page or 1, "total_pages": -(-found.hits.total // request.page_size)}
    hits = [
        {**contact, "highlights": finding.highlights(contact, text, forgiving=found.forgiving)}
        for contact in found.contacts
    ]
    return Answer(hits, meta)


def _filters(request: ContactSearch) -> Filters:
    given = request.filters
    attributes: dict[str, Scalar] = dict(given.attributes)
    if given.company is not None and attributes.setdefault("company", given.company) != given.company:
        raise invalid(
            [{"field": "filters.company", "message": "differs from attributes.company; give one of them"}]
        )
    return Filters(
        status=given.status,
        source=given.source,
        tags=tuple(dict.fromkeys(given.tags or ())),
        tags_match=given.tags_match,
        attributes=tuple(attributes.items()),
        created_after=given.created_after,
        created_before=given.created_before,
    )


async def status(context: Context, _request: SearchStatus) -> Answer:
    now = context.search.status()
    async with context.reads() as reads:
        whole, own = await rebuilds.unfinished_whole(reads), await rebuilds.of_tenant(reads)
    lag_s = None if now.lag_s is None else round(now.lag_s, 1)
    return Answer(
        {"engine": now.engine, "reasons": now.reasons, "lag_s": lag_s, "rebuild": whole, "jobs": own}, {}
    )
