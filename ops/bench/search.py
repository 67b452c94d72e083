"""Search at a large tenant: how fast it is rebuilt, how soon a change is found, how long a search takes on either engine."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg
import nats
import orjson
from elasticsearch import AsyncElasticsearch
from elasticsearch.helpers import async_bulk
from nats.aio.client import Client as Nats

from contracts import subjects
from contracts.client import Client
from ops.bench import people
from ops.bench.ground import Ground, peak_mb
from ops.bench.latency import percentile
from ops.bench.people import TENANT
from storage.postgres import WRITER, connect
from storage.search.elastic import connection as elastic
from storage.search.elastic import documents, mapping
from storage.search.rebuild import CHUNK

REFRESH_MS = 1_000
RATE = 200  # changes/s
POLL_SECONDS = 0.02
LATEST_SECONDS = 5  # what becomes visible changed within this time
ALIAS = "rollcall-bench"
SHARDS = 4


@dataclass(frozen=True, slots=True)
class Size:
    contacts: int
    searches: int  # of each kind
    warm: float  # seconds of changes that are not measured, as a server warms up
    seconds: float  # of those that are


FULL = Size(1_000_000, 250, 40, 20)
QUICK = Size(50_000, 60, 5, 8)


@dataclass(frozen=True, slots=True)
class Measured:
    """Rates are in contacts a second; searches are by engine and by kind."""

    contacts: int
    bulk: float
    rebuilt: float
    query_ms: dict[str, dict[str, list[float]]]
    fresh_ms: list[float]
    warm: float
    indexer_mb: float


async def measure(ground: Ground, url: str, size: Size) -> dict[str, Any]:
    """The figures under "search", and under "memory_mb" the indexer's peak. ``url``: an Elasticsearch, left as it was."""
    dsn = await ground.database("bench_search")
    owner = await asyncpg.connect(dsn)
    await people.fill(owner, size.contacts)
    ids: list[Any] = [row[0] for row in await owner.fetch("select id from contacts")]
    await ground.streams()
    environment = {
        "ELASTICSEARCH_URL": url,
        "ROLLCALL_SEARCH_INDEX": ALIAS,
        "ROLLCALL_SEARCH_SHARDS": str(SHARDS),
    }
    client = elastic.connect(url).options(request_timeout=60)
    searches = people.queries(size.searches, min(size.contacts, 50_000))
    await _clear(client)  # what a run that was cut off left
    try:
        bulk = await _bulk(client, dsn)
        async with ground.workers(
            dsn, "relay", "contacts", "indexer", "queries", environment=environment
        ) as pids:
            rebuilt = await _rebuilt(owner)
            await ground.until_ready()
            query_ms = {"elasticsearch": await _query(ground, "elasticsearch", searches)}
            fresh_ms = await _freshness(ground, client, ids, size)
            memory = peak_mb(pids["indexer"])
        async with ground.workers(dsn, "queries"):
            await ground.until_ready()
            query_ms["postgres"] = await _query(ground, "postgres", searches)
        await _clear(client)
    finally:
        await client.close()
        await owner.close()
    return figures(Measured(size.contacts, bulk, rebuilt, query_ms, fresh_ms, size.warm, memory))


def figures(measured: Measured) -> dict[str, Any]:
    every = sorted(measured.fresh_ms)
    search = {
        "contacts": measured.contacts,
        "rebuild": {
            "documents_per_s": round(measured.rebuilt),
            "bulk_documents_per_s": round(measured.bulk),
        },
        "rebuild_vs_bulk": round(measured.rebuilt / measured.bulk, 3),
        "freshness_ms": {
            "changes": len(every),
            "rate": RATE,
            "refresh_ms": REFRESH_MS,
            "warm_up_s": measured.warm,
            "mean": round(statistics.fmean(every), 1),
            "p50": percentile(every, 0.5),
            "p99": percentile(every, 0.99),
        },
        "query_ms": {engine: _of_searches(taken) for engine, taken in measured.query_ms.items()},
    }
    return {"search": search, "memory_mb": {"indexer": measured.indexer_mb}}


def _of_searches(taken: Mapping[str, list[float]]) -> dict[str, Any]:
    every = sorted(ms for found in taken.values() for ms in found)
    return {
        "searches": len(every),
        "p50": percentile(every, 0.5),
        "p99": percentile(every, 0.99),
        "p99_by_kind": {kind: percentile(sorted(found), 0.99) for kind, found in taken.items()},
    }


async def _clear(client: AsyncElasticsearch) -> None:
    """Delete our indexes, by name: a server may refuse to delete by pattern."""
    for index in await client.indices.get(index=f"{ALIAS}*"):
        await client.indices.delete(index=index)


