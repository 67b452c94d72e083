"""The search in PostgreSQL against a plain one in Python, and what keeps it to one tenant."""

from __future__ import annotations

import contextlib
import random
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import asyncpg
import orjson
import pytest

from storage import contacts
from storage.ids import uuid7
from storage.postgres import READER, WRITER, connect, engine
from storage.reads.session import Reads
from storage.rows import Contact
from storage.search.criteria import MOST_HITS, Criteria, Filters, Hits, Position
from storage.search.postgres import asked, search
from storage.search.text import Text, parse
from tests.helpers import seed
from tests.helpers.plain_search import reference

MANY = MOST_HITS + 50

CROWD = """
insert into contacts (tenant_id, id, display_name, search_text, created_at, updated_at, last_contact_at, version,
    timeline_sequence)
select 'many', ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, case when n % 3 > 0 then 'Crowd ' || n % 7 end,
    E'\\n crowd ' || n || E' \\n', $1::timestamptz + n % 11 * interval '1 day', $1::timestamptz + n % 13 * interval '1 day',
    case when n % 2 > 0 then $1::timestamptz + n % 5 * interval '1 day' end, 1, 0
from generate_series(1, $2::integer) n
"""

FIRST = ("Anna", "Anne", "Hanna", "Jörg", "Иван", "María", "Mariana", "O'Neil")
LAST = ("Schmidt", "Schmitt", "Meyer", "Meier", "Müller", "de la Cruz", "Maria", "Li", "Anna-Lena")
TAGS = ("vip", "berlin", "new")


