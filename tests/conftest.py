"""Real servers for the tests: one PostgreSQL, nats-server and Elasticsearch a session; a migrated database, a bus and an index a module."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import secrets
import signal
from collections.abc import AsyncIterator, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import nats as nats_client
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis
from nats.aio.client import Client

from ops.devstack import Devstack, ElasticsearchServer, NatsServer, process
from ops.devstack.elasticsearch import NotInstalled, prepare
from storage.migrate import migrate
from storage.postgres import with_database
from storage.search.elastic.connection import Unavailable, check, connect
from tests.eventually import eventually

_numbers = itertools.count(1)

# A shell that runs us in the background has it ignored, and so would everybody whom we start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Taken out of the environment: a fleet that a test starts uses an Elasticsearch only if the test says so.
GIVEN_ELASTICSEARCH = os.environ.pop("ELASTICSEARCH_URL", None)
MUST_NOT_SKIP = "ROLLCALL_TESTS_MUST_NOT_SKIP"

# A JVM of a few seconds' life spends most of them on compiling what it will not run again.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")

# Property tests are judged by what they find, not by how long this machine took.
hypothesis.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis.load_profile("unhurried")

# Of the processes that share the tests, each draws ports of its own: two could draw one that neither has bound yet.
_number, _count = (
    int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")),
    int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")),
)
process._given.update(port for port in range(20_000, 32_001) if port % _count != _number % _count)


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


@dataclass(frozen=True)
class Elasticsearch:
    """A server, and the version that it says it has."""

    url: str
    version: str


NOTES = pytest.StashKey[dict[str, str]]()  # by what it is about: a line that the run says in the end


@pytest.fixture(scope="session")
async def elasticsearch(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> AsyncIterator[Elasticsearch]:
    """The Elasticsearch of this session, shared: ``.url``, ``.version``. Use the names below ``search_index`` only."""
    server = None
    if GIVEN_ELASTICSEARCH is None:
        server = _server(tmp_path_factory, request.config)
        url, origin = server.url, "built from Maven artifacts"
    else:
        url, origin = GIVEN_ELASTICSEARCH, "of ELASTICSEARCH_URL"
    try:
        client = connect(url)
        try:

            async def version() -> str | None:
                """One that has just begun may take longer than whoever asks would wait."""
                with contextlib.suppress(Unavailable):
                    return await check(client)
                return None

            found = Elasticsearch(url, await eventually(version, timeout=60, what="Elasticsearch answers"))
        finally:
            await client.close()
        request.config.stash[NOTES]["elasticsearch"] = f"elasticsearch {found.version} ({origin})"
        yield found
    finally:
        if server is not None:
            server.stop()


@pytest.fixture(scope="module")
async def search_index(elasticsearch: Elasticsearch, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """A name that no other module's index has; whatever begins with it is deleted in the end."""
    label = re.sub(r"[^a-z0-9]+", "-", request.module.__name__.rpartition(".")[2].lower())
    name = f"{label[:40]}-{secrets.token_hex(4)}"
    yield name
    client = connect(elasticsearch.url).options(request_timeout=60)
    for index in await client.indices.get(index=f"{name}*", expand_wildcards="all"):
        await client.indices.delete(index=index)
    await client.close()


@pytest.fixture(scope="module")
def own_elasticsearch(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[ElasticsearchServer]:
    """A server of this module's own, to be killed and restarted: ``.url``, ``.stop()``, ``.kill()``, ``.restart()``."""
    server = _server(tmp_path_factory, request.config)
    yield server
    server.stop()


def _server(tmp_path_factory: pytest.TempPathFactory, config: pytest.Config) -> ElasticsearchServer:
    server = ElasticsearchServer(tmp_path_factory.mktemp("elasticsearch"))
    try:
        server.start()
    except NotInstalled as error:
        config.stash[NOTES]["elasticsearch"] = f"tests skipped: {error}"
        pytest.skip(str(error))
    return server


def pytest_configure(config: pytest.Config) -> None:
    config.stash[NOTES] = {}


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build Elasticsearch before any test's time runs."""
    wanted = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    given = GIVEN_ELASTICSEARCH is not None
    if "own_elasticsearch" in wanted or ("elasticsearch" in wanted and not given):
        with contextlib.suppress(NotInstalled):
            prepare()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where nothing may be missing, a test that skips has failed."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get(MUST_NOT_SKIP):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason} ({MUST_NOT_SKIP} is set)"
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Of the processes that share the tests, each tells the one that reports."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["notes"] = session.config.stash[NOTES]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash[NOTES].update(getattr(node, "workeroutput", {}).get("notes", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for said in config.stash[NOTES].values():
        terminalreporter.write_line(said)


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
