"""What one instance of the relay does beside publishing: what is kept for a time goes when the time is over."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final

import asyncpg
import nats.errors
from nats.aio.client import Client

from contracts.connection import connect as connect_bus
from contracts.subjects import STREAMS
from ops.health import Degraded
from ops.logging import get_logger
from ops.settings import Settings
from storage.postgres import WRITER, connect
from workers import chores, streams
from workers.due import Due
from workers.jetstream import Refused
from workers.relay.purge import purge

EVERY: Final = 30.0  # seconds
RARELY: Final = 600.0  # seconds between the chores that are done rarely
FULL: Final = 0.7  # of a stream's bytes, from which on an operator is told

TRANSIENT: Final = (*chores.FAILURES, Refused, nats.errors.Error)

log = get_logger("workers.relay.housekeeping")


class Housekeeping:
    """``is_ours`` says whether this instance is the one that keeps house at the moment.

    Each step is taken whatever became of the others, so that one stream that is missing does not let another fill up.
    """

    def __init__(self, settings: Settings, is_ours: Callable[[], bool]) -> None:
        self._settings = settings
        self._is_ours = is_ours
        self._problems: list[str] = []
        self._rarely = Due(RARELY)

    async def run(self) -> None:
        """Until cancelled. Raises what is a fault of ours."""
        while True:
            await asyncio.sleep(EVERY)
            self._problems = await self.once() if self._is_ours() else []

    def problems(self) -> list[str]:
        """As of the last round."""
        return self._problems

    async def once(self) -> list[str]:
        """One round; answers what an operator should know."""
        problems: list[str] = []
        async with self._servers(problems) as (client, connection):
            if connection is not None:
                with _step("PostgreSQL", problems):
                    problems += await self._chores(connection)
            for spec in STREAMS.values():
                if client is not None and connection is not None and spec.partitions:
                    with _step(spec.name, problems):
                        await purge(client, connection, spec)
            for name in STREAMS:
                if client is not None:
                    with _step(name, problems):
                        problems += await filling(client, name)
        return list(dict.fromkeys(problems))

    async def _chores(self, connection: asyncpg.Connection) -> list[str]:
        """Those that are due, unless somebody else is at them; answers what went wrong."""
        rarely = self._rarely.now()
        due = [chore for chore in chores.CHORES if rarely or not chore.rarely]
        done = await chores.run(connection, self._settings, due) or []
        return [_problem(f"{each.chore.name}: {each.problem}") for each in done if each.problem]

    @contextlib.asynccontextmanager
    async def _servers(
        self, problems: list[str]
    ) -> AsyncIterator[tuple[Client | None, asyncpg.Connection | None]]:
        """Those of the two that can be reached, for as long as the block."""
        async with contextlib.AsyncExitStack() as closing:
            client = connection = None
            with _step("NATS", problems):
                name = f"housekeeping {self._settings.instance}"
                client = await connect_bus(self._settings.nats_url, name=name)
                closing.push_async_callback(client.close)
            with _step("PostgreSQL", problems):
                connection = await connect(self._settings.postgres_dsn, WRITER, "rollcall housekeeping")
                closing.push_async_callback(_close, connection)
            yield client, connection


@contextlib.contextmanager
def _step(name: str, problems: list[str]) -> Iterator[None]:
    """What goes wrong in the block is a problem, and the next step is taken."""
    try:
        yield
    except TRANSIENT as error:
        said = f"{name}: {str(error) or type(error).__name__}"
        problems.append(_problem(said))
        log.warning("housekeeping failed", error=said)


def _problem(said: str) -> Degraded:
    return Degraded(f"housekeeping: {said}")


async def _close(connection: asyncpg.Connection) -> None:
    with contextlib.suppress(*TRANSIENT):
        await connection.close(timeout=2)


async def filling(client: Client, name: str) -> list[str]:
    """What an operator should know of a stream's bytes, before it is full."""
    found = await streams.info(client, name)
    limit = found["config"].get("max_bytes", -1) if found else -1
    if found and limit > 0 and (share := found["state"]["bytes"] / limit) > FULL and name != "DEADLETTER":
        return [Degraded(f"{name} is at {share:.0%} of its max_bytes")]
    return []
