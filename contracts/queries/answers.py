"""What ``meta`` of an answer holds, and documents that only queries show."""

from __future__ import annotations

import uuid
from typing import Literal

from contracts.documents import Document
from contracts.fields import Moment


class Meta(Document):
    """Nothing to say."""


class ContactMeta(Meta):
    """``redirected_from``: the merged id that was asked for; the answer is the survivor."""

    redirected_from: uuid.UUID | None = None


class ListMeta(Meta):
    """``total`` counts at most 10,000 (``total_is`` at_least) unless an exact one was asked for.

    The page's number and the totals are left out where a cursor was given.
    """

    page_size: int
    next_cursor: str | None
    page: int | None = None
    total: int | None = None
    total_is: Literal["exact", "at_least"] | None = None
    total_pages: int | None = None


class TimelineMeta(ContactMeta):
    """``next_cursor`` is null at the end; ``total`` comes where it was asked for."""

    limit: int
    next_cursor: str | None
    total: int | None = None
    total_is: Literal["exact", "at_least"] | None = None


class MessageStatusDocument(Document):
    """The highest status reported of a message (sent, delivered, read, failed, …) and when it was reached."""

    status: str
    at: Moment
