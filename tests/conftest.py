"""Real servers for the tests: one PostgreSQL and nats-server a session, a migrated database and a bus a module."""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import nats as nats_client
import pytest
from nats.aio.client import Client

from ops.devstack import Devstack, NatsServer
from storage.migrate import migrate
from storage.postgres import with_database

_numbers = itertools.count(1)


def database_name(label: str) -> str:
    """A name that no other database of this session has."""
    return f"t{next(_numbers)}_{re.sub(r'[^a-z0-9]+', '_', label.lower())}"[:60]


@pytest.fixture(scope="session")
def devstack() -> Iterator[Devstack]:
    """Embedded servers of this session: ``.postgres_dsn`` (the owner's), ``.nats_url``, ``.nats_monitor_url``."""
    with Devstack() as stack:
        yield stack


@pytest.fixture(scope="session")
async def template(devstack: Devstack) -> str:
    """The name of a migrated database that others are cloned from; nobody connects to it."""
    name = "rollcall_template"
    await _execute(devstack.postgres_dsn, f"create database {name}")
    await migrate(with_database(devstack.postgres_dsn, name))
    return name


@pytest.fixture(scope="module")
async def database(devstack: Devstack, template: str, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """The owner's DSN of a fresh migrated database of this module."""
    name = database_name(request.module.__name__.rpartition(".")[2])
    await _execute(devstack.postgres_dsn, f"create database {name} template {template} strategy file_copy")
    yield with_database(devstack.postgres_dsn, name)
    await _execute(devstack.postgres_dsn, f"drop database {name} with (force)")


@pytest.fixture(scope="module")
async def fresh_database(devstack: Devstack) -> AsyncIterator[str]:
    """The owner's DSN of an empty database, not migrated."""
    name = database_name("empty")
    await _execute(devstack.postgres_dsn, f"create database {name}")
    yield with_database(devstack.postgres_dsn, name)
    await _execute(devstack.postgres_dsn, f"drop database {name} with (force)")


@pytest.fixture
async def owner(database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the owner of the module's database."""
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A nats-server of this module's own, without streams: ``.url``, ``.monitor_url``, ``.kill()``, ``.restart()``."""
    directory: Path = tmp_path_factory.mktemp("nats")
    server = NatsServer(directory)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def nats(bus: NatsServer) -> AsyncIterator[Client]:
    """A client connected to the module's bus."""
    client = await nats_client.connect(bus.url, max_reconnect_attempts=-1, reconnect_time_wait=0.05)
    yield client
    await client.close()


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
