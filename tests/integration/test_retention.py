"""How long timelines are kept: exactly the months that are over go, expired events in small steps, and nobody waits for it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from storage import copy, retention, timeline
from storage.ids import uuid7
from storage.postgres import READER, WRITER, connect
from storage.rows import TimelineEvent
from tests.helpers import months, seed
from tests.helpers.beside import beside
from tests.helpers.months import TENANT, begins

KEPT = 12
LITTLE = timedelta(microseconds=1)


@pytest.fixture
async def writer(database: str, owner: asyncpg.Connection) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(database, WRITER)
    yield connection
    await connection.close()
    await owner.execute("truncate contact_events")
    for name in await months.there(owner):
        if name < months.name(0):
            await owner.execute(f"drop table {name}")


async def ids(connection: asyncpg.Connection) -> set[uuid.UUID]:
    return {row[0] for row in await connection.fetch("select id from contact_events")}


async def dropped(writer: asyncpg.Connection, kept: int = KEPT) -> list[str]:
    """Whoever is at a month just then is waited for half a second; if that is not enough it goes the next time."""
    names = []
    while True:
        try:
            name = await retention.drop_month(writer, kept)
        except asyncpg.LockNotAvailableError:
            continue
        if name is None:
            return names
        names.append(name)


async def test_a_row_of_any_date_finds_a_partition(writer: asyncpg.Connection) -> None:
    now = datetime.now(UTC)
    for created in (
        datetime(1999, 1, 1, tzinfo=UTC),
        now,
        begins(-timeline.MONTHS_AHEAD),
        datetime(2999, 1, 1, tzinfo=UTC),
    ):
        await seed.event(writer, TENANT, uuid.uuid4(), 1, created_at=created)
    rows = await writer.fetch("select tableoid::regclass::text from contact_events order by created_at")
    assert [row[0] for row in rows] == [
        "contact_events_default",
        months.name(0),
        months.name(-timeline.MONTHS_AHEAD),
        "contact_events_default",
    ]


async def test_the_months_that_are_over_go_and_no_other(
    writer: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    made = {ago: await months.make(owner, ago) for ago in (30, 14, 13, 12, 11, 1)}
    before = await months.there(owner)
    assert await dropped(writer) == [months.name(30), months.name(14), months.name(13)]
    assert await months.there(owner) == before - {months.name(30), months.name(14), months.name(13)}
    assert await ids(owner) == {made[12], made[11], made[1]}
    assert await dropped(writer, 13) == []
    assert await dropped(writer, 1) == [months.name(12), months.name(11)]


async def test_as_old_rows_of_the_default_partition_go_in_steps(
    writer: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    over = begins(KEPT)
    for created in (datetime(1999, 1, 1, tzinfo=UTC), over - timedelta(days=1), over - LITTLE):
        await seed.event(writer, TENANT, uuid.uuid4(), 1, created_at=created)
    kept = {
        await seed.event(writer, TENANT, uuid.uuid4(), 1, created_at=created)
        for created in (over, datetime.now(UTC), datetime(2999, 1, 1, tzinfo=UTC))
    }
    assert [await retention.delete_old(writer, KEPT, 2) for _ in range(3)] == [2, 1, 0]
    assert await ids(owner) == kept


@pytest.mark.parametrize("kept", [0, -1, None])
async def test_what_keeps_nothing_is_refused(writer: asyncpg.Connection, kept: int | None) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await writer.fetchval("select rollcall_drop_event_month($1)", kept)
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await writer.fetchval("select rollcall_delete_old_events($1, 1)", kept)


async def test_whoever_only_reads_takes_nothing_away(database: str) -> None:
    reader = await connect(database, READER)
    for work in (
        retention.drop_month(reader, 1),
        retention.delete_old(reader, 1, 1),
        retention.delete_expired(reader, 1),
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await work
    await reader.close()


async def test_expired_events_go_a_week_later_in_steps(
    writer: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    now = datetime.now(UTC)
    over = now - retention.EXPIRED_FOR - timedelta(seconds=1)
    for created in (now, now, now, datetime(1999, 1, 1, tzinfo=UTC), begins(-1)):
        await seed.event(writer, TENANT, uuid.uuid4(), 1, created_at=created, expires_at=over)
    kept = {
        await seed.event(writer, TENANT, uuid.uuid4(), 1, expires_at=expires)
        for expires in (None, over + timedelta(minutes=1), now + timedelta(days=1))
    }
    assert [await retention.delete_expired(writer, 2) for _ in range(4)] == [2, 2, 1, 0]
    assert await ids(owner) == kept


async def test_an_expired_event_that_is_locked_is_left_for_the_next_time(
    writer: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    over = datetime.now(UTC) - timedelta(days=30)
    held = await seed.event(writer, TENANT, uuid.uuid4(), 1, expires_at=over)
    await seed.event(writer, TENANT, uuid.uuid4(), 1, expires_at=over)
    async with owner.transaction():
        await owner.execute("select from contact_events where id = $1 for update", held)
        assert await asyncio.wait_for(retention.delete_expired(writer, 10), 30) == 1
    assert await ids(owner) == {held}
    assert await retention.delete_expired(writer, 10) == 1


async def test_expired_events_are_found_by_their_index(
    writer: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    await owner.execute(
        "insert into contact_events select 'acme', gen_random_uuid(), gen_random_uuid(), n, 1, null, null, 'x', 'note', "
        "'normal', 'x', null, '{}', '{}', 'system', null, null, false, null, null, false, true, "
        "case when n % 100 = 0 then now() - interval '30 days' end, now(), now() from generate_series(1, 20000) n"
    )
    await owner.execute("analyze contact_events")
    rows = await writer.fetch(
        f"explain (analyze, costs off, timing off) {retention.DELETE_EXPIRED}", retention.EXPIRED_FOR, 10
    )
    plan = "\n".join(row[0] for row in rows)
    assert "Seq Scan" not in plan, plan
    assert plan.count("Index Scan using") >= 2, plan
    assert "Rows Removed by Filter" not in plan, plan
    assert await ids(owner) == await ids(writer)


async def test_a_month_that_is_in_use_stays_until_the_next_time(
    writer: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    await months.make(owner, 20)
    inserting = event()
    async with owner.transaction():
        await owner.execute("select from contact_events limit 1")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await asyncio.wait_for(retention.drop_month(writer, KEPT), 30)
        await asyncio.wait_for(copy.insert(writer, timeline.rows([inserting])), 30)
    assert await dropped(writer) == [months.name(20)]
    assert await ids(owner) == {inserting.id}


def event() -> TimelineEvent:
    now = datetime.now(UTC)
    return TimelineEvent(
        id=uuid7(),
        tenant_id=TENANT,
        contact_id=uuid7(),
        sequence=1,
        contact_version=1,
        type="note_added",
        category="note",
        priority="normal",
        title="Note added",
        source="agent",
        occurred_at=now,
        created_at=now,
    )


async def test_nobody_who_writes_meanwhile_loses_anything(
    database: str, writer: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    for ago in range(20, KEPT, -1):
        await months.make(owner, ago)
    written: set[uuid.UUID] = set()
    connections = [await connect(database, WRITER) for _ in range(2)]

    async def write() -> None:
        for connection in connections:
            events = [event() for _ in range(50)]
            async with connection.transaction():
                await copy.insert(connection, timeline.rows(events))
            written.update(each.id for each in events)

    async with beside(write, 0):
        await owner.execute(f"drop table {months.name(-timeline.MONTHS_AHEAD)}")
        assert await timeline.make_partitions(writer, timeline.MONTHS_AHEAD) == 1
        assert len(await dropped(writer)) == 8
        await seed.event(writer, TENANT, uuid.uuid4(), 1, expires_at=begins(2))
        assert await retention.delete_expired(writer, 10) == 1
    for connection in connections:
        await connection.close()
    assert len(written) >= 100
    assert await ids(owner) == written
