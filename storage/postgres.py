"""Connections to PostgreSQL: who connects, as which role, under which name."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, urlsplit

import asyncpg
import orjson

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

Role = Literal["rollcall_writer", "rollcall_reader"]
WRITER: Role = "rollcall_writer"
READER: Role = "rollcall_reader"

# Every statement of the writer looks keys up, a few hundred at a time. Plans made while a table was empty must not scan
# it once it is full, and planning anew for every batch costs more than running it.
KEYED = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}

# A worker that is stopped in the middle of a transaction must not keep its locks for as long as it sleeps; one that folds the
# largest of messages on a slow machine must not be taken for that.
IDLE_IN_TRANSACTION = "10s"

# A statement that looks a few keys up waits for locks at most, and those of a worker that is stopped are gone by then, or by the
# next try.
SHORT_SECONDS = 10.0

SCHEMES = ("postgresql", "postgres")


END_SESSIONS = """
select count(*) filter (where pg_terminate_backend(pid)) from pg_stat_activity
where application_name = $1 and datname = current_database() and pid <> pg_backend_pid()
"""


class DsnError(ValueError):
    """The DSN cannot be read; the message never holds the DSN, which may carry a password."""


def check_dsn(dsn: str) -> str:
    """A DSN as asyncpg takes it. Raises DsnError."""
    try:
        parts = urlsplit(dsn)
        _ = parts.port
    except ValueError as error:
        raise DsnError("not a URL of the form postgresql://user@host:port/database") from error
    if parts.scheme not in SCHEMES or not parts.path.strip("/"):
        raise DsnError("not a URL of the form postgresql://user@host:port/database")
    return dsn


def with_database(dsn: str, database: str) -> str:
    """The same server and user, another database."""
    return urlsplit(check_dsn(dsn))._replace(path=f"/{quote(database)}").geturl()


def settings_of(role: Role | None, application_name: str) -> dict[str, str]:
    """What every session of ours starts with. jit never pays for statements of milliseconds."""
    settings = {"application_name": application_name, "jit": "off", "timezone": "UTC"}
    if role is not None:
        settings["role"] = role
    if role == WRITER:
        settings |= KEYED
        settings["idle_in_transaction_session_timeout"] = IDLE_IN_TRANSACTION
    return settings


async def connect(
    dsn: str, role: Role | None = WRITER, application_name: str = "rollcall", *, timeout: float = 10
) -> asyncpg.Connection:
    """One connection as the role; ``None`` keeps the DSN's own. jsonb is text in both directions."""
    return await asyncpg.connect(
        check_dsn(dsn),
        server_settings=settings_of(role, application_name),
        timeout=timeout,
        # Each number of rows that go as plain INSERTs is a statement of its own (copy.py): all are kept, for as long as we are.
        statement_cache_size=512,
        max_cached_statement_lifetime=0,
    )


@contextlib.contextmanager
def within(connection: asyncpg.Connection, seconds: float | None = None) -> Iterator[None]:
    """Drop the connection when the block takes longer: by default, than any short statement does.

    A server that has gone without a word is then one that has gone: what waits for it raises as at any connection that is lost.
    To cancel would not do, for asyncpg waits for the server to confirm that.
    """
    loop = asyncio.get_running_loop()
    watch = loop.call_later(SHORT_SECONDS if seconds is None else seconds, connection.terminate)
    try:
        yield
    finally:
        watch.cancel()


@contextlib.asynccontextmanager
async def alone(connection: asyncpg.Connection, lock: int) -> AsyncIterator[bool]:
    """Whether the advisory lock was free; it is then held for as long as the block, and no longer than the session."""
    with within(connection):
        ours = bool(await connection.fetchval("select pg_try_advisory_lock($1)", lock))
    try:
        yield ours
    finally:
        if ours and not connection.is_closed():
            with within(connection):
                await connection.execute("select pg_advisory_unlock($1)", lock)


async def end_sessions(connection: asyncpg.Connection, application_name: str) -> int:
    """End the other sessions of that name; their transactions roll back and let go of their locks. Returns how many.

    As the login role, which may end its own sessions; the writer may not.
    """
    async with connection.transaction():
        await connection.execute("set local role none")
        ended: int = await connection.fetchval(END_SESSIONS, application_name)
    return ended


async def replan(connection: asyncpg.Connection) -> None:
    """Plan the session's statements anew at their next run.

    For a session that has just begun on tables that were near empty: the plans it keeps are of the sizes it met them at. Called after
    1, 2, 4, 8, … batches it costs next to nothing, and the plans are never of less than half of what was written since.
    """
    await connection.execute("discard plans")


def engine(
    dsn: str, role: Role | None = READER, application_name: str = "rollcall", *, size: int = 4
) -> AsyncEngine:
    """A SQLAlchemy engine of at most ``size`` connections as the role."""
    # Imported here: most processes have no use for it, and it is a third of what they would load.
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415

    return create_async_engine(
        "postgresql+asyncpg://",  # the DSN is asyncpg's to read, so that all of it counts here as well
        async_creator=partial(connect, check_dsn(dsn), role, application_name),
        pool_size=size,
        max_overflow=0,
        pool_pre_ping=True,
        json_deserializer=orjson.loads,
    )
