"""The tables in code are the tables that the migrations make."""

from __future__ import annotations

from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from storage.postgres import engine
from storage.tables import metadata

PARTITIONS = "select inhrelid::regclass::text from pg_inherits"


def differences(connection: Connection) -> list[Any]:
    partitions = set(connection.execute(text(PARTITIONS)).scalars())

    def include(name: str | None, kind: str, _parents: object) -> bool:
        # A partition has the shape of its parent, which is compared; how many there are depends on the day.
        return not (kind == "table" and name in partitions)

    context = MigrationContext.configure(
        connection, opts={"compare_type": True, "compare_server_default": True, "include_name": include}
    )
    return list(compare_metadata(context, metadata))


def primary_keys(connection: Connection) -> dict[str, list[str]]:
    inspector = inspect(connection)
    return {name: inspector.get_pk_constraint(name)["constrained_columns"] for name in metadata.tables}


async def test_metadata_mirrors_the_migrated_schema(database: str) -> None:
    owner = engine(database, None)
    async with owner.connect() as connection:
        assert await connection.run_sync(differences) == []
    await owner.dispose()


async def test_primary_keys_have_the_same_columns(database: str) -> None:
    """Alembic does not compare them. The order differs where a column stands elsewhere in the table."""
    owner = engine(database, None)
    async with owner.connect() as connection:
        found = await connection.run_sync(primary_keys)
    await owner.dispose()
    assert {name: set(columns) for name, columns in found.items()} == {
        name: {column.name for column in table.primary_key} for name, table in metadata.tables.items()
    }


async def test_a_missing_column_is_a_difference(database: str) -> None:
    owner = engine(database, None)
    async with owner.connect() as connection:
        await connection.execute(text("alter table contacts add column forgotten text"))
        found = await connection.run_sync(differences)
        await connection.rollback()
    await owner.dispose()
    assert [change[0] for change in found] == ["remove_column"]
