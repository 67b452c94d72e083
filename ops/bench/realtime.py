"""Realtime: what a socket takes, how long an event is on its way to thousands of them, and a restart under all of them.

The clients are real ones, in processes of their own (``sockets.py``), over TCP.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import asyncpg
import nats
import orjson
from nats.js.api import AckPolicy, ConsumerConfig

from contracts import envelope, subjects
from contracts.envelope import Envelope
from contracts.vocabulary import Role
from ops.bench.ground import Ground, worker
from ops.bench.latency import percentile
from ops.bench.workload import body, person, preload, subject, text
from ops.devstack.process import free_port
from ops.probe import get
from ops.settings import TokenSettings
from workers.realtime.tokens import issue

SECRET: Final = "of the benchmark, which nobody else has to know"  # noqa: S105
PROCESSES: Final = 2
AGENTS: Final = 5
RATE: Final = 200  # events/s
TOGETHER: Final = (
    10  # events that one command writes: the writing is measured elsewhere, and shares this machine
)
RATE_STORM: Final = 50
BACK_WITHIN: Final = 10.0  # seconds
WARM_UP: Final = 2.0


class Size(NamedTuple):
    sockets: int
    seconds: float
    storm: int


FULL = Size(5_000, 20, 2_000)
QUICK = Size(1_000, 8, 400)


class Clients:
    """A process of clients."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def do(self, **asked: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(orjson.dumps(asked) + b"\n")
        return orjson.loads(await self._process.stdout.readline())


class Crowd:
    """Processes of clients, which share what is asked of them."""

    def __init__(self, processes: Sequence[Clients], url: str) -> None:
        self._processes = processes
        self._url = url

    async def open(self, clients: Sequence[tuple[str, str]]) -> int:
        """Clients, each (token, contact or "*"); how many are in."""
        shares = [clients[n :: len(self._processes)] for n in range(len(self._processes))]
        answers = await asyncio.gather(
            *(
                each.do(do="open", url=self._url, clients=[{"token": t, "contact": c} for t, c in share])
                for each, share in zip(self._processes, shares, strict=True)
            )
        )
        return sum(answer["opened"] for answer in answers)

    async def report(self) -> dict[str, Any]:
        answers = await asyncio.gather(*(each.do(do="report") for each in self._processes))
        return {
            "frames": sum(a["frames"] for a in answers),
            "ms": sorted(ms for a in answers for ms in a["ms"]),
            "at": {message: at for a in answers for message, at in a["at"].items()},
            "ids": [(contact, ids) for a in answers for contact, ids in a["ids"]],
            "resyncs": sum(a["resyncs"] for a in answers),
        }


async def measure(ground: Ground, size: Size) -> dict[str, Any]:
    """The figures under ``realtime``, and the worker's peak memory."""
    dsn = await ground.database("bench_realtime")
    connection = await asyncpg.connect(dsn)
    count = max(size.sockets, size.storm)
    await preload(connection, 10 * count)
    rows = await connection.fetch(
        "select id from contacts where tenant_id = $1 order by id limit $2", person(0).tenant, count
    )
    await connection.close()
    contacts = [str(row["id"]) for row in rows]
    await ground.streams()
    environment = {"ROLLCALL_JWT_SECRET": SECRET}
    async with (
        ground.workers(dsn, "relay", "inbox", "contacts", environment=environment),
        running(ground, dsn) as realtime,
    ):
        await ground.until_ready()
        figures: dict[str, Any] = {}
        async with crowd(ground, realtime.url) as one:
            figures |= await _watch(ground, one)
        async with crowd(ground, realtime.url) as many:
            figures |= await _fanout(ground, realtime, many, contacts[: size.sockets], size.seconds)
        async with crowd(ground, realtime.url) as back:
            figures |= await _storm(ground, realtime, back, contacts[: size.storm])
        peak = realtime.peak_mb
    return {"realtime": figures, "memory_mb": {"realtime": peak}}


