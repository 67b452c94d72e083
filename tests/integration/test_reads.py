"""What reads raise when the database cannot answer: storage's own errors, whichever layer below found out."""

from __future__ import annotations

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from storage.errors import Unavailable
from storage.postgres import engine
from storage.reads.session import Reads

ANYTHING = text("select cast(:tenant as text)")


async def test_nobody_listens() -> None:
    made = engine("postgresql://somebody@127.0.0.1:1/nowhere")
    with pytest.raises(Unavailable):
        async with Reads(made).of("a"):
            pass
    await made.dispose()


async def test_the_session_is_ended_in_the_middle(database: str, owner: asyncpg.Connection) -> None:
    made = engine(database)
    async with Reads(made).of("a") as reads:
        pid = await reads.scalar(text("select pg_backend_pid() where :tenant = 'a'"))
        await owner.execute("select pg_terminate_backend($1, 5000)", pid)
        with pytest.raises(Unavailable):
            await reads.scalar(ANYTHING)
    async with Reads(made).of("a") as reads:  # and the next one is served
        assert await reads.scalar(ANYTHING) == "a"
    await made.dispose()


async def test_no_connection_is_free(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = engine(database, size=1)
    monkeypatch.setattr(made.pool, "_timeout", 0.01)
    async with Reads(made).of("a") as reads:
        with pytest.raises(Unavailable):
            async with Reads(made).of("b"):
                pass
        assert await reads.scalar(ANYTHING) == "a"
    await made.dispose()


@pytest.mark.parametrize("statement", ["select 1 / 0 where :tenant = 'a'", "selct :tenant"])
async def test_what_asking_again_does_not_mend_is_left_as_it_is(database: str, statement: str) -> None:
    made = engine(database)
    with pytest.raises(DBAPIError):
        async with Reads(made).of("a") as reads:
            await reads.scalar(text(statement))
    await made.dispose()


async def test_a_value_that_the_driver_refuses(database: str) -> None:
    made = engine(database)
    with pytest.raises(DBAPIError):
        async with Reads(made).of("a") as reads:
            await reads.scalar(text("select cast(:n as int) where :tenant = 'a'"), n="many")
    await made.dispose()
