"""Rebuilds on real servers, while searches and writes go on: nothing is missed, whatever happens in between."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import pytest

from storage.search import rebuild as module
from storage.search import state
from storage.search.elastic import bulk, documents, indexes, mapping
from storage.search.elastic.connection import connect as connect_search
from storage.search.elastic.documents import Document
from storage.search.rebuild import Unmendable
from storage.search.state import LeaseLost
from tests.helpers.beside import beside
from tests.helpers.front import Front, Gate
from tests.helpers.halfway import Halfway
from tests.helpers.shelf import LEASE_SECONDS, Shelf
from workers.indexer import writer
from workers.indexer.changes import Batch, Change


def tenant() -> str:
    return f"t-{uuid.uuid4().hex[:12]}"


# -- all tenants


async def test_the_first_one(shelf: Shelf, small: None):
    one, other = tenant(), tenant()
    keys = [*await shelf.contacts(one, 25), *await shelf.contacts(other, 5)]
    gone = await shelf.contact(one, deleted_at=datetime.now(UTC))
    halfway = Halfway()
    outcome = await shelf.rebuild(await shelf.job(), halfway)
    assert (outcome.documents, outcome.mended, outcome.refused) == (30, 0, 0)
    await shelf.agrees()
    assert (await state.read(shelf.other)).live == outcome.index
    assert await shelf.finds(other, "maria 3") == [keys[28][1]]
    assert await shelf.entry(outcome.index, gone) is None
    (row,) = await state.rebuilds(shelf.other, None)
    assert (row.status, row.done, row.total, row.error) == ("done", 30, 30, None)
    steps = [told for told in halfway.told if told[0] == "filling"]
    assert steps == [("filling", done, 30) for done in (0, 10, 20, 30)]
    assert halfway.told[-1] == ("checking", 31, 31)


async def test_the_new_index_is_what_the_mapping_says(shelf: Shelf):
    """Refreshed and replicated, from before the alias moves; while it is filled it is neither."""
    await shelf.contacts(tenant(), 3)
    meant = mapping.body(shelf.shards)["settings"]
    seen: list[dict[str, str]] = []

    async def settings() -> dict[str, str]:
        answer = await shelf.search.indices.get_settings(index=f"{shelf.alias}-2*")
        (index,) = answer.values()
        return {
            name: index["settings"]["index"].get(name)
            for name in ("refresh_interval", "auto_expand_replicas")
        }

    looks: list[asyncio.Task[dict[str, str]]] = []

    def look(step: str, done: int, total: int) -> None:
        looks.append(asyncio.create_task(settings()))

    outcome = await shelf.rebuild(await shelf.job(), look)
    seen = [await asked for asked in looks]
    kept = {name: meant[name] for name in ("refresh_interval", "auto_expand_replicas")}
    assert seen[0] == {"refresh_interval": "-1", "auto_expand_replicas": "false"}
    assert seen[-1] == kept
    assert await settings() == kept
    answer = await shelf.search.indices.get_settings(index=outcome.index)
    assert answer[outcome.index]["settings"]["index"]["number_of_shards"] == str(shelf.shards)


async def test_chunks_are_smaller_where_contacts_are_large(
    shelf: Shelf, small: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "MOST_TOKENS", 50)
    name = tenant()
    await shelf.contacts(name, 10, attributes={f"key {n}": n for n in range(10)})
    await shelf.contacts(name, 20)
    halfway = Halfway()
    await shelf.rebuild(await shelf.job(), halfway)
    assert [done for step, done, _ in halfway.told if step == "filling"] == [0, 5, 10, 20, 30]
    await shelf.agrees()


async def test_searches_and_writes_go_on(shelf: Shelf, small: None):
    """The old index serves until the alias moves: no search fails or misses, and no change is lost."""
    name = tenant()
    still = [await shelf.contact(name, f"Still {n}") for n in range(3)]
    moving = await shelf.contacts(name, 60)
    old = await shelf.live()
    await shelf.follow(*still, *moving)
    await shelf.search.indices.refresh(index=old)
    searches, changed = 0, 0

    async def search() -> None:
        nonlocal searches
        found = await shelf.finds(name, "still")
        assert sorted(found) == sorted(contact_id for _, contact_id in still)
        searches += 1

    async def change() -> None:
        nonlocal changed
        one, another = moving[changed % 60], moving[(changed * 7 + 1) % 60]
        await desk.change(one, status="blocked")
        await desk.change(another, deleted_at=datetime.now(UTC) if changed % 2 else None)
        fresh = await desk.contact(name)
        await desk.follow(one, another, fresh)
        changed += 1

    async with shelf.apart() as desk, beside(search), beside(change):
        for n in itertools.count(1):
            outcome = await shelf.rebuild(await shelf.job())
            assert outcome.index != old
            old = outcome.index
            await search()
            if n >= 3 and searches > 10 and changed > 10:
                break
    await shelf.agrees()


async def test_changes_that_nobody_indexes_meanwhile(
    shelf: Shelf, small: None, monkeypatch: pytest.MonkeyPatch
):
    """No indexer runs: what has changed behind the position is found before the index serves."""
    name = tenant()
    keys = await shelf.contacts(name, 60)
    halfway = Halfway()
    halfway.hold(monkeypatch)
    working = asyncio.create_task(shelf.rebuild(await shelf.job(), halfway))
    await halfway.reached.wait()
    await shelf.change(keys[0], status="blocked")
    await shelf.delete(keys[1])
    early = await shelf.contact(name, id=uuid.UUID(int=1))
    halfway.go_on()
    outcome = await working
    assert outcome.mended == 3
    await shelf.agrees()
    assert await shelf.entry(outcome.index, early)


@pytest.mark.parametrize(("place", "step"), [(indexes, "move_alias"), (state, "go_live")])
async def test_changes_at_the_very_end(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, place: ModuleType, step: str
):
    """When all has been checked, the indexers alone see to it that the new index misses nothing."""
    name = tenant()
    changed, deleted = await shelf.contacts(name, 2)
    await shelf.live()
    await shelf.follow(changed, deleted)
    taken = getattr(place, step)

    async def late(*arguments: Any) -> None:
        async with shelf.apart() as desk:
            await desk.change(changed, status="blocked")
            await desk.delete(deleted)
            await desk.follow(changed, deleted, await desk.contact(name))
        await taken(*arguments)

    job = await shelf.job()
    monkeypatch.setattr(place, step, late)
    outcome = await shelf.rebuild(job)
    assert outcome.mended == 0
    await shelf.agrees()


async def test_what_was_found_in_the_old_index_is_found_in_the_new_one(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
):
    """Also what was written a moment before the alias moves; else a search would step back by as much as a refresh takes."""
    name = tenant()
    live = await shelf.live()
    move = indexes.move_alias
    found: list[uuid.UUID] = []

    async def late(client: Any, alias: str, index: str) -> None:
        async with shelf.apart() as desk:
            await desk.search.indices.put_settings(index=index, settings={"refresh_interval": "-1"})
            key = await desk.contact(name)
            await desk.follow(key)
            await desk.search.indices.refresh(index=live)
            assert await desk.finds(name, "maria") == [key[1]]
            await move(client, alias, index)
            found.extend(await desk.finds(name, "maria"))

    job = await shelf.job()
    monkeypatch.setattr(indexes, "move_alias", late)
    await shelf.rebuild(job)
    assert len(found) == 1


async def test_deleted_documents_end_with_their_index(shelf: Shelf, small: None):
    name = tenant()
    kept = await shelf.contacts(name, 30)
    before, meanwhile = await shelf.contact(name), kept[0]
    old = await shelf.live()
    await shelf.follow(before, *kept)
    await shelf.delete(before)
    await shelf.follow(before)
    assert await shelf.entry(old, before)
    halfway = Halfway()
    working = asyncio.create_task(shelf.rebuild(await shelf.job(), halfway))
    await halfway.reached.wait()
    await shelf.delete(meanwhile)
    await shelf.follow(meanwhile)
    new = (await working).index
    assert await shelf.entry(new, before) is None
    entry = await shelf.entry(new, meanwhile)
    assert entry
    assert (entry["_version"], entry["deleted"]) == (2, True)
    await shelf.agrees()


# -- who sleeps through it


async def test_a_late_write_to_the_old_index_is_told_that_it_is_gone(shelf: Shelf):
    key = await shelf.contact(tenant())
    old = await shelf.live()
    late = list((await documents.load(shelf.other, [key])).values())
    new = (await shelf.rebuild(await shelf.job())).index
    written = await bulk.write(shelf.search, [old], late)
    assert (written.gone, written.refused) == ({old}, [])
    assert await shelf.indexes() == [new]  # nor has the write made it anew


async def test_an_indexer_that_slept_writes_to_the_new_index(
    shelf: Shelf, elasticsearch, monkeypatch: pytest.MonkeyPatch
):
    """It had read the contact and knew of the old index alone."""
    key = await shelf.contact(tenant())
    await shelf.live()
    await shelf.change(key)
    async with Front.open(elasticsearch.url) as before:
        client = connect_search(before.url)
        gate = Gate()
        before.rules.append(gate)
        change = Change(1, "contact.updated.-.-", datetime.now(UTC))
        late = asyncio.create_task(writer.write(shelf.other, client, Batch({key: change})))
        await gate.reached.wait()
        job = await state.claim(shelf.writer, "test", LEASE_SECONDS, await state.request(shelf.writer, None))
        assert job is not None
        await shelf.rebuild(job)
        await shelf.writer.execute(
            "update contacts set version = 3, status = 'blocked' where tenant_id = $1 and id = $2", *key
        )
        gate.open()
        await late
        await client.close()
    await shelf.agrees()


async def test_a_deleted_contact_is_not_brought_back(shelf: Shelf, monkeypatch: pytest.MonkeyPatch):
    """Who had read it before the rebuild began does not write it into the new index, which knows nothing of it."""
    key = await shelf.contact(tenant())
    await shelf.live()
    reached, go = asyncio.Event(), asyncio.Event()
    load = documents.load

    async def slow(connection, keys):
        found = await load(connection, keys)
        reached.set()
        await go.wait()
        return found

    monkeypatch.setattr(documents, "load", slow)
    change = Change(1, "contact.updated.-.-", datetime.now(UTC))
    late = asyncio.create_task(writer.write(shelf.other, shelf.search, Batch({key: change})))
    await reached.wait()
    monkeypatch.setattr(documents, "load", load)
    await shelf.writer.execute(
        "update contacts set version = 2, deleted_at = now() where tenant_id = $1 and id = $2", *key
    )
    job = await state.claim(shelf.writer, "test", LEASE_SECONDS, await state.request(shelf.writer, None))
    assert job is not None
    index = await shelf.index()
    await state.begin_index(shelf.writer, job, index)
    go.set()
    await late
    entry = await shelf.entry(index, key)
    assert entry is None or entry["deleted"]


async def test_a_holder_that_slept_stops(shelf: Shelf, small: None, monkeypatch: pytest.MonkeyPatch):
    await shelf.contacts(tenant(), 60)
    halfway = Halfway()
    halfway.hold(monkeypatch)
    job = await shelf.job()
    working = asyncio.create_task(shelf.rebuild(job, halfway))
    await halfway.reached.wait()
    async with shelf.other.transaction():  # or the holder could renew in between
        await shelf.other.execute("update search_rebuilds set lease_until = '-infinity'")
        successor = await state.claim(shelf.other, "successor", LEASE_SECONDS, job.id)
    assert successor is not None
    assert successor.index
    halfway.go_on()
    with pytest.raises(LeaseLost):
        await working
    assert successor.done >= 30
    outcome = await shelf.rebuild(successor)
    assert (outcome.index, outcome.documents) == (successor.index, 60)
    await shelf.agrees()


# -- one tenant


async def test_one_tenant_in_place(shelf: Shelf, small: None):
    """Also what has the right version and the wrong content; nothing of the others is touched."""
    one, other = tenant(), tenant()
    mine, theirs = await shelf.contacts(one, 25), await shelf.contacts(other, 2)
    live = await shelf.live()
    for name, contact_id in (mine[0], theirs[0]):
        empty = {"tenant_id": name, "contact_id": str(contact_id), "version": 1, "deleted": False}
        await shelf.write(live, Document(name, contact_id, 1, empty))
    outcome = await shelf.rebuild(await shelf.job(one))
    assert (outcome.index, outcome.documents) == (live, 25)
    first, foreign = await shelf.entry(live, mine[0]), await shelf.entry(live, theirs[0])
    assert first
    assert foreign
    assert (first["display_name"], "display_name" in foreign) == ("Maria 0", False)
    assert await shelf.entry(live, theirs[1]) is None
    assert not (await shelf.audit(live, one)).found
    assert await shelf.indexes() == [live]
    (row,) = await state.rebuilds(shelf.other, one)
    assert (row.status, row.done, row.total) == ("done", 25, 25)


async def test_one_tenant_of_a_database_that_was_restored(shelf: Shelf):
    """Its documents are newer than their contacts: only a new index can hold them."""
    name = tenant()
    key = await shelf.contact(name)
    live = await shelf.live()
    await shelf.change(key)
    await shelf.put(live, key)
    await shelf.other.execute("update contacts set version = 1 where tenant_id = $1", name)
    job = await shelf.job(name)
    with pytest.raises(Unmendable, match="rebuild everything"):
        await shelf.rebuild(job)
    await state.fail(shelf.other, job, "ahead")
    await shelf.rebuild(await shelf.job())
    await shelf.agrees()


async def test_one_tenant_without_an_index(shelf: Shelf):
    await shelf.live()
    job = await shelf.job(tenant())
    await shelf.other.execute("update search_state set live_index = null")
    with pytest.raises(Unmendable):
        await shelf.rebuild(job)
