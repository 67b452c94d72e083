"""How PostgreSQL reads for a search, seen as the reader, where the policy holds it to one tenant.

Enough contacts that a plan that cannot use the trigrams reads them all.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from storage.postgres import READER, connect
from storage.search.criteria import Criteria, Filters
from storage.search.postgres import asked
from storage.search.text import parse
from tests.helpers import seed

LARGE, SMALL = 60_000, 6_000
FRESH = 11_000  # contacts of a tenant that the planner has not heard of

# Names of a dozen letters that nobody else has, every tenth one is Anna, all have the same prefix of their number.
CROWD = """
insert into contacts (tenant_id, id, display_name, attributes, search_text, created_at, updated_at, version, timeline_sequence)
select $1, gen_random_uuid(), name, jsonb_build_object('plan', n % 3, 'number', n),
    format(E'\\n %s \\n +49151%s \\n %s@example.org \\n', name, lpad(n::text, 8, '0'), n),
    $3::timestamptz + n * interval '1 minute', $3::timestamptz + n * interval '1 minute', 1, 0
from generate_series(1, $2::integer) n,
    lateral (select case when n % 10 = 0 then 'anna ' else '' end || translate(md5(n::text), '0123456789', 'ghijklmnop')) as m(name)
"""


@pytest.fixture(scope="module")
async def filled(database: str) -> str:
    """The index is made over the contacts: quicker than filling it with each."""
    owner = await asyncpg.connect(database)
    index = await owner.fetchval("select pg_get_indexdef('contacts_search_idx'::regclass)")
    await owner.execute("drop index contacts_search_idx")
    for tenant, count in (("large", LARGE), ("small", SMALL)):
        await owner.execute(CROWD, tenant, count, seed.START)
    await owner.execute(index)
    await owner.execute("vacuum analyze contacts")
    await owner.execute(CROWD, "fresh", FRESH, seed.START)
    await owner.close()
    return database


@pytest.fixture
async def reader(filled: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(filled, READER)
    await connection.execute("select set_config('rollcall.tenant', 'large', false)")
    yield connection
    await connection.close()


async def plan(reader: asyncpg.Connection, query: str | None = None, **fields: Any) -> str:
    """Of all statements of the search; the last one answers."""
    said = asked(Criteria(text=parse(query), **fields))
    found: str = await reader.fetchval("select rollcall_explain_search($1)", said)
    return found


def rows_read(plan: str) -> int:
    """The most contacts that one step went through, in any statement."""
    steps = re.findall(r"on contacts\b.*?rows=(\d+)(?:\.\d+)? loops=(\d+)", plan)
    removed = re.findall(r"Rows Removed by (?:Filter|Index Recheck): (\d+)", plan)
    return max([int(rows) * int(loops) for rows, loops in steps] + [int(count) for count in removed])


NAME = "lpdacokjoihiihoj"  # no md5 of the numbers begins so


async def a_name(reader: asyncpg.Connection) -> str:
    return await reader.fetchval(
        "select display_name from contacts where tenant_id = 'large' and display_name !~ ' ' order by created_at offset 777 limit 1"
    )


async def test_without_the_function_the_policy_keeps_the_trigrams_from_being_used(
    reader: asyncpg.Connection,
) -> None:
    """Why there is the function. Should this fail one day, a plain statement will do."""
    statement = "explain select id from contacts where search_text like '%" + NAME + "%'"
    plain = "\n".join(row[0] for row in await reader.fetch(statement))
    assert "search_text ~~" in plain
    assert "contacts_search_idx" not in plain


@pytest.mark.parametrize("kind", ["name", "piece", "number", "address", "error", "two words", "attribute"])
async def test_the_index_of_the_trigrams_narrows_it(reader: asyncpg.Connection, kind: str) -> None:
    name = await a_name(reader)
    queries: dict[str, tuple[str | None, dict[str, Any]]] = {
        "name": (name, {}),
        "piece": (name[3:12], {}),
        "number": ("+4915100000777", {}),
        "address": ("778@example", {}),
        "error": (name[:5] + name[6:16], {"forgiving": True}),
        "two words": (f"anna {name[:9]}", {}),
        "attribute": (None, {"filters": Filters(attributes=(("number", 778),))}),
    }
    query, fields = queries[kind]
    found = await plan(reader, query, **fields)
    assert "Seq Scan" not in found
    assert "Bitmap Index Scan on contacts_search_idx" in found
    assert rows_read(found) < 2_000, found


@pytest.mark.parametrize("query", ["+49", "example.org", "@example", "+4915100"])
async def test_what_many_have_is_read_off_the_tenants_contacts(
    reader: asyncpg.Connection, query: str
) -> None:
    """Only as far as hits are counted; the page off the index of its order."""
    found = await plan(reader, query)
    assert "Seq Scan" not in found
    assert "contacts_search_idx" not in found
    assert rows_read(found) < LARGE / 2
    page = found.strip().rpartition("\n\n")[2]
    assert re.search(r"Index (Only )?Scan Backward using contacts_pkey", page), page


@pytest.mark.parametrize("tenant", ["large", "fresh"])
@pytest.mark.parametrize("sort_by", ["created_at", "updated_at", "display_name"])
async def test_the_page_of_many_hits_is_read_off_the_index_of_its_order(
    reader: asyncpg.Connection, sort_by: Any, tenant: str
) -> None:
    await reader.execute("select set_config('rollcall.tenant', $1, false)", tenant)
    page = (await plan(reader, "example.org", sort_by=sort_by)).strip().rpartition("\n\n")[2]
    assert f"Index Scan Backward using contacts_{sort_by}_idx" in page
    assert rows_read(page) < 100


@pytest.mark.parametrize("sort_by", ["relevance", "display_name"])
async def test_a_page_far_down_is_read_only_as_far(reader: asyncpg.Connection, sort_by: Any) -> None:
    page = (await plan(reader, "example.org", sort_by=sort_by, offset=9_000)).strip().rpartition("\n\n")[2]
    assert rows_read(page) < 10_000, page


@pytest.mark.parametrize(
    "filters",
    [
        Filters(status="blocked"),
        Filters(has_email=True),
        Filters(created_after=seed.at(LARGE - 10)),
        Filters(attributes=(("plan", 1),)),
        Filters(attributes=(("plan", 9),), status="blocked"),
        Filters(include_deleted=True),
    ],
)
@pytest.mark.parametrize("query", [None, "example", "xyzxyz", "ab"])
@pytest.mark.parametrize("sort_by", ["relevance", "last_contact_at"])
async def test_no_table_is_read_from_end_to_end(
    reader: asyncpg.Connection, filters: Filters, query: str | None, sort_by: Any
) -> None:
    assert "Seq Scan" not in await plan(reader, query, filters=filters, sort_by=sort_by)


async def test_of_what_is_frequent_elsewhere_only_the_tenants_own_is_read(reader: asyncpg.Connection) -> None:
    await reader.execute("select set_config('rollcall.tenant', 'small', false)")
    found = await plan(reader, "0000123")
    assert "Seq Scan" not in found
    assert re.search(r"Index Cond: .*ARRAY\[tenant_id\] @>", found), found
    assert rows_read(found) < 2_000


async def test_this_test_would_notice(filled: str) -> None:
    """Without the index the same plans show it."""
    owner = await asyncpg.connect(filled)
    transaction = owner.transaction()
    await transaction.start()
    try:
        await owner.execute("drop index contacts_search_idx")
        await owner.execute("select set_config('rollcall.tenant', 'large', true)")
        found = await plan(owner, NAME)
    finally:
        await transaction.rollback()
        await owner.close()
    assert "contacts_search_idx" not in found
    assert rows_read(found) > LARGE / 2
