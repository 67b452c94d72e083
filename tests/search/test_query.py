"""What a tenant's index answers besides what is found: totals, deep pages, versions, and when PostgreSQL should answer."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from elasticsearch import AsyncElasticsearch

from storage.ids import uuid7
from storage.search import text
from storage.search.criteria import MOST_HITS, Criteria, Filters, Position
from storage.search.elastic import bulk, mapping, query
from storage.search.elastic.bulk import write_alias
from storage.search.elastic.connection import Misunderstood, Unavailable, connect
from storage.search.elastic.documents import Document
from storage.search.elastic.query import TenantIndex
from tests.conftest import Elasticsearch
from tests.helpers.elastic import door

TENANT, CROWDED = "acme", "crowded"
MANY = MOST_HITS + 30


def document(tenant: str, version: int = 1, contact_id: uuid.UUID | None = None, **fields: Any) -> Document:
    contact_id = contact_id or uuid7()
    named = {"tenant_id": tenant, "contact_id": str(contact_id), "version": version, "deleted": False}
    return Document(tenant, contact_id, version, named | fields)


@pytest.fixture(scope="module")
async def client(elasticsearch: Elasticsearch) -> AsyncIterator[AsyncElasticsearch]:
    made = connect(elasticsearch.url)
    yield made
    await made.close()


@pytest.fixture(scope="module")
async def index(client: AsyncElasticsearch, search_index: str) -> str:
    aliases: dict[str, Any] = {search_index: {}, write_alias(f"{search_index}-1"): {}}
    body = mapping.body(2)
    body["settings"]["refresh_interval"] = "-1"  # only when a test says so
    await client.indices.create(index=f"{search_index}-1", **body, aliases=aliases)
    return f"{search_index}-1"


@pytest.fixture
def found(client: AsyncElasticsearch, index: str, search_index: str) -> TenantIndex:
    return TenantIndex(client, search_index, TENANT)


@pytest.fixture(scope="module")
async def crowd(
    client: AsyncElasticsearch, index: str, search_index: str
) -> tuple[TenantIndex, list[uuid.UUID]]:
    """More contacts than are counted; the second half has the word "late" too. By age."""
    people = [
        document(CROWDED, words=["maria", "late"] if n >= MANY // 2 else ["maria"], values=["maria"])
        for n in range(MANY)
    ]
    await bulk.write(client, [index], people)
    await client.indices.refresh(index=index)
    return TenantIndex(client, search_index, CROWDED), [person.id for person in people]


async def test_a_version_is_held_once_searches_see_it(
    client: AsyncElasticsearch, index: str, found: TenantIndex
) -> None:
    contact = document(TENANT, 3)
    await bulk.write(client, [index], [contact])
    assert not await found.holds(contact.id, 3)
    await client.indices.refresh(index=index)
    assert [await found.holds(contact.id, version) for version in (1, 3, 4)] == [True, True, False]


async def test_a_version_is_held_of_a_contact_that_was_deleted(
    client: AsyncElasticsearch, index: str, found: TenantIndex
) -> None:
    contact = document(TENANT, 3, words=["somebody"])
    gone = document(TENANT, 4, contact.id)
    gone.source["deleted"] = True
    await bulk.write(client, [index], [contact, gone])
    await client.indices.refresh(index=index)
    assert await found.holds(contact.id, 4)
    assert not await found.holds(contact.id, 5)
    assert (await found.search(Criteria(text=text.parse("somebody")))).ids == []
    assert contact.id not in (await found.search(Criteria(size=100))).ids


async def test_totals_are_exact_to_ten_thousand(crowd: tuple[TenantIndex, list[uuid.UUID]]) -> None:
    index, ids = crowd
    many = await index.search(Criteria(text=text.parse("maria")))
    assert (many.total, many.at_least) == (MOST_HITS, True)
    late = await index.search(Criteria(text=text.parse("late")))
    assert (late.total, late.at_least) == (MANY - MANY // 2, False)
    at_place = Position(4, ids[30])
    rest = await index.search(Criteria(text=text.parse("maria"), after=at_place, size=100))
    assert rest.ids == ids[29::-1]
    assert rest.last is None


async def test_the_last_page_that_can_be_numbered(crowd: tuple[TenantIndex, list[uuid.UUID]]) -> None:
    """A cursor goes on behind it to the very last."""
    index, ids = crowd
    newest_first = ids[::-1]
    for size in (1, 20, 100):
        criteria = Criteria(text=text.parse("maria"), size=size, offset=MOST_HITS - size)
        page = await index.search(criteria)
        assert page.ids == newest_first[MOST_HITS - size : MOST_HITS]
        assert page.last == Position(4, page.ids[-1])
        rest = await index.search(replace(criteria, offset=0, size=100, after=page.last))
        assert rest.ids == newest_first[MOST_HITS:]


async def test_the_end_of_exactly_as_many_as_can_be_numbered(
    client: AsyncElasticsearch, index: str, search_index: str, crowd: tuple[TenantIndex, list[uuid.UUID]]
) -> None:
    _, ids = crowd
    narrowed = Filters(created_after=datetime(2026, 1, 1, tzinfo=UTC))
    await bulk.write(
        client, [index], [document(CROWDED, 2, i, created_at=2 * 10**15) for i in ids[:MOST_HITS]]
    )
    await client.indices.refresh(index=index)
    criteria = Criteria(filters=narrowed, size=20, offset=MOST_HITS - 20)
    page = await TenantIndex(client, search_index, CROWDED).search(criteria)
    assert (len(page.ids), page.total, page.at_least, page.last) == (20, MOST_HITS, False, None)


@pytest.mark.parametrize(
    "criteria",
    [
        Criteria(sort_by="last_contact_at"),
        Criteria(filters=Filters(last_contact_before=datetime(2026, 1, 1, tzinfo=UTC))),
        Criteria(filters=Filters(include_deleted=True)),
    ],
)
async def test_what_is_not_indexed(found: TenantIndex, criteria: Criteria) -> None:
    with pytest.raises(Unavailable, match="not indexed"):
        await found.search(criteria)


async def test_text_without_a_word_finds_nothing_and_costs_nothing(
    crowd: tuple[TenantIndex, list[uuid.UUID]],
) -> None:
    index, _ = crowd
    hits = await index.search(Criteria(text=text.parse("%%%")))
    assert (hits.ids, hits.total, hits.at_least, hits.last) == ([], 0, False, None)


async def test_a_position_that_has_no_rank_is_not_understood(found: TenantIndex) -> None:
    """PostgreSQL gives such out, and goes on with them."""
    with pytest.raises(Misunderstood, match="400"):
        await found.search(Criteria(text=text.parse("maria"), after=Position(None, uuid7())))


async def test_an_alias_that_is_not_there(client: AsyncElasticsearch) -> None:
    missing = TenantIndex(client, f"missing-{uuid.uuid4().hex}", TENANT)
    with pytest.raises(Unavailable, match="404 index_not_found_exception"):
        await missing.search(Criteria())
    with pytest.raises(Unavailable, match="404 index_not_found_exception"):
        await missing.holds(uuid7(), 1)


async def test_nobody_there() -> None:
    client = connect("http://127.0.0.1:1")
    with pytest.raises(Unavailable, match="cannot be reached"):
        await TenantIndex(client, "any", TENANT).search(Criteria())
    await client.close()


@pytest.mark.parametrize("mode", ["hang", "unavailable", "cut"])
async def test_a_server_that_does_not_answer(
    elasticsearch: Elasticsearch, search_index: str, mode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query, "TIMEOUT", 0.2)
    async with door(elasticsearch.url) as server:
        server.mode = mode
        client = connect(server.url)
        with pytest.raises(Unavailable):
            await TenantIndex(client, search_index, TENANT).search(Criteria())
        await client.close()


async def test_half_an_answer_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elasticsearch that ran out of time says so, and shows what it has."""

    async def answer(request: web.Request) -> web.Response:
        assert request.query["allow_partial_search_results"] == "false"
        assert (await request.json())["timeout"] == f"{query.TIMEOUT}s"
        hits = {"total": {"value": 0, "relation": "eq"}, "hits": []}
        body = {"timed_out": True, "hits": hits}
        return web.json_response(body, headers={"X-Elastic-Product": "Elasticsearch"})

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = connect(f"http://127.0.0.1:{runner.addresses[0][1]}")
    with pytest.raises(Unavailable, match=f"longer than {query.TIMEOUT} s"):
        await TenantIndex(client, "any", TENANT).search(Criteria())
    await client.close()
    await runner.cleanup()
