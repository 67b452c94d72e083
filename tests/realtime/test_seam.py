"""The seam between what waited, what the stream holds and what happens, with the hub in the test's hand: it lags as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from contracts.vocabulary import Role
from storage.postgres import READER, engine
from storage.reads import delivery
from storage.reads.session import Reads
from tests.eventually import eventually
from tests.helpers.realm import Realm
from workers.realtime import stored, subscription
from workers.realtime.catch_up import CatchUp
from workers.realtime.hub import Hub
from workers.realtime.outgoing import Outgoing
from workers.realtime.positions import Cursors, Opening, Position
from workers.realtime.subscription import Subscription


class Instance:
    """A hub and what catches up beside it, over a realm's bus and database. ``frames``: what the client was sent.

    The client reads once ``reads`` is set.
    """

    def __init__(self, realm: Realm, reads: Reads, tenant: str, contact: uuid.UUID) -> None:
        self._client = realm.stage.client
        self.tenant = tenant
        self.contact = contact
        self.cursors = Cursors(b"k" * 32)
        self.hub = Hub(self.cursors)
        self.catch_up = CatchUp(self.hub, self.cursors, reads, lambda: self._client, self._expired)
        self.frames: list[dict[str, Any]] = []
        self.expired: list[uuid.UUID] = []
        self.reads = asyncio.Event()
        self.reads.set()

    async def begin(self) -> None:
        state = await stored.state(self._client)
        self.hub.begin(state.created, state.last)

    def watch(self, role: Role, most: int = 1_000) -> Subscription:
        outgoing = Outgoing(self._send, most, lambda: None)
        watching = Subscription("s", self.tenant, role, frozenset({self.contact}), outgoing, self._expired)
        self.hub.watch(watching)
        return watching

    @property
    def opening(self) -> Position:
        return self.hub.position._replace(opening=Opening(self.contact, 0, datetime.now(UTC)))

    async def follow(self) -> None:
        """Let the hub have what the stream holds by now."""
        wanted = stored.subjects(self.tenant, None)
        while page := await stored.page(self._client, wanted, self.hub.sequence):
            for sequence, entry in page:
                self.hub.take(sequence, entry)

    def titles(self) -> list[str]:
        return [f["event"]["title"] for f in self.frames if f["type"] == "event"]

    async def until_titles(self, wanted: list[str]) -> None:
        await eventually(lambda: len(self.titles()) >= len(wanted), what=f"{len(wanted)} events")
        assert self.titles() == wanted
        assert not [f for f in self.frames if f["type"] == "resync"]

    async def _send(self, text: str) -> None:
        await self.reads.wait()
        self.frames.append(json.loads(text))

    def _expired(self, _tenant: str, _contact: uuid.UUID, ids: list[uuid.UUID]) -> None:
        self.expired += ids


@pytest.fixture
async def instance(realm: Realm) -> AsyncIterator[Instance]:
    """Of a new tenant with one contact."""
    reader = engine(realm.stage.dsn, READER, "tests", size=1)
    tenant = realm.tenant()
    made = Instance(realm, Reads(reader), tenant, await realm.contact(tenant))
    await made.begin()
    try:
        yield made
    finally:
        await reader.dispose()


async def notify(realm: Realm, instance: Instance, *names: str) -> list[uuid.UUID]:
    return [await realm.notify(instance.tenant, instance.contact, name) for name in names]


async def test_more_happens_during_an_opening_than_waits(realm: Realm, instance: Instance, monkeypatch):
    """The client reads slowly. What did not wait is read from the stream."""
    monkeypatch.setattr(subscription, "WAITING", 3)
    waited = [f"waited {n}" for n in range(4)]
    happened = [f"happened {n}" for n in range(6)]
    await notify(realm, instance, *waited)
    await instance.begin()
    instance.reads.clear()
    watching = instance.watch(Role.CONTACT, most=4)
    catching_up = asyncio.create_task(instance.catch_up.run(watching, instance.opening))
    await eventually(lambda: watching.outgoing._moved is not None, what="the opening waits for room")
    await notify(realm, instance, *happened)
    await instance.follow()
    assert watching.lost
    instance.reads.set()
    await catching_up
    await instance.until_titles(waited + happened)


async def test_a_client_comes_to_an_instance_that_is_behind(realm: Realm, instance: Instance):
    """What was read for it from the stream does not come again as it reaches the hub."""
    begin = instance.hub.position
    missed = [f"missed {n}" for n in range(4)]
    await notify(realm, instance, *missed[:2])
    ahead = (await stored.state(realm.stage.client)).last
    await notify(realm, instance, *missed[2:])
    for start, wanted in ((begin, missed), (Position(begin.created, ahead), missed[2:])):
        instance.frames.clear()
        instance.hub.begin(*begin[:2])
        watching = instance.watch(Role.AGENT)
        await instance.catch_up.run(watching, start)
        await instance.follow()
        await watching.outgoing.flush(30)
        assert instance.titles() == wanted
        instance.hub.unwatch(watching)


async def test_another_device_acknowledges_while_the_opening_waits(realm: Realm, instance: Instance):
    waited, seen = await notify(realm, instance, "waited", "delivered before")
    await realm.client.send("timeline.mark_delivered", instance.tenant, {"event_ids": [str(seen)]})
    owner = await asyncpg.connect(realm.stage.dsn)  # since when is known to within the database's answer
    await owner.execute(
        "update contact_events set delivered_at = delivered_at - interval '1 s' where id = $1", seen
    )
    await owner.close()
    await instance.begin()
    watching = instance.watch(Role.CONTACT)
    start = instance.opening
    (happened,) = await notify(realm, instance, "happened")
    for event in (waited, happened):
        await realm.client.send("timeline.mark_delivered", instance.tenant, {"event_ids": [str(event)]})
    await notify(realm, instance, "later")
    await instance.catch_up.run(watching, start)
    await instance.follow()
    await watching.outgoing.flush(30)
    await instance.until_titles(["waited", "happened", "later"])


async def test_what_the_database_said_before_the_stream_is_in_the_cursors(realm: Realm, instance: Instance):
    """The bus is behind; the client goes, and comes back with a cursor from before what it has."""
    (waited,) = await notify(realm, instance, "waited")
    await instance.begin()
    await realm.client.send("timeline.mark_delivered", instance.tenant, {"event_ids": [str(waited)]})
    await notify(realm, instance, "ahead", "further ahead")
    first = instance.watch(Role.CONTACT)
    await instance.catch_up.run(first, instance.opening)
    wanted = stored.subjects(instance.tenant, None)
    for sequence, entry in await stored.page(realm.stage.client, wanted, instance.hub.sequence):
        instance.hub.take(sequence, entry)
        if entry is not None and entry.kind == "changed":
            break
    await first.outgoing.flush(30)
    instance.hub.unwatch(first)
    assert instance.frames[-1]["type"] == "changed"
    place = instance.cursors.unseal(instance.tenant, instance.frames[-1]["cursor"])
    again = instance.watch(Role.CONTACT)
    await instance.catch_up.run(again, place)
    await instance.follow()
    await notify(realm, instance, "later")
    await instance.follow()
    await again.outgoing.flush(30)
    await instance.until_titles(["ahead", "further ahead", "later"])


async def test_a_subscription_that_ended_is_sent_nothing_more(realm: Realm, instance: Instance, monkeypatch):
    """Also where whoever catches up for it does not hear that it is cancelled, as asyncio.wait_for may not."""
    page, reads, goes_on = stored.page, asyncio.Event(), asyncio.Event()

    async def deaf(*asked: Any) -> Any:
        found = await page(*asked)
        reads.set()
        with contextlib.suppress(asyncio.CancelledError):
            await goes_on.wait()
        return found

    monkeypatch.setattr(stored, "page", deaf)
    start = instance.hub.position
    await notify(realm, instance, "one", "two")
    await instance.begin()
    watching = instance.watch(Role.AGENT)
    catching_up = asyncio.create_task(instance.catch_up.run(watching, start))
    await reads.wait()
    catching_up.cancel()
    watching.end()
    await asyncio.gather(catching_up, return_exceptions=True)
    await watching.outgoing.flush(30)
    assert instance.frames == []


async def test_the_database_has_a_clock_of_its_own(realm: Realm, instance: Instance, monkeypatch):
    """How far back an opening reaches does not depend on what the worker's clock reads."""

    class Fast(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + timedelta(hours=1)

    monkeypatch.setattr(delivery, "datetime", Fast)
    start = instance.hub.position._replace(opening=Opening(instance.contact, 0, Fast.now(UTC)))
    watching = instance.watch(Role.CONTACT)
    (happened,) = await notify(realm, instance, "happened")
    await realm.client.send("timeline.mark_delivered", instance.tenant, {"event_ids": [str(happened)]})
    await notify(realm, instance, "later")
    await instance.catch_up.run(watching, start)
    await instance.follow()
    await watching.outgoing.flush(30)
    await instance.until_titles(["happened", "later"])


async def test_the_pages_of_an_opening_are_bounded_in_bytes(realm: Realm, instance: Instance, monkeypatch):
    """However large the events are; all of them come."""
    pages: list[int] = []
    read = delivery.waiting

    async def counted(*asked: Any, **more: Any) -> delivery.Waiting:
        found = await read(*asked, **more)
        pages.append(len(found.events))
        return found

    monkeypatch.setattr(delivery, "waiting", counted)
    names = [f"n{n}" for n in range(5)]
    for name in names:
        await realm.notify(
            instance.tenant, instance.contact, name, payload={"x": "y" * (delivery.PAGE_BYTES // 2)}
        )
    await instance.begin()
    watching = instance.watch(Role.CONTACT)
    await instance.catch_up.run(watching, instance.opening)
    await watching.outgoing.flush(30)
    await instance.until_titles(names)
    assert pages == [2, 2, 1, 0]


async def test_the_subscriptions_of_a_socket_hold_one_page_at_a_time(realm: Realm, instance: Instance):
    """A client with many subscriptions, which does not read."""
    begin = instance.hub.position
    await notify(realm, instance, *(f"n{n}" for n in range(8)))
    instance.reads.clear()
    first = instance.watch(Role.AGENT, most=4)
    others = [
        Subscription(f"s{n}", instance.tenant, Role.AGENT, None, first.outgoing, instance._expired)
        for n in range(5)
    ]
    held = 0
    read = stored.page

    async def page(*asked: Any) -> Any:
        nonlocal held
        found = await read(*asked)
        held += bool(found)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored, "page", page)
        running = [asyncio.create_task(instance.catch_up.run(s, begin)) for s in (first, *others)]
        await eventually(lambda: first.outgoing._moved is not None, what="the first page waits for room")
        await realm.client.query(
            "contact.timeline", instance.tenant, {"contact": {"id": str(instance.contact)}}
        )
        assert held == 1
        instance.reads.set()
        await asyncio.gather(*running)
    await first.outgoing.flush(30)
    for n in range(5):
        got = [f["event"]["title"] for f in instance.frames if f.get("sub") == f"s{n}"]
        assert got == [f"n{k}" for k in range(8)]