async def _watch(ground: Ground, crowd: Crowd) -> dict[str, Any]:
    """One watcher: from the intended time of publishing a webhook to its frame, in an open loop."""
    tenant = person(0).tenant
    await crowd.open([(token(tenant), "*")])
    client = await nats.connect(ground.stack.nats_url)
    chance = random.Random(11)
    count = int(RATE * (10 + WARM_UP))
    messages = []
    for n in range(count):
        who = person(10 * chance.randrange(1_000))
        change = text(who, 60_000_000 + n)
        messages.append((subject(who), body(who, f"watch-{n}", change), change["messages"][0]["id"]))  # type: ignore[index]
    began = time.time() + 0.5
    tasks: set[asyncio.Future[Any]] = set()
    intended = {}
    for n, (on, payload, message_id) in enumerate(messages):
        at = began + n / RATE
        await asyncio.sleep(max(0.0, at - time.time()))
        intended[message_id] = at
        task = asyncio.ensure_future(client.jetstream().publish(on, payload))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    await client.close()
    came: dict[str, float] = {}
    while len(came) < count:
        came |= (await crowd.report())["at"]
    counted = [m for _, _, m in messages[int(RATE * WARM_UP) :]]
    taken = sorted(1000 * (came[message] - intended[message]) for message in counted)
    return {"watch_ms": {"rate": RATE, "p50": percentile(taken, 0.5), "p99": percentile(taken, 0.99)}}


async def _fanout(
    ground: Ground, realtime: Running, crowd: Crowd, contacts: Sequence[str], seconds: float
) -> dict[str, Any]:
    """A socket a contact, as its client, and agents who watch them all."""
    tenant = person(0).tenant
    before = realtime.rss_mb
    clients = [(token(tenant, contact), contact) for contact in contacts]
    accepted = await crowd.open([*clients, *((token(tenant), "*") for _ in range(AGENTS))])
    after = realtime.rss_mb
    count = int(RATE * (seconds + WARM_UP))
    await _events(ground, tenant, _some(contacts, count), RATE, together=TOGETHER)
    wanted = count * (1 + AGENTS)
    reports: list[dict[str, Any]] = []
    while sum(r["frames"] for r in reports) < wanted:
        reports.append(await crowd.report())
    taken = sorted(ms for report in reports for ms in report["ms"])
    return {
        "sockets": accepted,
        "memory_before_mb": before,
        "memory_after_mb": after,
        "kb_per_socket": round(1024 * (after - before) / accepted, 1),
        "fanout_ms": {
            "events_per_s": RATE,
            "events_per_command": TOGETHER,
            "frames_per_s": RATE * (1 + AGENTS),
            "frames": wanted,
            "p50": percentile(taken, 0.5),
            "p99": percentile(taken, 0.99),
        },
    }


async def _storm(ground: Ground, realtime: Running, crowd: Crowd, contacts: Sequence[str]) -> dict[str, Any]:
    """The worker is killed and started again while events happen; everybody comes back with the cursor of an event."""
    tenant = person(0).tenant
    await crowd.open([(token(tenant, contact), contact) for contact in contacts])
    commands = await _events(ground, tenant, contacts, RATE, together=TOGETHER)
    missing, _ = await _until_all_came(crowd, await _expected(ground, tenant, commands, len(contacts)))
    if missing:
        raise RuntimeError(f"{missing} events had not come before the worker was killed")
    count = int(RATE_STORM * (BACK_WITHIN + 5))
    happening = asyncio.create_task(_events(ground, tenant, _some(contacts, count), RATE_STORM))
    await asyncio.sleep(2)
    await realtime.restart()
    began = time.monotonic()
    while await realtime.sockets() < len(contacts):  # noqa: ASYNC110 - another process's state
        await asyncio.sleep(0.1)
    took = time.monotonic() - began
    expected = await _expected(ground, tenant, await happening, count)
    missing, report = await _until_all_came(crowd, expected)
    return {
        "storm_clients": len(contacts),
        "storm_back_s": round(took, 2),
        "storm_events": sum(map(len, expected.values())),
        "storm_resyncs": report["resyncs"],
        "storm_missing": missing,
    }


async def _until_all_came(crowd: Crowd, expected: Mapping[str, set[str]]) -> tuple[int, dict[str, Any]]:
    """How many of these events their clients still miss after a while, and what they report."""
    deadline = time.monotonic() + 30
    while True:
        report = await crowd.report()
        missing = sum(len(expected.get(contact, set()) - set(ids)) for contact, ids in report["ids"])
        if not missing or time.monotonic() > deadline:
            return missing, report


def _some(contacts: Sequence[str], count: int) -> list[str]:
    """So many draws."""
    return random.Random(13).choices(contacts, k=count)


async def _events(
    ground: Ground, tenant: str, whose: Sequence[str], rate: float, together: int = 1
) -> list[str]:
    """Record an event for each one's client at this rate, so many with a command; the ids of the commands."""
    client = await nats.connect(ground.stack.nats_url)
    began, tasks, ids = time.time(), set(), []
    for n in range(0, len(whose), together):
        events = [_event(contact, n + m) for m, contact in enumerate(whose[n : n + together])]
        message = Envelope(envelope.new_id(), "bench", "command.timeline.record_many", {"events": events})
        await asyncio.sleep(max(0.0, began + n / rate - time.time()))
        on = subjects.command("timeline.record_many", tenant, events[0]["contact"]["id"])
        task = asyncio.ensure_future(client.jetstream().publish(on, envelope.dump(message), timeout=30))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        ids.append(message.id)
    await asyncio.gather(*tasks)
    await client.close()
    return ids


