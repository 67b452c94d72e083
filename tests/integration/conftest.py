"""The write side without a bus: a tenant a test, and at its end everything that was said is held against what is there.

And the read side over the bus: rows go straight into the tables, and a queries worker is asked.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from ops.devstack import NatsServer
from storage.postgres import WRITER, connect, engine
from storage.reads.session import Reads
from tests.conftest import Elasticsearch, database_name
from tests.helpers.applier import Applier
from tests.helpers.asker import Asker, asking
from tests.helpers.elastic import Index, door, indexed
from tests.helpers.engines import Begin, Stage
from tests.helpers.office import Office
from tests.helpers.party import Party
from tests.helpers.searching import lagless, patient
from tests.helpers.tenant import Tenant
from workers.queries import elastic

_tenants = itertools.count(1)


@pytest.fixture(scope="module")
async def reads(database: str) -> AsyncIterator[Reads]:
    made = engine(database, size=1)
    yield Reads(made)
    await made.dispose()


@pytest.fixture(scope="module")
async def writer(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(database, WRITER)
    yield connection
    await connection.close()


@pytest.fixture
async def office(writer: asyncpg.Connection, reads: Reads) -> AsyncIterator[Office]:
    office = Office(writer, tenant=f"acme-{next(_tenants)}", reads=reads)
    yield office
    await office.check()


@pytest.fixture
async def elsewhere(writer: asyncpg.Connection, reads: Reads) -> AsyncIterator[Office]:
    """The office of another tenant."""
    office = Office(writer, tenant=f"other-{next(_tenants)}", reads=reads)
    yield office
    await office.check()


@pytest.fixture
async def parties(database: str, office: Office) -> AsyncIterator[list[Party]]:
    connections = [await connect(database, WRITER) for _ in range(3)]
    yield [Party(office, connection) for connection in connections]
    for connection in connections:
        await connection.close()


@pytest.fixture(scope="module")
async def ask(database: str, bus: NatsServer) -> AsyncIterator[Asker]:
    """A queries worker of the module's own."""
    async with asking(database, bus.url) as asker:
        yield asker


@pytest.fixture
async def tenant(ask: Asker, writer: asyncpg.Connection) -> Tenant:
    tenant = Tenant(ask, writer, f"t{next(_tenants)}")
    await tenant.another(id=tenant.contact)
    return tenant


# -- searches that either engine may answer (tests/helpers/engines.py)


@pytest.fixture
async def applier(writer: asyncpg.Connection) -> Applier:
    """Of a fresh tenant with three contacts: Ann one, Ann two, Ann three."""
    applier = Applier(writer, tenant=f"t-{uuid.uuid4().hex[:8]}")
    for name in ("one", "two", "three"):
        await applier.send("contact.create", {"external_id": name, "first_name": "Ann", "last_name": name})
    return applier


@pytest.fixture(scope="module")
async def index(elasticsearch: Elasticsearch) -> AsyncIterator[Index]:
    async with indexed(elasticsearch.url) as index:
        yield index


@pytest.fixture
async def begin(
    index: Index,
    database: str,
    bus: NatsServer,
    writer: asyncpg.Connection,
    applier: Applier,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Begin]:
    """Call it when the contacts are made: they are indexed, and the worker begins.

    It looks more often how Elasticsearch is, for less waiting; and has patience, so that it is not away for being slow.
    """
    monkeypatch.setattr(elastic, "LOOK", 0.2)
    monkeypatch.setattr(elastic, "PAUSE", 0.3)
    patient(monkeypatch)
    await lagless(bus.url)
    await writer.execute(
        "update search_state set caught_up_at = null, caught_up_sequence = null, incomplete_since = null"
    )
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Stage:
            await index.fill(writer, applier.tenant)
            shut = await stack.enter_async_context(door(index.url))
            given = {"elasticsearch_url": shut.url, "search_index": index.alias, **settings}
            ask = await stack.enter_async_context(asking(database, bus.url, **given))
            return Stage(ask, shut, index, applier)

        yield start


@pytest.fixture
async def empty(devstack) -> AsyncIterator[str]:
    """The owner's DSN of an empty database."""
    name = database_name("migration")
    server = await asyncpg.connect(devstack.postgres_dsn)
    await server.execute(f"create database {name}")
    yield urlsplit(devstack.postgres_dsn)._replace(path=f"/{name}").geturl()
    await server.execute(f"drop database {name} with (force)")
    await server.close()
