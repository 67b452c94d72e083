"""What goes wrong, in words; and what passes, or what an operator can mend while a worker waits: the broker or the database is away, or is not ready."""

from __future__ import annotations

from typing import Final

import asyncpg
import nats.errors

from storage.errors import ReadTimeout, Unavailable
from workers.jetstream import NoAnswer, Refused


def said(error: BaseException) -> str:
    """The error by its kind and its words, where it has any."""
    return f"{type(error).__name__}: {error}".removesuffix(": ")


TRANSIENT: Final = (
    NoAnswer,
    Refused,
    Unavailable,
    ReadTimeout,
    OSError,
    nats.errors.Error,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
