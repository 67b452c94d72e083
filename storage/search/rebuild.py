"""Rebuilding the index while searches and writes go on: all tenants into a new one, or one tenant in place.

Of all tenants, in steps that may each be taken again:

1. A new index is made, and recorded as ``next``: from that commit on every change is written to it as well.
2. It is filled with all contacts that are there, a chunk at a time; the position is kept.
3. It is compared with PostgreSQL, and what differs is mended.
4. The alias moves; then ``live`` does. Until then changes go to both, so searches miss nothing whichever they ask.
5. The old index is dropped. Who still writes to it is told that it is gone, and reads everything anew.

Versions are the contacts', so whichever write comes last the newest document stays. Deleted contacts are left out: that is
how their documents end. Between two steps is a failpoint.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import asyncpg
from elasticsearch import AsyncElasticsearch

from ops import failpoint
from ops.logging import get_logger
from storage.contacts import ContactKey
from storage.search import state
from storage.search.audit import audit
from storage.search.elastic import bulk, documents, indexes
from storage.search.elastic.bulk import Retry
from storage.search.elastic.documents import Document
from storage.search.elastic.indexes import Gone
from storage.search.elastic.patience import patiently
from storage.search.state import Job

CHUNK: Final = 1_000  # contacts that are written at a time; fewer where they have many attributes
PIECE: Final = 100  # contacts that are read at a time: their attributes may be of 256,000 bytes each
MOST_TOKENS: Final = 50_000  # of attributes in a chunk, but for the last piece
MOST_CHECKS: Final = 3  # each mends what it finds; writes that nobody else indexes are found by every one

COUNT = "select count(*) from contacts where deleted_at is null and merged_into is null"
COUNT_OF_TENANT = f"{COUNT} and tenant_id = $1"

log = get_logger("storage.search.rebuild")


class Progress(Protocol):
    """Told how far a step is: of how many contacts how many are done."""

    def __call__(self, step: str, done: int, total: int) -> None: ...


class Unmendable(Exception):
    """The rebuild cannot come to its end."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What has become of a rebuild; ``refused`` contacts cannot be indexed and are found in PostgreSQL alone."""

    index: str
    documents: int
    mended: int
    refused: int


async def run(
    job: Job,
    connection: asyncpg.Connection,
    client: AsyncElasticsearch,
    *,
    alias: str,
    shards: int,
    lease_seconds: float,
    progress: Progress = lambda _step, _done, _total: None,
) -> Outcome:
    """Work on a rebuild that is held, until it is done; as the writer. Whoever calls keeps the lease meanwhile.

    Raises LeaseLost; Retry, Gone, or what the database raises, where another try goes on from the last position; Unmendable
    and ``indexes.Refused`` where none helps.
    """
    work = _Rebuild(job, connection, client, lease_seconds, progress)
    return await (work.everything(alias, shards) if job.tenant is None else work.one_tenant())


