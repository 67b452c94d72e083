"""``rollcall doctor``: what is wrong with the set-up, and how to mend it."""

from __future__ import annotations

import asyncio

import asyncpg
import orjson
from elasticsearch import AsyncElasticsearch
from nats.aio.client import Client
from rich import box
from rich.table import Table
from rich.text import Text

from ops import reach
from ops.probe import get
from ops.settings import (
    BusSettings,
    DatabaseSettings,
    RegionSettings,
    SearchSettings,
    SettingsError,
    read,
)
from storage.migrate import revision
from storage.postgres import connect
from storage.roles import MIGRATE, Finding, inspect
from storage.search.elastic import connection as elastic
from storage.search.elastic import indexes
from storage.search.elastic.bulk import Retry
from workers import streams
from workers.jetstream import NoAnswer, Refused

OLDEST_POSTGRES = 15
OLDEST_NATS = (2, 12)  # atomic batches
SMALLEST_PAYLOAD = 8_000_000  # bytes: room for the largest event, and for a long page of a query
PATIENCE = 5.0  # seconds

_MARKS = {True: "[green]ok[/]", False: "[red]wrong[/]", None: "[yellow]?[/]"}

# What an acknowledged commit means is decided by these: any other value loses commits in a crash.
DURABLE = {
    "fsync": ("on",),
    "synchronous_commit": ("on", "local", "remote_write", "remote_apply"),
    "full_page_writes": ("on",),
}


async def examine() -> list[Finding]:
    """Every finding, good and bad; never raises for a server that is out of reach."""
    return [*_regions(), *await _postgres(), *await _nats(), *await _elasticsearch()]


def table(findings: list[Finding]) -> Table:
    """For a person: what is the case, and below it how to mend it."""
    shown = Table("", "what", "found", box=box.SIMPLE_HEAD)
    for found in findings:
        said = Text(found.detail)
        if found.mend:
            said.append(f"\n→ {found.mend}", "bold")
        shown.add_row(_MARKS[found.ok], Text(found.name, no_wrap=True), said)
    return shown


def _regions() -> list[Finding]:
    try:
        settings = read(RegionSettings)
    except SettingsError as error:
        return [_setting(SettingsError(line)) for line in str(error).splitlines()]
    detail = f"default: {settings.default_region or 'none'}, by tenant: {len(settings.tenant_regions)}"
    return [Finding("regions", ok=True, detail=detail)]


async def _postgres() -> list[Finding]:
    try:
        dsn = read(DatabaseSettings).postgres_dsn
    except SettingsError as error:
        return [_setting(error)]
    found = []
    try:
        with reach.database():
            connection = await connect(dsn, None, "rollcall doctor", timeout=PATIENCE)
            try:
                found.append(_postgres_version(connection))
                found += await _durability(connection)
                found.append(await _migrations(connection))
                found.append(await _trigrams(connection))
                found += await inspect(connection)
            finally:
                await connection.close()
    except reach.Unreachable as error:
        found.append(Finding("PostgreSQL", ok=False, detail=error.what, mend=error.mend))
    return found


def _postgres_version(connection: asyncpg.Connection) -> Finding:
    version = connection.get_server_version()
    return Finding(
        "PostgreSQL",
        ok=version.major >= OLDEST_POSTGRES,
        detail=f"version {version.major}.{version.minor}",
        mend="" if version.major >= OLDEST_POSTGRES else f"upgrade to PostgreSQL {OLDEST_POSTGRES} or newer",
    )


async def _durability(connection: asyncpg.Connection) -> list[Finding]:
    found = []
    for name, wanted in DURABLE.items():
        value = str(await connection.fetchval("select current_setting($1)", name))
        mend = "" if value in wanted else f"alter system set {name} = 'on', and reload"
        found.append(Finding(name, ok=value in wanted, detail=value, mend=mend))
    return found


async def _migrations(connection: asyncpg.Connection) -> Finding:
    at = await revision(connection)
    if at.up_to_date:
        return Finding("migrations", ok=True, detail=f"at revision {at.head}")
    return Finding(
        "migrations", ok=False, detail=f"at {at.current or 'nothing'}, the newest is {at.head}", mend=MIGRATE
    )


async def _trigrams(connection: asyncpg.Connection) -> Finding:
    version = await connection.fetchval("select extversion from pg_extension where extname = 'pg_trgm'")
    if version is not None:
        return Finding("pg_trgm", ok=True, detail=f"version {version}")
    known = await connection.fetchval("select true from pg_available_extensions where name = 'pg_trgm'")
    mend = MIGRATE if known else "install it on the server (package postgresql-contrib): searches need it"
    return Finding("pg_trgm", ok=False, detail="the extension is missing", mend=mend)


