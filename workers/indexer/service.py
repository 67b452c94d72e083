"""The indexer: every contact that has changed into Elasticsearch, a batch at a time.

While Elasticsearch cannot take a batch, the batch and everything after it waits; nothing is lost or dead-lettered for that.
A live index that is missing, and a stream that may have dropped events unread, are mended by a rebuild, which an indexer
asks for and any of them runs (jobs.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from typing import Final

import asyncpg

from contracts.connection import servers
from contracts.subjects import EVENTS
from ops import metrics
from ops.health import Degraded
from ops.logging import get_logger
from ops.settings import Settings, SettingsError
from storage.postgres import WRITER, connect
from storage.search import state
from storage.search.elastic import connection as elastic
from storage.search.elastic import indexes
from workers import streams
from workers.due import Due
from workers.engine.wire import LogClient
from workers.indexer import writer
from workers.indexer.changes import Batch, Changes
from workers.indexer.faults import AWAY, SEARCH, TRANSIENT, said
from workers.indexer.jobs import Jobs
from workers.jetstream import NoAnswer, Refused
from workers.lag import dropped, waiting
from workers.service import Runtime

LOOK_SECONDS: Final = 2.0  # between two looks at the indexes and at the stream
AGAIN_SECONDS: Final = 30.0  # between two rebuilds where the first has failed
PASS_SECONDS: Final = 120.0  # after that the connections count as dead
WAITS: Final = (0.1, 5.0)  # seconds after a failure: at first, at most

log = get_logger("workers.indexer.service")


class Indexer:
    """A Service. One loop beside that of the rebuilds; connections of its own."""

    def __init__(self, settings: Settings) -> None:
        if settings.elasticsearch_url is None:
            raise SettingsError("ELASTICSEARCH_URL is not set: there is nothing to index into")
        self._settings = settings
        self._search = elastic.connect(settings.elasticsearch_url)
        self._jobs = Jobs(settings, self._search)
        self._halted = asyncio.Event()
        self._problem: str | None = "starting"
        self._worked = -float("inf")  # when a pass last went well
        self._away = False  # whether it is Elasticsearch that a pass last failed at, for it is not there to take anything
        self._bus: LogClient | None = None
        self._changes: Changes | None = None
        self._batch: Batch | None = None  # in hand: not acknowledged
        self._database: asyncpg.Connection | None = None
        self._version: str | None = None  # Elasticsearch's; None: to be looked at
        self._look = Due(LOOK_SECONDS)
        self._again = Due(AGAIN_SECONDS)
        self._asked: uuid.UUID | None = None  # the rebuild that is asked for

    async def run(self) -> None:
        jobs = asyncio.create_task(self._jobs.run(), name="rebuilds")
        wait, longest = WAITS
        try:
            while not self._halted.is_set():
                if jobs.done():
                    await jobs  # it ends by nothing but a fault of ours, which ends us too
                try:
                    async with asyncio.timeout(PASS_SECONDS):
                        await self._pass()
                except TRANSIENT as error:
                    self._failed(error)
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._halted.wait(), wait)
                    wait = min(wait * 2, longest)
                else:
                    self._well()
                    wait = WAITS[0]
        finally:
            jobs.cancel()
            await asyncio.gather(jobs, return_exceptions=True)
            await self._close()

    async def stop(self) -> None:
        self._halted.set()
        if self._changes is not None:
            self._changes.wake()

    def problems(self) -> list[str]:
        return [*([self._told()] if self._problem else []), *self._jobs.problems()]

    def _told(self) -> str:
        """What is wrong: a degradation while it may pass, and for as long as there is no Elasticsearch: the queries do without us."""
        told = f"what changes waits to be indexed: {self._problem}"
        passing = time.monotonic() - self._worked < self._settings.stall_seconds
        return Degraded(told) if passing or self._away else told

    async def _pass(self) -> None:
        """A batch, or a look around when there is none."""
        if self._version is None:
            self._version = await elastic.check(self._search)
            log.info("connected", operation="connect", elasticsearch=self._version)
        connection = await self._connected()
        changes = await self._reading()
        if self._look.now():
            await self._take_stock(connection)
        if self._batch is None:
            self._well()
            self._batch = await changes.take(LOOK_SECONDS)
        if self._batch.contacts and not await writer.write(connection, self._search, self._batch):
            await self._rebuild(connection, "there is no live index")
        await changes.done(self._batch)
        self._batch = None

    async def _take_stock(self, connection: asyncpg.Connection) -> None:
        """Whether the live index is there, and how far it is behind."""
        assert self._bus is not None
        known = await state.read(connection)
        if known.live is None or not await indexes.serves(
            self._search, self._settings.search_index, known.live
        ):
            if await state.read(connection) == known:  # else a rebuild has ended meanwhile
                await self._rebuild(connection, "there is no live index")
            if known.next is None:
                return  # what is acknowledged now is written nowhere
        stream = await streams.info(self._bus, EVENTS.name)
        found = await waiting(self._bus)  # after the stream: what came in between is not counted as indexed
        metrics.SEARCH_LAG_SECONDS.set(found.seconds)
        if stream is None:
            return
        at, sequence = (
            (found.now, stream["state"]["last_seq"])
            if found.oldest is None
            else (found.oldest.time, found.oldest.sequence - 1)
        )
        if dropped(stream, known):
            await state.lost(connection, known, at, sequence)
            await self._rebuild(connection, "the stream may have dropped events that nobody had indexed")
            return
        await state.caught_up(connection, at, sequence)
        if known.incomplete_since is not None:
            await self._rebuild(connection, "the live index lacks changes that no event brings any more")

    async def _rebuild(self, connection: asyncpg.Connection, why: str) -> None:
        """Ask for a rebuild of everything. One that has not ended is not asked for again."""
        newest = await state.rebuilds(connection, None, 1)
        if newest and newest[0].status == "failed" and not self._again.now():
            return
        job = await state.request(connection, None)
        if job != self._asked:
            log.warning("a rebuild is needed", operation="rebuild", job=str(job), reason=why)
            self._asked = job

    async def _connected(self) -> asyncpg.Connection:
        if self._database is None or self._database.is_closed():
            self._database = await connect(self._settings.postgres_dsn, WRITER, "rollcall indexer")
        return self._database

    async def _reading(self) -> Changes:
        if self._bus is None or self._bus.is_closed:
            if self._changes is not None:
                await self._changes.close()
                self._changes = None
            bus = LogClient()
            await bus.connect(
                servers(self._settings.nats_url),
                name=f"indexer {self._settings.instance}",
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.25,  # type: ignore[arg-type]  # it is slept on
                connect_timeout=2,
                ping_interval=5,
                error_cb=self._broker_error,
                reconnected_cb=self._reconnected,
            )
            self._bus = bus
        if self._changes is None:
            changes = Changes(self._bus, self._settings.lease_seconds)
            await changes.open()
            self._changes = changes
        return self._changes

    def _well(self) -> None:
        self._problem = None
        self._away = False
        self._worked = time.monotonic()

    def _failed(self, error: BaseException) -> None:
        told = said(error)
        if told != self._problem:
            log.warning("waiting", operation="index", error=told)
        self._problem = told
        self._away = isinstance(error, AWAY)
        if self._away:
            self._worked = time.monotonic()  # whoever comes back is given the time to take it
        if isinstance(error, SEARCH):
            metrics.RETRIES.labels("elasticsearch").inc()
            self._version = None  # whatever answers next may be another server
        elif not isinstance(error, Refused | NoAnswer):
            metrics.RETRIES.labels("connection").inc()
            if self._database is not None:
                self._database.terminate()
                self._database = None

    async def _broker_error(self, error: Exception) -> None:
        log.warning("broker", error=said(error))

    async def _reconnected(self) -> None:
        if self._changes is not None:
            self._changes.wake()

    async def _close(self) -> None:
        with contextlib.suppress(*TRANSIENT):
            async with asyncio.timeout(2):
                if self._changes is not None:
                    await self._changes.close()
        if self._bus is not None:
            await self._bus.close()
        if self._database is not None:
            self._database.terminate()
        await self._search.close()


def build(runtime: Runtime) -> Indexer:
    return Indexer(runtime.settings)
