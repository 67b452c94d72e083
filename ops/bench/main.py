"""``rollcall bench``: every figure of the README in one run on one machine, bus and database included.

Absolute figures depend on the machine; what is promised are the ratios against a baseline of the same run. The part about
search comes last and needs Elasticsearch: that of ELASTICSEARCH_URL, or one built with Java and Maven. Where none can be had it
is left out, which stderr says, and ``notes`` in the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import uvloop

from contracts.client import Client
from ops.bench import latency, realtime, search, statements, throughput
from ops.bench.ground import Ground, NoElasticsearch, ground, peak_mb
from ops.bench.workload import generate, preload


@dataclass(frozen=True, slots=True)
class Size:
    messages: int
    contacts: int
    million: int
    latency_seconds: float
    search: search.Size
    realtime: realtime.Size


FULL = Size(20_000, 5_000, 1_000_000, 20, search.FULL, realtime.FULL)
QUICK = Size(5_000, 5_000, 100_000, 8, search.QUICK, realtime.QUICK)
RATE = 200  # messages/s of the latency run


class Unequal(Exception):
    """The runs did not do the same work, so their figures cannot be compared."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0; 1 when the runs did not do the same work, or when ``--only search`` found no Elasticsearch."""
    parser = argparse.ArgumentParser(prog="rollcall bench", description=__doc__)
    parser.add_argument("--out", type=Path, help="write the figures there, as nested JSON")
    parser.add_argument("--quick", action="store_true", help="smaller runs, in about two minutes")
    parser.add_argument(
        "--only",
        choices=("throughput", "latency", "million", "statements", "search", "realtime"),
        help="one part of it",
    )
    options = parser.parse_args(arguments)
    uvloop.install()
    try:
        figures = asyncio.run(_run(QUICK if options.quick else FULL, options.only, quick=options.quick))
    except Unequal as error:
        sys.stderr.write(f"{error}\n")
        return 1
    text = orjson.dumps(figures, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
    if options.out is not None:
        options.out.write_bytes(text + b"\n")
    sys.stdout.write(text.decode() + "\n")
    return 1 if options.only in figures.get("notes", {}) else 0


async def _run(size: Size, only: str | None, *, quick: bool) -> dict[str, Any]:
    figures: dict[str, Any] = {"quick": quick}
    async with ground() as here:
        _say(f"servers run; logs in {here.logs}")
        if only in (None, "throughput", "million"):
            await _throughput(here, size, figures, baselines=only != "million")
        if only in (None, "million"):
            await _million(here, size, figures)
        if only in (None, "latency"):
            await _latency(here, size, figures)
        if only in (None, "statements"):
            dsn = await here.database("bench_statements")
            figures["statements_per_batch"] = await statements.count(dsn, "WEBHOOK")
            figures["statements_per_command_batch"] = await statements.count(dsn, "COMMAND")
        if only in (None, "realtime"):
            await _realtime(here, size, figures)
        if only in (None, "search"):
            await _search(here, size, figures)
    return figures


async def _throughput(here: Ground, size: Size, figures: dict[str, Any], *, baselines: bool) -> None:
    workload = generate(size.messages, size.contacts)
    figures["workload"] = workload.describe(size.contacts)
    ours = await throughput.ours(here, workload)
    _say(
        f"rollcall: {ours.messages_per_s:,.0f} messages/s; rows {ours.rows}; events {ours.events}; cpu {ours.cpu_us}"
    )
    figures["throughput"] = {
        "messages_per_s": round(ours.messages_per_s),
        "rows": ours.rows,
        "events": ours.events,
    }
    figures["cpu_us_per_message"] = ours.cpu_us
    figures["memory_mb"] = ours.memory_mb
    if not baselines:
        return
    rows, seconds = await throughput.copy(here, workload)
    copied = rows / seconds
    _say(f"COPY of the same {rows} rows: {copied:,.0f} rows/s")
    rows_per_s = rows / len(workload.messages) * ours.messages_per_s
    figures["throughput"] |= {
        "rows_per_s": round(rows_per_s),
        "copy_rows_per_s": round(copied),
        "vs_copy": round(rows_per_s / copied, 3),
    }
    naive: dict[str, float] = {}
    for workers in (1, 16):
        run = await throughput.naive(here, workload, workers)
        _say(
            f"naive, {workers} at a time: {run.messages_per_s:,.0f} messages/s; rows {run.rows}; events {run.events}"
        )
        if (run.rows, run.events) != (ours.rows, ours.events):
            raise Unequal(
                f"the naive run left {run.rows} and {run.events}, ours {ours.rows} and {ours.events}"
            )
        naive[str(workers)] = round(run.messages_per_s)
    figures["throughput"] |= {
        "naive_by_workers": naive,
        "naive_messages_per_s": max(naive.values()),
        "vs_naive": round(ours.messages_per_s / max(naive.values()), 2),
    }


async def _million(here: Ground, size: Size, figures: dict[str, Any]) -> None:
    workload = generate(size.messages, size.million, known=1.0, seed=13)
    run = await throughput.ours(here, workload, "bench_million")
    _say(f"with {size.million:,} contacts: {run.messages_per_s:,.0f} messages/s")
    figures["million"] = {
        "contacts": size.million,
        "messages_per_s": round(run.messages_per_s),
        "vs_empty": round(run.messages_per_s / figures["throughput"]["messages_per_s"], 3),
    }


async def _latency(here: Ground, size: Size, figures: dict[str, Any]) -> None:
    dsn = await here.database("bench_latency")
    connection = await asyncpg.connect(dsn)
    await preload(connection, size.contacts)
    await connection.close()
    await here.streams()
    async with here.workers(dsn, "relay", "inbox", "contacts", "queries") as pids:
        await here.until_ready()
        client = await Client.connect(here.stack.nats_url, source="bench")
        for n in range(200):
            await client.send("contact.upsert", "tenant0", {"email": f"n{n}@example.com"}, timeout=30)
            await client.query("contact.list", "tenant0", {}, timeout=30)
        await client.close()
        taken = await latency.measure(here, contacts=size.contacts, rate=RATE, seconds=size.latency_seconds)
        memory = {name: peak_mb(pid) for name, pid in pids.items()}
    known = figures.get("memory_mb", {})
    figures["memory_mb"] = {name: max(peak, known.get(name, 0)) for name, peak in memory.items()}
    figures["latency_ms"] = {
        "rate": RATE,
        "messages": len(taken),
        "p50": latency.percentile(taken, 0.5),
        "p99": latency.percentile(taken, 0.99),
        "max": round(taken[-1], 2),
    }
    _say(f"latency at {RATE}/s: {figures['latency_ms']}")


async def _search(here: Ground, size: Size, figures: dict[str, Any]) -> None:
    async with contextlib.AsyncExitStack() as stack:
        try:
            url = await stack.enter_async_context(here.elasticsearch())
        except NoElasticsearch as error:
            figures["notes"] = {"search": f"left out: {error}"}
            _say(f"search: left out: {error}")
            return
        found = await search.measure(here, url, size.search)
    figures["search"] = found["search"]
    figures["memory_mb"] = figures.get("memory_mb", {}) | found["memory_mb"]
    _say(f"search: {figures['search']}")


async def _realtime(here: Ground, size: Size, figures: dict[str, Any]) -> None:
    found = await realtime.measure(here, size.realtime)
    figures["realtime"] = found["realtime"]
    figures["memory_mb"] = figures.get("memory_mb", {}) | found["memory_mb"]
    _say(f"realtime: {figures['realtime']}")


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
