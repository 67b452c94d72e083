"""Leases, cursors and dead letters as the database keeps them."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from storage import cursors, dead_letters, inbox, leases
from storage.dead_letters import NewDeadLetter
from storage.postgres import WRITER, connect

MADE = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def db(database, owner):
    await owner.execute("truncate cursors, leases, lease_instances, dead_letters")
    connection = await connect(database, WRITER, "tests")
    yield connection
    await connection.close()


def letter(**given: object) -> NewDeadLetter:
    fields = {
        "stream": "WEBHOOK", "tenant": "acme", "partition": 1, "position": 7, "subject": "webhook.message.acme.k",
        "reason": "not_json", "detail": "d", "headers": {}, "body": b"x", "broker_time": MADE,
    }  # fmt: skip
    return NewDeadLetter(**(fields | given))


async def test_a_cursor_moves_only_from_where_it_is(db):
    await cursors.ensure(db, "S", [0, 1, 2], MADE)
    await cursors.ensure(db, "S", [2, 3], MADE + timedelta(1))  # what is there stays
    assert await cursors.compare_and_set(db, "S", MADE, {0: 0, 1: 0}, {0: 5, 1: 6})
    async with db.transaction():
        assert not await cursors.compare_and_set(db, "S", MADE, {0: 5, 1: 0}, {0: 9, 1: 9})
        raise_back = await cursors.load(db, "S", [1])
    assert raise_back[1].sequence == 6
    assert not await cursors.compare_and_set(db, "S", MADE + timedelta(1), {1: 6}, {1: 7})
    found = await cursors.load(db, "S")
    assert {p: c.sequence for p, c in found.items()}[2] == 0
    assert found[3].stream_created == MADE + timedelta(1)
    await cursors.adopt(db, "S", MADE + timedelta(2), {0: 1, 9: 4})
    found = await cursors.load(db, "S", [0, 9])
    assert found == {0: (1, MADE + timedelta(2)), 9: (4, MADE + timedelta(2))}


@pytest.mark.parametrize(
    ("resources", "instances", "share"), [(33, 1, 33), (33, 2, 17), (33, 3, 11), (4, 8, 1), (4, 0, 4)]
)
def test_fair_shares_cover_everything(resources, instances, share):
    assert leases.fair_share(resources, instances) == share


async def test_leases_pass_from_hand_to_hand(db):
    await leases.ensure(db, "L", range(4))
    first = await leases.beat(db, "L", "one", 60)
    assert first == (frozenset(), 1, 4)
    assert (await leases.claim(db, "L", "one", 60, 3)).keys() == {0, 1, 2}
    assert await leases.beat(db, "L", "two", 60) == (frozenset(), 2, 1)
    assert await leases.claim(db, "L", "two", 60, 2) == {3: ""}
    await leases.release(db, "L", "one", [2])
    assert await leases.claim(db, "L", "two", 60, 1) == {2: ""}
    assert (await leases.beat(db, "L", "one", 60)).owned == {0, 1}
    await leases.leave(db, "L", "one")
    assert await leases.beat(db, "L", "two", 60) == (frozenset({2, 3}), 1, 2)


async def test_an_expired_lease_is_anyones(db):
    await leases.ensure(db, "L", range(2))
    await leases.beat(db, "L", "one", -1)
    await leases.claim(db, "L", "one", -1, 2)
    assert await leases.beat(db, "L", "two", 60) == (frozenset(), 1, 2)
    assert await leases.claim(db, "L", "two", 60, 1) == {0: "one"}  # and from whom
    assert (await leases.beat(db, "L", "one", 60)).owned == {1}  # nobody took it: it is still ours


async def test_two_claims_at_once_share_nothing(db, database):
    await leases.ensure(db, "L", range(10))
    other = await connect(database, WRITER, "tests")
    async with db.transaction():
        mine = await leases.claim(db, "L", "one", 60, 6)
        theirs = await leases.claim(other, "L", "two", 60, 6)
    await other.close()
    assert len(mine) == 6
    assert len(theirs) == 4
    assert not mine.keys() & theirs.keys()


async def test_no_more_ids_are_forgotten_at_once_than_was_asked_for(db):
    await db.execute(
        "insert into inbox_messages (tenant_id, digest, outcome, created_at)"
        " select 'acme', set_byte(sha256(n::text::bytea), 0, n % 256), '', $1::timestamptz + n * interval '1 s'"
        " from generate_series(0, 511) as n",
        MADE,
    )
    lie = "select count(*) from inbox_messages group by tableoid"
    assert len(await db.fetch(lie)) > 1, "the same places in several partitions"
    half = MADE + timedelta(seconds=256)
    assert [await inbox.expire(db, half, 100) for _ in range(4)] == [100, 100, 56, 0]
    assert await db.fetchval("select count(*) from inbox_messages where created_at >= $1", half) == 256


async def test_what_postgres_cannot_hold_is_mended_but_the_body(db):
    hostile = "a\0b\ud800"
    (id_,) = await dead_letters.insert(
        db,
        [
            letter(
                subject=hostile,
                detail=hostile * 1000,
                headers={hostile: hostile},
                body=b"\0\xff",
                tenant=hostile,
            )
        ],
    )
    found = await dead_letters.show(db, id_)
    assert found is not None
    assert found.body == b"\0\xff"
    assert found.subject == "a\ufffdb?"
    assert found.headers == {"a\ufffdb?": "a\ufffdb?"}
    assert len(found.detail) == dead_letters.DETAIL


async def test_listing_and_pages(db):
    ids = await dead_letters.insert(
        db,
        [
            letter(position=n, tenant="acme" if n % 2 else "globex", reason="r" + str(n % 3))
            for n in range(10)
        ],
    )

    async def positions(**asked: Any) -> list[int]:
        return [found.position async for found in dead_letters.listed(db, **asked)]

    everything = [found async for found in dead_letters.listed(db)]
    assert [found.id for found in everything] == ids[::-1], "the newest first"
    assert {found.body for found in everything} == {b""}
    for step in (1, 3, 5, 10):
        assert await positions(step=step) == list(range(9, -1, -1))
        assert await positions(step=step, limit=4) == [9, 8, 7, 6]
    assert await positions(tenant="acme") == [9, 7, 5, 3, 1]
    assert await positions(reason="r0", limit=2) == [9, 6]
    assert await positions(stream="COMMAND") == []
    assert await dead_letters.show(db, uuid.uuid4()) is None


async def test_what_waits_to_be_announced_is_bounded_in_bytes(db):
    ids = await dead_letters.insert(db, [letter(body=b"x" * 100), letter(body=b"y" * 50), letter(body=b"z")])
    assert [found.id for found in await dead_letters.unpublished(db, 10, 10)] == ids[:1]
    assert [found.id for found in await dead_letters.unpublished(db, 10, 150)] == ids[:2]
    assert [found.id for found in await dead_letters.unpublished(db, 1, 1000)] == ids[:1]
    await dead_letters.mark_published(db, ids[:2])
    assert [found.body for found in await dead_letters.unpublished(db, 10, 1000)] == [b"z"]
    await dead_letters.mark_replayed(db, ids[:1])
    assert [found.replayed_at is None async for found in dead_letters.listed(db)] == [True, True, False]


async def test_a_replay_must_name_a_dead_letter_of_its_tenant(db):
    (id_,) = await dead_letters.insert(db, [letter()])
    spelled = [str(id_).upper(), id_.hex, f"{{{id_}}}", id_.urn]  # each would be taken as an id of its own
    claims = [("acme", claim) for claim in (str(id_), "no uuid", str(uuid.uuid4()), *spelled)]
    assert await dead_letters.existing(db, claims) == {("acme", str(id_))}
    assert await dead_letters.existing(db, [("globex", str(id_))]) == set()
