from __future__ import annotations

import asyncio

import asyncpg
import nats as nats_client
import pytest
from sqlalchemy import text

from ops.devstack import Devstack
from storage.migrate import head, migrate, revision
from storage.postgres import READER, WRITER, DsnError, connect, engine, with_database
from tests.eventually import eventually


async def test_the_embedded_servers_are_durable(devstack, owner):
    settings = {
        row["name"]: row["setting"] for row in await owner.fetch("select name, setting from pg_settings")
    }
    assert settings["fsync"] == settings["synchronous_commit"] == "on"
    assert settings["shared_preload_libraries"] == "pg_stat_statements"
    assert await owner.fetchval("select count(*) from pg_stat_statements") > 0
    client = await nats_client.connect(devstack.nats_url)
    assert client.max_payload == 8 << 20
    await client.close()


async def test_committed_and_acknowledged_survive_a_kill():
    with Devstack() as stack:
        connection = await asyncpg.connect(stack.postgres_dsn)
        await connection.execute("create table kept as select 1 as n")
        client = await nats_client.connect(stack.nats_url)
        await client.jetstream().add_stream(name="KEPT", subjects=["kept"])
        await client.jetstream().publish("kept", b"x")
        before = stack.nats_url, stack.postgres_dsn
        stack.kill_postgres()
        stack.kill_nats()
        stack.restart_postgres()
        stack.restart_nats()
        assert (stack.nats_url, stack.postgres_dsn) == before
        connection.terminate()
        connection = await asyncpg.connect(stack.postgres_dsn)
        assert await connection.fetchval("select n from kept") == 1
        await connection.close()
        await eventually(lambda: client.is_connected)
        assert (await client.jetstream().stream_info("KEPT")).state.messages == 1
        await client.close()
    assert not stack.data_dir.exists()


async def test_a_data_directory_outlives_its_servers(tmp_path):
    with Devstack(tmp_path / "data") as stack:
        connection = await asyncpg.connect(stack.postgres_dsn)
        await connection.execute("create table kept as select 2 as n")
        await connection.close()
        with pytest.raises(RuntimeError, match="in use"):
            Devstack(tmp_path / "data").start()
    with Devstack(tmp_path / "data", ephemeral=True) as stack:
        connection = await asyncpg.connect(stack.postgres_dsn)
        assert await connection.fetchval("select n from kept") == 2
        await connection.close()


async def test_runners_of_migrations_wait_for_one_another(fresh_database):
    before = await asyncio.gather(*(migrate(fresh_database) for _ in range(3)))
    assert sorted(str(found.current) for found in before) == sorted(["None", head(), head()])
    connection = await connect(fresh_database, READER)
    assert (await revision(connection)).up_to_date
    await connection.close()


async def test_connections_take_the_role(database):
    for role in (READER, WRITER):
        connection = await connect(database, role, "rollcall test")
        assert await connection.fetchrow("select current_user, current_setting('application_name')") == (
            role,
            "rollcall test",
        )
        await connection.close()
    reader = engine(database.replace("postgresql://", "postgres://"))
    async with reader.connect() as session:
        assert (await session.execute(text("select current_user"))).scalar_one() == READER
    await reader.dispose()


async def test_all_that_a_dsn_says_counts_for_connections_of_either_kind(database):
    dsn = f"{database}?lock_timeout=1234&sslmode=prefer"
    connection = await connect(dsn, READER)
    assert await connection.fetchval("show lock_timeout") == "1234ms"
    await connection.close()
    reader = engine(dsn)
    async with reader.connect() as session:
        assert (await session.execute(text("show lock_timeout"))).scalar_one() == "1234ms"
    await reader.dispose()


async def test_a_certificate_of_the_dsn_is_read_for_connections_of_either_kind(database, tmp_path):
    dsn = f"{database}?sslmode=verify-full&sslrootcert={tmp_path / 'missing.pem'}"
    with pytest.raises(FileNotFoundError):
        await connect(dsn, READER)
    reader = engine(dsn)
    with pytest.raises(FileNotFoundError):
        await reader.connect().start()
    await reader.dispose()


def test_a_dsn_is_checked_without_showing_it():
    assert (
        with_database("postgres://u:p@h:1/a?sslmode=require", "b") == "postgres://u:p@h:1/b?sslmode=require"
    )
    for bad in ("mysql://u:secret@h/db", "postgresql://u:secret@h", "postgresql://u:secret@h:port/db"):
        with pytest.raises(DsnError) as caught:
            with_database(bad, "b")
        assert "secret" not in str(caught.value)
