"""Throughput: webhooks on the stream -> committed, their events on the bus. Ours, the naive way, and COPY of the same rows."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any

import asyncpg

from ops.bench.ground import TABLES, Ground, cpu_seconds, peak_mb, rows_by_table
from ops.bench.workload import SOURCE, Workload, preload, publish
from storage.postgres import with_database

CHUNK = 500  # messages a commit of the COPY run


@dataclass(slots=True)
class Run:
    """What one run came to."""

    messages_per_s: float
    rows: dict[str, int]
    events: dict[str, int]
    memory_mb: dict[str, float]
    cpu_us: dict[str, float]  # of processor time a message, by process; start-up of the workers included


async def prepare(ground: Ground, name: str, workload: Workload) -> str:
    """A database with the known contacts, and streams with the messages."""
    dsn = await ground.database(name)
    connection = await asyncpg.connect(dsn)
    await preload(connection, workload.known)
    await connection.close()
    await ground.streams()
    await publish(ground.nats, workload.messages)
    return dsn


async def ours(ground: Ground, workload: Workload, name: str = "bench_rollcall") -> Run:
    dsn = await prepare(ground, name, workload)
    servers = ground.servers()
    before = {name: cpu_seconds(pid) for name, pid in servers.items()}
    async with ground.workers(dsn, "relay", "inbox") as pids:
        timed = await ground.until_events(workload.events)
        spent = {name: cpu_seconds(pid) - before.get(name, 0) for name, pid in (servers | pids).items()}
        memory = {worker: peak_mb(pid) for worker, pid in pids.items()}
    events = await (await ground.counter()).by_type()
    cpu = {name: round(1e6 * seconds / len(workload.messages), 1) for name, seconds in spent.items()}
    return Run(timed.rate(len(workload.messages)), await rows_by_table(dsn), events, memory, cpu)


async def naive(ground: Ground, workload: Workload, workers: int) -> Run:
    dsn = await prepare(ground, "bench_naive", workload)
    environment = {
        "ROLLCALL_NATS_URL": ground.stack.nats_url,
        "ROLLCALL_POSTGRES_DSN": dsn,
        "MESSAGES": str(len(workload.messages)),
        "WORKERS": str(workers),
    }
    command = [sys.executable, "-m", "ops.bench.naive"]
    async with ground.process(f"naive-{workers}", command, environment) as process:
        timed = await ground.until_events(workload.events, process)
    events = await (await ground.counter()).by_type()
    return Run(timed.rate(len(workload.messages)), await rows_by_table(dsn), events, {}, {})


async def copy(ground: Ground, workload: Workload) -> tuple[int, float]:
    """COPY the rows that our run left into fresh tables with the same indexes. Returns rows, and seconds."""
    source = await asyncpg.connect(with_database(ground.stack.postgres_dsn, "bench_rollcall"))
    data: dict[str, tuple[list[str], list[tuple[Any, ...]]]] = {}
    for table in (*TABLES, "outbox"):
        columns = [
            row[0]
            for row in await source.fetch(
                "select attname from pg_attribute where attrelid = $1::regclass and attnum > 0 and not attisdropped "
                "order by attnum",
                table,
            )
        ]
        new = await source.fetch(f"select * from {table} {_NEW.get(table, '')}", *_arguments(table))
        data[table] = (columns, [tuple(row) for row in new])
    await source.close()
    target = await asyncpg.connect(await ground.database("bench_copy"))
    await target.execute("alter table outbox alter id drop identity")
    await preload(target, workload.known)
    rows = sum(len(records) for _, records in data.values())
    chunks = max(1, len(workload.messages) // CHUNK)
    began = time.perf_counter()
    for n in range(chunks):
        async with target.transaction():
            for table, (columns, records) in data.items():
                part = records[n * len(records) // chunks : (n + 1) * len(records) // chunks]
                if part:
                    await target.copy_records_to_table(table, records=part, columns=columns)
    seconds = time.perf_counter() - began
    await target.close()
    return rows, seconds


_NEW = {
    "contacts": "where source <> $1",
    "channel_identifiers": "where (tenant_id, contact_id) in (select tenant_id, id from contacts where source <> $1)",
}


def _arguments(table: str) -> list[str]:
    return [SOURCE] if table in _NEW else []
