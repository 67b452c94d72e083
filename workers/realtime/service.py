"""The realtime worker: pushes timelines to people. Any number of instances, each reading every event.

The bus says what happens (``tail``), the hub who wants to know, a session what its client is told. Nothing is polled: the
database is asked when a client comes without a cursor, exchanges a ticket, exports, or marks events with a token that names
several contacts; never while sockets are idle.
"""

from __future__ import annotations

import asyncio
import resource
from typing import TYPE_CHECKING, Any, Final

from ops.health import Degraded
from ops.logging import get_logger
from storage.postgres import READER, engine
from storage.reads.session import Reads
from workers.engine.nats import NatsLog
from workers.realtime import asking
from workers.realtime.app import Front
from workers.realtime.catch_up import CatchUp
from workers.realtime.doorkeeper import Doorkeeper
from workers.realtime.downloads import Downloads
from workers.realtime.hub import Hub
from workers.realtime.marks import Marks
from workers.realtime.positions import Cursors
from workers.realtime.rights import Rights
from workers.realtime.session import House
from workers.realtime.tail import WATCHED, Tail
from workers.service import Runtime

if TYPE_CHECKING:
    from nats.aio.client import Client
    from starlette.types import ASGIApp

CONNECTIONS: Final = 4
DRAIN_SECONDS: Final = 5.0
SOCKETS: Final = 65_536  # files that the process asks to be allowed

log = get_logger("workers.realtime.service")


class Realtime:
    """A Service with an application of its own beside health and metrics."""

    def __init__(self, runtime: Runtime) -> None:
        settings = self._settings = runtime.settings
        self._broker = runtime.broker
        self._doorkeeper = Doorkeeper(settings)
        self._engine = engine(settings.postgres_dsn, READER, "rollcall realtime", size=CONNECTIONS)
        self._log = NatsLog(settings.nats_url, WATCHED, f"rollcall-{runtime.name}")
        self._stopping = asyncio.Event()
        self._front: Front | None = None
        self._application: ASGIApp | None = None
        self._tail: Tail | None = None

    @property
    def application(self) -> ASGIApp | None:
        """Answers everything but health and metrics; None until it can."""
        return self._application

    async def run(self) -> None:
        _allow_files(SOCKETS)
        reads = Reads(self._engine)
        cursors = Cursors(await self._doorkeeper.key())
        hub = Hub(cursors)
        marks = Marks(self._bus, reads)
        catch_up = CatchUp(hub, cursors, reads, self._bus, marks.expired)
        self._tail = Tail(self._log, hub)
        house = House(self._settings, hub, cursors, self._doorkeeper, marks, catch_up, self._ask)
        self._front = Front(house, Downloads(reads))
        working: list[asyncio.Task[None]] = [
            asyncio.create_task(self._tail.run(), name="tail"),
            asyncio.create_task(marks.run(), name="marks"),
        ]
        stopping = asyncio.ensure_future(self._stopping.wait())
        self._application = self._front.application()
        try:
            first: tuple[asyncio.Future[Any], ...] = (*working, stopping)
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            for task in working:
                if task.done():
                    task.result()
            left = await self._front.drain(DRAIN_SECONDS)
            log.info("drained", operation="drain", left=left)
            await marks.drain()
        finally:
            if marks.unsent:
                log.error("marks lost", operation="drain", count=marks.unsent)
            for ending in (*working, stopping):
                ending.cancel()
            await asyncio.gather(*working, stopping, return_exceptions=True)
            await self._log.close()
            await self._doorkeeper.close()
            await self._engine.dispose()

    async def stop(self) -> None:
        self._stopping.set()

    def problems(self) -> list[str]:
        """Without events the worker still takes sockets, and sends what came in between once they come again."""
        problem = self._tail.problem if self._tail is not None else "starting"
        if problem is None or problem == "starting":
            return [problem] if problem else []
        return [Degraded(problem)]

    async def _ask(self, rights: Rights, name: str, data: dict[str, Any]) -> dict[str, Any]:
        return await asking.ask(self._bus(), rights, name, data)

    def _bus(self) -> Client:
        return self._broker.connection


def _allow_files(wanted: int) -> None:
    """A socket is a file, and most systems begin with 1024 of them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def build(runtime: Runtime) -> Realtime:
    return Realtime(runtime)
