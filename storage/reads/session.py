"""The one door to the read role: a read-only transaction that sees one tenant.

Invariant: nothing in ``storage.reads`` takes a bare connection; a ``TenantReads`` exists only inside a transaction whose
``rollcall.tenant`` is set, and every statement gets the same tenant as its parameter ``tenant``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
from sqlalchemy import CursorResult, Executable, Row, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage.errors import ReadTimeout, Unavailable

_CANCELLED = "57014"  # of SQLSTATE
# Its classes: connection, rollback (by a standby), resources, an operator.
_PASSING = ("08", "40", "53", "57")
_BIND = text(
    "select set_config('rollcall.tenant', :tenant, true), set_config('statement_timeout', :timeout, true)"
)


@dataclass(frozen=True, slots=True)
class TenantReads:
    """A transaction of one tenant; all its statements see the same snapshot. Each of them may raise ReadTimeout and Unavailable."""

    tenant: str
    _connection: AsyncConnection

    async def rows(self, statement: Executable, **parameters: Any) -> Sequence[Row[Any]]:
        return (await self._execute(statement, parameters)).all()

    async def scalar(self, statement: Executable, **parameters: Any) -> Any:
        return (await self._execute(statement, parameters)).scalar()

    async def _execute(self, statement: Executable, parameters: dict[str, Any]) -> CursorResult[Any]:
        with _as_ours():
            return await self._connection.execute(statement, {"tenant": self.tenant, **parameters})


class Reads:
    """Reads as the role of the engine. ``timeout`` is in seconds, of one statement; past it the database cancels."""

    def __init__(self, engine: AsyncEngine, timeout: float = 5) -> None:
        self._engine = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._timeout = f"{timeout * 1000:.0f}ms"

    @asynccontextmanager
    async def of(self, tenant: str) -> AsyncIterator[TenantReads]:
        """Open a transaction of the tenant. Raises ValueError without one, Unavailable, ReadTimeout."""
        if not tenant:
            raise ValueError("a read needs a tenant")
        async with AsyncExitStack() as stack:
            with _as_ours():
                connection = await stack.enter_async_context(self._engine.connect())
                await connection.execute(_BIND, {"tenant": tenant, "timeout": self._timeout})
            yield TenantReads(tenant, connection)


def driver_error(error: BaseException) -> BaseException:
    """What the driver raised, below what SQLAlchemy and we made of it."""
    if isinstance(error, Unavailable) and error.__cause__ is not None:
        error = error.__cause__
    wrapped = error.orig if isinstance(error, DBAPIError) else None
    return (wrapped and wrapped.__cause__) or error


@contextmanager
def _as_ours() -> Iterator[None]:
    """What a caller can act on by storage's own names; whatever else the driver and SQLAlchemy raise is left as it is.

    Raises ReadTimeout, Unavailable.
    """
    try:
        yield
    except (OSError, PoolTimeoutError) as error:
        raise Unavailable(type(error).__name__) from error
    except (DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        driver = driver_error(error)
        state = str(getattr(driver, "sqlstate", None) or "")
        if state == _CANCELLED:
            raise ReadTimeout from error
        cut = isinstance(driver, asyncpg.InterfaceError | asyncpg.InternalClientError | OSError)
        if state.startswith(_PASSING) or (cut and not isinstance(driver, ValueError)):  # a value's fault
            raise Unavailable(type(driver).__name__) from error
        raise