@pytest.fixture
async def reader(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(database, READER)
    yield connection
    await connection.close()


@pytest.fixture(scope="module")
async def reads(database: str) -> AsyncIterator[Reads]:
    made = engine(database, size=1)
    yield Reads(made, timeout=60)
    await made.dispose()


class Tenant:
    """A tenant's contacts, and the search in them."""

    def __init__(self, name: str, writer: asyncpg.Connection, reads: Reads) -> None:
        self.name = name
        self.contacts: list[Contact] = []
        self.writer = writer
        self.reads = reads

    async def add(self, display_name: str | None = None, *tags: str, **fields: Any) -> Contact:
        fresh = {"created_at": seed.START, "updated_at": seed.START, "version": 1}
        merged_into = fields.pop("merged_into", None)
        contact = Contact(self.name, uuid7(), display_name=display_name, **fresh | fields)
        await contacts.insert(self.writer, [contact])
        await seed.tag(self.writer, self.name, contact.id, *tags)
        if merged_into is not None:
            await self.writer.execute(
                "update contacts set merged_into = $2 where id = $1", contact.id, merged_into
            )
        contact.tags, contact.merged_into = frozenset(tags), merged_into
        self.contacts.append(contact)
        return contact

    async def search(self, query: str | None = None, **fields: Any) -> Hits:
        return await self.find(Criteria(text=parse(query), **fields))

    async def find(self, criteria: Criteria) -> Hits:
        async with self.reads.of(self.name) as reads:
            return await search(reads, criteria)

    async def names(self, query: str | None = None, **fields: Any) -> list[str | None]:
        names = {contact.id: contact.display_name for contact in self.contacts}
        return [names[found] for found in (await self.search(query, **fields)).ids]


@pytest.fixture
def tenant(writer: asyncpg.Connection, reads: Reads) -> Tenant:
    return Tenant(f"t-{uuid7().hex}", writer, reads)


@pytest.fixture(scope="module")
async def many(writer: asyncpg.Connection, reads: Reads) -> Tenant:
    """More contacts than are ranked. Their ids follow their numbers."""
    await writer.execute(CROWD, seed.START, MANY)
    return Tenant("many", writer, reads)


# -- what is found


async def whole(tenant: Tenant, criteria: Criteria, size: int, *, by_cursor: bool) -> list[uuid.UUID]:
    """All hits, a page after the other."""
    found: list[uuid.UUID] = []
    page = replace(criteria, size=size)
    while True:
        hits = await tenant.find(page)
        found += hits.ids
        if hits.last is None:
            return found
        assert len(hits.ids) == size
        assert hits.last.id == hits.ids[-1]
        page = replace(page, after=hits.last) if by_cursor else replace(page, offset=len(found))


@pytest.fixture(scope="module")
async def crowd(writer: asyncpg.Connection, reads: Reads) -> Tenant:
    """150 contacts with names that resemble one another, equal times and missing ones. Another tenant has the same."""
    tenants = [Tenant(name, writer, reads) for name in ("crowd", "other-crowd")]
    for tenant in tenants:
        chance = random.Random(1)
        for n in range(150):
            await tenant.add(
                chance.choice(
                    [None, *FIRST, *LAST, *(f"{first} {last}" for first in FIRST for last in LAST)]
                ),
                *chance.sample(TAGS, chance.randrange(3)),
                external_id=chance.choice([None, f"crm-{n}"]),
                status=chance.choice(["active", "blocked"]),
                source=chance.choice([None, "import"]),
                email=chance.choice([None, "x@y.org"]),
                phone=chance.choice([None, "+4915112345"]),
                attributes=chance.choice(
                    [{}, {"company": "Maria & Li", "n": 1}, {"n": "1"}, {"n": 2, "ok": True}]
                ),
                created_at=seed.at(n % 7),
                updated_at=seed.at(n % 5),
                last_contact_at=chance.choice([None, seed.at(n % 3)]),
                deleted_at=chance.choice([None, None, None, seed.at(9)]),
            )
        for contact in tenant.contacts[::20]:
            contact.merged_into = tenant.contacts[1].id
            await writer.execute(
                "update contacts set merged_into = $2 where id = $1", contact.id, contact.merged_into
            )
    return tenants[0]


def some_criteria(chance: random.Random) -> Criteria:
    query = chance.choice(
        [
            None,
            chance.choice(FIRST),
            chance.choice(LAST),
            f"{chance.choice(FIRST)} {chance.choice(LAST)}",
            chance.choice(
                ["a", "an", "nn", "ann", "mar", "aria", "li", "schm", "crm", "crm-1", "de cruz", "neil"]
            ),
            chance.choice(["schmdit", "shmidt", "meyre", "mayer", "ananna", "hana", "anna meyre", "mueller"]),
        ]
    )
    filters = Filters(
        **{
            name: chance.choice(some)
            for name, some in {
                "status": ["active", "blocked"],
                "source": ["import", "nowhere"],
                "tags": [("vip",), ("vip", "new"), ("vip", "unknown")],
                "attributes": [
                    (("company", "Maria & Li"),),
                    (("n", 1),),
                    (("n", "1"), ("ok", True)),
                    (("ok", True),),
                ],
                "created_after": [seed.at(2)],
                "created_before": [seed.at(5)],
                "updated_after": [seed.at(1)],
                "last_contact_before": [seed.at(2)],
                "has_email": [True, False],
                "has_phone": [True, False],
                "include_deleted": [True],
            }.items()
            if chance.random() < 0.15
        },
        tags_match=chance.choice(["any", "all"]),
    )
    return Criteria(
        text=parse(query),
        filters=filters,
        sort_by=chance.choice(["relevance", "created_at", "updated_at", "display_name", "last_contact_at"]),
        descending=chance.random() < 0.6,
        size=100,
        forgiving=chance.random() < 0.4,
    )


@pytest.mark.parametrize("number", range(250))
async def test_it_finds_what_a_plain_search_finds(crowd: Tenant, number: int) -> None:
    chance = random.Random(number)
    criteria = some_criteria(chance)
    expected = reference(crowd.contacts, criteria)
    hits = await crowd.find(criteria)
    assert hits.ids == [found for _, found in expected][:100]
    assert (hits.total, hits.at_least) == (len(expected), False)
    if len(expected) > 100:
        assert hits.last == Position(*expected[99])
    else:
        assert hits.last is None
    walked = await whole(crowd, criteria, chance.choice([3, 40]), by_cursor=chance.random() < 0.7)
    assert walked == [found for _, found in expected]


@pytest.mark.parametrize(
    "query", ["100%", "0%", "a_b", "_", "%", "\\", "c:\\d", "\\%", "o'n", "' or true --", "$1", "n\0ame"]
)
async def test_what_is_typed_means_itself(tenant: Tenant, query: str) -> None:
    for name in ("Deal 100%", "Deal 1000", "a_b", "axb", "c:\\d", "O'Neil", "name", "x $1", "50%off"):
        await tenant.add(name)
    expected = reference(tenant.contacts, Criteria(text=parse(query)))
    assert (await tenant.search(query)).ids == [found for _, found in expected]


@pytest.mark.parametrize(
    "query", ["❤", "שלום", "مرحبا", "🏳️‍🌈", "伟", "\u202eabc", "\ud800", "x" * 10_000, "a " * 5_000]
)
async def test_any_script_is_an_answer(tenant: Tenant, query: str) -> None:
    for name in ("I ❤ you", "שלום", "مرحبا", "flag 🏳️‍🌈", "伟", "abc", "xx"):
        await tenant.add(name)
    expected = reference(tenant.contacts, Criteria(text=parse(query)))
    assert (await tenant.search(query)).ids == [found for _, found in expected]


async def test_an_attribute_is_found_by_its_whole_value_and_type(tenant: Tenant) -> None:
    for name, value in (
        ("one", 1),
        ("text", "1"),
        ("true", True),
        ("list", [1]),
        ("object", {"x": 1}),
        ("null", None),
    ):
        await tenant.add(name, attributes={"x": value, "y": 0})
    for value, expected in (
        (1, ["one"]),
        (1.0, ["one"]),
        ("1", ["text"]),
        (True, ["true"]),
        (False, []),
        ("", []),
    ):
        assert await tenant.names(filters=Filters(attributes=(("x", value),))) == expected


async def test_text_without_a_term_finds_nothing(tenant: Tenant) -> None:
    await tenant.add("Anna")
    assert await tenant.find(Criteria(text=Text(()))) == Hits([], 0, at_least=False, last=None)
    assert (await tenant.search(None)).total == 1


async def test_a_tenant_without_contacts(tenant: Tenant) -> None:
    assert await tenant.search("anna") == Hits([], 0, at_least=False, last=None)


async def test_the_text_follows_the_contact(tenant: Tenant) -> None:
    contact = await tenant.add("Anna")
    contact.display_name, contact.version = "Berta", 2
    await contacts.update(tenant.writer, [contact])
    contact.last_contact_at = seed.at(1)
    await contacts.touch(tenant.writer, [contact])
    assert await tenant.names("berta") == ["Berta"]
    assert await tenant.names("anna") == []


async def test_what_many_have_is_spelled_right(tenant: Tenant) -> None:
    """Where all words are, none is taken for a typing error; else the others are."""
    for _ in range(101):
        await tenant.add("Anna Meyer")
    await tenant.add("Hanna Meier")
    await tenant.add("Zoltan Meier")
    assert (await tenant.search("meyer", forgiving=True)).total == 101
    assert await tenant.names("meyer zoltna", forgiving=True) == []
    assert await tenant.names("meier zoltna", forgiving=True) == ["Zoltan Meier"]


# -- pages and totals


async def test_more_hits_than_are_ranked_come_newest_first(many: Tenant) -> None:
    newest = [uuid.UUID(f"00000000-0000-7000-8000-{n:012}") for n in range(MANY, 0, -1)]
    hits = await many.search("crowd", size=30)
    assert (hits.total, hits.at_least) == (MOST_HITS, True)
    assert hits.ids == newest[:30]
    assert hits.last == Position(None, newest[29])
    assert (await many.search("crowd", size=30, offset=9_990)).ids == newest[9_990:10_020]
    assert (await many.search("crowd", size=30, descending=False)).ids == newest[::-1][:30]
    criteria = Criteria(text=parse("crowd"), size=5_000)
    assert await whole(many, criteria, 4_000, by_cursor=True) == newest


async def test_all_are_counted_where_asked_for(many: Tenant) -> None:
    hits = await many.search("crowd", exact=True)
    assert (hits.total, hits.at_least, len(hits.ids)) == (MANY, False, 20)


@pytest.mark.parametrize("sort_by", ["created_at", "updated_at", "display_name", "last_contact_at"])
@pytest.mark.parametrize("descending", [True, False])
async def test_any_other_order_holds_for_all_of_them(many: Tenant, sort_by: Any, descending: bool) -> None:
    rows = await many.writer.fetch(f"select id, {sort_by} as key from contacts where tenant_id = 'many'")
    valued = sorted(((row["key"], row["id"]) for row in rows if row["key"] is not None), reverse=descending)
    empty = sorted((row["id"] for row in rows if row["key"] is None), reverse=descending)
    expected = [found for _, found in valued] + empty
    criteria = Criteria(text=parse("crowd"), sort_by=sort_by, descending=descending)
    assert await whole(many, criteria, 3_000, by_cursor=True) == expected
    assert (await many.find(replace(criteria, offset=7_000, size=100))).ids == expected[7_000:7_100]


async def test_a_cursor_goes_on_where_hits_have_come_meanwhile(
    writer: asyncpg.Connection, reads: Reads
) -> None:
    """It keeps its order: ranked where the page before was, newest first where that one was not."""
    await writer.execute(CROWD.replace("'many'", "'more'"), seed.START, MOST_HITS)
    tenant = Tenant("more", writer, reads)
    ranked = await tenant.search("crowd", size=10)
    assert ranked.last is not None
    assert ranked.last.key == 3
    late = await tenant.add("Crowd")
    assert (await tenant.search("crowd", size=10)).ids[0] == late.id
    following = await tenant.search("crowd", size=10, after=ranked.last)
    assert following.ids[0] == uuid.UUID(f"00000000-0000-7000-8000-{MOST_HITS - 10:012}")
    assert following.last is not None
    assert following.last.key == 3
    await writer.execute("delete from contacts where id = $1", late.id)
    unranked = await tenant.search("crowd", size=10, after=Position(None, ranked.ids[-1]))
    assert unranked.ids == following.ids


# -- tenants

ANYONE = Criteria(text=parse("crowd"), size=100)


@pytest.fixture(scope="module")
async def own(writer: asyncpg.Connection, reads: Reads) -> Tenant:
    """One contact, which is no part of the crowd."""
    tenant = Tenant("own", writer, reads)
    await tenant.add("Mine", "tagged")
    return tenant


async def call(reader: asyncpg.Connection, **more: Any) -> list[uuid.UUID]:
    said = orjson.loads(asked(ANYONE) or "") | more
    return await reader.fetchval("select ids from rollcall_search($1)", orjson.dumps(said).decode())


async def test_without_a_tenant_it_is_refused(reader: asyncpg.Connection, many: Tenant) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match=r"rollcall\.tenant"):
        await call(reader)
    await reader.execute("select set_config('rollcall.tenant', '', false)")
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match=r"rollcall\.tenant"):
        await call(reader)


