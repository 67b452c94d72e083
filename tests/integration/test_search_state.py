"""Rebuilds that were asked for: who works on them, and what an index goes through until it is live."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from storage.ids import uuid7
from storage.postgres import WRITER, connect
from storage.search import state
from storage.search.state import LeaseLost, State
from tests.eventually import eventually

LONG = 600.0
SHORT = 0.001


@pytest.fixture
async def writer(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(database, WRITER)
    await connection.execute("delete from search_rebuilds")
    await connection.execute(
        "update search_state set live_index = null, next_index = null, caught_up_at = null, caught_up_sequence = null, "
        "incomplete_since = null"
    )
    yield connection
    await connection.close()


async def test_a_rebuild_that_has_not_ended_is_not_asked_for_again(writer):
    job = await state.request(writer, None)
    tenants = await state.request(writer, "acme")
    assert await state.request(writer, None) == job != tenants
    assert await state.request(writer, "acme") == tenants
    held = await state.claim(writer, "me", LONG)
    assert held
    assert await state.request(writer, None) == job
    await state.finish(writer, held)
    assert await state.request(writer, None) != job
    assert [r.status for r in await state.rebuilds(writer, None)] == ["waiting", "done"]


async def test_two_who_ask_at_once_get_one(writer, database):
    other = await connect(database, WRITER)
    transaction = other.transaction()
    await transaction.start()
    first = uuid7()
    assert await state.insert(other, [("acme", first)])
    asking = asyncio.create_task(state.request(writer, "acme"))
    await eventually(
        lambda: other.fetchval("select exists (select from pg_locks where not granted)"), what="it waits"
    )
    await transaction.commit()
    assert await asking == first
    await other.close()


async def test_everything_goes_before_a_tenant(writer):
    await state.request(writer, "acme")
    assert await state.claim(writer, "me", LONG) is None  # there is no index to work in
    everything = await state.request(writer, None)
    job = await state.claim(writer, "me", LONG)
    assert job
    assert (job.id, job.tenant, job.index, job.position, job.done) == (everything, None, None, None, 0)
    await state.begin_index(writer, job, "i")
    await state.go_live(writer, job)
    await state.finish(writer, job)
    again = await state.request(writer, None)
    held = [await state.claim(writer, "me", LONG) for _ in range(2)]
    assert [(job.id == again, job.tenant) for job in held if job] == [(True, None), (False, "acme")]


async def test_nobody_waits_for_a_rebuild_that_someone_is_taking(writer, database):
    await state.request(writer, None)
    other = await connect(database, WRITER)
    async with other.transaction():
        assert await state.claim(other, "other", LONG)
        assert await asyncio.wait_for(state.claim(writer, "me", LONG), 30) is None
    await other.close()


async def test_what_is_held_is_nobody_elses_until_the_lease_ends(writer):
    await state.request(writer, None)
    job = await state.claim(writer, "me", LONG)
    assert job
    assert await state.claim(writer, "other", LONG) is None
    await state.progress(writer, job, SHORT, done=5, total=9, position=("acme", uuid.UUID(int=7)))
    taken = await eventually(lambda: state.claim(writer, "other", LONG), what="the lease has ended")
    assert taken
    assert (taken.id, taken.done, taken.total, taken.position) == (job.id, 5, 9, ("acme", uuid.UUID(int=7)))


async def test_a_holder_that_slept_can_do_nothing(writer):
    """Also where the next one has the same name, as a restarted container has."""
    await state.request(writer, None)
    slept = await state.claim(writer, "me", SHORT)
    assert slept
    taken = await eventually(lambda: state.claim(writer, "me", LONG), what="the lease has ended")
    assert taken
    for step in (
        state.heartbeat(writer, slept, LONG),
        state.progress(writer, slept, LONG, done=1, total=1, position=None),
        state.begin_index(writer, slept, "old"),
        state.go_live(writer, slept),
        state.finish(writer, slept),
        state.fail(writer, slept, "…"),
        state.release(writer, slept),
    ):
        with pytest.raises(LeaseLost):
            await step
    assert await state.read(writer) == State(None, None, None, None)
    await state.heartbeat(writer, taken, LONG)


async def test_what_was_let_go_of_is_taken_at_once(writer):
    await state.request(writer, None)
    job = await state.claim(writer, "me", LONG)
    assert job
    await state.begin_index(writer, job, "i")
    await state.release(writer, job, "away")
    (shown,) = await state.rebuilds(writer, None)
    assert (shown.status, shown.error) == ("running", "away")
    again = await state.claim(writer, "other", LONG)
    assert again
    assert again.index == "i"


async def test_the_way_of_an_index(writer):
    before = datetime.now(UTC)
    await state.request(writer, None)
    job = await state.claim(writer, "me", LONG)
    assert job
    await state.begin_index(writer, job, "i")
    assert await state.read(writer) == State(None, "i", None, None)
    await state.go_live(writer, job)
    live, following, at, sequence, _ = await state.read(writer)
    assert (live, following, sequence) == ("i", None, None)
    assert at
    assert before - timedelta(seconds=1) < at <= datetime.now(UTC) + timedelta(seconds=1)
    await state.finish(writer, job)


async def test_a_failed_rebuild_leaves_no_index_to_write_to(writer):
    await writer.execute("update search_state set live_index = 'old'")
    await state.request(writer, None)
    job = await state.claim(writer, "me", LONG)
    assert job
    await state.begin_index(writer, job, "i")
    await state.fail(writer, job, "x" * 5000)
    assert await state.read(writer) == State("old", None, None, None)
    (shown,) = await state.rebuilds(writer, None)
    assert (shown.status, shown.error) == ("failed", "x" * state.ERROR)


async def test_a_rebuild_that_began_before_says_nothing_of_what_was_caught_up_with_since(writer):
    await state.request(writer, None)
    job = await state.claim(writer, "me", LONG)
    assert job
    await state.begin_index(writer, job, "i")
    later = datetime.now(UTC) + timedelta(hours=1)
    await state.caught_up(writer, later, 10)
    await state.go_live(writer, job)
    assert await state.read(writer) == State("i", None, later, 10)


async def test_an_index_is_whole_that_was_begun_after_events_were_lost(writer):
    at = datetime.now(UTC)
    await state.caught_up(writer, at, 10)
    known = await state.read(writer)
    await state.lost(writer, known, at, 20)
    await state.lost(writer, known, at, 15)  # another who has found the same, later
    found = await state.read(writer)
    assert (found.caught_up_sequence, found.incomplete_since is not None) == (20, True)
    await state.set_back(writer)
    assert await state.read(writer) == found
    await state.request(writer, None)
    job = await state.claim(writer, "me", LONG)
    assert job
    await state.begin_index(writer, job, "i")
    await state.go_live(writer, job)
    assert (await state.read(writer)).incomplete_since is None


async def test_an_index_lacks_what_was_lost_after_it_was_begun(writer):
    await state.request(writer, None)
    job = await state.claim(writer, "me", LONG)
    assert job
    await state.begin_index(writer, job, "i")
    await state.set_back(writer)
    await state.go_live(writer, job)
    assert (await state.read(writer)).incomplete_since
