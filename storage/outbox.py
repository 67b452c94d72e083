"""What leaves: rows of framed events and replies, written with the effects and published by the relay.

Invariants:

- A row holds events of one shard; two rows that share a contact have ids in commit order, because ids are drawn after
  the contacts are locked.
- ``events`` is lines of ``subject id payload``, ``replies`` lines of ``subject payload``. Neither a subject nor an id has
  a space, and JSON escapes its newlines, so a line is one message.
- ``relay_shards`` says: every row published up to this marker is marked. Whoever moves it compares and sets it in the
  statement that marks the rows, so that a relay that slept marks nothing on the word of a stream that has gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import asyncpg

ROW_EVENTS = 900  # a row must fit one atomic batch: 1000 messages, the shards' markers included
ROW_BYTES = 4_000_000
KEEP_FOR = timedelta(hours=48)  # published rows, to refill a broker that lost what it had acknowledged
KEEP_BYTES = 4 << 30


class OutboundEvent(NamedTuple):
    """An event on its way to the outbox: ``payload`` is the whole CloudEvent, without a raw newline."""

    shard: int
    subject: str
    id: str
    payload: bytes


class Reply(NamedTuple):
    """A result on its way to ``Rollcall-Reply-To``: ``payload`` is the whole CloudEvent, without a raw newline."""

    subject: str
    payload: bytes


class RowName(NamedTuple):
    """A row as a marker names it: an id alone comes again after a database was restored to an earlier point."""

    id: int
    created_at: datetime


class Row(NamedTuple):
    """A row that waits. ``events`` and ``replies`` are framed lines, empty where there are none."""

    id: int
    created_at: datetime
    shard: int
    events: bytes
    event_count: int
    replies: bytes

    @property
    def name(self) -> RowName:
        return RowName(self.id, self.created_at)


class Marker(NamedTuple):
    """How far a shard is: the stream's creation time, and the sequence of the shard's last marker in it (0: none)."""

    stream_created: datetime
    sequence: int


class Move(NamedTuple):
    """A shard's marker as it was known, and as it is now; ``reached``: the last sequence that its events lie at."""

    shard: int
    known: Marker
    now: Marker
    reached: int


class Backlog(NamedTuple):
    """Rows that wait, and the age of the oldest in seconds (0 without one)."""

    rows: int
    seconds: float


# The identity is drawn after the sort, so ids rise in the order of the arrays.
APPEND = """
insert into outbox (shard, events, event_count, replies)
select shard, events, event_count, replies
from unnest($1::smallint[], $2::bytea[], $3::integer[], $4::bytea[]) with ordinality
    as r(shard, events, event_count, replies, place)
order by place
"""

UNPUBLISHED = """
select id, created_at, shard, events, event_count, replies
from (
    select *, row_number() over (order by id) as place,
        sum(event_count) over (order by id) as total,
        sum(octet_length(events) + octet_length(replies)) over (order by id) as bytes
    from outbox
    where published_at is null and shard = any($1::smallint[])
    order by id limit $2
) as head
where place = 1 or total <= $3 and bytes <= $4
order by id
"""

ADVANCE = """
with moved as (
    update relay_shards as s set stream_created = m.created, marker_sequence = m.sequence
    from unnest($1::smallint[], $2::timestamptz[], $3::bigint[], $4::timestamptz[], $5::bigint[], $6::bigint[])
        as m(shard, known_created, known_sequence, created, sequence, reached)
    where s.shard = m.shard and s.stream_created = m.known_created and s.marker_sequence = m.known_sequence
    returning s.shard, m.reached
), marked as (
    update outbox as o set published_at = clock_timestamp(), stream_sequence = moved.reached
    from moved, unnest($7::bigint[], $8::timestamptz[]) as r(id, created_at)
    where o.id = r.id and o.created_at = r.created_at and o.shard = moved.shard and o.published_at is null
)
select shard from moved
"""

REPLIED = """
update outbox set published_at = clock_timestamp() where id = any($1::bigint[]) and published_at is null
"""

# The replies have gone out before the rows were marked; only the events are missing.
REFILL = """
with moved as (
    update relay_shards set stream_created = $4, marker_sequence = $5
    where shard = $1 and stream_created = $2 and marker_sequence = $3
    returning shard
), unmarked as (
    update outbox as o set published_at = null, stream_sequence = null, replies = ''
    from moved where o.shard = moved.shard and o.stream_sequence > $6
    returning o.id
)
select (select count(*) from moved) as moved, (select count(*) from unmarked) as rows
"""

BEGIN = """
insert into relay_shards (shard, stream_created, marker_sequence) values ($1, $2, $3) on conflict do nothing
returning shard
"""

REACHED = (
    "select coalesce(max(stream_sequence), 0) from outbox where shard = $1 and stream_sequence is not null"
)

RECORDED = "select stream_created, marker_sequence from relay_shards where shard = $1"

NAMED = """
select o.id, o.created_at, o.shard, o.events, o.event_count, o.replies
from outbox as o join unnest($1::bigint[], $2::timestamptz[]) as r(id, created_at) using (id, created_at)
where o.published_at is null order by o.id
"""

BACKLOG = """
select count(*) as rows, coalesce(extract(epoch from clock_timestamp() - min(created_at)), 0)::float8 as seconds
from outbox where published_at is null
"""

OLDEST = """
select extract(epoch from clock_timestamp() - created_at)::float8 from outbox
where published_at is null order by id limit 1
"""

# Only the oldest rows are looked at: what waits there for two days is a relay that stands still, and says so.
EXPIRE = """
with oldest as (select id, published_at from outbox order by id limit $3)
delete from outbox as o using oldest
where o.id = oldest.id and (oldest.published_at < clock_timestamp() - $1::interval
    or oldest.published_at is not null and o.id <= $2)
"""

