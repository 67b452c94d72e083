"""The proxy does what the faults rely on."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from tests.faults.proxy import Frames, Proxy


async def _count(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval("select count(*) from proxied")
    finally:
        await connection.close()


@pytest.mark.parametrize(("what", "rows"), [("answer", 1), ("request", 0)])
async def test_commit_is_cut(database: str, what, rows: int):
    owner = await asyncpg.connect(database)
    await owner.execute("drop table if exists proxied; create table proxied (n int)")
    await owner.close()
    with Proxy(database) as proxy:
        connection = await asyncpg.connect(proxy.url)
        proxy.arm_commit(what, of=b"into proxied")
        async with connection.transaction():
            await connection.execute("select 1")  # a transaction that nobody looks for passes

        async def insert() -> None:
            async with connection.transaction():
                await connection.execute("insert into proxied values (1)")

        inserting = asyncio.create_task(insert())
        assert await asyncio.to_thread(proxy.reached.wait, 30)
        assert await _count(database) == 0
        proxy.proceed()
        with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError)):
            await inserting
        assert await asyncio.to_thread(proxy.cut.wait, 30)
        proxy.release()
        assert await _count(database) == rows
        assert await _count(proxy.url) == rows  # later connections pass


async def test_connection_is_cut_in_the_middle(database: str):
    with Proxy(database) as proxy:
        connection = await asyncpg.connect(proxy.url)
        proxy.arm_bytes(10_000)
        with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError)):
            await connection.fetch("select repeat('x', 1000) from generate_series(1, 1000)")
        assert proxy.cut.is_set()


async def test_every_connection_is_cut(database: str):
    with Proxy(database) as proxy:
        connections = [await asyncpg.connect(proxy.url) for _ in range(3)]
        assert proxy.cut_all() == 3
        for connection in connections:
            with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError)):
                await connection.fetchval("select 1")


def test_frames_come_in_any_pieces():
    startup = (8).to_bytes(4, "big") + (3 << 16).to_bytes(4, "big")
    query = b"Q" + (4 + 8).to_bytes(4, "big") + b"COMMIT;\0"
    frames = Frames()
    found = [frames.feed(bytes([byte])) for byte in startup + query]
    assert sum(found) == 1
    assert found[-1] == 1
