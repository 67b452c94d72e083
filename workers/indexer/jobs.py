"""Rebuilds, beside the indexing: whichever indexer is free takes the next one that waits, or that another let go of."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import asyncpg

from ops.health import Degraded
from ops.logging import Operation, get_logger
from ops.settings import Settings
from storage.postgres import WRITER, connect
from storage.search import rebuild, state
from storage.search.state import Job, LeaseLost
from workers.indexer.faults import TRANSIENT, said

if TYPE_CHECKING:
    from elasticsearch import AsyncElasticsearch

NAME: Final = "rollcall indexer jobs"  # of the connections
POLL: Final = 1.0  # seconds between two looks for a rebuild
WAIT: Final = 2.0  # seconds after a failure
RELEASE_SECONDS: Final = 2.0

log = get_logger("workers.indexer.jobs")


class Jobs:
    """Works on one rebuild at a time."""

    def __init__(self, settings: Settings, client: AsyncElasticsearch) -> None:
        self._settings = settings
        self._client = client
        self._problem: str | None = None
        self._failed: str | None = None  # the last rebuild, if it ended so

    def problems(self) -> list[str]:
        told = self._problem or self._failed
        return [Degraded(f"a rebuild of the search index: {told}")] if told else []

    async def run(self) -> None:
        """Until cancelled; the rebuild in hand is let go of where it is."""
        connection: asyncpg.Connection | None = None
        try:
            while True:
                try:
                    if connection is None or connection.is_closed():
                        connection = await connect(self._settings.postgres_dsn, WRITER, NAME)
                    job = await state.claim(connection, self._settings.instance, self._settings.lease_seconds)
                    if job is not None:
                        await self._work(connection, job)
                except TRANSIENT as error:
                    self._problem = said(error)
                    if connection is not None:
                        connection.terminate()
                    await asyncio.sleep(WAIT)
                else:
                    self._problem = None
                    if job is None:
                        await asyncio.sleep(POLL)
        finally:
            if connection is not None:
                connection.terminate()

    async def _work(self, connection: asyncpg.Connection, job: Job) -> None:
        """Work on a rebuild until it has ended or is somebody else's. Raises what is worth another try."""
        operation = Operation(log, "rebuild", job=str(job.id), tenant=job.tenant or "(all)")
        working = asyncio.create_task(self._run(job), name="rebuild")
        holding = asyncio.create_task(self._hold(connection, job), name="holding a rebuild")
        try:
            await asyncio.wait({working, holding}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            told = await _end(working, holding)
            if told is None:  # nothing has ended by itself: we are asked to stop
                with contextlib.suppress(LeaseLost, *TRANSIENT):
                    async with asyncio.timeout(RELEASE_SECONDS):
                        await state.release(connection, job)
        if isinstance(told, LeaseLost):
            operation.end(outcome="someone else works on it")
        elif isinstance(told, TRANSIENT):
            operation.fail(told)
            with contextlib.suppress(LeaseLost):
                await state.release(connection, job, said(told))
            raise told
        elif isinstance(told, BaseException):
            operation.fail(told)
            with contextlib.suppress(LeaseLost):
                await state.fail(connection, job, said(told))
            self._failed = said(told)
        else:
            operation.end()
            self._failed = None

    async def _run(self, job: Job) -> None:
        connection = await connect(self._settings.postgres_dsn, WRITER, NAME)
        try:
            await rebuild.run(
                job,
                connection,
                self._client,
                alias=self._settings.search_index,
                shards=self._settings.search_shards,
                lease_seconds=self._settings.lease_seconds,
            )
        finally:
            connection.terminate()

    async def _hold(self, connection: asyncpg.Connection, job: Job) -> None:
        seconds = self._settings.lease_seconds
        while True:
            await asyncio.sleep(seconds / 4)
            await state.heartbeat(connection, job, seconds)


async def _end(working: asyncio.Task[None], holding: asyncio.Task[None]) -> BaseException | bool | None:
    """End both. True: the work is done; an exception: what ended it; None: nothing had."""
    tasks = (working, holding)
    ended = next((task for task in tasks if task.done()), None)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if ended is None:
        return None
    return ended.exception() or True
