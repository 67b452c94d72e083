"""What happens to Elasticsearch and to the indexers: nothing is lost, whatever comes when, and nobody else is held up."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from aiohttp import web
from elasticsearch import AsyncElasticsearch

from ops.devstack import ElasticsearchServer
from storage.postgres import WRITER, connect
from storage.search import state
from storage.search.audit import audit
from storage.search.elastic import indexes
from storage.search.elastic.connection import connect as connect_search
from tests.eventually import eventually
from tests.faults.crew import Process
from tests.faults.stage import CREW, Load, Stage, mains
from tests.helpers.front import Forward, Front, cut
from workers.jetstream import Refused
from workers.lag import waiting

_numbers = itertools.count(1)


@dataclass
class Index:
    """The search index of one fault, and the indexers that keep it."""

    stage: Stage
    server: ElasticsearchServer
    front: Front
    client: AsyncElasticsearch
    alias: str

    async def indexer(self, *, wait: bool = True, **environment: str) -> Process:
        return await self.stage.crew.start(
            "indexer",
            wait=wait,
            ELASTICSEARCH_URL=self.front.url,
            ROLLCALL_SEARCH_INDEX=self.alias,
            ROLLCALL_SEARCH_SHARDS="1",
            ROLLCALL_STALL_SECONDS="2",
            **environment,
        )

    async def state(self) -> state.State:
        connection = await connect(self.stage.dsn, WRITER)
        try:
            return await state.read(connection)
        finally:
            await connection.close()

    async def built(self) -> str:
        """Wait for the live index."""

        async def live() -> str:
            found = (await self.state()).live
            assert found, self.told()
            return found

        return await eventually(live, timeout=90, interval=0.1, what="there is a live index")

    async def other_than(self, live: str | None) -> None:
        """Wait until another index is live."""

        async def anew() -> bool:
            return (await self.state()).live not in (None, live)

        await eventually(anew, timeout=90, interval=0.1, what="another index is live")

    async def ask(self) -> None:
        """For a rebuild of everything."""
        connection = await connect(self.stage.dsn, WRITER)
        try:
            await state.request(connection, None)
        finally:
            await connection.close()

    async def filled(self) -> Process:
        """An indexer that has built the live index and has nothing left to do."""
        process = await self.indexer()
        await self.built()
        await self.rest()
        return process

    async def rest(self) -> None:
        """Wait until nothing is on its way."""

        async def resting() -> bool:
            try:
                found = await waiting(self.stage.client)
            except Refused:  # no consumer yet
                return False
            assert found.oldest is None, f"{found.seconds} s behind\n{self.told()}"
            rebuilding = await self._unfinished()
            assert not rebuilding, f"{rebuilding} rebuilds have not ended\n{self.told()}"
            return True

        await eventually(resting, timeout=90, interval=0.1, what="everything is indexed")

    async def kept(self) -> None:
        """Once nothing is on its way, the index holds what the database holds."""
        await self.rest()
        connection = await connect(self.stage.dsn, WRITER)
        try:
            live = (await state.read(connection)).live
            assert live is not None
            assert await indexes.serves(self.client, self.alias, live)
            report = await audit(connection, self.client, live, moment=0.2)
            assert report.checked
            assert not report.found, report
            letters = await connection.fetchval("select count(*) from dead_letters where stream = 'EVENTS'")
            assert letters == 0
        finally:
            await connection.close()

    async def _unfinished(self) -> int:
        connection = await connect(self.stage.dsn, WRITER)
        try:
            return len(await state.unfinished(connection, [None]))
        finally:
            await connection.close()

    def told(self) -> str:
        return "\n".join(
            f"{p.label} {'runs' if p.exit_code is None else p.exit_code}: {p.tail(1500)}"
            for p in self.stage.crew.processes
            if p.name == "indexer"
        )


@pytest.fixture
async def index(stage: Stage, own_elasticsearch: ElasticsearchServer) -> AsyncIterator[Index]:
    """An alias of its own, without an index yet; its indexers are gone afterwards. A server that a test left dead is back."""
    if not own_elasticsearch.alive:
        await asyncio.to_thread(own_elasticsearch.start)
    client = connect_search(own_elasticsearch.url)
    async with Front.open(own_elasticsearch.url) as front:
        found = Index(stage, own_elasticsearch, front, client, f"faults-{next(_numbers)}")
        yield found
        for process in stage.crew.alive("indexer"):
            process.signal(signal.SIGKILL)
            await process.until_dead()
    await client.close()
    connection = await connect(stage.dsn, WRITER)
    await connection.execute("delete from search_rebuilds")
    await connection.execute(
        "update search_state set live_index = null, next_index = null, caught_up_at = null"
    )
    await connection.close()


async def begin(stage: Stage, label: str, people: int = 20) -> tuple[Load, list[str]]:
    """Traffic under way."""
    traffic = stage.traffic(label, people=people)
    await stage.prologue(*traffic)
    return stage.load(mains(traffic), rate=400), [each.tenant for each in traffic]


async def test_elasticsearch_killed_under_a_bulk_and_restarted(stage: Stage, index: Index):
    killed = asyncio.Event()

    async def kill_under(request: web.Request, body: bytes, forward: Forward) -> web.Response:
        """The server dies with the request in its hands."""
        answering = asyncio.ensure_future(forward(body))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(answering), 0.003)
        index.server.kill()
        killed.set()
        await asyncio.gather(answering, return_exceptions=True)
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    indexer = await index.indexer()
    await index.built()
    load, tenants = await begin(stage, "bulk")
    for part in (1, 2):
        await load.reached(len(load.drafts) * part // 4)
        killed.clear()
        index.front.rules.append(kill_under)
        await asyncio.wait_for(killed.wait(), 60)
        index.front.always = cut  # or all of it could pass before the next one is to die
        await asyncio.to_thread(index.server.start)
    index.front.always = None
    in_flight = await stage.in_flight(load, tenants)
    await stage.judge("kill -9 elasticsearch under a bulk, twice", load, tenants, in_flight=in_flight)
    await index.kept()
    assert indexer.exit_code is None


async def test_elasticsearch_away(stage: Stage, index: Index):
    """Everybody else goes on, and says that all is well; what was written meanwhile is indexed when it is back."""
    indexer = await index.indexer()
    await index.built()
    load, tenants = await begin(stage, "away")
    await load.reached(len(load.drafts) // 4)
    index.server.kill()
    in_flight = await stage.in_flight(load, tenants)
    await stage.judge("elasticsearch away", load, tenants, in_flight=in_flight)

    async def degraded() -> bool:
        code, text = await indexer.readiness()
        return code == 200 and "what changes waits to be indexed" in text

    await eventually(degraded, timeout=60, interval=0.1, what="the indexer says that it cannot work")
    for name in CREW:
        for process in stage.crew.alive(name):
            assert (await process.readiness())[0] == 200
    behind = await waiting(stage.client)
    assert behind.oldest is not None
    await asyncio.to_thread(index.server.start)
    await index.kept()


async def test_elasticsearch_comes_back_empty(stage: Stage, index: Index):
    """Its disk was lost."""
    await index.indexer()
    live = await index.built()
    load, tenants = await begin(stage, "empty")
    await load.reached(len(load.drafts) // 4)
    await index.client.indices.delete(index=live)
    in_flight = await stage.in_flight(load, tenants)
    await stage.judge("elasticsearch is empty", load, tenants, in_flight=in_flight)

    await index.other_than(live)
    await index.kept()


@pytest.mark.parametrize("point", ["before_bulk:1", "after_bulk:1"])
async def test_an_indexer_killed_in_a_batch(stage: Stage, index: Index, point: str):
    """It has everything in its hands: nobody else would bring it."""
    await stage.crew.dismiss(await index.filled())
    load, tenants = await begin(stage, "batch", people=30)
    await load.finish()
    doomed = await index.indexer(wait=False, ROLLCALL_FAILPOINT=point)
    assert await doomed.until_dead(60) == -signal.SIGKILL
    held = (await waiting(stage.client)).oldest
    assert held is not None
    await index.indexer()
    await stage.judge(f"kill -9 indexer at {point}", load, tenants, in_flight=len(load.drafts))
    await index.kept()


async def test_two_indexers_killed_in_turn(stage: Stage, index: Index):
    pair = [await index.indexer(), await index.indexer()]
    await index.built()
    load, tenants = await begin(stage, "pair", people=30)
    for part, process in enumerate(pair, start=1):
        await load.reached(len(load.drafts) * part // 3)
        process.signal(signal.SIGKILL)
        await process.until_dead()
        await index.indexer(wait=False)
    in_flight = await stage.in_flight(load, tenants)
    await stage.judge("two indexers, kill -9 in turn", load, tenants, in_flight=in_flight)
    await index.kept()
    fresh = stage.crew.alive("indexer")
    assert len(fresh) == 2


async def test_an_indexer_killed_in_a_rebuild(stage: Stage, index: Index):
    """Writes go on, and another indexer, which writes them to both indexes, takes the rebuild over.

    The other failpoints of a rebuild are tests/search/test_rebuild_processes.py's.
    """
    point = "rebuild_filled:1"
    await stage.crew.dismiss(await index.filled())
    live = (await index.state()).live
    doomed = await index.indexer(ROLLCALL_FAILPOINT=point)
    load, tenants = Load([]), []

    async def write(until: asyncio.Task[object]) -> None:
        while not until.done():
            traffic = stage.traffic("rebuild", people=5)
            tenants.extend(each.tenant for each in traffic)
            await stage.publish([draft for each in traffic for draft in each.prologue], 200, load)
            await stage.settle(tenants)
            await stage.introduce(*traffic)
            await stage.publish(mains(traffic), 200, load)
        await until

    await index.ask()
    await write(asyncio.create_task(doomed.until_dead(60)))
    assert doomed.exit_code == -signal.SIGKILL
    await index.indexer()
    await write(asyncio.create_task(index.other_than(live)))
    in_flight = await stage.in_flight(load, tenants)
    await stage.judge(f"kill -9 indexer at {point}", load, tenants, in_flight=in_flight)
    await index.kept()
