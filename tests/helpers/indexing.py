"""Contacts and a search index for tests of the indexer: events are published by hand, in the order that a test wants."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import orjson
from elasticsearch import AsyncElasticsearch
from nats.aio.client import Client

from ops.settings import Settings
from storage.search import state
from storage.search.audit import audit
from storage.search.elastic import indexes, mapping
from storage.search.elastic.bulk import write_alias
from tests.eventually import eventually
from tests.helpers.applier import Applier
from workers.indexer.service import Indexer
from workers.jetstream import Refused, api
from workers.lag import waiting

LEASE_SECONDS = 1.0


@dataclass
class Ground(Applier):
    """``connection`` is a writer's. ``search`` speaks to the server directly, whatever the indexer goes through."""

    dsn: str = field(kw_only=True)
    bus: Client = field(kw_only=True)
    bus_url: str = field(kw_only=True)
    search: AsyncElasticsearch = field(kw_only=True)
    search_url: str = field(kw_only=True)
    alias: str = field(kw_only=True)
    told: int = 0  # of ``events``, those that are on the bus

    def indexer_settings(self, **given: Any) -> Settings:
        values = {
            "elasticsearch_url": self.search_url,
            "instance": f"test-{uuid.uuid4()}",
            "lease_seconds": LEASE_SECONDS,
            **given,
        }
        return Settings(
            postgres_dsn=self.dsn,
            nats_url=self.bus_url,
            search_index=self.alias,
            search_shards=1,
            **values,
        )

    @contextlib.asynccontextmanager
    async def indexing(self, **given: Any) -> AsyncIterator[Indexer]:
        """An indexer at work."""
        indexer = Indexer(self.indexer_settings(**given))
        working = asyncio.create_task(indexer.run())
        try:
            yield indexer
            if working.done():
                await working
        finally:
            await indexer.stop()
            await asyncio.wait_for(working, 30)

    async def live(self, *, strict: bool = False) -> str:
        """An empty index that serves. ``strict``: it refuses a contact whose source is no number."""
        index = await self._index(strict=strict)
        await indexes.move_alias(self.search, self.alias, index)
        await self.connection.execute(
            "update search_state set live_index = $1, caught_up_at = clock_timestamp()",
            index,
        )
        return index

    async def following(self, *, strict: bool = False) -> str:
        """An empty index that a rebuild has just begun."""
        index = await self._index(strict=strict)
        await self.connection.execute("update search_state set next_index = $1", index)
        return index

    async def _index(self, *, strict: bool) -> str:
        index = indexes.new_name(self.alias)
        body = mapping.body(1)
        if strict:
            body["mappings"]["properties"] |= {"source": {"type": "long"}}
        await self.search.indices.create(index=index, aliases={write_alias(index): {}}, **body)
        return index

    async def make(self, **fields: Any) -> uuid.UUID:
        """A contact; its events are not on the bus yet."""
        outcome = await self.send("contact.create", fields)
        assert outcome.contact_id, outcome
        return outcome.contact_id

    async def make_many(self, count: int) -> list[uuid.UUID]:
        """Contacts of one transaction."""
        subject, kind = f"command.contact.create.{self.tenant}.-", "command.contact.create"
        records = [self.record(subject, kind, {"first_name": f"Maria {n}"}, {}) for n in range(count)]
        return [outcome.contact_id for outcome in await self.batch(records) if outcome.contact_id]

    async def change(self, name: str, contact_id: uuid.UUID, **fields: Any) -> None:
        outcome = await self.send(f"contact.{name}", {"contact": {"id": str(contact_id)}, **fields})
        assert outcome.status == "applied", outcome

    def untold(self) -> list[dict[str, Any]]:
        """The events since the last call."""
        found, self.told = self.events[self.told :], len(self.events)
        return found

    async def tell(self, events: Iterable[dict[str, Any]] | None = None) -> None:
        """Publish events, all that nobody was told of unless given."""
        js = self.bus.jetstream()
        for event in self.untold() if events is None else events:
            await js.publish(event["on"], orjson.dumps({k: v for k, v in event.items() if k != "on"}))

    async def rest(self) -> None:
        """Wait until nothing is on its way to the index."""

        async def resting() -> bool:
            try:
                found = await waiting(self.bus)
            except Refused:  # no consumer yet
                return False
            assert found.oldest is None, f"{found.seconds} s behind"
            return True

        await eventually(resting, timeout=60, what="everything is indexed")

    async def document(self, contact_id: uuid.UUID, index: str | None = None) -> dict[str, Any] | None:
        """What the index holds of a contact, with ``_version``; also what no search shows yet."""
        answer = await self.search.options(ignore_status=404).get(
            index=index or self.alias, id=str(contact_id), routing=self.tenant
        )
        return {**answer["_source"], "_version": answer["_version"]} if answer.get("found") else None

    async def state(self) -> state.State:
        return await state.read(self.connection)

    async def agrees(self) -> None:
        """The live index holds what the database holds, and searches go to it."""
        live = (await self.state()).live
        assert live is not None
        assert await indexes.serves(self.search, self.alias, live)
        report = await audit(self.connection, self.search, live, moment=0.1)
        assert not report.found, report

    async def caught_up(self) -> bool:
        """Whether it is recorded that everything in the stream is indexed."""
        last = (await api(self.bus, "STREAM.INFO.EVENTS"))["state"]["last_seq"]
        return (await self.state()).caught_up_sequence == last

    async def jobs(self) -> list[state.Rebuild]:
        return await state.rebuilds(self.connection, None)

    async def done(self, count: int) -> bool:
        """Whether so many rebuilds of everything are done."""
        jobs = await self.jobs()
        assert not any(job.status == "failed" for job in jobs), jobs
        return [job.status for job in jobs] == ["done"] * count

    async def letters(self) -> list[asyncpg.Record]:
        return await self.connection.fetch("select * from dead_letters order by id")
