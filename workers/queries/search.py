"""Searches: which engine answers, and that one always does.

Elasticsearch answers with the ids of contacts, Postgres with the contacts: what is shown is what is committed, and the
tenant's transaction sees no other tenant's. No connection to the database is held while Elasticsearch is asked.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from nats.aio.client import Client

from ops import metrics
from ops.health import Degraded
from ops.settings import Settings
from storage.reads import contacts
from storage.reads.paging import Total
from storage.reads.session import TenantReads
from storage.search import postgres
from storage.search.criteria import Criteria, Hits

if TYPE_CHECKING:
    from workers.queries.elastic import Elastic

FEW: Final = 20  # hits to the letter; with fewer, those with a typing error are shown too

Engine = Literal["elasticsearch", "postgres"]
OpenReads = Callable[[], AbstractAsyncContextManager[TenantReads]]


class Version(NamedTuple):
    """A contact's change that an answer must know of."""

    contact_id: uuid.UUID
    version: int


class Status(NamedTuple):
    """``reasons``: why Postgres answers; none where Elasticsearch does. ``lag_s`` None: not known."""

    engine: Engine
    reasons: list[str]
    lag_s: float | None


@dataclass(frozen=True, slots=True)
class Found:
    """A page of contacts in order. A contact that was deleted since it was indexed is left out of ``contacts``."""

    engine: Engine
    hits: Hits
    forgiving: bool
    contacts: list[dict[str, Any]]

    @property
    def total(self) -> Total:
        return Total(self.hits.total, self.hits.at_least)


class Search:
    """One a process. ``waits``: how many searches may wait for a version at a time; one more asks Postgres at once."""

    def __init__(self, settings: Settings, bus: Callable[[], Client], *, waits: int) -> None:
        self._elastic = _elastic(settings, bus)
        self._waits = asyncio.Semaphore(waits)
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Know who answers before the first query comes."""
        if self._elastic is not None:
            await self._elastic.look()
            self._watching = asyncio.create_task(self._elastic.watch(), name="search")

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        if self._elastic is not None:
            await self._elastic.close()

    def problems(self) -> list[str]:
        status = self.status()
        return [Degraded(f"search: {'; '.join(status.reasons)}; Postgres answers")] if status.reasons else []

    def status(self) -> Status:
        if self._elastic is None:
            return Status("postgres", ["ELASTICSEARCH_URL is not set"], None)
        reasons = self._elastic.reasons()
        return Status("postgres" if reasons else "elasticsearch", reasons, self._elastic.lag_s)

    async def find(
        self, tenant: str, open_reads: OpenReads, criteria: Criteria, wait_for: Version | None = None
    ) -> Found:
        """A page; read from Postgres wherever Elasticsearch does not answer, in time and with that version."""
        asked = await self._ask_elastic(tenant, criteria, wait_for)
        async with open_reads() as reads:
            engine: Engine = "postgres" if asked is None else "elasticsearch"
            if asked is None:
                asked = await _stepwise(lambda one: postgres.search(reads, one), criteria)
            hits, forgiving = asked
            metrics.SEARCHES.labels(engine).inc()
            shown = await contacts.of_ids(reads, hits.ids, include_deleted=criteria.filters.include_deleted)
        return Found(engine, hits, forgiving, shown)

    async def _ask_elastic(
        self, tenant: str, criteria: Criteria, wait_for: Version | None
    ) -> tuple[Hits, bool] | None:
        elastic = self._elastic
        if elastic is None or elastic.reasons() or criteria.only_postgres or _unranked(criteria):
            return None
        if wait_for is not None and not await self._wait(elastic, tenant, wait_for):
            return None
        return await elastic.ask(tenant, lambda index: _stepwise(index.search, criteria))

    async def _wait(self, elastic: Elastic, tenant: str, wait_for: Version) -> bool:
        if self._waits.locked():
            return False
        async with self._waits:
            return await elastic.wait(tenant, *wait_for)


async def _stepwise(ask: Callable[[Criteria], Awaitable[Hits]], criteria: Criteria) -> tuple[Hits, bool]:
    """The hits, and whether typing errors were forgiven: only where few match to the letter, and it brings more."""
    hits = await ask(criteria)
    if criteria.after is not None:  # the cursor says which kind of search it goes on with
        return hits, criteria.forgiving
    forgivable = criteria.text is not None and any(term.forgiving for term in criteria.text.terms)
    if hits.at_least or hits.total >= FEW or not forgivable:
        return hits, False
    more = await ask(replace(criteria, forgiving=True))
    return (more, True) if more.total > hits.total else (hits, False)


def _unranked(criteria: Criteria) -> bool:
    """Whether a cursor is of so many hits that Postgres had not ranked them; it goes on with them."""
    return criteria.sort_by == "relevance" and criteria.after is not None and criteria.after.key is None


def _elastic(settings: Settings, bus: Callable[[], Client]) -> Elastic | None:
    if settings.elasticsearch_url is None:
        return None
    from workers.lag import Lag  # noqa: PLC0415
    from workers.queries.elastic import Elastic  # noqa: PLC0415 - not where there is no Elasticsearch

    lag = Lag(settings.postgres_dsn, bus)
    return Elastic(settings.elasticsearch_url, settings.search_index, settings.search_max_lag_s, lag)