SURPLUS = """
select id from (
    select id, sum(octet_length(events) + octet_length(replies)) over (order by id desc) as bytes from outbox
) as newest where bytes > $1 order by id desc limit 1
"""


async def append(
    connection: asyncpg.Connection, events: Sequence[OutboundEvent], replies: Sequence[Reply] = ()
) -> int:
    """Write what leaves, in the caller's transaction, after its contacts are locked. Returns the number of rows."""
    rows: list[tuple[int, bytes, int]] = []
    by_shard: dict[int, list[bytes]] = {}
    for event in events:
        line = b"%b %b %b" % (event.subject.encode(), event.id.encode(), event.payload)
        by_shard.setdefault(event.shard, []).append(line)
    for shard in sorted(by_shard):
        rows += [(shard, body, count) for body, count in _bodies(by_shard[shard])]
    answers = [body for body, _ in _bodies([b"%b %b" % (r.subject.encode(), r.payload) for r in replies])]
    rows += [(0, b"", 0)] * (len(answers) - len(rows))
    if rows:
        answers += [b""] * (len(rows) - len(answers))
        await connection.execute(
            APPEND,
            [shard for shard, _, _ in rows],
            [body for _, body, _ in rows],
            [n for _, _, n in rows],
            answers,
        )
    return len(rows)


def _bodies(lines: Sequence[bytes]) -> Iterable[tuple[bytes, int]]:
    """Lines joined into bodies of at most ROW_EVENTS lines and ROW_BYTES (one line may be more), with their counts."""
    start = size = 0
    for place, line in enumerate(lines):
        if place > start and (place - start == ROW_EVENTS or size + len(line) > ROW_BYTES):
            yield _body(lines[start:place])
            start, size = place, 0
        size += len(line) + 1
    if lines:
        yield _body(lines[start:])


def _body(lines: Sequence[bytes]) -> tuple[bytes, int]:
    body = b"\n".join(lines)
    if body.count(b"\n") != len(lines) - 1:
        raise ValueError("a payload with a raw newline cannot be framed")
    return body, len(lines)


async def unpublished(
    connection: asyncpg.Connection, shards: Iterable[int], max_rows: int, max_events: int, max_bytes: int
) -> list[Row]:
    """The oldest rows of these shards that wait, in id order; at least one where there is one."""
    rows = await connection.fetch(UNPUBLISHED, sorted(shards), max_rows, max_events, max_bytes)
    return [Row(*row) for row in rows]


async def advance(
    connection: asyncpg.Connection, moves: Sequence[Move], rows: Sequence[RowName]
) -> frozenset[int]:
    """Move the shards' markers and mark the rows that they published. Returns the shards that moved.

    A shard whose marker is not the known one stays, with its rows: someone else moved it.
    """
    moved = await connection.fetch(
        ADVANCE,
        [m.shard for m in moves],
        [m.known.stream_created for m in moves],
        [m.known.sequence for m in moves],
        [m.now.stream_created for m in moves],
        [m.now.sequence for m in moves],
        [m.reached for m in moves],
        [r.id for r in rows],
        [r.created_at for r in rows],
    )
    return frozenset(row["shard"] for row in moved)


async def mark_replied(connection: asyncpg.Connection, ids: Sequence[int]) -> None:
    """Mark rows that hold replies only: they are in no stream, so no marker speaks of them."""
    await connection.execute(REPLIED, ids)


async def recorded(connection: asyncpg.Connection, shard: int) -> Marker | None:
    """The shard's marker as the database knows it."""
    row = await connection.fetchrow(RECORDED, shard)
    return Marker(*row) if row else None


async def reached(connection: asyncpg.Connection, shard: int) -> int:
    """The highest sequence at which the shard's events are known to lie; 0 without any."""
    return int(await connection.fetchval(REACHED, shard))


async def begin(connection: asyncpg.Connection, shard: int, marker: Marker) -> bool:
    """Record a shard for the first time; False when someone else did."""
    return await connection.fetchval(BEGIN, shard, *marker) is not None


async def named(connection: asyncpg.Connection, rows: Sequence[RowName]) -> list[Row]:
    """Those of the rows that are not marked yet."""
    found = await connection.fetch(NAMED, [r.id for r in rows], [r.created_at for r in rows])
    return [Row(*row) for row in found]


async def refill(connection: asyncpg.Connection, move: Move, after: int) -> int | None:
    """Let rows published after this sequence wait again. Returns how many, or None when someone moved the shard."""
    row = await connection.fetchrow(REFILL, move.shard, *move.known, *move.now, after)
    assert row is not None
    return int(row["rows"]) if row["moved"] else None


async def backlog(connection: asyncpg.Connection) -> Backlog:
    """What waits in all shards."""
    row = await connection.fetchrow(BACKLOG)
    assert row is not None
    return Backlog(row["rows"], row["seconds"])


async def oldest(connection: asyncpg.Connection) -> float:
    """The age in seconds of the row that has waited longest; 0 without one."""
    return max(0.0, float(await connection.fetchval(OLDEST) or 0))


async def surplus(connection: asyncpg.Connection, keep_bytes: int = KEEP_BYTES) -> int:
    """The id up to which rows are beyond ``keep_bytes``, newest first; 0 where all fit. Reads every row's size."""
    return int(await connection.fetchval(SURPLUS, keep_bytes) or 0)


async def expire(
    connection: asyncpg.Connection, surplus_id: int = 0, keep_for: timedelta = KEEP_FOR, limit: int = 500
) -> int:
    """Delete published rows that are older than ``keep_for`` or not above ``surplus_id``, at most ``limit``."""
    tag = await connection.execute(EXPIRE, keep_for, surplus_id, limit)
    return int(tag.rpartition(" ")[2])
