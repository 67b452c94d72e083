"""Contacts by name are in the order of bytes in whatever locale the database was made, as Elasticsearch has them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest

from ops.devstack import Devstack
from storage.migrate import migrate
from storage.postgres import READER, connect, engine, with_database
from storage.reads import contact_list
from storage.reads.contact_list import ContactFilter, Order
from storage.reads.session import Reads
from storage.search.criteria import Criteria
from storage.search.postgres import search
from tests.conftest import database_name
from tests.helpers import seed

NAMES = [
    "ab",
    "Ab",
    "a b",
    "a-c",
    "Ä",
    "B",
    "_d",
    "z",
    "Zoë",
    "é",
    "10",
    "9",
]  # in English: _d, 10, 9, a b, a-c, …
IN_ORDER = sorted(NAMES, key=str.encode)

# Of dictionaries, for as far as the server and its machine know one: the embedded server has no ICU, the machine may have
# no locale. Without any the walks say little, and the plan and the catalogue say it all.
LOCALES = ["locale_provider icu icu_locale 'en' ", "locale_provider libc locale 'en_US.utf8' ", ""]


@pytest.fixture(scope="module")
async def english(devstack: Devstack) -> AsyncIterator[str]:
    """The owner's DSN of a database that sorts as dictionaries do, if any can, with a contact of each name."""
    name = database_name("english")
    server = await asyncpg.connect(devstack.postgres_dsn)
    for locale in LOCALES:
        with contextlib.suppress(asyncpg.FeatureNotSupportedError, asyncpg.WrongObjectTypeError):
            await server.execute(f"create database {name} template template0 {locale}strategy file_copy")
            break
    dsn = with_database(devstack.postgres_dsn, name)
    await migrate(dsn)
    owner = await asyncpg.connect(dsn)
    for one in NAMES:
        await seed.contact(owner, "a", display_name=one)
    await seed.contact(owner, "a", display_name=None)
    await owner.close()
    yield dsn
    await server.execute(f"drop database {name} with (force)")
    await server.close()


@pytest.fixture
async def reads(english: str) -> AsyncIterator[Reads]:
    made = engine(english, size=1)
    yield Reads(made)
    await made.dispose()


@pytest.mark.parametrize("descending", [False, True])
async def test_a_search_by_name_goes_on_where_its_cursor_is(
    english: str, reads: Reads, descending: bool
) -> None:
    owner = await asyncpg.connect(english)
    names = {
        row["id"]: row["display_name"] for row in await owner.fetch("select id, display_name from contacts")
    }
    await owner.close()
    criteria = Criteria(sort_by="display_name", descending=descending, size=2)
    walked: list[str | None] = []
    async with reads.of("a") as one:
        while True:
            hits = await search(one, criteria)
            walked += [names[contact_id] for contact_id in hits.ids]
            if hits.last is None:
                break
            criteria = replace(criteria, after=hits.last)
    assert walked == [*(IN_ORDER[::-1] if descending else IN_ORDER), None]


@pytest.mark.parametrize("descending", [False, True])
async def test_a_list_by_name_goes_on_where_its_cursor_is(reads: Reads, descending: bool) -> None:
    walked: list[str | None] = []
    cursor = None
    while True:
        async with reads.of("a") as one:
            page = await contact_list.page(
                one,
                ContactFilter(),
                Order("display_name", descending=descending),
                size=2,
                offset=0,
                cursor=cursor,
                asked={},
            )
        walked += [contact["display_name"] for contact in page.contacts]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert walked == [*(IN_ORDER[::-1] if descending else IN_ORDER), None]


async def test_the_index_has_the_order_and_the_position(english: str) -> None:
    reader = await connect(english, READER)
    await reader.execute("select set_config('rollcall.tenant', 'a', false)")
    await reader.execute("set enable_seqscan = off; set enable_bitmapscan = off")
    plan = "\n".join(
        row[0]
        for row in await reader.fetch(
            "explain select id from contacts where tenant_id = 'a' and (display_name, id) > ('B', $1) "
            "order by display_name, id limit 2",
            "01a1fd51-bbf7-7273-a49a-97f6469bd70a",
        )
    )
    await reader.close()
    assert "contacts_display_name_idx" in plan, plan
    assert re.search(r"Index Cond: .*ROW\(display_name, id\) > ROW\(", plan), plan
    assert "Sort" not in plan, plan


async def test_names_and_their_index_are_collated_by_bytes(owner: asyncpg.Connection) -> None:
    found = await owner.fetch(
        "select collname::text from pg_collation where oid in ("
        "select attcollation from pg_attribute where attrelid = 'contacts'::regclass and attname = 'display_name' "
        "union all select indcollation[1] from pg_index where indexrelid = 'contacts_display_name_idx'::regclass)"
    )
    assert [row[0] for row in found] == ["C"]
