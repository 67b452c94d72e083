"""Queries: what may be asked, and what an answer looks like. One module a noun."""

from contracts.queries.base import Answer, Failure, Query
from contracts.queries.contact import ContactFind, ContactGet, ContactList, ContactTimeline
from contracts.queries.message import MessageStatus
from contracts.queries.search import ContactSearch, SearchStatus
from contracts.queries.timeline import (
    TimelineByCategory,
    TimelineByType,
    TimelineCount,
    TimelineGet,
    TimelineSearch,
    TimelineSession,
    TimelineUndelivered,
)

__all__ = [
    "Answer",
    "ContactFind",
    "ContactGet",
    "ContactList",
    "ContactSearch",
    "ContactTimeline",
    "Failure",
    "MessageStatus",
    "Query",
    "SearchStatus",
    "TimelineByCategory",
    "TimelineByType",
    "TimelineCount",
    "TimelineGet",
    "TimelineSearch",
    "TimelineSession",
    "TimelineUndelivered",
]