async def _elasticsearch() -> list[Finding]:
    try:
        settings = read(SearchSettings)
    except SettingsError as error:
        return [_setting(error)]
    if settings.elasticsearch_url is None:
        return [Finding("Elasticsearch", ok=True, detail="not set: PostgreSQL answers searches")]
    client = elastic.connect(settings.elasticsearch_url)
    try:
        async with asyncio.timeout(PATIENCE):
            version = await elastic.check(client)
            return [
                Finding("Elasticsearch", ok=True, detail=f"version {version}"),
                await _index(client, settings.search_index),
            ]
    except elastic.UnsupportedServer as error:
        mend = "let ELASTICSEARCH_URL name an Elasticsearch 8 or 9, or unset it"
        return [Finding("Elasticsearch", ok=False, detail=str(error), mend=mend)]
    except (elastic.Unavailable, Retry, indexes.Refused, TimeoutError) as error:
        mend = "start it, or set ELASTICSEARCH_URL to where it is; PostgreSQL answers searches meanwhile"
        return [Finding("Elasticsearch", ok=False, detail=str(error) or "no answer in time", mend=mend)]
    finally:
        await client.close()


async def _index(client: AsyncElasticsearch, alias: str) -> Finding:
    found = sorted(await indexes.behind(client, alias))
    if found:
        return Finding("search index", ok=True, detail=f"{alias} is {', '.join(found)}")
    mend = "run `rollcall search rebuild`; an indexer that runs does it by itself"
    return Finding("search index", ok=False, detail=f"there is no {alias}", mend=mend)


async def _nats() -> list[Finding]:
    try:
        settings = read(BusSettings)
    except SettingsError as error:
        return [_setting(error)]
    try:
        client = await reach.bus(settings.nats_url)
    except reach.Unreachable as error:
        return [Finding("NATS", ok=False, detail=error.what, mend=error.mend)]
    try:
        return [
            _nats_version(client),
            _payload(client),
            await _sync(settings.nats_monitor_url),
            *await _streams(client),
        ]
    finally:
        await client.close()


def _nats_version(client: Client) -> Finding:
    version = client.connected_server_version
    ok = (version.major, version.minor) >= OLDEST_NATS
    wanted = ".".join(map(str, OLDEST_NATS))
    return Finding(
        "NATS",
        ok=ok,
        detail=f"version {version.major}.{version.minor}.{version.patch}",
        mend="" if ok else f"upgrade to nats-server {wanted} or newer",
    )


def _payload(client: Client) -> Finding:
    ok = client.max_payload >= SMALLEST_PAYLOAD
    return Finding(
        "max_payload",
        ok=ok,
        detail=f"{client.max_payload:,} bytes",
        mend=""
        if ok
        else "set max_payload: 8MB in the server's configuration, and reload it: what is larger cannot leave whole",
    )


async def _sync(monitor_url: str | None) -> Finding:
    mend = "set jetstream { sync_interval: always } in the server's configuration: a power loss would lose messages"
    if monitor_url is None:
        return Finding(
            "sync_interval",
            ok=None,
            detail="not looked at",
            mend="set ROLLCALL_NATS_MONITOR_URL to the server's monitoring port: http://host:8222",
        )
    status, body = await get(f"{monitor_url}/jsz?config=true")
    try:
        config = orjson.loads(body)["config"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return Finding(
            "sync_interval",
            ok=False,
            detail=f"{monitor_url} does not say it: {_short(status, body)}",
            mend="set ROLLCALL_NATS_MONITOR_URL to the server's monitoring port, or unset it",
        )
    if config.get("sync_always"):
        return Finding("sync_interval", ok=True, detail="always")
    seconds = config.get("sync_interval", 0) / 1e9
    return Finding("sync_interval", ok=False, detail=f"every {seconds:g} s", mend=mend)


async def _streams(client: Client) -> list[Finding]:
    try:
        return await streams.check(client)
    except Refused as refusal:
        mend = "enable jetstream in the server's configuration, and for the account of ROLLCALL_NATS_URL"
        return [Finding("streams", ok=False, detail=f"JetStream refuses: {refusal}", mend=mend)]
    except NoAnswer as error:
        mend = "enable jetstream in the server's configuration, and permit the user to publish to $JS.API.>"
        return [Finding("streams", ok=False, detail=f"JetStream does not answer: {error}", mend=mend)]


def _setting(error: SettingsError) -> Finding:
    problem, _, mend = str(error).partition("; ")
    return Finding("settings", ok=False, detail=problem, mend=mend)


def _short(status: int, body: bytes) -> str:
    return f"HTTP {status}" if status else body.decode(errors="replace")
