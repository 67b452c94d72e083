"""Tenants do not meet, whatever the SQL: row-level security of the read role, over every table in the catalog."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from storage.postgres import READER, WRITER, connect, engine
from storage.reads.session import Reads
from storage.roles import inspect

TENANT_TABLES = """
select c.relname::text from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped
where c.relkind in ('r', 'p') and not c.relispartition and c.relnamespace = 'public'::regnamespace
order by 1
"""

COLUMNS = """
select a.attname::text as name, format_type(a.atttypid, null) as type from pg_attribute a
where a.attrelid = $1::regclass and a.attnum > 0 and not a.attisdropped
    and (a.attnotnull and not a.atthasdef or a.attname = 'tenant_id')
"""

# Whatever a column that must be filled takes: the rows only have to be there.
VALUES = {
    "text": "'x'",
    "character varying": "'x'",
    "uuid": "gen_random_uuid()",
    "timestamp with time zone": "now()",
    "boolean": "false",
    "jsonb": "'{}'",
    "bytea": "decode(md5(random()::text), 'hex')",
    "bigint": "1",
    "integer": "1",
    "smallint": "1",
}


async def fill(connection: asyncpg.Connection, table: str, tenant: str) -> None:
    """One row of the tenant in the table, made from the catalog."""
    columns = await connection.fetch(COLUMNS, table)
    values = [f"'{tenant}'" if c["name"] == "tenant_id" else VALUES[c["type"]] for c in columns]
    names = ", ".join(c["name"] for c in columns)
    await connection.execute(f"insert into {table} ({names}) values ({', '.join(values)})")


@pytest.fixture(scope="module")
async def tables(database: str) -> list[str]:
    """Every table with tenants in it, each with a row of tenant a and one of tenant b."""
    writer = await connect(database, WRITER)
    try:
        names = [row[0] for row in await writer.fetch(TENANT_TABLES)]
        for name in names:
            for tenant in ("a", "b"):
                await fill(writer, name, tenant)
            assert await writer.fetchval(f"select count(*) from {name}") == 2, name
    finally:
        await writer.close()
    return names


@pytest.fixture
async def reader(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(database, READER)
    yield connection
    await connection.close()


async def counts(reader: asyncpg.Connection, tables: list[str]) -> dict[str, int]:
    return {name: await reader.fetchval(f"select count(*) from {name}") for name in tables}


def test_the_catalog_knows_the_tables_of_the_design(tables: list[str]) -> None:
    assert {"contacts", "channel_identifiers", "contact_events", "inbox_messages", "dead_letters"} <= set(
        tables
    )


async def test_without_a_tenant_every_table_is_empty(reader: asyncpg.Connection, tables: list[str]) -> None:
    assert await counts(reader, tables) == dict.fromkeys(tables, 0)


async def test_an_empty_tenant_sees_nothing(reader: asyncpg.Connection, tables: list[str]) -> None:
    async with reader.transaction():
        await reader.execute("select set_config('rollcall.tenant', '', true)")
        assert await counts(reader, tables) == dict.fromkeys(tables, 0)


@pytest.mark.parametrize("tenant", ["a", "b"])
async def test_a_tenant_sees_its_own_rows(reader: asyncpg.Connection, tables: list[str], tenant: str) -> None:
    async with reader.transaction():
        await reader.execute("select set_config('rollcall.tenant', $1, true)", tenant)
        assert await counts(reader, tables) == dict.fromkeys(tables, 1)
        for name in tables:
            assert await reader.fetchval(f"select tenant_id from {name}") == tenant, name


async def test_the_tenant_ends_with_its_transaction(reader: asyncpg.Connection, tables: list[str]) -> None:
    async with reader.transaction():
        await reader.execute("select set_config('rollcall.tenant', 'a', true)")
    assert await counts(reader, tables) == dict.fromkeys(tables, 0)


async def test_the_reader_writes_nowhere(reader: asyncpg.Connection, tables: list[str]) -> None:
    for name in tables:
        for statement in (
            f"insert into {name} (tenant_id) values ('a')",
            f"update {name} set tenant_id = 'a'",
            f"delete from {name}",
            f"truncate {name}",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await reader.execute(statement)


async def test_what_belongs_to_no_tenant_cannot_be_read(
    reader: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    """The engine's tables, and the partitions, which would show rows past their parent's policy."""
    others = await owner.fetch(
        """
        select c.oid::regclass::text from pg_class c where c.relkind in ('r', 'p')
            and c.relnamespace = 'public'::regnamespace and c.relname <> 'alembic_version'
            and (c.relispartition or not exists (
                select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id'))
        """
    )
    assert {"cursors", "leases", "outbox", "contact_events_default"} <= {row[0] for row in others}
    for (name,) in others:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await reader.fetch(f"select * from {name} limit 1")


async def test_the_inspection_is_content(owner: asyncpg.Connection, tables: list[str]) -> None:
    findings = await inspect(owner)
    assert [f for f in findings if not f.ok] == []
    assert f"{len(tables)} tables force the tenant policy" in {f.detail for f in findings}
    assert "rollcall_reader is neither superuser nor exempt from row-level security" in {
        f.detail for f in findings
    }


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ("create table forgotten (tenant_id text, id uuid)", "tenant tables"),
        (
            "create table forgotten (tenant_id text); alter table forgotten enable row level security",
            "tenant tables",
        ),
        ("create policy open on contacts for select to rollcall_reader using (true)", "tenant tables"),
        ("create policy open on contacts for select to public using (true)", "tenant tables"),
        ("alter table contact_consents no force row level security", "tenant tables"),
        ("grant select on outbox to rollcall_reader", "engine tables"),
        ("grant select (sequence) on cursors to rollcall_reader", "engine tables"),
        ("grant select on contact_events_default to rollcall_reader", "engine tables"),
        (
            "create view all_contacts as select id from contacts; grant select on all_contacts to rollcall_reader",
            "engine tables",
        ),
        ("grant update (status) on contacts to rollcall_reader", "read only"),
        ("grant delete on leases to rollcall_reader", "read only"),
        ("grant rollcall_writer to rollcall_reader", "read role"),
        ("alter role rollcall_reader bypassrls", "read role"),
        ("alter role rollcall_writer superuser", "write role"),
        ("alter role rollcall_writer nobypassrls", "write role"),
    ],
)
async def test_the_inspection_finds(owner: asyncpg.Connection, change: str, finding: str) -> None:
    transaction = owner.transaction()
    await transaction.start()
    try:
        await owner.execute(change)
        wrong = [f for f in await inspect(owner) if not f.ok]
    finally:
        await transaction.rollback()
    assert finding in [f.name for f in wrong]
    assert all(f.mend for f in wrong)


async def test_reads_need_a_tenant(database: str) -> None:
    reads = Reads(engine(database))
    with pytest.raises(ValueError, match="tenant"):
        async with reads.of(""):
            pass
