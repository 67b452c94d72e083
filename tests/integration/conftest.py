"""The write side without a bus: a tenant a test, and at its end everything that was said is held against what is there.

And the read side over the bus: rows go straight into the tables, and a queries worker is asked.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import asyncpg
import pytest

from ops.devstack import NatsServer
from storage.postgres import WRITER, connect, engine
from storage.reads.session import Reads
from tests.helpers.asker import Asker, asking
from tests.helpers.office import Office
from tests.helpers.party import Party
from tests.helpers.tenant import Tenant

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
