"""What the indexer does where its index, its events or the database's present are not there any more."""

from __future__ import annotations

import pytest

from storage.search import state
from storage.search.elastic import indexes
from storage.search.elastic.bulk import write_alias
from tests.eventually import eventually
from tests.helpers.indexing import Ground
from tests.helpers.outgoing import made_anew
from workers.jetstream import api


async def test_an_empty_elasticsearch_is_filled(ground: Ground):
    contacts = await ground.make_many(30)
    await ground.change("delete", contacts[0])
    ground.untold()  # nobody is told: they are from before
    async with ground.indexing():
        await eventually(lambda: ground.done(1), timeout=60, what="a rebuild is done")
        await ground.agrees()
        contact_id = await ground.make(first_name="Maria")
        await ground.tell()
        await ground.rest()
        assert await ground.document(contact_id)
    assert await ground.document(contacts[0]) is None
    assert len(await ground.jobs()) == 1


@pytest.mark.parametrize("lost", ["the index", "the alias", "the write alias"])
async def test_a_live_index_that_is_lost_is_built_anew(ground: Ground, lost: str):
    live = await ground.live()
    await ground.make_many(5)
    async with ground.indexing():
        await ground.tell()
        await ground.rest()
        if lost == "the index":
            await ground.search.indices.delete(index=live)
        else:
            name = ground.alias if lost == "the alias" else write_alias(live)
            await ground.search.indices.delete_alias(index=live, name=name)
        contact_id = await ground.make(first_name="Maria")
        await ground.tell()
        await eventually(lambda: ground.done(1), timeout=60, what="a rebuild is done")
        await ground.rest()
        await ground.agrees()
        assert await ground.document(contact_id)
    assert (await ground.state()).live != live
    assert len(await ground.jobs()) == 1
    assert await ground.letters() == []


@pytest.mark.parametrize("how", ["purged", "made anew"])
async def test_events_that_nobody_had_read_are_gone(ground: Ground, how: str):
    await ground.live()
    await ground.make(first_name="Maria")
    async with ground.indexing():
        await ground.tell()
        await ground.rest()
        await eventually(ground.caught_up, what="that is recorded")
    missed = await ground.make(first_name="Missed")
    await ground.tell()
    if how == "purged":
        await api(ground.bus, "STREAM.PURGE.EVENTS")
    else:
        await made_anew(ground.bus)
    await ground.make(first_name="Later")
    await ground.tell()
    async with ground.indexing():
        await eventually(lambda: ground.done(1), timeout=60, what="a rebuild is done")
        await ground.rest()
        assert await ground.document(missed)
        await ground.agrees()
        await eventually(ground.caught_up, what="that is recorded")
    assert len(await ground.jobs()) == 1
    assert (await ground.state()).incomplete_since is None


@pytest.mark.parametrize("lost", [False, True])
async def test_events_that_go_once_they_are_in_the_next_index(ground: Ground, lost: bool):
    """A rebuild may take longer than the stream keeps events. It brings what was lost before it began, and is the last."""
    if lost:
        await ground.live()
        await state.set_back(ground.connection)
    await state.request(ground.connection, None)
    job = await state.claim(ground.connection, "me", 600)
    assert job
    index = await ground.following()
    await state.begin_index(ground.connection, job, index)
    async with ground.indexing():
        for name in ("Maria", "Mario"):
            await ground.make(first_name=name)
            await ground.tell()
            await ground.rest()
            await eventually(ground.caught_up, what="that is recorded")
            await api(ground.bus, "STREAM.PURGE.EVENTS")
        await indexes.move_alias(ground.search, ground.alias, index)
        await state.go_live(ground.connection, job)
        await state.finish(ground.connection, job)
        await ground.make(first_name="Later")
        await ground.tell()
        await ground.rest()
        await eventually(ground.caught_up, what="that is recorded")
        await ground.agrees()
    assert len(await ground.jobs()) == 1
    assert (await ground.state()).incomplete_since is None


async def test_a_database_that_was_set_back(ground: Ground):
    """As by a restore: the index holds versions that it will not give up, until the database has newer ones."""
    live = await ground.live()
    behind, level = await ground.make(first_name="Maria"), await ground.make(first_name="Mario")
    async with ground.indexing():
        for contact_id in (behind, level):
            for n in range(3):
                await ground.change("update", contact_id, set={"last_name": f"Lost {n}"})
        await ground.tell()
        await ground.rest()
        await ground.connection.execute(
            "update contacts set version = 3, last_name = null where id = $1", level
        )
        await ground.change("update", level, set={"last_name": "Other"})  # the version that the index has
        await ground.tell()
        await ground.rest()
        document = await ground.document(level, live)
        assert document
        assert (document["_version"], "other" in document["words"]) == (4, True)
        assert await ground.jobs() == []
        await ground.connection.execute(
            "update contacts set version = 2, last_name = null where id = $1", behind
        )
        await ground.change("update", behind, set={"last_name": "Other"})
        await ground.tell()
        await eventually(lambda: ground.done(1), timeout=60, what="a rebuild is done")
        await ground.rest()
        await ground.agrees()
        document = await ground.document(behind)
        assert document
        assert (document["_version"], "other" in document["words"]) == (3, True)
    assert len(await ground.jobs()) == 1
    assert (await ground.state()).incomplete_since is None


async def test_events_that_were_indexed_may_go(ground: Ground):
    await ground.live()
    async with ground.indexing():
        await ground.make(first_name="Maria")
        await ground.tell()
        await ground.rest()
        await eventually(ground.caught_up, what="that is recorded")
        await api(ground.bus, "STREAM.PURGE.EVENTS")
        await ground.make(first_name="Later")
        await ground.tell()
        await ground.rest()
        await eventually(ground.caught_up, what="that is recorded")
    assert await ground.jobs() == []
