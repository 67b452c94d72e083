"""The relay: the outbox onto the bus, shard by shard, in order.

Woken by whoever commits a row (core NATS, may be lost) and by a slow poll. A lease on a shard saves work; who may publish
is decided by the shard's marker (``workers/relay/publisher.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

import asyncpg
from nats.aio.client import Client

from contracts.connection import servers
from contracts.subjects import EVENTS, SHARDS, WAKE_RELAY
from ops import metrics
from ops.health import Degraded
from ops.logging import get_logger
from ops.settings import Settings
from storage import leases, outbox
from storage.postgres import WRITER, connect
from workers.due import Due
from workers.engine.wire import LogClient
from workers.faults import TRANSIENT, said
from workers.jetstream import NO_STREAM, NoAnswer, Refused
from workers.relay.announcer import announce
from workers.relay.housekeeping import Housekeeping
from workers.relay.publisher import Publisher
from workers.service import Runtime

NAME: Final = "relay"  # of the leases
POLL: Final = 1.0  # seconds; a lost wake-up costs no more
PASS_SECONDS: Final = 30.0  # after that the connection to the database counts as dead
LOOK_SECONDS: Final = 5.0  # between two looks at the backlog and at the stream
ANNOUNCE_SECONDS: Final = 0.25
WAITS: Final = (0.1, 2.0)  # seconds after a failure: at first, at most

log = get_logger("workers.relay.service")


class Relay:
    """A Service. One loop; its own connections to the broker and the database."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._owner = settings.instance
        self._halted = asyncio.Event()
        self._woken = asyncio.Event()
        self._problem: str | None = "starting"
        self._announcement: Degraded | None = None
        self._client: Client | None = None
        self._connection: asyncpg.Connection | None = None
        self._publisher: Publisher | None = None
        self._reconnects = 0
        self._owned: frozenset[int] = frozenset()
        self._housekeeping = Housekeeping(settings, lambda: 0 in self._owned)
        self._beat = Due(settings.lease_seconds / 4)
        self._look = Due(LOOK_SECONDS)
        self._announce = Due(ANNOUNCE_SECONDS)

    async def run(self) -> None:
        housekeeping = asyncio.create_task(self._housekeeping.run(), name="housekeeping")
        wait, longest = WAITS
        try:
            while not self._halted.is_set():
                if housekeeping.done():
                    await housekeeping  # it ends by nothing but a fault of ours, which ends us too
                self._woken.clear()
                try:
                    async with asyncio.timeout(PASS_SECONDS):
                        more = await self._pass()
                except TRANSIENT as error:
                    self._failed(error)
                    await self._sleep(self._halted, wait)
                    wait = min(wait * 2, longest)
                    continue
                self._problem = None
                wait = WAITS[0]
                if not more:
                    await self._sleep(self._woken, POLL)
        finally:
            housekeeping.cancel()
            await asyncio.gather(housekeeping, return_exceptions=True)
            await self._close()

    async def stop(self) -> None:
        self._halted.set()
        self._woken.set()

    def problems(self) -> list[str]:
        own = [problem for problem in (self._problem, self._announcement) if problem]
        return [*own, *self._housekeeping.problems()]

    async def _pass(self) -> bool:
        """Whether there may be more to publish at once."""
        connection = await self._database()
        client, publisher = await self._bus()
        if self._beat.now():
            await self._keep_leases(connection)
        publisher.forget(keep=self._owned)
        if self._look.now():
            await self._take_stock(connection)
            await publisher.check()
        settled = [await publisher.settle(connection, shard) for shard in sorted(self._owned)]
        rows = await publisher.publish(connection, self._owned)
        letters = await self._announced(client, connection)
        return bool(rows or letters) or not all(settled)

    async def _announced(self, client: Client, connection: asyncpg.Connection) -> int:
        """Dead letters announced; that they cannot be keeps no event from leaving."""
        if 0 not in self._owned or not self._announce.now():
            return 0
        try:
            letters = await announce(client, connection)
        except (Refused, NoAnswer) as error:
            self._announcement = Degraded(f"dead letters wait to be announced: {error}")
            self._announce.in_(WAITS[1])
            return 0
        self._announcement = None
        if letters:
            self._announce.in_(0)
        return letters

    async def _keep_leases(self, connection: asyncpg.Connection) -> None:
        seconds = self._settings.lease_seconds
        found = await leases.beat(connection, NAME, self._owner, seconds)
        owned, share = found.owned, leases.fair_share(SHARDS, found.instances)
        if surplus := sorted(owned)[share:]:
            await leases.release(connection, NAME, self._owner, surplus)
            owned -= frozenset(surplus)
        elif found.free and len(owned) < share:
            owned |= (await leases.claim(connection, NAME, self._owner, seconds, share - len(owned))).keys()
        if owned != self._owned:
            log.info("shards", owned=sorted(owned), before=sorted(self._owned))
        self._owned = owned
        metrics.LEASES_OWNED.labels(NAME).set(len(owned))

    async def _take_stock(self, connection: asyncpg.Connection) -> None:
        waiting = await outbox.backlog(connection)
        metrics.OUTBOX_ROWS.set(waiting.rows)
        metrics.OUTBOX_AGE_SECONDS.set(waiting.seconds)

    async def _database(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self._settings.postgres_dsn, WRITER, "rollcall relay")
            await leases.ensure(self._connection, NAME, range(SHARDS))
            self._beat.in_(0)
        return self._connection

    async def _bus(self) -> tuple[Client, Publisher]:
        """The connection, and the publisher over it, which must doubt what it knows after each reconnect."""
        # The library closes a client for good after most errors that the broker tells.
        if self._client is None or self._client.is_closed:
            self._publisher = None
            # Nothing is kept for later while disconnected: what was not sent is read again from the outbox.
            client = LogClient()
            await client.connect(
                servers(self._settings.nats_url),
                name=f"relay {self._owner}",
                pending_size=0,
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.25,  # type: ignore[arg-type]  # it is slept on
                connect_timeout=2,
                ping_interval=5,
                error_cb=self._broker_error,
                reconnected_cb=self._reconnected,
            )
            self._client = client
        if self._publisher is None:
            await self._client.subscribe(WAKE_RELAY, cb=self._wake)
            self._publisher = Publisher(self._client)
        if self._client.stats["reconnects"] != self._reconnects:
            self._reconnects = self._client.stats["reconnects"]
            self._publisher.forget()
        return self._client, self._publisher

    def _failed(self, error: BaseException) -> None:
        told = _told(error)
        if told != self._problem:
            log.warning("waiting", operation=NAME, error=told)
        self._problem = told
        if not isinstance(error, Refused | NoAnswer) and self._connection is not None:
            self._connection.terminate()
            self._connection = None

    @staticmethod
    async def _sleep(until: asyncio.Event, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(until.wait(), seconds)

    async def _wake(self, _message: Any) -> None:
        self._woken.set()

    async def _reconnected(self) -> None:
        self._woken.set()

    async def _broker_error(self, error: Exception) -> None:
        log.warning("broker", error=said(error))

    async def _close(self) -> None:
        with contextlib.suppress(*TRANSIENT):
            async with asyncio.timeout(2):
                if self._connection is not None:
                    await leases.leave(self._connection, NAME, self._owner)
                    await self._connection.close()
        if self._connection is not None:
            self._connection.terminate()
        if self._client is not None:
            await self._client.close()


def _told(error: BaseException) -> str:
    if isinstance(error, Refused) and error.code == NO_STREAM:
        return f"stream {EVENTS.name} does not exist: run `rollcall streams`"
    if isinstance(error, Refused):
        return f"{EVENTS.name} refuses events: {error}"
    return said(error)


def build(runtime: Runtime) -> Relay:
    return Relay(runtime.settings)
