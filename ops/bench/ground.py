"""Where the runs happen: the embedded servers, a fresh database and fresh streams a run, workers as processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import NamedTuple

import asyncpg
import nats
import orjson
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from contracts.subjects import STREAMS
from ops import reach
from ops.devstack import Devstack, ElasticsearchServer
from ops.devstack.process import children, free_port
from ops.probe import get
from ops.settings import SearchSettings, read
from storage.migrate import migrate
from storage.postgres import with_database
from workers import streams

TABLES = ("contacts", "channel_identifiers", "contact_events", "message_statuses", "inbox_messages")
POLL_SECONDS = 0.02
STALLED_SECONDS = 120


class NoElasticsearch(Exception):
    """None can be had; says why in one line."""


class Timed(NamedTuple):
    """How long the events took to appear, start-up of the processes left out."""

    seconds: float
    fraction: float  # of the events that appeared within ``seconds``; the first sight of any is where the clock starts

    def rate(self, count: int) -> float:
        return count * self.fraction / self.seconds


class Ground:
    def __init__(self, stack: Devstack, client: Client, logs: Path) -> None:
        self.stack = stack
        self.nats = client
        self.logs = logs
        self.ports: dict[str, int] = {}  # of the workers that were started last

    def servers(self) -> dict[str, int]:
        """Process ids by name."""
        assert self.stack.postgres is not None
        assert self.stack.nats is not None
        pids = {"postgres": self.stack.postgres.pid, "nats": self.stack.nats.pid}
        return {name: pid for name, pid in pids.items() if pid is not None}

    async def database(self, name: str) -> str:
        """The owner's DSN of a fresh migrated database."""
        connection = await asyncpg.connect(self.stack.postgres_dsn)
        await connection.execute(f"drop database if exists {name} with (force)")
        await connection.execute(f"create database {name}")
        await connection.close()
        dsn = with_database(self.stack.postgres_dsn, name)
        await migrate(dsn)
        return dsn

    async def streams(self) -> None:
        """Every stream made anew."""
        js = self.nats.jetstream()
        for name in STREAMS:
            with contextlib.suppress(NotFoundError):
                await js.delete_stream(name)
        await streams.declare(self.nats)

    @contextlib.asynccontextmanager
    async def elasticsearch(self) -> AsyncIterator[str]:
        """The URL of the one that ELASTICSEARCH_URL names, else of one that is there for as long as the block.

        Raises NoElasticsearch.
        """
        given = read(SearchSettings).elasticsearch_url
        if given is not None:
            try:
                async with reach.elasticsearch(given):
                    pass
            except reach.Unreachable as error:
                raise NoElasticsearch(str(error)) from error
            yield given
            return
        server = ElasticsearchServer(self.stack.data_dir / "elasticsearch")
        try:
            try:
                server.start()
            except RuntimeError as error:
                raise NoElasticsearch(str(error).partition("\n")[0]) from error
            yield server.url
        finally:
            server.stop()

    @contextlib.asynccontextmanager
    async def process(
        self, name: str, command: list[str], environment: Mapping[str, str]
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """A process, ended with SIGTERM."""
        clean = {name: value for name, value in os.environ.items() if name != "ELASTICSEARCH_URL"}
        with (self.logs / f"{name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command, env={**clean, **environment}, stdout=log, stderr=log
            )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
                try:
                    await asyncio.wait_for(process.wait(), 20)
                except TimeoutError:
                    process.kill()
                    await process.wait()

    @contextlib.asynccontextmanager
    async def workers(
        self, dsn: str, *names: str, environment: Mapping[str, str] | None = None
    ) -> AsyncIterator[dict[str, int]]:
        """Workers as a container runs them, with ``environment`` besides; yields their process ids by name."""
        async with contextlib.AsyncExitStack() as stack:
            pids = {}
            self.ports = {name: free_port() for name in names}
            for name in names:
                variables = {
                    "ROLLCALL_NATS_URL": self.stack.nats_url,
                    "ROLLCALL_POSTGRES_DSN": dsn,
                    "ROLLCALL_HTTP_PORT": str(self.ports[name]),
                    **(environment or {}),
                }
                process = await stack.enter_async_context(self.process(name, worker(name), variables))
                pids[name] = process.pid
            yield pids

    async def until_ready(self) -> None:
        """Wait until every worker answers that it is ready."""
        for port in self.ports.values():
            while (await get(f"http://127.0.0.1:{port}/readyz"))[0] != 200:  # noqa: ASYNC110 - another process's state
                await asyncio.sleep(POLL_SECONDS)

    async def counter(self) -> EventCounter:
        name = uuid.uuid4().hex
        config = {
            "name": name,
            "ack_policy": "none",
            "deliver_policy": "all",
            "filter_subjects": ["contact.>", "timeline.>"],
            "mem_storage": True,
            "inactive_threshold": 600_000_000_000,
        }
        request = orjson.dumps({"stream_name": "EVENTS", "config": config})
        await self.nats.request(f"$JS.API.CONSUMER.CREATE.EVENTS.{name}", request, timeout=10)
        return EventCounter(self.nats, name)

    async def until_events(self, expected: int, process: asyncio.subprocess.Process | None = None) -> Timed:
        """Wait until so many events are on the bus. Raises RuntimeError when nothing moves any more.

        The stream's own count is cheap to ask for but has the relay's markers in it, so the exact one is asked for at the end.
        """
        js = self.nats.jetstream()
        counter = await self.counter()
        began = 0.0
        seen = first_seen = 0
        moved = time.perf_counter()
        while seen < expected or await counter.count() < expected:
            stored = (await js.stream_info("EVENTS")).state.messages
            now = time.perf_counter()
            if stored and not began:
                began, first_seen = now, stored
            if stored > seen:
                seen, moved = stored, now
            if now - moved > STALLED_SECONDS or (process and process.returncode not in (None, 0)):
                raise RuntimeError(f"{seen} of {expected} events, and no more come; see {self.logs}")
            await asyncio.sleep(POLL_SECONDS)
        return Timed(moved - began, (seen - first_seen) / seen)


class EventCounter:
    """Counts the events of the stream EVENTS without reading them."""

    def __init__(self, client: Client, consumer: str) -> None:
        self._nats = client
        self._consumer = consumer

    async def count(self) -> int:
        answer = await self._nats.request(f"$JS.API.CONSUMER.INFO.EVENTS.{self._consumer}", b"", timeout=10)
        return int(orjson.loads(answer.data)["num_pending"])

    async def by_type(self) -> dict[str, int]:
        """Events of the stream by their type."""
        counts: dict[str, int] = {}
        info = await self._nats.jetstream().stream_info("EVENTS", subjects_filter="contact.>")
        timeline = await self._nats.jetstream().stream_info("EVENTS", subjects_filter="timeline.>")
        for subjects in (info.state.subjects, timeline.state.subjects):
            for subject, count in (subjects or {}).items():
                kind = ".".join(subject.split(".")[:2])
                counts[kind] = counts.get(kind, 0) + count
        return dict(sorted(counts.items()))


async def rows_by_table(dsn: str) -> dict[str, int]:
    connection = await asyncpg.connect(dsn)
    try:
        return {table: await connection.fetchval(f"select count(*) from {table}") for table in TABLES}
    finally:
        await connection.close()


def worker(name: str) -> list[str]:
    return [sys.executable, str(Path(sys.executable).with_name("rollcall")), "worker", name]


def cpu_seconds(pid: int) -> float:
    """Processor time of a process and of the children it has now."""
    pids = [pid, *children(pid)]
    ticks = 0
    for one in pids:
        with contextlib.suppress(FileNotFoundError):
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(field) for field in fields[11 : 15 if one == pid else 13])
    return ticks / os.sysconf("SC_CLK_TCK")


def peak_mb(pid: int) -> float:
    """The peak resident memory of a process so far, in MB of 2^20 bytes; source: VmHWM of /proc/<pid>/status."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) / 1024, 1)
    raise RuntimeError("no VmHWM: this needs Linux")


@contextlib.asynccontextmanager
async def ground() -> AsyncIterator[Ground]:
    with Devstack() as stack:
        logs = stack.data_dir / "bench"
        logs.mkdir()
        client = await nats.connect(stack.nats_url, max_reconnect_attempts=-1)
        try:
            yield Ground(stack, client, logs)
        finally:
            await client.close()
