"""What an exception says about the batch that met it. Pure.

- RETRY: the world's fault, and it may pass: a lost race, a server out of reach, a commit whose outcome nobody knows. The
  batch is begun again from the cursors, and nothing is dead-lettered.
- DATA: a message's fault. The batch is halved until the message stands alone.
- FATAL: the program's or the operator's fault. The worker stops.
"""

from __future__ import annotations

import enum
from typing import Literal

import asyncpg

from storage.errors import Restart


class Fault(enum.Enum):
    RETRY = "retry"
    DATA = "data"
    FATAL = "fatal"


class CursorMoved(Exception):
    """Someone else has moved a cursor: an owner that believes in an expired lease, or a commit of ours that had worked."""


class CommitUnknown(Exception):
    """The answer to a COMMIT never came: the cursors in the database know whether it worked."""


# Serialization failure, deadlock, a server that became a standby under us, a transaction of ours that idled too long.
_RETRIED_STATES = frozenset({"40001", "40P01", "25006", "25P03"})
_RETRIED_CLASSES = frozenset({"08", "53", "57"})
_DATA_CLASSES = frozenset({"22", "23", "54", "P0"})  # P0: raised by a trigger, which has looked at the row
_UNSTORABLE = frozenset({"22021", "22P05"})


def classify(error: BaseException) -> Fault:
    """Whose fault it is. A Python exception out of ``apply`` is a message's, until it is shown that all of them raise it."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        if state in _RETRIED_STATES or state[:2] in _RETRIED_CLASSES:
            return Fault.RETRY
        return Fault.DATA if state[:2] in _DATA_CLASSES else Fault.FATAL
    if isinstance(error, Restart | CursorMoved | CommitUnknown | OSError):
        return Fault.RETRY
    if isinstance(error, ValueError):  # among them asyncpg's, for a value that a column cannot take
        return Fault.DATA
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
        return Fault.RETRY  # the connection has gone, under a statement or before it
    if isinstance(error, MemoryError) or not isinstance(error, Exception):
        return Fault.FATAL
    return Fault.DATA


def burial(error: BaseException) -> tuple[Literal["unstorable", "handler_failed"], str]:
    """The reason and the detail of a dead letter. The detail quotes no value: a body may hold anything about anyone."""
    if isinstance(error, asyncpg.PostgresError):
        place = ".".join(n for n in (error.table_name, error.column_name, error.constraint_name) if n)
        detail = f"SQLSTATE {error.sqlstate} {type(error).__name__}" + (f" at {place}" if place else "")
        return ("unstorable" if error.sqlstate in _UNSTORABLE else "handler_failed"), detail
    if isinstance(error, UnicodeError) or isinstance(error.__cause__, UnicodeError):
        return "unstorable", type(error).__name__
    return "handler_failed", type(error).__name__


def keeps_place(error: BaseException) -> bool:
    """Whether the transaction is known to have rolled back for a lost race: the same batch may simply be applied again."""
    if isinstance(error, asyncpg.PostgresError):
        return error.sqlstate in ("40001", "40P01")
    return isinstance(error, Restart)


def retry_reason(error: BaseException) -> str:
    """A metric's label for a retried batch; few values."""
    if isinstance(error, CursorMoved):
        return "cursor_moved"
    if isinstance(error, CommitUnknown):
        return "commit_unknown"
    if isinstance(error, Restart):
        return "restart"
    if isinstance(error, asyncpg.PostgresError):
        return f"sqlstate_{error.sqlstate}"
    return "connection"
