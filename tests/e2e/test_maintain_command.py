"""`rollcall maintain`, also by two processes at once."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime

import asyncpg
import pytest

from tests.eventually import eventually
from tests.helpers import months, seed
from tests.helpers.forked import CLEAN, rollcall

COUNTS = {
    "partitions_made",
    "months_dropped",
    "old_events_deleted",
    "expired_events_deleted",
    "message_ids_expired",
    "outbox_rows_expired",
    "surplus_outbox_rows_deleted",
}


@pytest.fixture
def environment(database: str) -> dict[str, str]:
    return {**CLEAN, "ROLLCALL_POSTGRES_DSN": database, "ROLLCALL_TIMELINE_MONTHS": "12"}


async def expired(owner: asyncpg.Connection, events: int) -> None:
    for _ in range(events):
        await seed.event(owner, "acme", uuid.uuid4(), 1, expires_at=datetime(2020, 1, 1, tzinfo=UTC))


async def test_it_says_what_it_did(owner: asyncpg.Connection, environment: dict[str, str]) -> None:
    await months.make(owner, 20)
    await expired(owner, 2)
    ran = await rollcall("maintain", "--json", environment=environment)
    assert ran.code == 0, ran
    assert ran.json == {
        "ran": True,
        **dict.fromkeys(COUNTS, 0),
        "months_dropped": 1,
        "expired_events_deleted": 2,
        "problems": [],
    }
    again = await rollcall("maintain", environment=environment)
    assert (again.code, again.stderr) == (0, "")
    assert [line.split(maxsplit=1)[0] for line in again.stdout.splitlines()] == ["0"] * len(COUNTS)
    assert "months dropped" in again.stdout


async def test_of_two_at_once_one_works_and_the_other_says_so(
    owner: asyncpg.Connection, environment: dict[str, str]
) -> None:
    await expired(owner, 2)
    async with owner.transaction():
        await owner.execute("lock table outbox in access exclusive mode")
        first = asyncio.create_task(rollcall("maintain", "--json", environment=environment))

        async def waits() -> bool:
            return await owner.fetchval(
                "select exists (select from pg_locks where not granted and relation = 'outbox'::regclass)"
            )

        await eventually(waits, 60, what="the first is in the middle of it")
        second = await rollcall("maintain", "--json", environment=environment)
        third = await rollcall("maintain", environment=environment)
    assert (second.code, second.json) == (0, {"ran": False, "problems": []})
    assert (third.code, third.stdout) == (0, "somebody else is at it; nothing was done\n")
    ran = await first
    assert (ran.code, ran.json["ran"], ran.json["expired_events_deleted"]) == (0, True, 2)


async def test_what_two_race_for_is_done_once(owner: asyncpg.Connection, environment: dict[str, str]) -> None:
    for ago in range(13, 25):
        await months.make(owner, ago)
    await expired(owner, 20)
    both = await asyncio.gather(*(rollcall("maintain", "--json", environment=environment) for _ in range(2)))
    assert [ran.code for ran in both] == [0, 0], both
    assert sum(ran.json.get("months_dropped", 0) for ran in both) == 12
    assert sum(ran.json.get("expired_events_deleted", 0) for ran in both) == 20
    assert await owner.fetchval("select count(*) from contact_events") == 0


async def test_what_cannot_be_finished_is_said(
    owner: asyncpg.Connection, environment: dict[str, str]
) -> None:
    await months.make(owner, 20)
    async with owner.transaction():
        await owner.execute("select from contact_events limit 1")
        ran = await rollcall("maintain", environment=environment)
    assert ran.code == 1
    assert ran.stderr.startswith("rollcall: months: LockNotAvailableError (55P03); ")
    assert len(ran.stderr.splitlines()) == 1
    assert (await rollcall("maintain", "--json", environment=environment)).json["months_dropped"] == 1


@pytest.mark.parametrize("kept", ["0", "some"])
async def test_a_wrong_setting_is_wrong_usage(environment: dict[str, str], kept: str) -> None:
    ran = await rollcall("maintain", environment={**environment, "ROLLCALL_TIMELINE_MONTHS": kept})
    assert (ran.code, "ROLLCALL_TIMELINE_MONTHS" in ran.stderr) == (64, True), ran
