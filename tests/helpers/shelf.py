"""Contacts put straight into PostgreSQL, and documents put by hand into an index on a real Elasticsearch."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import asyncpg
from elasticsearch import AsyncElasticsearch

from storage.contacts import ContactKey
from storage.postgres import WRITER, connect
from storage.search import rebuild, state
from storage.search.audit import audit
from storage.search.criteria import Criteria
from storage.search.elastic import bulk, documents, indexes
from storage.search.elastic.documents import Document
from storage.search.elastic.query import TenantIndex
from storage.search.findings import Report
from storage.search.rebuild import Outcome, Progress
from storage.search.state import Job
from storage.search.text import parse
from tests.helpers import seed
from workers.indexer import writer
from workers.indexer.changes import Batch, Change

LEASE_SECONDS = 30.0

DELETED = seed.at(5)

CROWD = """
insert into contacts (tenant_id, id, display_name, search_text, created_at, updated_at, version, timeline_sequence)
select $1, gen_random_uuid(), 'Crowd ' || n, E'\\n crowd ' || n || E' \\n', $3, $3, 1, 0
from generate_series(1, $2::integer) as n
"""


@dataclass
class Shelf:
    """``writer`` and ``other`` are connections of the writer's: one for what is tested, one for what goes on beside it."""

    dsn: str
    writer: asyncpg.Connection
    other: asyncpg.Connection
    search: AsyncElasticsearch
    alias: str
    shards: int = 2

    @contextlib.asynccontextmanager
    async def apart(self) -> AsyncIterator[Shelf]:
        """The same, for what goes on beside what ``other`` is used for."""
        connection = await connect(self.dsn, WRITER)
        try:
            yield replace(self, other=connection)
        finally:
            connection.terminate()

    # -- contacts

    async def contact(self, tenant: str, name: str = "Maria", **columns: Any) -> ContactKey:
        """A contact that is found by its name."""
        text = f"\n {name.lower()} \n"
        found = await seed.contact(self.other, tenant, display_name=name, search_text=text, **columns)
        return tenant, found

    async def contacts(self, tenant: str, count: int, **columns: Any) -> list[ContactKey]:
        return [await self.contact(tenant, f"Maria {n}", **columns) for n in range(count)]

    async def crowd(self, tenant: str, count: int) -> None:
        """So many contacts in one statement."""
        await self.other.execute(CROWD, tenant, count, seed.START)

    async def change(self, *keys: ContactKey, **columns: Any) -> None:
        """Each gets its next version, with these columns."""
        sets = "".join(f", {name} = ${n}" for n, name in enumerate(columns, start=3))
        statement = f"update contacts set version = version + 1{sets} where tenant_id = $1 and id = $2"
        for tenant, contact_id in keys:
            await self.other.execute(statement, tenant, contact_id, *columns.values())

    async def delete(self, *keys: ContactKey) -> None:
        await self.change(*keys, deleted_at=DELETED)

    # -- the index

    async def index(self) -> str:
        """An empty index that nothing serves."""
        index = indexes.new_name(self.alias)
        await indexes.make(self.search, index, self.shards)
        return index

    async def live(self) -> str:
        """An empty index that serves."""
        index = await self.index()
        await indexes.open_to_searches(self.search, index)
        await indexes.move_alias(self.search, self.alias, index)
        await self.other.execute("update search_state set live_index = $1", index)
        return index

    async def put(self, index: str, *keys: ContactKey) -> None:
        """What PostgreSQL holds."""
        found = await documents.load(self.other, list(keys))
        await self.write(index, *found.values())

    async def follow(self, *keys: ContactKey) -> None:
        """Index contacts that have changed as the indexer does it."""
        change = Change(1, "contact.updated.-.-", datetime.now(UTC))
        await writer.write(self.other, self.search, Batch(dict.fromkeys(keys, change)))

    async def write(self, index: str, *given: Document) -> None:
        written = await bulk.write(self.search, [index], given, again=True)
        assert not written.refused
        assert not written.gone

    async def entry(self, index: str, key: ContactKey) -> dict[str, Any] | None:
        """What the index holds of a contact, with ``_version``."""
        tenant, contact_id = key
        answer = await self.search.options(ignore_status=404).get(
            index=index, id=str(contact_id), routing=tenant
        )
        return {**answer["_source"], "_version": answer["_version"]} if answer.get("found") else None

    async def finds(self, tenant: str, name: str) -> list[uuid.UUID]:
        """What a search of the alias finds."""
        found = await TenantIndex(self.search, self.alias, tenant).search(Criteria(text=parse(name)))
        return found.ids

    async def indexes(self) -> list[str]:
        """Every index of the alias."""
        return sorted(await self.search.indices.get(index=f"{self.alias}-2*", features="settings"))

    # -- what is tested

    async def audit(
        self, index: str, tenant: str | None = None, *, repair: bool = False, moment: float = 0.05
    ) -> Report:
        return await audit(self.writer, self.search, index, tenant, repair=repair, moment=moment)

    async def agrees(self) -> None:
        """The index that is live serves, alone, and holds what PostgreSQL holds."""
        known = await state.read(self.other)
        assert known.live is not None
        assert known.next is None
        assert await indexes.behind(self.search, self.alias) == {known.live}
        assert await self.indexes() == [known.live]
        report = await self.audit(known.live)
        assert not report.found, report

    async def job(self, tenant: str | None = None) -> Job:
        """A rebuild, held."""
        job = await state.claim(self.other, "test", LEASE_SECONDS, await state.request(self.other, tenant))
        assert job is not None
        return job

    async def rebuild(self, job: Job, progress: Progress = lambda _step, _done, _total: None) -> Outcome:
        return await rebuild.run(
            job,
            self.writer,
            self.search,
            alias=self.alias,
            shards=self.shards,
            lease_seconds=LEASE_SECONDS,
            progress=progress,
        )
