"""Tickets that a token is exchanged for, each good once, on any instance; and the key that all instances sign with."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

import asyncpg
import orjson

KEY = "select key from realtime_key"

# Those that nobody came with are swept where the next one is made.
ISSUE = """
with swept as (delete from realtime_tickets where expires_at < clock_timestamp())
insert into realtime_tickets (digest, claims, expires_at)
values ($1, $2::jsonb, clock_timestamp() + $3::interval)
"""

REDEEM = (
    "delete from realtime_tickets where digest = $1 returning claims, expires_at > clock_timestamp() as good"
)


async def key(connection: asyncpg.Connection) -> bytes:
    """What all instances sign cursors with: 32 bytes."""
    return bytes(await connection.fetchval(KEY))


async def issue(connection: asyncpg.Connection, ticket: str, claims: dict[str, Any], seconds: float) -> None:
    """Keep a ticket; only its digest is kept, so that nobody who reads the table can use it."""
    await connection.execute(
        ISSUE, _digest(ticket), orjson.dumps(claims).decode(), timedelta(seconds=seconds)
    )


async def redeem(connection: asyncpg.Connection, ticket: str) -> dict[str, Any] | None:
    """The claims behind a ticket, once; None where there is none, or no more."""
    row = await connection.fetchrow(REDEEM, _digest(ticket))
    if row is None or not row["good"]:
        return None
    claims: dict[str, Any] = orjson.loads(row["claims"])
    return claims


def _digest(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode()).digest()
