"""The database's chores: each is done whatever becomes of the others, by one at a time."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from ops.settings import DatabaseSettings
from storage import copy, inbox, outbox, timeline
from storage.postgres import connect
from tests.faults.proxy import Proxy
from tests.helpers import months, seed
from tests.helpers.months import TENANT
from tests.helpers.outgoing import append, event, settings
from workers import chores
from workers.relay.housekeeping import Housekeeping


def keeping(database: str, kept: int | None = 12) -> DatabaseSettings:
    return DatabaseSettings(postgres_dsn=database, timeline_months=kept)


async def run(connection: asyncpg.Connection, settings: DatabaseSettings) -> dict[str, int]:
    """What was done, without what was nothing. Nothing may go wrong."""
    done = await chores.run(connection, settings)
    assert done is not None
    assert [each.problem for each in done if each.problem] == []
    return {each.chore.name: each.count for each in done if each.count}


async def test_all_that_is_to_do(
    database: str, writer: asyncpg.Connection, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chores, "STEP", 1)
    long_ago = datetime.now(UTC) - timedelta(days=31)
    await owner.execute(f"drop table {months.name(-1)}, {months.name(-2)}")
    for ago in (14, 13, 12):
        await months.make(owner, ago)
    for created in (datetime(1999, 1, 1, tzinfo=UTC), datetime(1999, 2, 1, tzinfo=UTC)):
        await seed.event(writer, TENANT, uuid.uuid4(), 1, created_at=created)
    for _ in range(3):
        await seed.event(writer, TENANT, uuid.uuid4(), 1, expires_at=long_ago)
    outcomes = {inbox.SeenKey(TENANT, bytes(15) + bytes([n])): "{}" for n in range(4)}
    await copy.insert(writer, inbox.rows(outcomes, long_ago))
    for n in range(6):
        await append(writer, [event(0, n)])
    await writer.execute("update outbox set published_at = now() - interval '3 days' where id <= 3")
    expected = {
        "partitions": 2,
        "months": 2,
        "old events": 2,
        "expired events": 3,
        "message ids": 4,
        "outbox": 3,
    }
    assert await run(writer, keeping(database)) == expected
    assert await run(writer, keeping(database)) == {}


async def test_what_the_outbox_may_not_hold_goes_before_its_time(
    database: str, writer: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await writer.execute("delete from outbox")
    for n in range(5):
        await append(writer, [event(0, n, size=1000)])
    await writer.execute("update outbox set published_at = now()")

    async def surplus(connection: asyncpg.Connection) -> int:
        return await weigh(connection, 3000)

    weigh = outbox.surplus
    monkeypatch.setattr(outbox, "surplus", surplus)
    assert await run(writer, keeping(database)) == {"outbox size": 3}
    assert await writer.fetchval("select count(*) from outbox") == 2


async def test_a_timeline_is_kept_for_good_unless_it_is_said(
    database: str, writer: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    await months.make(owner, 300)
    await seed.event(writer, TENANT, uuid.uuid4(), 1, created_at=datetime(1999, 1, 1, tzinfo=UTC))
    assert await run(writer, keeping(database, None)) == {}
    assert await run(writer, keeping(database)) == {"months": 1, "old events": 1}


async def test_a_chore_that_fails_keeps_no_other_from_being_done(
    database: str, writer: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    await months.make(owner, 14)
    await months.make(owner, 13)
    await seed.event(writer, TENANT, uuid.uuid4(), 1, expires_at=datetime(2020, 1, 1, tzinfo=UTC))
    async with owner.transaction():
        await owner.execute(f"lock table {months.name(13)} in access share mode")
        done = await chores.run(writer, keeping(database))
    assert done is not None
    assert {each.chore.name: each.problem for each in done if each.problem} == {
        "months": "LockNotAvailableError (55P03)"
    }
    assert {each.chore.name: each.count for each in done if each.count} == {"months": 1, "expired events": 1}
    assert await run(writer, keeping(database)) == {"months": 1}


async def test_what_postgresql_quotes_is_no_problem_to_show(
    database: str, writer: asyncpg.Connection
) -> None:
    async def step(connection: asyncpg.Connection, _settings: DatabaseSettings) -> int:
        return int(await connection.fetchval("select 'ann@x.de'::text::int"))

    (done,) = await chores.run(writer, keeping(database), [chores.Chore("any", "done", step)]) or []
    assert done.problem == "InvalidTextRepresentationError (22P02)"


async def test_a_server_that_has_gone_without_a_word_ends_a_chore(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chores, "STEP_SECONDS", 0.2)
    with Proxy(database) as proxy:

        async def step(connection: asyncpg.Connection, _settings: DatabaseSettings) -> int:
            proxy.silence()
            return int(await connection.fetchval("select 0"))

        connection = await connect(proxy.url)
        chore = chores.Chore("silent", "nothing", step)
        done = await chores.run(connection, keeping(database), [chore])
    assert done == [chores.Done(chore, 0, "ConnectionDoesNotExistError (08003)")]


async def test_a_server_that_has_gone_without_a_word_locks_nobody_out(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.postgres.SHORT_SECONDS", 0.2)
    with Proxy(database) as proxy:
        connection = await connect(proxy.url)
        proxy.silence()
        with pytest.raises(asyncpg.ConnectionDoesNotExistError):
            await chores.run(connection, keeping(database))


async def test_one_at_a_time(database: str, writer: asyncpg.Connection, owner: asyncpg.Connection) -> None:
    await months.make(owner, 20)
    relay = Housekeeping(settings(database, "nats://127.0.0.1:1", timeline_months=12), lambda: True)
    await owner.execute("select pg_advisory_lock($1)", chores.LOCK)
    assert await chores.run(writer, keeping(database)) is None
    (problem,) = await relay.once()
    assert problem.startswith("housekeeping: NATS: ")
    assert months.name(20) in await months.there(owner)
    await owner.execute("select pg_advisory_unlock($1)", chores.LOCK)
    assert await run(writer, keeping(database)) == {"months": 1}
    assert await owner.fetchval("select count(*) from pg_locks where locktype = 'advisory'") == 0


async def test_the_relay_does_them(database: str, owner: asyncpg.Connection) -> None:
    await months.make(owner, 20)
    await owner.execute(f"drop table {months.name(-timeline.MONTHS_AHEAD)}")
    relay = Housekeeping(settings(database, "nats://127.0.0.1:1", timeline_months=12), lambda: True)
    (problem,) = await relay.once()
    assert problem.startswith("housekeeping: NATS: ")
    there = await months.there(owner)
    assert months.name(20) not in there
    assert months.name(-timeline.MONTHS_AHEAD) in there
