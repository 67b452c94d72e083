"""contact.search by page and by cursor, past ten thousand hits, and contact.list with ``search``: on both engines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from ops.devstack import NatsServer
from tests.conftest import Elasticsearch
from tests.helpers import seed
from tests.helpers.asker import Asker
from tests.helpers.searching import PEOPLE, asking_on, made


@pytest.fixture(scope="module")
async def people(writer: asyncpg.Connection) -> dict[str, str]:
    return await made(writer)


@pytest.fixture(scope="module")
async def many(writer: asyncpg.Connection) -> int:
    """Tenant many: 10,050 contacts named Crowd, a hundred of them by that whole name, every third without a name to sort by."""
    await writer.execute(
        "insert into contacts (tenant_id, id, display_name, search_text, created_at, updated_at, version, "
        "timeline_sequence, status) "
        "select 'many', gen_random_uuid(), case when n % 3 > 0 then 'Name ' || lpad((n % 500)::text, 4, '0') end, "
        "case when n % 100 = 0 then e'\n crowd \n' else e'\n crowd ' || n || e' \n' end, "
        "$1::timestamptz + (n % 4000) * interval '1 second', $1, 1, 0, 'active' from generate_series(1, 10050) n",
        seed.START,
    )
    return 10_050


@pytest.fixture(scope="module", params=["postgres", "elasticsearch"])
def server(request: pytest.FixtureRequest) -> Elasticsearch | None:
    """The Elasticsearch that answers; None: Postgres does."""
    return request.getfixturevalue("elasticsearch") if request.param == "elasticsearch" else None


@pytest.fixture(scope="module")
async def ask(
    server: Elasticsearch | None,
    database: str,
    bus: NatsServer,
    writer: asyncpg.Connection,
    people: dict[str, str],
    many: int,
) -> AsyncIterator[Asker]:
    async with asking_on(server.url if server else None, database, bus.url, writer) as asker:
        yield asker


def names(answer: dict[str, Any]) -> list[str]:
    assert answer["success"], answer
    return [hit["external_id"] for hit in answer["data"]]


async def walk(ask: Asker, tenant: str, **fields: Any) -> list[str]:
    found: list[str] = []
    while True:
        answer = await ask("contact.search", tenant, **fields)
        assert answer["success"], answer
        assert answer["meta"]["engine"] == ask.engine
        found += [hit["id"] for hit in answer["data"]]
        if answer["meta"]["next_cursor"] is None:
            return found
        fields["cursor"] = answer["meta"]["next_cursor"]


async def test_by_page_the_first_ten_thousand(ask: Asker) -> None:
    answer = await ask("contact.search", "many", q="crowd", page=100, page_size=100, sort_by="created_at")
    assert answer["success"], answer
    assert len(answer["data"]) == 100
    meta = answer["meta"]
    assert (meta["total"], meta["total_is"], meta["total_pages"]) == (10_000, "at_least", 100)
    rest = await ask(
        "contact.search", "many", q="crowd", page_size=100, sort_by="created_at", cursor=meta["next_cursor"]
    )
    assert len(rest["data"]) == 50
    assert rest["meta"]["next_cursor"] is None
    for page, size in ((101, 100), (1_000_001, 1), (2**63, 100), (10_001, 1)):
        error = await ask.error("contact.search", "many", q="crowd", page=page, page_size=size)
        assert error["code"] == "page_too_deep"


async def test_the_page_across_ten_thousand_ends_there(ask: Asker) -> None:
    answer = await ask("contact.search", "many", q="crowd", page=334, page_size=30)
    assert answer["success"], answer
    assert len(answer["data"]) == 10
    assert answer["meta"]["total_pages"] == 334
    assert answer["meta"]["next_cursor"]
    assert await ask.code("contact.search", "many", q="crowd", page=335, page_size=30) == "page_too_deep"


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("by", ["relevance", "created_at", "display_name"])
async def test_a_cursor_walks_past_ten_thousand(
    ask: Asker, writer: asyncpg.Connection, many: int, by: str, order: str
) -> None:
    walked = await walk(ask, "many", q="crowd", page_size=100, sort_by=by, sort_order=order)
    assert len(walked) == len(set(walked)) == many
    if by != "relevance":
        key = 'display_name collate "C"' if by == "display_name" else by
        rows = await writer.fetch(
            f"select id::text from contacts where tenant_id = 'many' order by {key} {order} nulls last, id {order}"
        )
        assert walked == [row["id"] for row in rows]


async def test_page_and_cursor_exclude_each_other(ask: Asker) -> None:
    cursor = (await ask("contact.search", page_size=1))["meta"]["next_cursor"]
    assert await ask.code("contact.search", page=2, cursor=cursor) == "invalid"


async def test_a_cursor_serves_only_the_search_that_gave_it(ask: Asker) -> None:
    cursor = (await ask("contact.search", q="a", page_size=1, sort_by="created_at"))["meta"]["next_cursor"]
    everyone = (await ask("contact.search", page_size=1))["meta"]["next_cursor"]
    assert cursor is None  # one hit
    for tenant, fields in (
        ("b", {}),
        ("a", {"q": "ann"}),
        ("a", {"filters": {"status": "active"}}),
        ("a", {"filters": {"attributes.plan": "gold"}}),
        ("a", {"sort_by": "created_at"}),
        ("a", {"sort_order": "asc"}),
    ):
        error = await ask.error("contact.search", tenant, cursor=everyone, **fields)
        assert [e["field"] for e in error["details"]["errors"]] == ["cursor"]
    assert await ask.code("contact.list", cursor=everyone) == "invalid"
    assert len(await ask.data("contact.search", cursor=everyone, page_size=50)) == len(PEOPLE) - 1


# -- contact.list with search


async def test_a_list_with_search_is_a_search(ask: Asker) -> None:
    answer = await ask("contact.list", search="web")
    assert names(answer) == ["juergen", "ann"]  # newest first, as every list
    assert answer["meta"] == {
        "engine": ask.engine,
        "page": 1,
        "page_size": 20,
        "total": 2,
        "total_is": "exact",
        "total_pages": 1,
        "next_cursor": None,
    }
    assert "highlights" not in answer["data"][0]
    assert "engine" not in (await ask("contact.list"))["meta"]


@pytest.mark.parametrize(
    ("fields", "expected", "only_postgres"),
    [
        ({"status": "inactive"}, ["juergen"], False),
        ({"source": "web-shop"}, ["ann"], False),
        ({"tags": ["vip", "newsletter"], "tags_match": "all"}, ["ann"], False),
        ({"has_email": True, "has_phone": False}, ["juergen"], False),
        ({"has_phone": True}, ["ann"], False),
        ({"updated_after": "2000-01-01T00:00:00Z"}, ["juergen", "ann"], False),
        ({"sort_by": "updated_at", "sort_order": "asc"}, ["ann", "juergen"], False),
        ({"sort_by": "display_name"}, ["juergen", "ann"], False),
        ({"page": 2, "page_size": 1}, ["ann"], False),
        ({"sort_by": "last_contact_at"}, ["juergen", "ann"], True),
        ({"last_contact_before": "2100-01-01T00:00:00Z"}, [], True),
        ({"include_deleted": True}, ["juergen", "ann"], True),
        ({"count": "exact"}, ["juergen", "ann"], True),
    ],
)
async def test_the_other_filters_of_a_list_hold(
    ask: Asker, fields: dict[str, Any], expected: list[str], only_postgres: bool
) -> None:
    answer = await ask("contact.list", search="web", **fields)
    assert names(answer) == expected
    assert answer["meta"]["engine"] == ("postgres" if only_postgres else ask.engine)
    assert (await ask("contact.list", search="web"))["meta"]["engine"] == ask.engine


async def test_a_list_finds_the_deleted_where_asked_for(ask: Asker) -> None:
    assert names(await ask("contact.list", search="gone", include_deleted=True)) == ["gone"]
    assert names(await ask("contact.list", search="gone")) == []


async def test_a_list_with_search_pages_as_a_search(ask: Asker) -> None:
    first = await ask("contact.list", "many", search="crowd", page_size=100, page=100)
    assert (first["meta"]["total"], first["meta"]["total_is"]) == (10_000, "at_least")
    assert await ask.code("contact.list", "many", search="crowd", page_size=100, page=101) == "page_too_deep"
    assert await ask.code("contact.list", "many", search="crowd", page=1_000_001) == "page_too_deep"
    assert (await ask.error("contact.list", "many", page=1_000_001))["details"]["errors"] == [
        {"field": "page", "message": "at most 1,000,000 can be numbered; use the cursor"}
    ]
    rest = await ask(
        "contact.list", "many", search="crowd", page_size=100, cursor=first["meta"]["next_cursor"]
    )
    assert len(rest["data"]) == 50
    assert rest["meta"] == {"engine": ask.engine, "page_size": 100, "next_cursor": None}
    errors = (await ask.error("contact.list", search=" ".join("abcdefghijkl")))["details"]["errors"]
    assert [error["field"] for error in errors] == ["search"]


async def test_a_list_counts_exactly_where_asked_for(ask: Asker, many: int) -> None:
    meta = (await ask("contact.list", "many", search="crowd", count="exact"))["meta"]
    assert (meta["total"], meta["total_is"], meta["total_pages"]) == (many, "exact", 503)
