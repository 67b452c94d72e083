"""timeline.get, undelivered, session, by_type, by_category, search, count. Expired events are hidden from all of them."""

from __future__ import annotations

import uuid
from typing import ClassVar

from contracts.fields import Moment, Text100, Text128, Text255
from contracts.queries.base import Query
from contracts.queries.contact import Cursor, Limit, TimelineOf
from contracts.reference import ContactReference
from contracts.vocabulary import Audience, Category


class TimelineGet(Query):
    """One timeline event."""

    NAME: ClassVar[str] = "timeline.get"

    event_id: uuid.UUID


class EventsQuery(Query):
    """A page of events."""

    limit: Limit = 50
    cursor: Cursor | None = None


class TimelineUndelivered(EventsQuery):
    """Realtime events that wait to be delivered: a contact's by sequence, or the tenant's, those that wait longest first."""

    NAME: ClassVar[str] = "timeline.undelivered"

    contact: ContactReference | None = None
    visible_to: Audience | None = None


class TimelineSession(EventsQuery):
    """The events of a session, of whichever contacts, oldest first by (occurred_at, sequence)."""

    NAME: ClassVar[str] = "timeline.session"

    session_id: Text128
    visible_to: Audience | None = None


class TimelineByType(EventsQuery):
    """The tenant's events of a type, newest first."""

    NAME: ClassVar[str] = "timeline.by_type"

    type: Text100
    since: Moment | None = None


class TimelineByCategory(EventsQuery):
    """The tenant's events of a category, newest first."""

    NAME: ClassVar[str] = "timeline.by_category"

    category: Category
    since: Moment | None = None


class TimelineSearch(EventsQuery):
    """Events that have ``q`` in title, description or a text in the payload, in upper or lower case.

    A contact's newest first by (occurred_at, sequence). The tenant's in the order in which they were written, the last one
    first; ``since`` then leaves out what was written before it, too.
    """

    NAME: ClassVar[str] = "timeline.search"

    q: Text255
    contact: ContactReference | None = None
    since: Moment | None = None


class TimelineCount(TimelineOf):
    """How many events a contact's timeline has, exactly."""

    NAME: ClassVar[str] = "timeline.count"
