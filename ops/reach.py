"""Reaching the servers for the moment of one command: what goes wrong is said in a line, with how to mend it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import asyncpg
from nats.aio.client import Client

from contracts.connection import connect

if TYPE_CHECKING:
    from elasticsearch import AsyncElasticsearch

# What asyncpg raises when it cannot connect, or when PostgreSQL refuses.
POSTGRES_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


class Unreachable(Exception):
    """A server that is out of reach or refuses us: what is wrong, and how to mend it."""

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(f"{what}; {mend}")
        self.what = what
        self.mend = mend


async def bus(url: str) -> Client:
    """A connection. Raises Unreachable at once when nobody listens, within 5 s when nobody answers."""
    with bus_errors():
        return await connect(url)


@contextlib.contextmanager
def bus_errors() -> Iterator[None]:
    """Around what connects to NATS. Raises Unreachable."""
    try:
        yield
    except PermissionError as error:
        mend = "set ROLLCALL_NATS_URL with a user and password that it knows: nats://user:password@host:4222"
        raise Unreachable(str(error), mend) from error
    except TimeoutError as error:
        raise Unreachable(str(error), "start one, or set ROLLCALL_NATS_URL to where it is") from error


@contextlib.asynccontextmanager
async def elasticsearch(url: str) -> AsyncIterator[tuple[AsyncElasticsearch, str]]:
    """A client, closed in the end, and the server's version. Raises Unreachable, also for a server that is neither 8 nor 9."""
    # Imported here: most commands have no use for it.
    from storage.search.elastic import connection as elastic  # noqa: PLC0415

    client = elastic.connect(url)
    try:
        try:
            version = await elastic.check(client)
        except elastic.UnsupportedServer as error:
            raise Unreachable(str(error), "let ELASTICSEARCH_URL name one") from error
        except elastic.Unavailable as error:
            raise Unreachable(str(error), "start it, or set ELASTICSEARCH_URL to where it is") from error
        yield client, version
    finally:
        await client.close()


@contextlib.contextmanager
def database() -> Iterator[None]:
    """Around what connects to PostgreSQL or asks it. Raises Unreachable for every error of the server."""
    try:
        yield
    except POSTGRES_ERRORS as error:
        raise refused(error) from error


def refused(error: BaseException) -> Unreachable:
    """What an error of PostgreSQL means for who started us; it never quotes the DSN."""
    said = " ".join(str(error).split()).rstrip(".") or "no answer in time"
    if isinstance(error, OSError):
        return Unreachable(
            f"PostgreSQL is out of reach: {said}", "start it, or set ROLLCALL_POSTGRES_DSN to where it is"
        )
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        mend = 'README, "Run it on your own servers", says which roles and rights are needed'
    elif isinstance(error, asyncpg.UndefinedTableError | asyncpg.InvalidParameterValueError):
        # There is no such table, or no such role.
        mend = "run `rollcall migrate`"
    elif isinstance(error, asyncpg.InterfaceError) or _at_log_in(error):
        mend = "mend ROLLCALL_POSTGRES_DSN: postgresql://user:password@host:5432/database"
    else:
        mend = "see whether `rollcall doctor` knows why"
    return Unreachable(f"PostgreSQL: {said}", mend)


def _at_log_in(error: BaseException) -> bool:
    """The user, the password or the database is wrong: classes 28 and 3D."""
    return isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "")[:2] in {"28", "3D"}
