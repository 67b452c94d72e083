"""Type -> model and example: the one place that knows every command, event, query and provider."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final, NamedTuple

import orjson

from contracts.commands.base import Command
from contracts.commands.contact import (
    ContactCreate,
    ContactDelete,
    ContactRestore,
    ContactUpdate,
    ContactUpsert,
)
from contracts.commands.identifier import (
    IdentifierAdd,
    IdentifierRemove,
    IdentifierSetPrimary,
    IdentifierVerify,
)
from contracts.commands.search import SearchRebuild
from contracts.commands.timeline import (
    TimelineDelete,
    TimelineMarkDelivered,
    TimelineMarkRead,
    TimelineRecord,
    TimelineRecordMany,
)
from contracts.documents import ContactDocument, Document, SearchHit, TimelineDocument
from contracts.events.base import Event
from contracts.events.contact import (
    ContactCreated,
    ContactDeleted,
    ContactRejected,
    ContactRestored,
    ContactTagged,
    ContactTimelineChanged,
    ContactUntagged,
    ContactUpdated,
)
from contracts.events.timeline import TimelineEvent
from contracts.queries import (
    ContactFind,
    ContactGet,
    ContactList,
    ContactSearch,
    ContactTimeline,
    MessageStatus,
    Query,
    SearchStatus,
    TimelineByCategory,
    TimelineByType,
    TimelineCount,
    TimelineGet,
    TimelineSearch,
    TimelineSession,
    TimelineUndelivered,
)
from contracts.queries.answers import (
    ContactMeta,
    CountDocument,
    EventsMeta,
    ListMeta,
    MessageStatusDocument,
    Meta,
    SearchMeta,
    SearchStatusDocument,
    TimelineMeta,
)
from contracts.realtime.frames import SERVER_FRAMES
from contracts.realtime.requests import CLIENT_FRAMES
from contracts.vocabulary import Category
from contracts.webhooks import PROVIDERS

COMMANDS: Final[Mapping[str, type[Command]]] = {
    model.TYPE: model
    for model in (
        ContactCreate,
        ContactUpsert,
        ContactUpdate,
        ContactDelete,
        ContactRestore,
        IdentifierAdd,
        IdentifierRemove,
        IdentifierVerify,
        IdentifierSetPrimary,
        TimelineRecord,
        TimelineRecordMany,
        TimelineMarkDelivered,
        TimelineMarkRead,
        TimelineDelete,
        SearchRebuild,
    )
}

EVENT_MODELS: Final[Mapping[str, type[Event]]] = {
    **{
        model.TYPE: model
        for model in (
            ContactCreated,
            ContactUpdated,
            ContactDeleted,
            ContactRestored,
            ContactTagged,
            ContactUntagged,
            ContactTimelineChanged,
            ContactRejected,
        )
    },
    **{f"timeline.{category}": TimelineEvent for category in Category},
}


class QueryEntry(NamedTuple):
    """A query: what asks, and what answers. ``many``: the answer's data is a list of documents."""

    request: type[Query]
    document: type[Document]
    meta: type[Meta]
    many: bool = False


QUERIES: Final[Mapping[str, QueryEntry]] = {
    entry.request.NAME: entry
    for entry in (
        QueryEntry(ContactGet, ContactDocument, ContactMeta),
        QueryEntry(ContactFind, ContactDocument, ContactMeta),
        QueryEntry(ContactList, ContactDocument, ListMeta, many=True),
        QueryEntry(ContactSearch, SearchHit, SearchMeta, many=True),
        QueryEntry(ContactTimeline, TimelineDocument, TimelineMeta, many=True),
        QueryEntry(TimelineGet, TimelineDocument, Meta),
        QueryEntry(TimelineUndelivered, TimelineDocument, EventsMeta, many=True),
        QueryEntry(TimelineSession, TimelineDocument, EventsMeta, many=True),
        QueryEntry(TimelineByType, TimelineDocument, EventsMeta, many=True),
        QueryEntry(TimelineByCategory, TimelineDocument, EventsMeta, many=True),
        QueryEntry(TimelineSearch, TimelineDocument, EventsMeta, many=True),
        QueryEntry(TimelineCount, CountDocument, ContactMeta),
        QueryEntry(MessageStatus, MessageStatusDocument, Meta),
        QueryEntry(SearchStatus, SearchStatusDocument, Meta),
    )
}


def example(type: str) -> Any:  # noqa: A002 - the envelope's own word
    """The ``data`` of "command.contact.create", "contact.created", "webhook.whatsapp", …

    Of a query ("query.contact.get"): ``{"request", "answer"}``; of a frame ("realtime.subscribe"): the frame. Raises
    FileNotFoundError.
    """
    return orjson.loads(files("contracts").joinpath("examples", f"{type}.json").read_bytes())


__all__ = [
    "CLIENT_FRAMES",
    "COMMANDS",
    "EVENT_MODELS",
    "PROVIDERS",
    "QUERIES",
    "SERVER_FRAMES",
    "QueryEntry",
    "example",
]
