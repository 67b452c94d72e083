"""Servers, a crew of workers and a publisher: where a fault happens and is judged."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress

import asyncpg
import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig
from nats.js.errors import NotFoundError

from ops.devstack import Devstack
from tests.eventually import eventually
from tests.faults.compare import Verdict, compare, invariants
from tests.faults.crew import EXIT_WITHIN, Crew, Process
from tests.faults.evidence import PARTITIONED, RESULTS, Evidence, gather
from tests.faults.traffic import Traffic
from tests.helpers.forked import CLEAN, rollcall
from tests.model.build import Draft, command, neutral
from tests.model.decode import Accepted
from tests.model.fold import Model

LEASE_SECONDS = 1.5
PROBE_SECONDS = 5  # how often a stopped worker tries again
WINDOW = 200  # publishes awaiting their acknowledgement
SETTLE_WITHIN = 90
PATIENCE = 30  # seconds until a publish counts as lost: a second try is a second message
Poison = Callable[[Accepted], bool]
CREW = ("inbox", "contacts", "relay", "queries")


class Stage:
    """``client`` speaks to the broker directly, whatever the workers go through."""

    def __init__(self, stack: Devstack, client: Client, crew: Crew) -> None:
        self.stack = stack
        self.client = client
        self.crew = crew
        self.judged = False  # whether the last verdict was clean
        self._tenants = itertools.count(1)
        self._replies = itertools.count(1)

    @classmethod
    @asynccontextmanager
    async def open(cls, **more: str) -> AsyncIterator[Stage]:
        """``more`` is added to the environment of every worker."""
        with Devstack() as stack:
            environment = {
                **CLEAN,
                "ROLLCALL_NATS_URL": stack.nats_url,
                "ROLLCALL_POSTGRES_DSN": stack.postgres_dsn,
                "ROLLCALL_LEASE_SECONDS": str(LEASE_SECONDS),
                "ROLLCALL_PROBE_SECONDS": str(PROBE_SECONDS),
                **more,
            }
            for command in ("migrate", "streams"):
                ran = await rollcall(command, environment=environment)
                assert ran.code == 0, f"rollcall {command}: {ran.stderr}"
            client = await nats.connect(
                stack.nats_url, max_reconnect_attempts=-1, reconnect_time_wait=0.05, error_cb=_quiet
            )
            await client.jetstream().add_stream(StreamConfig(name=RESULTS, subjects=["result.>"]))
            crew = Crew(environment, stack.data_dir / "crew")
            try:
                yield cls(stack, client, crew)
            finally:
                crew.end()
                await client.close()

    @property
    def dsn(self) -> str:
        return self.stack.postgres_dsn

    def tenant(self, label: str) -> str:
        """A tenant that no other fault has."""
        return f"{label}-{next(self._tenants)}"

    def traffic(self, label: str, tenants: int = 2, people: int = 12, steps: int = 6) -> list[Traffic]:
        return [Traffic(self.tenant(label), seed=n, people=people, steps=steps) for n in range(tenants)]

    async def publish(
        self,
        drafts: Sequence[Draft],
        rate: float | None = None,
        load: Load | None = None,
        patience: float = PATIENCE,
    ) -> None:
        """Publish in order, each until the broker has accepted it; ``rate`` is messages per second at most."""
        load = load or Load([])
        started = time.monotonic()
        pending: set[asyncio.Task[None]] = set()
        for number, draft in enumerate(drafts):
            pending.add(asyncio.create_task(self._publish(draft, load, patience)))
            if len(pending) >= WINDOW:
                _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            if rate and (wait := started + number / rate - time.monotonic()) > 0:
                await asyncio.sleep(wait)  # the pace of the input, not a wait for an outcome
        await asyncio.gather(*pending)

    async def _publish(self, draft: Draft, load: Load, patience: float) -> None:
        js = self.client.jetstream()
        while True:
            # Each try has a result of its own: one that the broker took and did not confirm is a message like any other.
            reply = f"result.{_tenant(draft)}.r{next(self._replies)}"
            headers = {**draft.headers, "Rollcall-Reply-To": reply} if draft.id else draft.headers
            try:
                ack = await js.publish(draft.subject, draft.body, timeout=patience, headers=headers)
            except (TimeoutError, NatsError, OSError):
                await asyncio.sleep(0.05)  # a producer's own retry; the broker may have it already
                continue
            load.acknowledged.append((ack.stream, ack.seq))
            load.progress.set()
            return

    def load(self, drafts: Sequence[Draft], rate: float | None = None, patience: float = PATIENCE) -> Load:
        """Publish in the background."""
        load = Load(drafts)
        load.task = asyncio.create_task(self.publish(drafts, rate, load, patience))
        return load

    async def until_killed(self, doomed: Process, load: Load, tenant: str) -> int:
        """Wait for the end at a failpoint; the exit code. A worker that is slow reads so much at once that the load alone may be
        too few batches to get there: so more follows, a little at a time.
        """
        dying = asyncio.create_task(doomed.until_dead(EXIT_WITHIN))
        for number in itertools.count():
            await asyncio.wait({dying}, timeout=2)
            if dying.done():
                return await dying
            person = f"+49152909{number:05}"
            more = [
                neutral(tenant, f"more{number}", person, message_id=f"more{number}"),
                command("contact.upsert", tenant, f"more{number}", {"external_id": f"more{number}"}),
            ]
            await self.publish(more, load=load)
        raise AssertionError

    async def prologue(self, *traffic: Traffic) -> None:
        """Apply what must be there before the traffic begins."""
        await self.publish([draft for each in traffic for draft in each.prologue])
        await self.settle([each.tenant for each in traffic])
        await self.introduce(*traffic)

    async def introduce(self, *traffic: Traffic) -> None:
        """Tell the traffic the ids of its notices, once its prologue is applied."""
        connection = await asyncpg.connect(self.dsn)
        try:
            for each in traffic:
                rows = await connection.fetch(
                    "select title, id::text from contact_events where tenant_id = $1 and title = any($2)",
                    each.tenant,
                    each.notices,
                )
                each.know(dict(rows))
        finally:
            await connection.close()

    async def in_flight(self, load: Load, tenants: Iterable[str]) -> int:
        """Messages that the broker accepted of a load and that have no result yet."""
        done = 0
        for tenant in tenants:
            with suppress(NotFoundError):
                info = await self.client.jetstream().stream_info(
                    RESULTS, subjects_filter=f"result.{tenant}.>"
                )
                done += len(info.state.subjects or {})
        return max(0, len(load.acknowledged) - done)

    async def settle(self, tenants: list[str], timeout: float = SETTLE_WITHIN) -> None:
        """Wait until everything that these tenants sent is behind the cursors and all that came of it has left."""
        wanted = await self._positions(tenants)

        async def settled() -> bool:
            connection = await asyncpg.connect(self.dsn, timeout=30)
            try:
                rows = await connection.fetch("select stream, partition, sequence from cursors")
                waiting = await connection.fetchval(
                    "select (select count(*) from outbox where published_at is null)"
                    " + (select count(*) from dead_letters where published_at is null)"
                )
            finally:
                await connection.close()
            cursors = {(row["stream"], row["partition"]): row["sequence"] for row in rows}
            behind = {at: last for at, last in wanted.items() if cursors.get(at, 0) < last}
            assert not behind, f"not read yet, by stream and partition: {behind}\n{self._alive()}"
            assert not waiting, f"{waiting} rows wait for the relay\n{self._alive()}"
            return True

        await eventually(settled, timeout=timeout, interval=0.05, what=f"the traffic of {tenants} is applied")

    async def _positions(self, tenants: list[str]) -> dict[tuple[str, int], int]:
        last: dict[tuple[str, int], int] = {}
        js = self.client.jetstream()
        for stream, stars in (("WEBHOOK", "*.*"), ("COMMAND", "*.*.*")):
            for tenant in tenants:
                subject = f"{stream.lower()}.{stars}.{tenant}.*"
                config = ConsumerConfig(
                    filter_subject=subject, ack_policy=AckPolicy.NONE, headers_only=True, mem_storage=True
                )
                info = await js.add_consumer(stream, config)
                subscription = await js.pull_subscribe_bind(consumer=info.name, stream=stream)
                left = info.num_pending or 0
                while left:
                    for message in await subscription.fetch(min(500, left), timeout=30):
                        tokens = message.subject.split(".")
                        assert len(tokens) == PARTITIONED[stream]
                        last[stream, int(tokens[1])] = message.metadata.sequence.stream
                        left -= 1
                await subscription.unsubscribe()
                await js.delete_consumer(stream, info.name)
        return last

    def _alive(self) -> str:
        return "\n".join(
            f"{p.label} {'runs' if p.exit_code is None else p.exit_code}: {p.tail(700)}"
            for p in self.crew.processes[-6:]
        )

    async def judge(
        self,
        fault: str,
        load: Load,
        tenants: list[str],
        *,
        in_flight: int,
        poison: Poison | None = None,
        replies_kept: bool = True,
        predictable: bool = True,
    ) -> Verdict:
        """Let everything come to rest, hold it against the model, print the fault's line, and fail on any difference."""
        await load.finish()
        await self.settle(tenants)
        evidence = await self.evidence(tenants)
        verdict = self.verdict(evidence, poison=poison, replies_kept=replies_kept, predictable=predictable)
        stored = Counter((m.stream, m.sequence) for m in evidence.accepted)
        for at in load.acknowledged:
            if at not in stored:
                verdict.lost += 1
                verdict.wrong.append(f"the broker acknowledged {at} and has it no more")
        report(fault, verdict, in_flight)
        self.judged = False
        verdict.check()
        self.judged = True
        return verdict

    async def evidence(self, tenants: list[str]) -> Evidence:
        return await gather(self.client, self.dsn, tenants)

    @staticmethod
    def verdict(
        evidence: Evidence, *, poison: Poison | None, replies_kept: bool = True, predictable: bool = True
    ) -> Verdict:
        if not predictable:
            return invariants(evidence)
        model = Model(poison=poison, titles=evidence.titles()).fold(evidence.accepted)
        return compare(evidence, model, replies_kept=replies_kept)


