"""Workers whose transactions the test drives step by step, so that their batches race on the database as it says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from storage.errors import Restart
from tests.eventually import eventually
from tests.helpers.office import Office
from workers.engine.record import Outcome, Record


class Party:
    """A worker with a connection of its own, whose transaction ends when the test says so."""

    def __init__(self, office: Office, connection: asyncpg.Connection) -> None:
        self.office = office
        self.connection = connection
        self._events: list[dict[str, Any]] = []

    async def begin(self, *records: Record) -> list[Outcome]:
        """Apply in a transaction that stays open. Raises Restart, rolled back."""
        alone = Office(self.connection, self.office.tenant, reads=self.office.reads)
        self._transaction = self.connection.transaction()
        await self._transaction.start()
        try:
            outcomes, self._events = await alone.apply_open(list(records))
        except Restart:
            await self._transaction.rollback()
            raise
        return outcomes

    async def commit(self) -> None:
        await self._transaction.commit()
        self.office.events += self._events

    async def rollback(self) -> None:
        await self._transaction.rollback()

    @contextlib.asynccontextmanager
    async def waiting_for(self, other: Party, *records: Record) -> AsyncIterator[asyncio.Task[list[Outcome]]]:
        """Begin, until it waits for a lock of the other's."""
        task = asyncio.create_task(self.begin(*records))
        mine, theirs = self.connection.get_server_pid(), other.connection.get_server_pid()

        async def waits() -> bool:
            assert not task.done(), task
            return theirs in await self.office.connection.fetchval("select pg_blocking_pids($1)", mine)

        await eventually(waits, what="one batch to wait for the other")
        yield task
        with contextlib.suppress(Restart):
            await task


def command(office: Office, name: str, data: dict[str, Any], **attributes: Any) -> Record:
    return office.record(f"command.{name}.{office.tenant}.k", f"command.{name}", data, attributes)


async def restarted(
    first: Party, firsts: list[Record], second: Party, seconds: list[Record]
) -> tuple[list[Outcome], list[Outcome]]:
    """The second waits for the first, begins again once that is committed, and then applies on what it left."""
    made = await first.begin(*firsts)
    async with second.waiting_for(first, *seconds) as task:
        await first.commit()
        with pytest.raises(Restart):
            await task
    again = await second.begin(*seconds)
    await second.commit()
    return made, again
