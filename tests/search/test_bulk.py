"""Writing to an index: the newest version stays, and a document's fault is its own."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from elasticsearch import AsyncElasticsearch

from storage.ids import uuid7
from storage.search.elastic import bulk, mapping
from storage.search.elastic.bulk import Retry, write_alias
from storage.search.elastic.connection import connect
from storage.search.elastic.documents import Document
from tests.conftest import Elasticsearch
from tests.helpers import front
from tests.helpers.front import Forward, Front

TENANT = "acme"


def document(version: int = 1, name: str = "Maria", contact_id: uuid.UUID | None = None) -> Document:
    contact_id = contact_id or uuid7()
    source = {
        "tenant_id": TENANT,
        "contact_id": str(contact_id),
        "version": version,
        "deleted": False,
        "display_name": name,
    }
    return Document(TENANT, contact_id, version, source)


def refusable() -> Document:
    """One with a field that the mapping does not know."""
    made = document()
    return replace(made, source={**made.source, "shoe_size": 44})


def deleted(contact_id: uuid.UUID, version: int) -> Document:
    source = {"tenant_id": TENANT, "contact_id": str(contact_id), "version": version, "deleted": True}
    return Document(TENANT, contact_id, version, source)


@pytest.fixture
async def client(elasticsearch: Elasticsearch) -> AsyncIterator[AsyncElasticsearch]:
    made = connect(elasticsearch.url)
    yield made
    await made.close()


async def make(client: AsyncElasticsearch, index: str) -> str:
    await client.indices.create(index=index, **mapping.body(1), aliases={write_alias(index): {}})
    return index


@pytest.fixture
async def index(client: AsyncElasticsearch, search_index: str) -> str:
    return await make(client, f"{search_index}-{uuid.uuid4().hex[:8]}")


async def held(
    client: AsyncElasticsearch, index: str, contact_id: uuid.UUID
) -> tuple[int, str | None] | None:
    """Version and name that an index has of a contact."""
    answer = await client.options(ignore_status=404).get(index=index, id=str(contact_id), routing=TENANT)
    return (answer["_version"], answer["_source"].get("display_name")) if answer.get("found") else None


async def test_documents_are_written_with_their_versions(client: AsyncElasticsearch, index: str) -> None:
    first, second = document(3), document(9)
    written = await bulk.write(client, [index], [first, second])
    assert (written.refused, written.gone) == ([], set())
    assert await held(client, index, first.id) == (3, "Maria")
    assert await held(client, index, second.id) == (9, "Maria")


async def test_the_newest_stays_whatever_comes_when(client: AsyncElasticsearch, index: str) -> None:
    """Also within one request, and the same version does not replace itself."""
    newest = document(7, "seven")
    versions = [document(n, str(n), newest.id) for n in (5, 6)]
    for documents in (
        [versions[0]],
        [newest],
        [versions[1]],
        [*versions, newest, document(7, "late", newest.id)],
    ):
        written = await bulk.write(client, [index], documents)
        assert (written.refused, written.gone) == ([], set())
    assert await held(client, index, newest.id) == (7, "seven")


async def test_again_replaces_the_same_version_and_none_newer(client: AsyncElasticsearch, index: str) -> None:
    first = document(7, "first")
    await bulk.write(client, [index], [first])
    await bulk.write(client, [index], [document(6, "older", first.id)], again=True)
    assert await held(client, index, first.id) == (7, "first")
    await bulk.write(client, [index], [document(7, "again", first.id)], again=True)
    assert await held(client, index, first.id) == (7, "again")


async def test_a_deleted_document_keeps_its_version(client: AsyncElasticsearch, index: str) -> None:
    """However soon Elasticsearch forgets the versions of documents that are gone."""
    await client.indices.put_settings(index=index, settings={"index.gc_deletes": "0s"})
    living = document(4)
    await bulk.write(client, [index], [living])
    await bulk.write(client, [index], [deleted(living.id, 5)])
    await client.indices.refresh(index=index)
    await bulk.write(client, [index], [living])
    assert await held(client, index, living.id) == (5, None)


async def test_a_refused_document_is_refused_alone(client: AsyncElasticsearch, index: str) -> None:
    documents = [document(), refusable(), document()]
    written = await bulk.write(client, [index], documents)
    (refused,) = written.refused
    assert refused.document is documents[1]
    assert refused.reason.startswith("strict_dynamic_mapping_exception: ")
    assert [await held(client, index, d.id) is not None for d in documents] == [True, False, True]


async def test_a_reason_holds_nothing_of_the_document(client: AsyncElasticsearch, index: str) -> None:
    made = document()
    wrong = replace(made, source={**made.source, "created_at": "a secret"})
    (refused,) = (await bulk.write(client, [index], [wrong])).refused
    assert "created_at" in refused.reason
    assert "secret" not in refused.reason


async def test_an_index_that_was_dropped_is_not_made_again(client: AsyncElasticsearch, index: str) -> None:
    dropped = f"{index}-dropped"
    made = document()
    written = await bulk.write(client, [dropped, index], [made])
    assert (written.refused, written.gone) == ([], {dropped})
    assert await held(client, index, made.id) == (1, "Maria")
    assert not await client.indices.exists(index=dropped)
    assert not await client.indices.exists(index=write_alias(dropped))


async def test_an_index_of_the_name_of_the_alias_is_not_written_to(
    client: AsyncElasticsearch, index: str
) -> None:
    impostor = f"{index}-impostor"
    await client.indices.create(index=write_alias(impostor), **mapping.body(1))
    assert (await bulk.write(client, [impostor], [document()])).gone == {impostor}


async def test_every_target_has_everything(client: AsyncElasticsearch, index: str) -> None:
    other = await make(client, f"{index}-other")
    first, second = document(), document()
    await bulk.write(client, [other], [replace(first, version=2)])
    await bulk.write(client, [index, other], [first, second])
    assert await held(client, index, first.id) == (1, "Maria")
    assert await held(client, other, first.id) == (2, "Maria")
    assert await held(client, other, second.id) == (1, "Maria")


async def test_chunks(client: AsyncElasticsearch, index: str, elasticsearch: Elasticsearch) -> None:
    """By number and by bytes; a document larger than a chunk goes alone."""
    few = [document() for _ in range(bulk.CHUNK + 1)]
    large = [document(name="x" * 30_000) for _ in range(bulk.CHUNK_BYTES // 30_000 + 5)]
    huge = document()
    huge.source["values"] = ["x" * 32_000 for _ in range(bulk.CHUNK_BYTES // 32_000 + 5)]
    sizes: list[tuple[int, int]] = []

    async def note(_request: web.Request, body: bytes, pass_on: Forward) -> web.Response:
        sizes.append((body.count(b"\n") // 2, len(body)))
        return await pass_on(body)

    async with Front.open(elasticsearch.url) as server:
        server.always = note
        fronted = connect(server.url)
        await bulk.write(fronted, [index], [*few, huge, *large])
        await fronted.close()
    numbers = [number for number, _ in sizes]
    assert numbers[:3] == [bulk.CHUNK, 1, 1]
    assert sum(numbers) == len(few) + 1 + len(large)
    assert all(size <= bulk.CHUNK_BYTES for number, size in sizes if number > 1)
    await client.indices.refresh(index=index)
    assert (await client.count(index=index))["count"] == sum(numbers)


@pytest.mark.parametrize(
    "rule", [front.status(429), front.status(503), front.half(429), front.half(503), front.cut]
)
async def test_what_passes_is_tried_again(
    client: AsyncElasticsearch, index: str, elasticsearch: Elasticsearch, rule: front.Rule
) -> None:
    """And what had gone in already does no harm."""
    documents = [document() for _ in range(4)]
    async with Front.open(elasticsearch.url) as server:
        fronted = connect(server.url)
        server.always = rule
        with pytest.raises(Retry):
            await bulk.write(fronted, [index], documents)
        assert server.bulks == 1 or rule is front.cut  # a connection that breaks is tried once more below us
        server.always = None
        written = await bulk.write(fronted, [index], documents)
        await fronted.close()
    assert (written.refused, written.gone) == ([], set())
    assert all([await held(client, index, d.id) == (1, "Maria") for d in documents])


async def test_a_server_that_is_silent_is_tried_again(
    index: str, elasticsearch: Elasticsearch, monkeypatch: Any
) -> None:
    monkeypatch.setattr(bulk, "TIMEOUT", 0.2)
    async with Front.open(elasticsearch.url) as server:
        fronted = connect(server.url)
        server.always = gate = front.Gate()
        with pytest.raises(Retry, match="ConnectionTimeout"):
            await bulk.write(fronted, [index], [document()])
        gate.open()
        await fronted.close()


async def test_nobody_there() -> None:
    client = connect("http://127.0.0.1:1")
    with pytest.raises(Retry, match="cannot be reached"):
        await bulk.write(client, ["any"], [document()])
    await client.close()


async def test_requests_that_are_too_large_are_halved(
    client: AsyncElasticsearch, index: str, elasticsearch: Elasticsearch
) -> None:
    """A proxy that takes less than we send; a document that does not fit at all is refused alone."""
    documents = [document(name="x" * (5_000 if n == 3 else 500)) for n in range(8)]

    async def small(_request: web.Request, body: bytes, pass_on: Forward) -> web.Response:
        return await pass_on(body) if len(body) < 2_500 else web.Response(status=413, text="too large")

    async with Front.open(elasticsearch.url) as server:
        server.always = small
        fronted = connect(server.url)
        written = await bulk.write(fronted, [index], documents)
        await fronted.close()
    assert [refused.document for refused in written.refused] == [documents[3]]
    found = [await held(client, index, d.id) is not None for d in documents]
    assert found == [True, True, True, False, True, True, True, True]


async def test_lines_are_what_the_server_is_sent(index: str, elasticsearch: Elasticsearch) -> None:
    sent: list[Any] = []

    async def keep(request: web.Request, body: bytes, pass_on: Forward) -> web.Response:
        sent.append((request.path, request.query["require_alias"], *map(json.loads, body.splitlines())))
        return await pass_on(body)

    made = document(3)
    async with Front.open(elasticsearch.url) as server:
        server.always = keep
        fronted = connect(server.url)
        await bulk.write(fronted, [index], [made])
        await fronted.close()
    action = {"_id": str(made.id), "routing": TENANT, "version": 3, "version_type": "external"}
    assert sent == [(f"/{write_alias(index)}/_bulk", "true", {"index": action}, made.source)]