class Load:
    """Messages on their way; ``acknowledged`` are the positions that the broker gave."""

    def __init__(self, drafts: Sequence[Draft]) -> None:
        self.drafts = drafts
        self.acknowledged: list[tuple[str, int]] = []
        self.progress = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    async def reached(self, count: int) -> None:
        """Wait until so many are acknowledged."""
        while len(self.acknowledged) < count:
            self.progress.clear()
            await asyncio.wait_for(self.progress.wait(), 60)

    async def finish(self) -> None:
        if self.task is not None:
            await asyncio.wait_for(self.task, 120)


def report(fault: str, verdict: Verdict, in_flight: int) -> None:
    """The line of ``make faults``."""
    line = f"{fault} | {verdict.messages} messages, {in_flight} in flight | {verdict.numbers()}"
    sys.stdout.write(f"\n{line}")
    sys.stdout.flush()


def mains(traffic: Iterable[Traffic]) -> list[Draft]:
    """The main parts of several tenants, mixed as they come."""
    columns = itertools.zip_longest(*(each.main for each in traffic))
    return [draft for column in columns for draft in column if draft is not None]


def _tenant(draft: Draft) -> str:
    return draft.subject.split(".")[-2]


async def _quiet(error: Exception) -> None:
    """The broker going away is what these tests are about."""
