"""Message ids that were seen, each with its first outcome: a repeat is answered, not applied.

Invariant: a row is written by the transaction that applied the message, so an id is taken if and only if its effects are.
A message that a handler failed on takes its id too: it is kept as a dead letter, once, however often it was sent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

import asyncpg

from storage.copy import Rows


class SeenKey(NamedTuple):
    """A message's or an item's identity within its tenant."""

    tenant_id: str
    digest: bytes  # 16 bytes: see ``digest``


def digest(*parts: str) -> bytes:
    """The 16-byte digest of (source, id). Parts are length-framed, so that no two tuples collide by concatenation."""
    framed = "".join([f"{len(part)}:{part}" for part in parts])
    return hashlib.blake2b(framed.encode(), digest_size=16).digest()


TAKE = """
insert into inbox_messages (tenant_id, digest, outcome, created_at) values ($1, $2, $3, now()) on conflict do nothing
"""

FIRST_OUTCOME = "select outcome from inbox_messages where tenant_id = $1 and digest = $2"

# The rows are fetched by where they lie, in whichever partition; the same place in another one is another row.
EXPIRE = """
with old as materialized (select tableoid, ctid from inbox_messages where created_at < $1 limit $2)
delete from inbox_messages where ctid = any (array(select ctid from old))
    and (tableoid, ctid) in (select tableoid, ctid from old) and created_at < $1
"""


def rows(outcomes: Mapping[SeenKey, str], at: datetime) -> Rows:
    """What takes the keys, in their order."""
    in_order = sorted(outcomes, key=lambda key: (key.digest, key.tenant_id))  # as the partitions lie
    return Rows(
        "inbox_messages",
        ("tenant_id", "digest", "outcome", "created_at"),
        [(*key, outcomes[key], at) for key in in_order],
    )


async def take(connection: asyncpg.Connection, key: SeenKey, outcome: str) -> str | None:
    """Take one key, unless it is taken already: then its first outcome is returned."""
    if await connection.execute(TAKE, *key, outcome) == "INSERT 0 1":
        return None
    first: str = await connection.fetchval(FIRST_OUTCOME, *key)
    return first


async def expire(connection: asyncpg.Connection, older_than: datetime, limit: int) -> int:
    """Forget at most ``limit`` ids that were taken before ``older_than``; returns how many went."""
    status: str = await connection.execute(EXPIRE, older_than, limit)
    return int(status.rsplit(" ", 1)[1])
