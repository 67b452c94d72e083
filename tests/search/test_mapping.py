"""An index takes what documents hold and nothing else, and has as many fields as it had."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from elasticsearch import AsyncElasticsearch

from contracts.commands.contact import ATTRIBUTES
from storage.postgres import WRITER
from storage.postgres import connect as connect_postgres
from storage.search.criteria import Criteria, Filters
from storage.search.elastic import bulk, documents, mapping
from storage.search.elastic.bulk import write_alias
from storage.search.elastic.connection import connect
from storage.search.elastic.documents import MOST_ATTRIBUTES, Document
from storage.search.elastic.query import TenantIndex
from tests.conftest import Elasticsearch
from tests.helpers.applier import Applier
from workers.fold.handlers.contact import ATTRIBUTES_BYTES

SHARDS = 3


@pytest.fixture(scope="module")
async def client(elasticsearch: Elasticsearch) -> AsyncIterator[AsyncElasticsearch]:
    made = connect(elasticsearch.url)
    yield made
    await made.close()


@pytest.fixture(scope="module")
async def index(client: AsyncElasticsearch, search_index: str) -> str:
    aliases: dict[str, Any] = {search_index: {}, write_alias(f"{search_index}-1"): {}}
    await client.indices.create(index=f"{search_index}-1", **mapping.body(SHARDS), aliases=aliases)
    return f"{search_index}-1"


@pytest.fixture(scope="module")
async def applier(database: str) -> AsyncIterator[Applier]:
    connection = await connect_postgres(database, WRITER)
    yield Applier(connection)
    await connection.close()


async def fields(client: AsyncElasticsearch, index: str) -> set[str]:
    answer = await client.indices.get_mapping(index=index)
    return set(answer[index]["mappings"]["properties"])


async def index_of(applier: Applier, *contacts: uuid.UUID | None) -> list[Document]:
    keys = [(applier.tenant, contact_id) for contact_id in contacts if contact_id]
    return list((await documents.load(applier.connection, keys)).values())


async def test_the_index_is_made_as_it_is_meant(client: AsyncElasticsearch, index: str) -> None:
    found = await client.indices.get(index=index)
    settings, mappings = found[index]["settings"]["index"], found[index]["mappings"]
    assert (settings["number_of_shards"], settings["refresh_interval"]) == (str(SHARDS), mapping.REFRESH)
    assert (mappings["dynamic"], mappings["_routing"]) == ("strict", {"required": True})


async def test_documents_have_exactly_the_fields_of_the_mapping(
    client: AsyncElasticsearch, index: str, applier: Applier
) -> None:
    made = await applier.send(
        "contact.create", {"first_name": "Maria", "tags": ["vip"], "attributes": {"company": "x"}}
    )
    (document,) = await index_of(applier, made.contact_id)
    assert set(document.source) == await fields(client, index)
    written = await bulk.write(client, [index], [document])
    assert not written.refused


async def test_a_field_that_the_mapping_lacks_is_refused(client: AsyncElasticsearch, index: str) -> None:
    contact_id = uuid.uuid4()
    source = {
        "tenant_id": "acme",
        "contact_id": str(contact_id),
        "version": 1,
        "deleted": True,
        "attributes.plan": 1,
    }
    written = await bulk.write(client, [index], [Document("acme", contact_id, 1, source)])
    assert len(written.refused) == 1
    assert "attributes.plan" not in await fields(client, index)


async def test_a_deleted_contact_leaves_nothing_but_its_version(applier: Applier) -> None:
    made = await applier.send(
        "contact.create", {"first_name": "Maria", "email": "maria@example.org", "tags": ["vip"]}
    )
    await applier.send("contact.delete", {"contact": {"id": str(made.contact_id)}})
    (document,) = await index_of(applier, made.contact_id)
    named = {"tenant_id": "acme", "contact_id": str(made.contact_id)}
    assert document.source == {**named, "version": document.version, "deleted": True}


async def test_a_redirect_is_a_deleted_document(applier: Applier, owner: asyncpg.Connection) -> None:
    made = await applier.send("contact.create", {"first_name": "Maria"})
    survivor = await applier.send("contact.create", {"first_name": "Mary"})
    merge = "update contacts set merged_into = $1, version = version + 1 where id = $2"
    await owner.execute(merge, survivor.contact_id, made.contact_id)
    (document,) = await index_of(applier, made.contact_id)
    assert (document.version, document.source["deleted"]) == (2, True)
    scanned = {d.id for d in await documents.scan(applier.connection, applier.tenant, None, 1_000)}
    assert survivor.contact_id in scanned
    assert made.contact_id not in scanned


async def test_as_many_fields_however_many_attributes(
    client: AsyncElasticsearch, index: str, applier: Applier
) -> None:
    before = await fields(client, index)
    made = []
    for n in range(5):
        attributes = {f"key {n} {m}": m for m in range(ATTRIBUTES)}
        made.append((await applier.send("contact.create", {"attributes": attributes})).contact_id)
    written = await bulk.write(client, [index], await index_of(applier, *made))
    assert not written.refused
    assert await fields(client, index) == before


async def test_no_contact_has_more_attributes_than_are_indexed(
    client: AsyncElasticsearch, index: str, search_index: str, applier: Applier
) -> None:
    """As many as the commands let a contact have, in the shortest way; the last of them is found."""
    letters = [chr(c) for c in range(32, 127) if chr(c) not in '"\\']
    keys = [*letters, *(a + b for a in letters for b in letters)]
    keys += (a + b for a in keys[len(letters) :] for b in letters)
    most, size = {}, 2
    for key in keys:
        size += len(key) + 5  # "key":1,
        if size > ATTRIBUTES_BYTES:
            break
        most[key] = 1
    assert len(most) < MOST_ATTRIBUTES
    contact_id = (await applier.send("contact.create", {})).contact_id
    widen = "update contacts set attributes = $1 where id = $2"
    await applier.connection.execute(widen, json.dumps(most), contact_id)
    (document,) = await index_of(applier, contact_id)
    assert len(document.source["attributes"]) == len(most)
    assert not (await bulk.write(client, [index], [document])).refused
    await client.indices.refresh(index=index)
    tenant_index = TenantIndex(client, search_index, applier.tenant)
    last = Filters(attributes=((list(most)[-1], 1),))
    assert (await tenant_index.search(Criteria(filters=last))).ids == [contact_id]


async def test_the_longest_of_everything(
    client: AsyncElasticsearch, index: str, search_index: str, applier: Applier
) -> None:
    """No value that a command takes is refused, nor lost to a filter."""
    long = "ä" * 60_000
    made = await applier.send(
        "contact.create",
        {
            "first_name": "🚀" * 100,
            "last_name": "x" * 100,
            "external_id": "e" * 255,
            "source": "ß" * 100,
            "tags": [f"{'t' * 96}{n:04}" for n in range(500)],
            "attributes": {"company": long, "k" * 100: long[1:], "mood": "🚀" * 80},
        },
    )
    (document,) = await index_of(applier, made.contact_id)
    assert max(len(token.encode()) for token in document.source["attributes"]) <= documents.LONG
    assert not (await bulk.write(client, [index], [document])).refused
    await client.indices.refresh(index=index)
    tenant_index = TenantIndex(client, search_index, applier.tenant)
    for narrowed in (
        Filters(attributes=(("company", long),)),
        Filters(attributes=(("k" * 100, long[1:]),)),
        Filters(tags=(f"{'t' * 96}0499",)),
        Filters(source="ß" * 100),
    ):
        assert (await tenant_index.search(Criteria(filters=narrowed))).ids == [made.contact_id]


@pytest.mark.parametrize("tenant", [None, "acme"])
async def test_a_scan_is_in_order_and_whole(applier: Applier, tenant: str | None) -> None:
    elsewhere = Applier(applier.connection, tenant="zebra")
    for _ in range(3):
        await applier.send("contact.create", {})
        await elsewhere.send("contact.create", {})
    found: list[Document] = []
    while chunk := await documents.scan(
        applier.connection, tenant, (found[-1].tenant_id, found[-1].id) if found else None, 2
    ):
        assert len(chunk) <= 2
        found += chunk
    rows = await applier.connection.fetch(
        "select tenant_id, id, version from contacts where deleted_at is null and merged_into is null "
        "and ($1::text is null or tenant_id = $1) order by tenant_id, id",
        tenant,
    )
    assert [(d.tenant_id, d.id, d.version) for d in found] == [tuple(row) for row in rows]
    assert len(found) >= 6
