"""What is searched for, and what a search answers: the same for both engines. Pure data."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

from storage.search.text import Text

MOST_HITS = 10_000  # that are counted exactly, and that pages reach; further on only a cursor goes

SortKey = Literal["relevance", "created_at", "updated_at", "display_name", "last_contact_at"]
Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Filters:
    """What contacts must have besides the text. Times are bounds that do not count themselves.

    ``attributes`` compares whole values: text is no number. Redirects are never found, deleted contacts only where asked for.
    """

    status: str | None = None
    source: str | None = None
    tags: tuple[str, ...] = ()
    tags_match: Literal["any", "all"] = "any"
    attributes: tuple[tuple[str, Scalar], ...] = ()
    created_after: datetime | None = None
    created_before: datetime | None = None
    updated_after: datetime | None = None
    has_email: bool | None = None
    has_phone: bool | None = None
    last_contact_before: datetime | None = None
    include_deleted: bool = False


class Position(NamedTuple):
    """Of a hit in an order: its sort key (rank, time, name or None) and id. The next page begins after it."""

    key: int | datetime | str | None
    id: uuid.UUID


@dataclass(frozen=True, slots=True)
class Criteria:
    """One page of a search.

    Sorted by ``sort_by``, then by id in the same direction; contacts without a sort key come last either way. By relevance a
    hit's rank is the sum over the terms of the best way that one was found: 4 a whole value, 3 a whole word, 2 the beginning
    of a word, 1 a fragment, 0 with a typing error. ``forgiving``: a word may differ from a term by one typing error; an engine
    may take a term that many contacts have for spelled right.
    """

    text: Text | None = None
    filters: Filters = field(default_factory=Filters)
    sort_by: SortKey = "relevance"
    descending: bool = True
    size: int = 20
    offset: int = 0  # 0 where ``after`` is given
    after: Position | None = None
    forgiving: bool = False
    exact: bool = False  # count all hits, not only to MOST_HITS

    @property
    def only_postgres(self) -> bool:
        """Whether it asks for what is not indexed: what moves with every message, and deleted contacts; or for all to be counted."""
        f = self.filters
        moving = self.sort_by == "last_contact_at" or f.last_contact_before is not None
        return moving or f.include_deleted or self.exact


@dataclass(frozen=True, slots=True)
class Hits:
    """A page of ids in order. ``total`` counts to MOST_HITS, or all; ``at_least``: there are more."""

    ids: list[uuid.UUID]
    total: int
    at_least: bool
    last: Position | None  # of the last id; None when nothing follows it
