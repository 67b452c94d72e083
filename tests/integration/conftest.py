"""The write side without a bus: a tenant a test, and at its end everything that was said is held against what is there."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import asyncpg
import pytest

from storage.postgres import WRITER, connect, engine
from storage.reads.session import Reads
from tests.helpers.office import Office
from tests.helpers.party import Party

_tenants = itertools.count(1)


@pytest.fixture(scope="module")
async def reads(database: str) -> AsyncIterator[Reads]:
    made = engine(database, size=1)
    yield Reads(made)
    await made.dispose()


@pytest.fixture(scope="module")
async def writing(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(database, WRITER)
    yield connection
    await connection.close()


@pytest.fixture
async def office(writing: asyncpg.Connection, reads: Reads) -> AsyncIterator[Office]:
    office = Office(writing, tenant=f"acme-{next(_tenants)}", reads=reads)
    yield office
    await office.check()


@pytest.fixture
async def elsewhere(writing: asyncpg.Connection, reads: Reads) -> AsyncIterator[Office]:
    """The office of another tenant."""
    office = Office(writing, tenant=f"other-{next(_tenants)}", reads=reads)
    yield office
    await office.check()


@pytest.fixture
async def parties(database: str, office: Office) -> AsyncIterator[list[Party]]:
    connections = [await connect(database, WRITER) for _ in range(3)]
    yield [Party(office, connection) for connection in connections]
    for connection in connections:
        await connection.close()
