"""The one door to the read role: a read-only transaction that sees one tenant.

Invariant: nothing in ``storage.reads`` takes a bare connection; a ``TenantReads`` exists only inside a transaction whose
``rollcall.tenant`` is set, and every statement gets the same tenant as its parameter ``tenant``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import CursorResult, Executable, Row, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage.errors import ReadTimeout

_CANCELLED = "57014"  # of SQLSTATE
_BIND = text(
    "select set_config('rollcall.tenant', :tenant, true), set_config('statement_timeout', :timeout, true)"
)


@dataclass(frozen=True, slots=True)
class TenantReads:
    """A transaction of one tenant; all its statements see the same snapshot. Each of them may raise ReadTimeout."""

    tenant: str
    _connection: AsyncConnection

    async def rows(self, statement: Executable, **parameters: Any) -> Sequence[Row[Any]]:
        return (await self._execute(statement, parameters)).all()

    async def scalar(self, statement: Executable, **parameters: Any) -> Any:
        return (await self._execute(statement, parameters)).scalar()

    async def _execute(self, statement: Executable, parameters: dict[str, Any]) -> CursorResult[Any]:
        try:
            return await self._connection.execute(statement, {"tenant": self.tenant, **parameters})
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) == _CANCELLED:
                raise ReadTimeout from error
            raise


class Reads:
    """Reads as the role of the engine. ``timeout`` is in seconds, of one statement; past it the database cancels."""

    def __init__(self, engine: AsyncEngine, timeout: float = 5) -> None:
        self._engine = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._timeout = f"{timeout * 1000:.0f}ms"

    @asynccontextmanager
    async def of(self, tenant: str) -> AsyncIterator[TenantReads]:
        """Open a transaction of the tenant. Raises ValueError without one."""
        if not tenant:
            raise ValueError("a read needs a tenant")
        async with self._engine.connect() as connection:
            await connection.execute(_BIND, {"tenant": tenant, "timeout": self._timeout})
            yield TenantReads(tenant, connection)