async def test_the_tenant_comes_from_the_session_alone(
    reader: asyncpg.Connection, own: Tenant, many: Tenant
) -> None:
    await reader.execute("select set_config('rollcall.tenant', 'own', false)")
    assert await call(reader) == []
    assert await call(reader, terms=[]) == [own.contacts[0].id]
    for field in ("tenant", "tenant_id", "rollcall.tenant"):
        assert await call(reader, **{field: "many"}) == []
    await reader.execute("select set_config('rollcall.tenant', 'many', false)")
    assert len(await call(reader)) == 100


@pytest.mark.parametrize(
    "field",
    ["status", "source", "sort_by", "after_name", "created_after", "after_id", "first", "size", "descending"],
)
async def test_no_field_is_sql(reader: asyncpg.Connection, own: Tenant, many: Tenant, field: str) -> None:
    await reader.execute("select set_config('rollcall.tenant', 'own', false)")
    for injected in ("x' or true --", "') or c.tenant_id = 'many' --", "c.id; select 1", "$1"):
        with contextlib.suppress(asyncpg.InvalidTextRepresentationError, asyncpg.InvalidDatetimeFormatError):
            assert await call(reader, **{field: injected}) == []


async def test_patterns_and_tags_are_no_sql(reader: asyncpg.Connection, own: Tenant, many: Tenant) -> None:
    await reader.execute("select set_config('rollcall.tenant', 'own', false)")
    injected = "') or c.tenant_id = 'many' --"
    near = [{"find": [injected], "check": [injected]}]
    for fields in (
        {"terms": [{"likes": [injected], "near": near, "spellings": [injected]}]},
        {"tags": [injected], "all_tags": True},
        {"attributes": {injected: injected}},
    ):
        assert await call(reader, **fields) == []


