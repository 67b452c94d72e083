"""What a worker that reads a stream runs: leases on partitions, lanes that apply them, and a word on how it goes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import asyncpg

from contracts.subjects import STRAY, STREAMS, WAKE_RELAY, StreamSpec
from ops import metrics
from ops.health import Degraded
from ops.logging import get_logger
from storage import cursors, leases, postgres
from workers.engine.breaker import Breaker
from workers.engine.errors import Fault, classify
from workers.engine.lane import Lane
from workers.engine.log import Log
from workers.engine.nats import NatsLog
from workers.engine.options import Options
from workers.engine.record import Message, Processor, StreamChanged

if TYPE_CHECKING:
    from workers.service import Runtime

M = TypeVar("M", bound=Message)

IMPATIENT_SECONDS = 0.3  # between two beats of an instance that waits for its share, or to give some up

log = get_logger("workers.engine")


class Consumer(Generic[M]):
    """Applies a stream with a processor, together with any number of other instances. A ``workers.service.Service``."""

    def __init__(
        self,
        spec: StreamSpec,
        processor: Processor[M],
        source: Log,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        options: Options,
        wake: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """``connect`` opens a connection as the writer; ``wake`` is called when something waits to be published."""
        self._spec = spec
        self._log = source
        self._connect = connect
        self._options = options
        self._breaker = Breaker(options.probe_seconds)
        self._lanes = [
            Lane(
                spec,
                source,
                processor,
                connect,
                self._breaker,
                options,
                wake=wake or _nobody,
                changed=self._nudge,
            )
            for _ in range(options.lanes)
        ]
        self._partitions = [STRAY, *range(spec.partitions)]
        self._ensured = False
        self._attention = asyncio.Event()
        self._stopping = asyncio.Event()
        self._finished = asyncio.Event()
        self._connection: asyncpg.Connection | None = None
        self._lease_problem: str | None = None

    async def run(self) -> None:
        """Until ``stop``. Raises what stops the worker."""
        working = [asyncio.create_task(lane.run(), name=f"lane {n}") for n, lane in enumerate(self._lanes)]
        minding = [
            asyncio.create_task(self._keep_leases(), name="leases"),
            asyncio.create_task(self._survey(), name="survey"),
        ]
        try:
            await asyncio.wait([*working, *minding], return_when=asyncio.FIRST_EXCEPTION)
            await self._collect([*working, *minding])
        finally:
            for task in (*working, *minding):
                task.cancel()
            await asyncio.gather(*working, *minding, return_exceptions=True)
            await self._leave()
            await self._log.close()
            self._finished.set()

    async def stop(self) -> None:
        """Take nothing new, finish the batches in hand, hand the leases back."""
        self._stopping.set()
        self._attention.set()
        for lane in self._lanes:
            lane.stop()
        await self._finished.wait()

    @staticmethod
    async def _collect(tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            if task.done():
                task.result()

    # -- how it goes

    def problems(self) -> list[str]:
        """Why this instance is unready, and what of it is merely degraded."""
        found = [self._lease_problem, self._breaker.problem(), *{lane.problem for lane in self._lanes}]
        now = time.monotonic()
        stood = max((now - lane.moved_at for lane in self._lanes if lane.waits), default=0.0)
        if stood > self._options.stall_seconds and not self._breaker.open:
            found.append(
                f"messages of {self._spec.name} wait and the position has stood still for {stood:.0f} s"
            )
        for lane in self._lanes:
            silent = now - lane.read_at
            if lane.unread and silent > self._options.stall_seconds:
                found.append(
                    f"partitions of {self._spec.name} have not been read for {silent:.0f} s: {lane.unread}"
                )
        return [problem for problem in found if problem] + [Degraded(p) for p in self._breaker.pauses()]

    @property
    def held(self) -> frozenset[int]:
        """The partitions that the lanes work on."""
        return frozenset().union(*(lane.held for lane in self._lanes))

    async def _survey(self) -> None:
        name = self._spec.name
        while not self._stopping.is_set():
            found = [await lane.survey() for lane in self._lanes]
            metrics.LAG_MESSAGES.labels(name).set(sum(lag.messages for lag in found))
            metrics.LAG_SECONDS.labels(name).set(max(lag.seconds for lag in found))
            metrics.BREAKER_OPEN.labels(name).set(self._breaker.open)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._options.survey_seconds):
                    await self._stopping.wait()

    # -- leases

    async def _keep_leases(self) -> None:
        while not self._stopping.is_set():
            self._attention.clear()
            try:
                connection = await self._connected()
                if not self._ensured:
                    await self._ensure(connection)
                # In half a lease, so that a second try on another connection comes before the lease has expired.
                with postgres.within(connection, self._options.lease_seconds / 2):
                    settled = await self._beat(connection)
                self._lease_problem = None
            except StreamChanged as error:
                self._lease_problem = str(error)
                settled = False
            except Exception as error:
                if classify(error) is not Fault.RETRY:
                    raise
                log.warning("leases_wait", stream=self._spec.name, error=type(error).__name__)
                self._lease_problem = f"leases of {self._spec.name} cannot be renewed: {type(error).__name__}"
                await self._disconnect()
                settled = False
            wait = self._options.lease_seconds / 3 if settled else IMPATIENT_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._attention.wait()

    async def _ensure(self, connection: asyncpg.Connection) -> None:
        """Cursors and leases of every partition. Raises StreamChanged, OSError."""
        state = await self._log.state()
        with postgres.within(connection):
            await cursors.ensure(connection, self._spec.name, self._partitions, state.created)
            await leases.ensure(connection, self._spec.name, self._partitions)
        self._ensured = True

    async def _beat(self, connection: asyncpg.Connection) -> bool:
        """Renew, take up to the fair share, give up what is above it. True when there is nothing left to settle."""
        name, owner, seconds = self._spec.name, self._options.instance, self._options.lease_seconds
        beat = await leases.beat(connection, name, owner, seconds)
        share = leases.fair_share(len(self._partitions), beat.instances)
        owned = beat.owned
        if beat.free and len(owned) < share:
            claimed = await leases.claim(connection, name, owner, seconds, share - len(owned))
            owned |= claimed.keys()
            for gone in {previous for previous in claimed.values() if previous}:
                await self._end_sessions(connection, gone)
        kept = frozenset(sorted(owned)[:share])
        for n, lane in enumerate(self._lanes):
            lane.want(frozenset(p for p in kept if p % len(self._lanes) == n))
        surplus = owned - kept
        idle = surplus - self.held
        if idle:
            await leases.release(connection, name, owner, idle)
        metrics.LEASES_OWNED.labels(name).set(len(kept))
        return surplus == idle and len(kept) >= len(self._partitions) // beat.instances

    async def _end_sessions(self, connection: asyncpg.Connection, owner: str) -> None:
        """Whoever sleeps in the middle of a transaction holds its locks, and would hold them until it wakes up."""
        ended = await postgres.end_sessions(connection, session_name(self._spec.name, owner))
        if ended:
            log.warning("sessions_ended", stream=self._spec.name, owner=owner, sessions=ended)

    async def _leave(self) -> None:
        """Hand everything back, so that nobody waits for our leases to expire."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(2):
                connection = await self._connected()
                await leases.leave(connection, self._spec.name, self._options.instance)
                await connection.close()
        await self._disconnect()
        metrics.LEASES_OWNED.labels(self._spec.name).set(0)

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
        return self._connection

    async def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    def _nudge(self) -> None:
        """A lane has let partitions go, or the breaker has moved: everybody looks again."""
        self._attention.set()
        for lane in self._lanes:
            lane.wake_up()


async def _nobody() -> None:
    """Nobody waits for what leaves."""


def session_name(stream: str, instance: str) -> str:
    """What the sessions of an instance call themselves, within Postgres' 63 bytes."""
    return f"rollcall {stream} {instance[-40:]}"


def build(runtime: Runtime, stream: str, processor: Processor[Any]) -> Consumer[Any]:
    """The service of a worker that reads a stream."""
    settings = runtime.settings
    spec = STREAMS[stream]
    name = f"rollcall-{runtime.name}"

    async def connect() -> asyncpg.Connection:
        return await postgres.connect(
            settings.postgres_dsn, postgres.WRITER, session_name(stream, settings.instance)
        )

    async def wake() -> None:
        # Lost when the bus is away; the relay looks by itself as well.
        with contextlib.suppress(Exception):
            await runtime.broker.connection.publish(WAKE_RELAY, b"")

    options = Options(
        instance=settings.instance,
        lanes=settings.lanes,
        batch_messages=settings.batch_size,
        lease_seconds=settings.lease_seconds,
        stall_seconds=settings.stall_seconds,
        probe_seconds=settings.probe_seconds,
    )
    return Consumer(spec, processor, NatsLog(settings.nats_url, spec, name), connect, options, wake)
