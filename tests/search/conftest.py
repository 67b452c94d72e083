"""What the tests of the indexer, of rebuilds and of audits stand on."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
from nats.aio.client import Client

from ops.devstack import NatsServer
from storage.postgres import WRITER, connect
from storage.search import rebuild
from storage.search.elastic import connection as elastic
from storage.search.elastic import query
from storage.search.elastic.connection import connect as connect_search
from tests.conftest import Elasticsearch
from tests.helpers.front import Front
from tests.helpers.indexing import Ground
from tests.helpers.outgoing import made_anew
from tests.helpers.shelf import Shelf
from workers.indexer import jobs, service

_numbers = itertools.count(1)


@pytest.fixture(scope="module", autouse=True)
def patient() -> Iterator[None]:
    """What is found is tested here, and not how soon."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(query, "TIMEOUT", 60)
        patch.setattr(elastic, "TIMEOUT", 60)
        yield


@pytest.fixture(scope="module")
async def writing(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(database, WRITER)
    yield connection
    await connection.close()


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """An indexer of this process looks at the world more often, for less waiting."""
    monkeypatch.setattr(service, "LOOK_SECONDS", 0.3)
    monkeypatch.setattr(jobs, "POLL", 0.2)


@pytest.fixture
async def ground(
    writing: asyncpg.Connection,
    database: str,
    owner: asyncpg.Connection,
    nats: Client,
    bus: NatsServer,
    elasticsearch: Elasticsearch,
    search_index: str,
) -> AsyncIterator[Ground]:
    """No contacts, no index, streams as they are on a fresh server."""
    await owner.execute(
        "truncate contacts, channel_identifiers, contact_tag_mappings, dead_letters, outbox, search_rebuilds"
    )
    await owner.execute(
        "update search_state set live_index = null, next_index = null, caught_up_at = null, caught_up_sequence = null, "
        "incomplete_since = null"
    )
    await made_anew(nats)
    search = connect_search(elasticsearch.url).options(request_timeout=60)
    number = next(_numbers)
    ground = Ground(
        writing,
        tenant=f"acme-{number}",
        dsn=database,
        bus=nats,
        bus_url=bus.url,
        search=search,
        search_url=elasticsearch.url,
        alias=f"{search_index}-{number}",
    )
    yield ground
    await search.close()


@pytest.fixture
async def fronted(ground: Ground) -> AsyncIterator[Front]:
    """What stands between the indexer and Elasticsearch."""
    async with Front.open(ground.search_url) as proxy:
        ground.search_url = proxy.url
        yield proxy


@pytest.fixture
async def shelf(
    database: str, owner: asyncpg.Connection, elasticsearch: Elasticsearch, search_index: str
) -> AsyncIterator[Shelf]:
    """No contacts, no index."""
    await owner.execute("truncate contacts, channel_identifiers, contact_tag_mappings, search_rebuilds")
    await owner.execute(
        "update search_state set live_index = null, next_index = null, caught_up_at = null, caught_up_sequence = null, "
        "incomplete_since = null"
    )
    writer, other = await connect(database, WRITER), await connect(database, WRITER)
    search = connect_search(elasticsearch.url).options(request_timeout=60)
    yield Shelf(database, writer, other, search, f"{search_index}-{next(_numbers)}")
    for connection in (writer, other):
        connection.terminate()
    await search.close()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rebuild's chunks, of which there are many."""
    monkeypatch.setattr(rebuild, "CHUNK", 10)
    monkeypatch.setattr(rebuild, "PIECE", 5)
