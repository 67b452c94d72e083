"""What ``meta`` of an answer holds, and documents that only queries show."""

from __future__ import annotations

import uuid
from typing import Literal

from contracts.documents import Document
from contracts.fields import Moment
from contracts.vocabulary import JobStatus


class Meta(Document):
    """Nothing to say."""


class ContactMeta(Meta):
    """``redirected_from``: the merged id that was asked for; the answer is the survivor."""

    redirected_from: uuid.UUID | None = None


Engine = Literal["elasticsearch", "postgres"]


class ListMeta(Meta):
    """``total`` counts at most 10,000 (``total_is`` at_least) unless an exact one was asked for.

    The page's number and the totals are left out where a cursor was given. ``engine`` says who answered a search.
    """

    page_size: int
    next_cursor: str | None
    page: int | None = None
    total: int | None = None
    total_is: Literal["exact", "at_least"] | None = None
    total_pages: int | None = None
    engine: Engine | None = None


class SearchMeta(Meta):
    """``total`` counts at most 10,000 (``total_is`` at_least). Page and number of pages are left out where a cursor was given.

    ``forgiving``: so few contacts matched to the letter that those with a typing error are among the hits.
    """

    engine: Engine
    forgiving: bool
    total: int
    total_is: Literal["exact", "at_least"]
    page_size: int
    next_cursor: str | None
    page: int | None = None
    total_pages: int | None = None


class EventsMeta(ContactMeta):
    """``next_cursor`` is null at the end."""

    limit: int
    next_cursor: str | None


class TimelineMeta(EventsMeta):
    """``total`` comes where it was asked for."""

    total: int | None = None
    total_is: Literal["exact", "at_least"] | None = None


class RebuildProgress(Document):
    """Of a rebuild of the whole index, which all tenants share: ``progress`` runs from 0 to 1."""

    status: JobStatus
    progress: float | None
    started_at: Moment | None


class SearchJob(Document):
    """A re-indexing of the tenant. ``total`` is null until it has begun; ``rate`` is in contacts a second."""

    id: uuid.UUID
    status: JobStatus
    done: int
    total: int | None
    rate: float | None
    error: str | None
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None


class SearchStatusDocument(Document):
    """``engine`` answers now; where that is Postgres, ``reasons`` say why. ``lag_s``: how far Elasticsearch may be behind.

    ``rebuild`` is null when none is under way. ``jobs`` are the tenant's own, newest first, at most 20.
    """

    engine: Engine
    reasons: list[str]
    lag_s: float | None
    rebuild: RebuildProgress | None
    jobs: list[SearchJob]


class CountDocument(Document):
    """How many there are, exactly."""

    count: int


class MessageStatusDocument(Document):
    """The highest status reported of a message (sent, delivered, read, failed, …) and when it was reached."""

    status: str
    at: Moment