async def _bulk(client: AsyncElasticsearch, dsn: str) -> float:
    """Documents/s of the client's own helper, pushing ready-made documents from memory into an index made the same way."""
    connection = await connect(dsn, WRITER, "rollcall bench")
    actions: list[dict[str, Any]] = []
    after = None
    while chunk := await documents.scan(connection, None, after, 10_000):
        after = (chunk[-1].tenant_id, chunk[-1].id)
        actions += (
            {
                "_id": str(document.id),
                "_routing": document.tenant_id,
                "_version": document.version,
                "_version_type": "external_gte",
                "_source": document.source,
            }
            for document in chunk
        )
    await connection.close()
    body = mapping.body(SHARDS)
    body["settings"] |= {"refresh_interval": "-1", "number_of_replicas": 0}
    body["settings"].pop("auto_expand_replicas", None)
    await client.indices.create(index=f"{ALIAS}-baseline", **body)
    began = time.perf_counter()
    await async_bulk(
        client.options(request_timeout=120),
        actions,
        index=f"{ALIAS}-baseline",
        chunk_size=CHUNK,
        refresh=False,
    )
    seconds = time.perf_counter() - began
    await client.indices.delete(index=f"{ALIAS}-baseline")
    return len(actions) / seconds


async def _rebuilt(owner: asyncpg.Connection) -> float:
    """Contacts/s of the first rebuild, from its start to the moment that the alias points at the index."""
    while True:
        row = await owner.fetchrow(
            "select done / extract(epoch from finished_at - started_at) as rate, status, error from search_rebuilds "
            "where tenant_id is null order by created_at desc limit 1"
        )
        if row is not None and row["status"] == "failed":
            raise RuntimeError(f"the rebuild failed: {row['error']}")
        if row is not None and row["status"] == "done":
            return float(row["rate"])
        await asyncio.sleep(POLL_SECONDS)


async def _query(ground: Ground, engine: str, searches: Mapping[str, list[str]]) -> dict[str, list[float]]:
    """Milliseconds from the request to the answer on the bus by kind, one search at a time, none twice."""
    client = await Client.connect(ground.stack.nats_url, source="bench")
    while (await client.query("search.status", TENANT, {})).data["engine"] != engine:  # noqa: ASYNC110 - another process's state
        await asyncio.sleep(POLL_SECONDS)
    taken: dict[str, list[float]] = {kind: [] for kind in searches}
    order = [(kind, search) for kind, found in searches.items() for search in found]
    random.Random(3).shuffle(order)
    try:
        for kind, search in order:
            began = time.perf_counter()
            answer = await client.query("contact.search", TENANT, {"q": search}, timeout=30)
            taken[kind].append(1000 * (time.perf_counter() - began))
            if not answer.success or (answer.meta or {}).get("engine") != engine:
                raise RuntimeError(f"{engine} did not answer {kind}: {answer.error or answer.meta}")
    finally:
        await client.close()
    return taken


async def _freshness(ground: Ground, client: AsyncElasticsearch, ids: list[Any], size: Size) -> list[float]:
    """Milliseconds from a change's clock in Postgres, which is just before its commit, to its first sight in a search.

    Of the changes after the first ``size.warm`` seconds: a server that has just begun spends most of its time on compiling.
    """
    bus = await nats.connect(ground.stack.nats_url)
    chance = random.Random(9)
    changed = [str(contact) for contact in chance.sample(ids, int(RATE * (size.warm + size.seconds)))]
    publishing = asyncio.create_task(_publish(bus, changed))
    taken: dict[str, float] = {}
    since = documents.microseconds(datetime.now(UTC))
    deadline = time.monotonic() + size.warm + size.seconds + 60
    while len(taken) < len(changed) and time.monotonic() < deadline:
        await asyncio.sleep(POLL_SECONDS)
        # Looking must not be most of the server's work: it counts, and shows the latest when there are more.
        counted = await client.count(
            index=ALIAS, routing=TENANT, query={"range": {"updated_at": {"gte": since}}}
        )
        if counted["count"] == len(taken):
            continue
        latest = documents.microseconds(datetime.now(UTC)) - LATEST_SECONDS * 1_000_000
        found = await client.search(
            index=ALIAS,
            routing=TENANT,
            size=10_000,
            query={"range": {"updated_at": {"gte": max(since, latest)}}},
            source=False,
            docvalue_fields=[{"field": "contact_id"}, {"field": "updated_at"}],
        )
        now = documents.microseconds(datetime.now(UTC))
        for hit in found["hits"]["hits"]:
            (contact,), (at,) = hit["fields"]["contact_id"], hit["fields"]["updated_at"]
            taken.setdefault(contact, (now - at) / 1000)
    await publishing
    await bus.close()
    if len(taken) < len(changed):
        raise RuntimeError(f"{len(changed) - len(taken)} of {len(changed)} changes were not found")
    return [taken[contact] for contact in changed[int(RATE * size.warm) :]]


async def _publish(bus: Nats, changed: list[str]) -> None:
    stream = bus.jetstream(publish_async_max_pending=1_000)
    began = time.perf_counter()
    for n, contact in enumerate(changed):
        if (wait := began + n / RATE - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        body = {
            "specversion": "1.0",
            "id": f"freshness-{n}",
            "source": "bench",
            "type": "command.contact.update",
            "data": {"contact": {"id": contact}, "set": {"attributes": {"visit": n}}},
        }
        on = subjects.command("contact.update", TENANT, contact)
        await stream.publish_async(
            on, orjson.dumps(body), headers={"Content-Type": "application/cloudevents+json"}
        )
    await stream.publish_async_completed()
