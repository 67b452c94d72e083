"""What the database needs done from time to time, message or no message: the one list of it.

The relay goes through it by schedule, `rollcall maintain` once. What a chore takes away is published nowhere.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import asyncpg

from ops.logging import get_logger
from ops.settings import DatabaseSettings
from storage import inbox, outbox, retention, timeline
from storage.postgres import alone, within

LOCK: Final = 0x63686F72  # the advisory lock of whoever goes through the list: "chor"
INBOX_FOR: Final = timedelta(days=30)
STEP: Final = 500  # rows a statement, so that nobody waits for a lock of ours
STEP_SECONDS: Final = 600.0  # some read a whole table; past this the server has gone without a word

# What passes, or what an operator can mend. Anything else is a fault of ours.
FAILURES: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

log = get_logger("workers.chores")


class Chore(NamedTuple):
    """``step`` does a part of it and answers how much that was; 0: it is done. ``counts`` says what is counted.

    ``rarely``: to find out whether there is anything to do takes reading a whole table, or a lock that others wait for.
    """

    name: str
    counts: str
    step: Callable[[asyncpg.Connection, DatabaseSettings], Awaitable[int]]
    rarely: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """How much of a chore was done, and what kept it from going on, if anything did."""

    chore: Chore
    count: int
    problem: str | None


async def make_partitions(connection: asyncpg.Connection, _settings: DatabaseSettings) -> int:
    return await timeline.make_partitions(connection, timeline.MONTHS_AHEAD)


async def drop_month(connection: asyncpg.Connection, settings: DatabaseSettings) -> int:
    if settings.timeline_months is None:
        return 0
    name = await retention.drop_month(connection, settings.timeline_months)
    if name is not None:
        log.info("dropped", operation="chore", partition=name)
    return int(name is not None)


async def delete_old_events(connection: asyncpg.Connection, settings: DatabaseSettings) -> int:
    if settings.timeline_months is None:
        return 0
    return await retention.delete_old(connection, settings.timeline_months, STEP)


async def delete_expired_events(connection: asyncpg.Connection, _settings: DatabaseSettings) -> int:
    return await retention.delete_expired(connection, STEP)


async def expire_message_ids(connection: asyncpg.Connection, _settings: DatabaseSettings) -> int:
    return await inbox.expire(connection, datetime.now(UTC) - INBOX_FOR, STEP)


async def expire_outbox(connection: asyncpg.Connection, _settings: DatabaseSettings) -> int:
    return await outbox.expire(connection, limit=STEP)


async def trim_outbox(connection: asyncpg.Connection, _settings: DatabaseSettings) -> int:
    """All of it in one step: to weigh the outbox is to read all of its rows."""
    surplus = await outbox.surplus(connection)
    total = 0
    while surplus and (gone := await outbox.expire(connection, surplus, limit=STEP)):
        total += gone
    return total


CHORES: Final = (
    Chore("partitions", "partitions made", make_partitions),
    Chore("months", "months dropped", drop_month, rarely=True),
    Chore("old events", "old events deleted", delete_old_events, rarely=True),
    Chore("expired events", "expired events deleted", delete_expired_events),
    Chore("message ids", "message ids expired", expire_message_ids),
    Chore("outbox", "outbox rows expired", expire_outbox),
    Chore("outbox size", "surplus outbox rows deleted", trim_outbox, rarely=True),
)


async def run(
    connection: asyncpg.Connection, settings: DatabaseSettings, chores: Iterable[Chore] = CHORES
) -> list[Done] | None:
    """Go through the chores, each one whatever became of the others. None: somebody else is at it, and nothing was done."""
    async with alone(connection, LOCK) as ours:
        return [await _do(chore, connection, settings) for chore in chores] if ours else None


async def _step(chore: Chore, connection: asyncpg.Connection, settings: DatabaseSettings) -> int:
    with within(connection, STEP_SECONDS):
        return await chore.step(connection, settings)


async def _do(chore: Chore, connection: asyncpg.Connection, settings: DatabaseSettings) -> Done:
    count, problem = 0, None
    try:
        while rows := await _step(chore, connection, settings):
            count += rows
    except FAILURES as error:
        problem = _problem(error)
        log.warning("chore failed", operation="chore", what=chore.name, error=problem)
    if count:
        log.info("chore", operation="chore", what=chore.counts, count=count)
    return Done(chore, count, problem)


def _problem(error: BaseException) -> str:
    """For everybody to see. PostgreSQL's words may quote what people sent us: its type and SQLSTATE say enough."""
    kind = type(error).__name__
    return f"{kind} ({error.sqlstate})" if isinstance(error, asyncpg.PostgresError) else str(error) or kind
