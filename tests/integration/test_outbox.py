"""The outbox's rows: framed, split, read in order, marked by compare-and-set, kept for a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from storage import outbox
from storage.outbox import Marker, Move
from storage.postgres import WRITER, connect
from tests.helpers.outgoing import append, event, reply

ALL = range(4)
MADE = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def connection(database: str):
    found = await connect(database, WRITER)
    await found.execute("delete from outbox")
    await found.execute("delete from relay_shards")
    yield found
    await found.close()


async def waiting(
    connection: asyncpg.Connection, max_rows: int = 1000, max_events: int = 10_000, max_bytes: int = 1 << 30
):
    return await outbox.unpublished(connection, ALL, max_rows, max_events, max_bytes)


async def test_one_row_a_shard_in_order(connection):
    sent = [event(n % 3, n) for n in range(30)]
    await append(connection, sent, [reply("_INBOX.a", 1), reply("_INBOX.b", 2)])
    rows = await waiting(connection)
    assert [(row.shard, row.event_count) for row in rows] == [(0, 10), (1, 10), (2, 10)]
    for row in rows:
        lines = [line.split(b" ", 2) for line in row.events.split(b"\n")]
        mine = [e for e in sent if e.shard == row.shard]
        assert [(s.decode(), i.decode(), p) for s, i, p in lines] == [
            (e.subject, e.id, e.payload) for e in mine
        ]
    assert rows[0].replies.split(b"\n")[1].startswith(b"_INBOX.b {")
    assert [row.replies for row in rows[1:]] == [b"", b""]


async def test_split_above_900_events_and_by_bytes(connection):
    many = [event(1, n) for n in range(2000)]
    await append(connection, many)
    rows = await waiting(connection)
    assert [row.event_count for row in rows] == [900, 900, 200]
    ids = [line.split(b" ")[1].decode() for row in rows for line in row.events.split(b"\n")]
    assert ids == [e.id for e in many]
    await connection.execute("delete from outbox")
    await append(connection, [event(1, n, size=900_000) for n in range(9)] + [event(1, 9, size=5_000_000)])
    assert [row.event_count for row in await waiting(connection)] == [4, 4, 1, 1]


async def test_replies_alone_go_with_shard_0(connection):
    await append(connection, [], [reply("_INBOX.a", 1)])
    (row,) = await waiting(connection)
    assert (row.shard, row.events, row.event_count) == (0, b"", 0)
    await append(connection, [])
    assert len(await waiting(connection)) == 1


async def test_many_replies_are_split_too(connection):
    big = [outbox.Reply("_INBOX.a", b"x" * 3_000_000) for _ in range(3)]
    await append(connection, [event(2, 1)], big)
    assert [(row.shard, len(row.replies) > 0) for row in await waiting(connection)] == [
        (2, True),
        (0, True),
        (0, True),
    ]


async def test_a_raw_newline_is_refused(connection):
    with pytest.raises(ValueError, match="newline"):
        await append(connection, [event(0, 1)._replace(payload=b'{"a":\n1}')])


async def test_read_within_bounds_and_by_shard(connection):
    for n in range(10):
        await append(connection, [event(n % 2, n, size=1000)])
    assert len(await waiting(connection, max_rows=3)) == 3
    assert len(await waiting(connection, max_events=4)) == 4
    assert len(await waiting(connection, max_bytes=3000)) == 2
    assert len(await waiting(connection, max_bytes=1)) == 1
    assert [row.shard for row in await outbox.unpublished(connection, [1], 100, 1000, 1 << 20)] == [1] * 5


async def test_marking_is_compare_and_set(connection):
    await append(connection, [event(0, 1), event(1, 2)])
    first, second = await waiting(connection)
    start = Marker(MADE, 0)
    assert await outbox.begin(connection, 0, start)
    assert not await outbox.begin(connection, 0, start)
    assert await outbox.begin(connection, 1, Marker(MADE, 5))
    moves = [Move(0, start, Marker(MADE, 7), 7), Move(1, start, Marker(MADE, 9), 9)]
    assert await outbox.advance(connection, moves, [first.name, second.name]) == {0}
    assert await waiting(connection) == [second]
    assert await outbox.recorded(connection, 0) == Marker(MADE, 7)
    assert await outbox.recorded(connection, 1) == Marker(MADE, 5)
    # The same id of another history of the database is another row.
    foreign = second.name._replace(created_at=second.created_at + timedelta(microseconds=1))
    await outbox.advance(connection, [Move(1, Marker(MADE, 5), Marker(MADE, 9), 9)], [foreign])
    assert await waiting(connection) == [second]


async def test_refill(connection):
    for n in range(3):
        await append(connection, [event(0, n)], [reply("_INBOX.a", n)])
    rows = await waiting(connection)
    await outbox.begin(connection, 0, Marker(MADE, 0))
    for n, row in enumerate(rows):
        await outbox.advance(
            connection, [Move(0, Marker(MADE, n * 10), Marker(MADE, n * 10 + 10), n * 10 + 10)], [row.name]
        )
    assert await waiting(connection) == []
    stale = Move(0, Marker(MADE, 20), Marker(MADE, 10), 10)
    assert await outbox.refill(connection, stale, 10) is None
    assert await outbox.refill(connection, stale._replace(known=Marker(MADE, 30)), 10) == 2
    again = await waiting(connection)
    assert [row.id for row in again] == [row.id for row in rows[1:]]
    assert all(row.replies == b"" for row in again), "their replies went out before they were marked"


async def test_backlog(connection):
    assert await outbox.backlog(connection) == (0, 0)
    await append(connection, [event(0, 1), event(1, 2)])
    found = await outbox.backlog(connection)
    assert found.rows == 2
    assert 0 < found.seconds < 60


async def test_expiry_by_age_and_by_bytes(connection):
    for n in range(6):
        await append(connection, [event(0, n, size=1000)])
    rows = await waiting(connection)
    published = [row.id for row in rows[:5]]
    await outbox.mark_replied(connection, published)
    await connection.execute(
        "update outbox set published_at = now() - interval '49 hours' where id = any($1::bigint[])",
        published[:2],
    )
    assert await outbox.surplus(connection) == 0
    assert await outbox.expire(connection, limit=1) == 1
    assert await outbox.expire(connection) == 1
    assert await outbox.expire(connection) == 0
    surplus = await outbox.surplus(connection, keep_bytes=2500)
    assert await outbox.expire(connection, surplus) == 2
    left = await connection.fetch("select id from outbox order by id")
    assert [row["id"] for row in left] == [rows[4].id, rows[5].id], "what waits stays, however large"