class _Rebuild:
    def __init__(
        self,
        job: Job,
        connection: asyncpg.Connection,
        client: AsyncElasticsearch,
        lease_seconds: float,
        progress: Progress,
    ) -> None:
        self._job = job
        self._connection = connection
        self._client = client
        self._lease_seconds = lease_seconds
        self._tell = progress
        self._speaking = asyncio.Lock()  # the connection takes one statement at a time
        self._position = job.position
        self._done = job.done
        self._total = job.total
        self._mended = 0
        self._refused = 0

    async def everything(self, alias: str, shards: int) -> Outcome:
        index = await self._begun(alias, shards)
        if (await state.read(self._connection)).live != index:
            await self._fill(index)
            await indexes.open_to_searches(self._client, index)
            failpoint.hit("rebuild_filled")
            await self._check(index)
            failpoint.hit("rebuild_checked")
            await self._hold()
            await indexes.move_alias(self._client, alias, index)
            failpoint.hit("rebuild_alias_moved")
            await state.go_live(self._connection, self._job)
            failpoint.hit("rebuild_live")
        await self._hold()
        dropped = await indexes.drop_others(self._client, alias, {index})
        failpoint.hit("rebuild_dropped")
        await state.finish(self._connection, self._job)
        log.info("rebuilt", operation="rebuild", index=index, documents=self._done, dropped=dropped)
        return Outcome(index, self._done, self._mended, self._refused)

    async def one_tenant(self) -> Outcome:
        index = (await state.read(self._connection)).live
        if index is None:
            raise Unmendable("there is no index to rebuild a tenant in; rebuild everything")
        await self._fill(index)
        failpoint.hit("rebuild_filled")
        await self._check(index)
        failpoint.hit("rebuild_checked")
        await state.finish(self._connection, self._job)
        return Outcome(index, self._done, self._mended, self._refused)

    async def _begun(self, alias: str, shards: int) -> str:
        """The index of this rebuild: the one that an earlier holder began, if it is still there, or a new one."""
        index = self._job.index
        known = await state.read(self._connection)
        if (
            index is not None
            and index in (known.live, known.next)
            and await indexes.exists(self._client, index)
        ):
            return index
        await self._hold()
        await indexes.drop_others(self._client, alias, [known.live] if known.live else [])
        index = indexes.new_name(alias)
        await indexes.make(self._client, index, shards)
        failpoint.hit("rebuild_made")
        await state.begin_index(self._connection, self._job, index)
        self._position, self._done, self._total = None, 0, None
        failpoint.hit("rebuild_begun")
        return index

    async def _hold(self) -> None:
        """Before a step that would undo another holder's work. Raises LeaseLost."""
        await state.heartbeat(self._connection, self._job, self._lease_seconds)

    # -- filling

    async def _fill(self, index: str) -> None:
        """Write all contacts from after the position; each chunk is read while the one before it is written."""
        if self._total is None:
            self._total = await self._count()
        self._tell("filling", self._done, self._total)
        reading = asyncio.ensure_future(self._read(self._position))
        try:
            while chunk := await reading:
                position = (chunk[-1].tenant_id, chunk[-1].id)
                reading = asyncio.ensure_future(self._read(position))
                await self._write(index, chunk)
                failpoint.hit("rebuild_chunk_written")
                await self._save(position, self._done + len(chunk))
                failpoint.hit("rebuild_chunk_saved")
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, after: ContactKey | None) -> list[Document]:
        chunk: list[Document] = []
        tokens = 0
        while len(chunk) < CHUNK and tokens < MOST_TOKENS:
            async with self._speaking:
                piece = await documents.scan(self._connection, self._job.tenant, after, PIECE)
            chunk += piece
            if len(piece) < PIECE:
                break
            after = (piece[-1].tenant_id, piece[-1].id)
            tokens += documents.weight(piece)
        return chunk

    async def _write(self, index: str, chunk: Sequence[Document]) -> None:
        def waiting(why: Retry) -> None:
            self._tell(f"waiting: {why}", self._done, self._total or 0)

        written = await patiently(lambda: bulk.write(self._client, [index], chunk, again=True), waiting)
        if written.gone:
            raise Gone(f"the index {index} is gone")
        for refused in written.refused:
            log.warning(
                "a contact cannot be indexed", tenant=refused.document.tenant_id, reason=refused.reason
            )

    async def _save(self, position: ContactKey, done: int) -> None:
        self._position, self._done = position, done
        self._total = max(done, self._total or 0)
        async with self._speaking:
            await state.progress(
                self._connection,
                self._job,
                self._lease_seconds,
                done=done,
                total=self._total,
                position=position,
            )
        self._tell("filling", done, self._total)

    async def _count(self) -> int:
        if self._job.tenant is not None:
            return int(await self._connection.fetchval(COUNT_OF_TENANT, self._job.tenant))
        async with self._connection.transaction():
            await self._connection.execute("set local enable_seqscan = on")
            return int(await self._connection.fetchval(COUNT))

    # -- checking

    async def _check(self, index: str) -> None:
        """Compare and mend, until nothing is found but what cannot be indexed."""

        def checked(contacts: int) -> None:
            self._tell("checking", contacts, max(contacts, self._total or 0))

        for _ in range(MOST_CHECKS):
            report = await audit(
                self._connection,
                self._client,
                index,
                self._job.tenant,
                repair=True,
                moment=0,
                progress=checked,
            )
            self._mended += report.mended
            self._refused = report.refused
            if report.ahead:
                raise Unmendable(
                    f"{report.ahead} documents are newer than their contacts: the database was restored to an earlier "
                    "time; rebuild everything"
                )
            if report.found == report.refused:
                return