def _event(contact: str, order: int) -> dict[str, Any]:
    return {
        "contact": {"id": contact},
        "type": "notification_sent",
        "category": "notification",
        "title": "Your order has left",
        "payload": {"order": order},
        "realtime": True,
        "visible_to_client": True,
    }


async def _expected(ground: Ground, tenant: str, commands: Sequence[str], count: int) -> dict[str, set[str]]:
    """The ids of these commands' events by contact, from the stream, once so many are there."""
    caused_by = frozenset(commands)
    found: dict[str, set[str]] = {}
    js = ground.nats.jetstream()
    config = ConsumerConfig(
        filter_subject=f"timeline.*.{tenant}.*", ack_policy=AckPolicy.NONE, mem_storage=True
    )
    made = await js.add_consumer("EVENTS", config)
    subscription = await js.pull_subscribe_bind(consumer=made.name, stream="EVENTS")
    while sum(map(len, found.values())) < count:
        for message in await subscription.fetch(500, timeout=30):
            event = orjson.loads(message.data)
            if event["causationid"] in caused_by:
                found.setdefault(event["data"]["contact_id"], set()).add(event["id"])
    await subscription.unsubscribe()
    return found


def token(tenant: str, contact: str | None = None) -> str:
    """Of a contact's client, or of an agent."""
    settings = TokenSettings(jwt_secret=SECRET)
    if contact is None:
        return issue(settings, tenant=tenant, role=Role.AGENT, seconds=3600, sub="user:bench")
    return issue(
        settings,
        tenant=tenant,
        role=Role.CONTACT,
        seconds=3600,
        sub=f"contact:{contact}",
        contact_id=uuid.UUID(contact),
    )


@contextlib.asynccontextmanager
async def crowd(ground: Ground, url: str) -> AsyncIterator[Crowd]:
    """Processes of clients, ended with the block."""
    command = [sys.executable, "-m", "ops.bench.sockets"]
    pipe = asyncio.subprocess.PIPE
    with (ground.logs / "sockets.log").open("ab") as log:
        processes = [
            await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=log, limit=1 << 28)
            for _ in range(PROCESSES)
        ]
    try:
        yield Crowd([Clients(process) for process in processes], url)
    finally:
        for process in processes:
            process.kill()
            await process.wait()


class Running:
    """The realtime worker, which can be killed and started again on its port."""

    def __init__(self, ground: Ground, dsn: str) -> None:
        self._ground = ground
        self._port = free_port()
        self._environment = {
            **os.environ,
            "ROLLCALL_NATS_URL": ground.stack.nats_url,
            "ROLLCALL_POSTGRES_DSN": dsn,
            "ROLLCALL_HTTP_PORT": str(self._port),
            "ROLLCALL_JWT_SECRET": SECRET,
        }
        self._process: asyncio.subprocess.Process | None = None
        self.url = f"ws://127.0.0.1:{self._port}/ws"

    async def start(self) -> None:
        with (self._ground.logs / "realtime.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *worker("realtime"), env=self._environment, stdout=log, stderr=log
            )
        while (await get(f"http://127.0.0.1:{self._port}/readyz"))[0] != 200:  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.02)

    async def restart(self) -> None:
        await self.end(signal.SIGKILL)
        await self.start()

    async def end(self, number: int = signal.SIGTERM) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        await self._process.wait()

    async def sockets(self) -> int:
        _, metrics = await get(f"http://127.0.0.1:{self._port}/metrics")
        lines = [
            line for line in metrics.decode().splitlines() if line.startswith("rollcall_realtime_sockets{")
        ]
        return int(sum(float(line.rpartition(" ")[2]) for line in lines))

    @property
    def rss_mb(self) -> float:
        return self._status("VmRSS:")

    @property
    def peak_mb(self) -> float:
        return self._status("VmHWM:")

    def _status(self, name: str) -> float:
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return next(
            round(int(line.split()[1]) / 1024, 1) for line in status.splitlines() if line.startswith(name)
        )


@contextlib.asynccontextmanager
async def running(ground: Ground, dsn: str) -> AsyncIterator[Running]:
    realtime = Running(ground, dsn)
    await realtime.start()
    try:
        yield realtime
    finally:
        await realtime.end()