async def test_only_the_reader_may_call_it_and_nobody_what_it_calls(owner: asyncpg.Connection) -> None:
    rights = await owner.fetch(
        """
        select p.proname::text as name, r.rolname::text as role, has_function_privilege(r.oid, p.oid, 'execute') as may
        from pg_proc p cross join pg_roles r
        where p.proname like 'rollcall%search%' or p.proname = 'rollcall_explain'
        """
    )
    may = {(right["name"], right["role"]) for right in rights if right["may"]}
    assert ("rollcall_search", READER) in may
    assert ("rollcall_explain", READER) not in may
    everybody = await owner.fetch(
        "select proname from pg_proc p, aclexplode(p.proacl) a where proname like 'rollcall%' and a.grantee = 0"
    )
    assert everybody == []
    row = await owner.fetchrow(
        "select prosecdef, proowner::regrole::text as owner, proconfig from pg_proc where proname = 'rollcall_search'"
    )
    assert (row["prosecdef"], row["owner"]) == (True, WRITER)
    assert any(setting.startswith("search_path=") for setting in row["proconfig"])


async def test_a_table_of_the_callers_own_does_not_come_in_between(
    reader: asyncpg.Connection, owner: asyncpg.Connection, many: Tenant
) -> None:
    """The names of the function's body are looked up in its own path, temporary tables last."""
    name = await owner.fetchval("select current_database()")
    await owner.execute(f'grant temporary on database "{name}" to {READER}')
    await reader.execute("create temporary table contacts (like contacts)")
    await reader.execute("select set_config('rollcall.tenant', 'many', false)")
    assert len(await call(reader)) == 100


async def test_the_callers_settings_stay_as_they_are(reader: asyncpg.Connection, many: Tenant) -> None:
    await reader.execute("select set_config('rollcall.tenant', 'many', false)")
    names = (
        "enable_seqscan",
        "enable_sort",
        "enable_indexscan",
        "enable_bitmapscan",
        "work_mem",
        "search_path",
    )
    before = [await reader.fetchval(f"show {name}") for name in names]
    async with reader.transaction():
        await call(reader)
        assert [await reader.fetchval(f"show {name}") for name in names] == before


async def test_times_are_exact_to_the_microsecond(tenant: Tenant) -> None:
    at = datetime.fromisoformat("2026-01-01T00:00:00.000001+00:00")
    for name, created in (
        ("before", at.replace(microsecond=0)),
        ("at", at),
        ("after", at.replace(microsecond=2)),
    ):
        await tenant.add(name, created_at=created)
    assert await tenant.names(filters=Filters(created_after=at)) == ["after"]
    assert await tenant.names(filters=Filters(created_before=at)) == ["before"]
    page = await tenant.search(None, sort_by="created_at", size=2)
    assert page.last == Position(at, page.ids[1])
