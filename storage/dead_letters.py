"""Messages that could not be applied, whole, with the reason. Rows first; the relay announces them on the bus."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg
import orjson

from storage.ids import uuid7

DETAIL = 1000  # characters of a detail that are kept


@dataclass(frozen=True, slots=True)
class NewDeadLetter:
    """A message about to be buried; ``replay_of`` is the dead letter that it was replayed from, if it was."""

    stream: str
    tenant: str
    partition: int
    position: int
    subject: str
    reason: str
    detail: str
    headers: Mapping[str, str]
    body: bytes
    broker_time: datetime
    replay_of: str | None = None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter as it is kept. ``count`` says how often the message has died, replays included."""

    id: uuid.UUID
    stream: str
    tenant: str
    partition: int
    position: int
    subject: str
    reason: str
    detail: str
    headers: dict[str, str]
    body: bytes  # empty in a listing
    count: int
    broker_time: datetime
    created_at: datetime
    replayed_at: datetime | None


_COLUMNS = (
    "id, stream, tenant_id, partition, position, subject, reason, detail, headers, {body}, count, broker_time,"
    " created_at, replayed_at"
)
_WHOLE = _COLUMNS.format(body="body")
_LISTED = _COLUMNS.format(body="''::bytea as body")

INSERT = """
insert into dead_letters (id, stream, tenant_id, partition, position, subject, reason, detail, headers, body, count,
    broker_time, created_at)
select n.id, n.stream, n.tenant_id, n.partition, n.position, n.subject, n.reason, n.detail, n.headers, n.body,
    1 + coalesce(earlier.count, 0), n.broker_time, clock_timestamp()
from unnest($1::uuid[], $2::text[], $3::text[], $4::integer[], $5::bigint[], $6::text[], $7::text[], $8::text[],
    $9::jsonb[], $10::bytea[], $11::timestamptz[], $12::uuid[])
    as n(id, stream, tenant_id, partition, position, subject, reason, detail, headers, body, broker_time, replay_of)
left join dead_letters as earlier on earlier.id = n.replay_of and earlier.tenant_id = n.tenant_id
"""

LIST = f"""
select {_LISTED} from dead_letters
where ($1::text is null or tenant_id = $1) and ($2::text is null or stream = $2)
    and ($3::text is null or reason = $3) and ($4::uuid is null or id < $4)
order by id desc limit $5
"""

SHOW = f"select {_WHOLE} from dead_letters where id = $1"

UNPUBLISHED = f"""
select {_WHOLE} from (
    select *, sum(octet_length(body)) over (order by id) as bytes, row_number() over (order by id) as place
    from dead_letters where published_at is null order by id limit $1
) as head
where place = 1 or bytes <= $2
order by id
"""

MARK_PUBLISHED = "update dead_letters set published_at = clock_timestamp() where id = any($1::uuid[])"

MARK_REPLAYED = "update dead_letters set replayed_at = clock_timestamp() where id = any($1::uuid[])"

DELETE = """
with old as (
    select id from dead_letters
    where created_at < $1 and ($2::text is null or tenant_id = $2) and ($3::uuid is null or id > $3)
    order by id limit $4
)
delete from dead_letters as d using old where d.id = old.id returning d.id
"""

EXISTING = """
select d.tenant_id, d.id from dead_letters as d
join unnest($1::text[], $2::uuid[]) as c(tenant_id, id) on c.tenant_id = d.tenant_id and c.id = d.id
"""


async def insert(connection: asyncpg.Connection, letters: Sequence[NewDeadLetter]) -> list[uuid.UUID]:
    """Bury messages, one statement however many. Text that Postgres cannot hold is mended; the body stays as it is."""
    ids = [uuid7() for _ in letters]
    await connection.execute(
        INSERT,
        ids,
        [letter.stream for letter in letters],
        [_text(letter.tenant) for letter in letters],
        [letter.partition for letter in letters],
        [letter.position for letter in letters],
        [_text(letter.subject) for letter in letters],
        [letter.reason for letter in letters],
        [_text(letter.detail)[:DETAIL] for letter in letters],
        [_headers(letter.headers) for letter in letters],
        [letter.body for letter in letters],
        [letter.broker_time for letter in letters],
        [_uuid(letter.replay_of) for letter in letters],
    )
    return ids


async def listed(
    connection: asyncpg.Connection,
    *,
    tenant: str | None = None,
    stream: str | None = None,
    reason: str | None = None,
    limit: int | None = None,
    step: int = 500,
) -> AsyncIterator[DeadLetter]:
    """Dead letters without their bodies, the newest first, read ``step`` at a time; all of them unless there is a limit."""
    before, left = None, limit
    while left is None or left > 0:
        wanted = step if left is None else min(step, left)
        rows = await connection.fetch(LIST, tenant, stream, reason, before, wanted)
        for row in rows:
            yield _letter(row)
        if len(rows) < wanted:
            return
        before, left = rows[-1]["id"], None if left is None else left - wanted


async def show(connection: asyncpg.Connection, id: uuid.UUID) -> DeadLetter | None:  # noqa: A002 - the column's name
    """One dead letter with its body."""
    row = await connection.fetchrow(SHOW, id)
    return None if row is None else _letter(row)


async def mark_replayed(connection: asyncpg.Connection, ids: Sequence[uuid.UUID]) -> None:
    await connection.execute(MARK_REPLAYED, ids)


async def delete(
    connection: asyncpg.Connection, before: datetime, tenant: str | None = None, *, step: int = 500
) -> int:
    """Delete those that died before the moment, ``step`` of them a transaction. Returns how many went."""
    total, after = 0, None
    while gone := await connection.fetch(DELETE, before, tenant, after, step):
        total, after = total + len(gone), max(row["id"] for row in gone)
    return total


async def unpublished(connection: asyncpg.Connection, limit: int, max_bytes: int) -> list[DeadLetter]:
    """The oldest dead letters that the bus has not heard of, whole; at least one where there is one."""
    return [_letter(row) for row in await connection.fetch(UNPUBLISHED, limit, max_bytes)]


async def mark_published(connection: asyncpg.Connection, ids: Sequence[uuid.UUID]) -> None:
    await connection.execute(MARK_PUBLISHED, ids)


async def existing(
    connection: asyncpg.Connection, claimed: Iterable[tuple[str, str]]
) -> set[tuple[str, str]]:
    """Of (tenant, id) pairs as senders claim them, those that name a dead letter of that tenant."""
    pairs = [(tenant, id_, text) for tenant, text in claimed if (id_ := _uuid(text)) is not None]
    rows = await connection.fetch(EXISTING, [tenant for tenant, _, _ in pairs], [id_ for _, id_, _ in pairs])
    found = {(row["tenant_id"], row["id"]) for row in rows}
    return {(tenant, text) for tenant, id_, text in pairs if (tenant, id_) in found}


def _letter(row: asyncpg.Record) -> DeadLetter:
    values = list(row.values())
    values[8] = orjson.loads(values[8])
    return DeadLetter(*values)


def _headers(headers: Mapping[str, str]) -> str:
    return orjson.dumps({_text(name): _text(value) for name, value in headers.items()}).decode()


def _text(value: str) -> str:
    """The text without what Postgres refuses: NUL and lone surrogates."""
    return value.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")


def _uuid(value: str | None) -> uuid.UUID | None:
    """An id in the one spelling that it has: as a replay it is a part of what the message is known by."""
    try:
        found = uuid.UUID(value) if value else None
    except ValueError:
        return None
    return found if str(found) == value else None
