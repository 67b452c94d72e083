"""The lag: the age of the oldest change that is in the outbox, or that no indexer has acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import asyncpg
import nats as nats_client
import pytest
from nats.aio.client import Client

from storage.postgres import WRITER, connect
from tests.eventually import eventually
from tests.helpers.outgoing import append, event, made_anew
from workers import lag
from workers.engine.wire import LogClient
from workers.indexer.changes import Changes, declare
from workers.jetstream import Refused
from workers.lag import Lag

CONTACT = "01a1fd51-bbf7-7273-a49a-97f6469bd70a"


@pytest.fixture
async def writer(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(database, WRITER)
    await connection.execute("delete from outbox")
    yield connection
    await connection.close()


@pytest.fixture
async def changes(nats: Client, bus) -> AsyncIterator[Changes]:
    await made_anew(nats)
    client = LogClient()
    await client.connect(bus.url)
    reading = Changes(client, 30)
    await reading.open()
    yield reading
    await reading.close()
    await client.close()


@pytest.fixture
async def measured(database: str, nats: Client, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lag]:
    monkeypatch.setattr(lag, "FRESH", 0)
    found = Lag(database, lambda: nats)
    yield found
    await found.close()


async def say(nats: Client, subject: str) -> None:
    await nats.jetstream().publish(subject, b"{}")


async def test_unknown_without_a_consumer(writer, nats, measured):
    await made_anew(nats)
    assert await measured.seconds() is None


async def test_nothing_on_its_way(writer, changes, measured):
    assert await measured.seconds() == 0


async def test_a_consumer_that_is_just_being_made(nats, bus):
    """The broker says for a moment that nothing is pending for it."""
    other = await nats_client.connect(bus.url)
    for _ in range(30):
        await made_anew(nats)
        await say(nats, f"contact.updated.acme.{CONTACT}")
        making = asyncio.create_task(declare(other, 30))
        found = None
        while found is None or not making.done():
            with contextlib.suppress(Refused):  # it is not there yet
                found = await lag.waiting(nats)
                assert found.oldest
    await other.close()


async def test_an_event_that_nobody_has_acknowledged(writer, changes, nats, measured):
    await say(nats, "timeline.note.acme.c")
    assert await measured.seconds() == 0
    await say(nats, f"contact.updated.acme.{CONTACT}")
    await say(nats, f"contact.updated.acme.{CONTACT}")
    first = await measured.seconds()
    assert first is not None
    assert 0 < first < 60
    batch = await changes.take(30)
    assert list(batch.contacts)
    held = await measured.seconds()
    assert held is not None
    assert held > first  # still the first one's age
    await changes.done(batch)

    async def none() -> bool:
        return await measured.seconds() == 0

    await eventually(none, what="all is acknowledged")


async def test_a_row_that_was_not_published(writer, changes, measured):
    await append(writer, [event(0, 1)])
    await writer.execute("update outbox set created_at = clock_timestamp() - interval '90 seconds'")
    await append(writer, [event(1, 1)])
    seconds = await measured.seconds()
    assert seconds is not None
    assert 90 <= seconds < 150


async def test_unknown_while_the_broker_is_away(writer, changes, nats, bus, measured):
    assert await measured.seconds() == 0
    bus.kill()
    try:
        await eventually(lambda: not nats.is_connected, what="the client knows")
        assert await measured.seconds() is None
    finally:
        bus.restart()
    await eventually(lambda: nats.is_connected, what="it is back")
    await asyncio.wait_for(nats.flush(), 30)


async def test_who_ask_at_once_share_a_look(writer, changes, nats, database, monkeypatch):
    looks = []
    waiting = lag.waiting

    async def counted(client):
        looks.append(client)
        return await waiting(client)

    monkeypatch.setattr(lag, "waiting", counted)
    shared = Lag(database, lambda: nats)
    assert await asyncio.gather(*(shared.seconds() for _ in range(20))) == [0] * 20
    assert len(looks) == 1
    await shared.close()
