"""What may go wrong with a rebuild on the way, and with the servers under it."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from ops.devstack import ElasticsearchServer
from storage.search import state
from storage.search.elastic import indexes, mapping, patience
from storage.search.elastic.connection import connect as connect_search
from storage.search.elastic.indexes import Gone
from tests.conftest import Elasticsearch
from tests.eventually import eventually
from tests.helpers import front
from tests.helpers.front import Front
from tests.helpers.halfway import Halfway
from tests.helpers.shelf import Shelf


def tenant() -> str:
    return f"t-{uuid.uuid4().hex[:12]}"


async def test_an_index_that_is_lost_on_the_way(shelf: Shelf, small: None, monkeypatch: pytest.MonkeyPatch):
    await shelf.contacts(tenant(), 60)
    halfway = Halfway()
    halfway.hold(monkeypatch)
    job = await shelf.job()
    working = asyncio.create_task(shelf.rebuild(job, halfway))
    await halfway.reached.wait()
    lost = (await state.read(shelf.other)).next
    assert lost is not None
    await shelf.search.indices.delete(index=lost)
    halfway.go_on()
    with pytest.raises(Gone):
        await working
    await state.release(shelf.other, job)
    outcome = await shelf.rebuild(await shelf.job())
    assert outcome.index != lost
    assert outcome.documents == 60
    await shelf.agrees()


async def test_what_earlier_ones_have_left_is_dropped(shelf: Shelf):
    await shelf.contacts(tenant(), 3)
    left = [await shelf.index() for _ in range(2)]
    foreign = [f"{shelf.alias}-archive", f"{shelf.alias}x"]
    for index in foreign:
        await shelf.search.indices.create(index=index)
    outcome = await shelf.rebuild(await shelf.job())
    assert await shelf.indexes() == [outcome.index]
    assert outcome.index not in left
    for index in foreign:
        assert await indexes.exists(shelf.search, index)


async def test_an_index_with_the_name_of_the_alias(shelf: Shelf):
    await shelf.contacts(tenant(), 3)
    await shelf.search.indices.create(index=shelf.alias)
    with pytest.raises(indexes.Refused, match="is the name of an index"):
        await shelf.rebuild(await shelf.job())


async def test_a_contact_that_cannot_be_indexed(shelf: Shelf, monkeypatch: pytest.MonkeyPatch):
    """It stands in nobody's way, and is counted."""
    body = mapping.body

    def strict(shards: int):
        made = body(shards)
        made["mappings"]["properties"] = {**made["mappings"]["properties"], "source": {"type": "long"}}
        return made

    monkeypatch.setattr(mapping, "body", strict)
    name = tenant()
    await shelf.contact(name, source="web")
    good = await shelf.contact(name, "Anna", source="7")
    outcome = await shelf.rebuild(await shelf.job())
    assert (outcome.documents, outcome.refused) == (2, 1)
    assert await shelf.finds(name, "anna") == [good[1]]


async def test_bulk_requests_that_are_refused_for_now(
    shelf: Shelf, elasticsearch: Elasticsearch, small: None
):
    await shelf.contacts(tenant(), 45)
    job = await shelf.job()
    async with Front.open(elasticsearch.url) as before:
        before.rules += [front.status(429), front.half(429), front.cut, front.cut_answer, front.status(503)]
        shelf.search, direct = connect_search(before.url), shelf.search
        outcome = await shelf.rebuild(job)
        await shelf.search.close()
        shelf.search = direct
    assert (outcome.documents, outcome.mended) == (45, 0)
    assert not before.rules
    await shelf.agrees()


async def test_a_server_that_is_killed_and_restarted(
    shelf: Shelf, own_elasticsearch: ElasticsearchServer, small: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(patience, "PATIENCE", 300)  # however long it takes to start
    name = tenant()
    await shelf.contacts(name, 60)
    shelf.search, direct = connect_search(own_elasticsearch.url), shelf.search
    halfway = Halfway()
    halfway.hold(monkeypatch)
    working = asyncio.create_task(shelf.rebuild(await shelf.job(), halfway))
    await halfway.reached.wait()
    await asyncio.to_thread(own_elasticsearch.kill)
    halfway.go_on()
    await eventually(lambda: any(step.startswith("waiting") for step, _, _ in halfway.told), what="it waits")
    await asyncio.to_thread(own_elasticsearch.restart)
    outcome = await working
    assert outcome.documents == 60
    await shelf.agrees()
    await shelf.search.close()
    shelf.search = direct
