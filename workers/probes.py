"""What every worker asks of its surroundings before it calls itself ready."""

from __future__ import annotations

import contextlib

import asyncpg
from faststream.nats import NatsBroker

from storage import migrate
from storage.postgres import READER, connect

ROUND_TRIP = 1  # seconds; the bus answers a ping in less than a thousandth of it


class Bus:
    """The connection that the host shares with its service."""

    def __init__(self, broker: NatsBroker) -> None:
        self._broker = broker

    async def problem(self) -> str | None:
        if not await self._broker.ping(timeout=0.1):
            return "not connected"
        await self._broker.connection.flush(timeout=ROUND_TRIP)
        return None


class Database:
    """A connection of its own, so that a pool with nothing free does not look like a database that is down."""

    def __init__(self, dsn: str, application_name: str) -> None:
        self._dsn = dsn
        self._application_name = application_name
        self._connection: asyncpg.Connection | None = None

    async def problem(self) -> str | None:
        connection, self._connection = self._connection, None
        try:
            if connection is None or connection.is_closed():
                connection = await connect(self._dsn, READER, self._application_name)
            revision = await migrate.revision(connection)
        except BaseException:  # a check that timed out too: what state the connection is in nobody knows
            if connection is not None:
                connection.terminate()
            raise
        self._connection = connection
        if revision.up_to_date:
            return None
        return f"at migration {revision.current}, this program needs {revision.head}: run `rollcall migrate`"

    async def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await self._connection.close(timeout=ROUND_TRIP)
