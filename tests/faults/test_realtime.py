"""Clients that come back through whatever is killed: each one's events are its visible timeline, in order, once."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from contracts.subjects import EVENTS
from tests.eventually import eventually
from tests.faults.crew import Process
from tests.helpers.follower import Follower, Keeps
from tests.helpers.logs import once_free
from tests.helpers.realm import Realm
from workers.jetstream import api
from workers.realtime import stored
from workers.streams import declare

CONTACTS = 6
RATE = 150  # events/s

# What the devices of a contact keep. One that acknowledges comes last: the others have begun by then.
DEVICES: tuple[tuple[Keeps, ...], ...] = (("last",), ("last", "first", "none"), ("none",))


@pytest.fixture(scope="module")
async def whole_realm() -> AsyncIterator[Realm]:
    async with Realm.open() as realm:
        yield realm


@pytest.fixture
async def realm(whole_realm: Realm) -> Realm:
    await whole_realm.stage.crew.ensure("contacts", "relay", "queries", "realtime")
    return whole_realm


class Scene:
    """A tenant with contacts, followers of each kind, and events that happen meanwhile."""

    def __init__(self, realm: Realm, tenant: str, contacts: list[uuid.UUID]) -> None:
        self.realm = realm
        self.tenant = tenant
        self.contacts = contacts
        self.agents: list[Follower] = []
        self.clients: list[tuple[uuid.UUID, Follower]] = []
        self._numbers = itertools.count(1)
        self._happening: asyncio.Task[None] | None = None
        self._chance = random.Random(tenant)

    @property
    def followers(self) -> list[Follower]:
        return [*self.agents, *(client for _, client in self.clients)]

    def begin(self) -> None:
        self._happening = asyncio.create_task(self._happen())

    async def _happen(self) -> None:
        pending: set[asyncio.Task[None]] = set()
        try:
            while True:
                contact = self._chance.choice(self.contacts)
                visible = self._chance.random() < 0.5
                pending.add(asyncio.create_task(self._record(contact, visible=visible)))
                if len(pending) > 100:
                    _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.sleep(1 / RATE)  # the pace of the input
        finally:
            await asyncio.gather(*pending)

    async def _record(self, contact: uuid.UUID, *, visible: bool) -> None:
        data = {
            "contact": {"id": str(contact)},
            "type": "note_added",
            "category": "note",
            "title": f"n{next(self._numbers)}",
            "realtime": visible,
            "visible_to_client": visible,
        }
        with contextlib.suppress(TimeoutError):  # the bus may have it all the same
            await self.realm.client.publish(
                f"command.timeline.record.{self.tenant}.{contact}",
                "command.timeline.record",
                self.tenant,
                data,
                timeout=2,
            )

    async def seen(self, more: int) -> None:
        """Wait until every agent has seen so many more events."""
        wanted = [len(agent.events) + more for agent in self.agents]

        def enough() -> bool:
            return all(len(agent.events) >= least for agent, least in zip(self.agents, wanted, strict=True))

        await eventually(enough, timeout=90, what=f"{more} more events")

    async def end(self) -> None:
        assert self._happening is not None
        self._happening.cancel()
        await asyncio.gather(self._happening, return_exceptions=True)

    async def judge(self, fault: str) -> None:
        await self.end()
        await self.realm.stage.settle([self.tenant])
        missing = repeats = disorder = 0
        for contact in self.contacts:
            timeline = await self.realm.timeline(self.tenant, contact)
            for_client = [e for e in timeline if e["visible_to_client"] and e["realtime"]]
            for follower, visible in (
                *((agent, [e for e in timeline if e["category"] == "note"]) for agent in self.agents),
                *((client, for_client) for own, client in self.clients if own == contact),
            ):
                wanted = [e["sequence"] for e in visible]
                got = await self._got(follower, contact, len(wanted))
                missing += len(set(wanted) - set(got))
                disorder += got != sorted(got)
                repeats += len(got) - len(set(got))
        cuts = sum(f.connections - 1 for f in self.followers)
        again = sum(f.repeats for f in self.followers)
        resyncs = [frame for f in self.followers for frame in f.resyncs]
        events = len(self.agents[0].events)
        sys.stdout.write(
            f"\n{fault} | {events} events to {len(self.followers)} clients, {cuts} reconnects | "
            f"missing {missing}, twice {repeats}, out of order {disorder}, sent again {again}, resyncs {len(resyncs)}"
        )
        assert (missing, repeats, disorder, resyncs) == (0, 0, 0, [])
        assert again == 0

    @staticmethod
    async def _got(follower: Follower, contact: uuid.UUID, wanted: int) -> list[int]:
        """The sequences that a follower has of a contact, once they are as many as wanted, or do not come."""

        def got() -> list[int]:
            return [e["sequence"] for e in follower.of(contact)]

        with contextlib.suppress(AssertionError):
            await eventually(lambda: len(got()) >= wanted)
        return got()


@asynccontextmanager
async def scene(realm: Realm) -> AsyncIterator[Scene]:
    tenant = realm.tenant()
    contacts = [await realm.contact(tenant) for _ in range(CONTACTS)]
    for contact in contacts:  # waits for its clients, before there are agents
        await realm.notify(tenant, contact, "waits", category="notification")
    played = Scene(realm, tenant, contacts)
    async with contextlib.AsyncExitStack() as stack:
        for asked in ("*", contacts):
            following = Follower.following(lambda: realm.http, realm.agent(tenant), asked)  # type: ignore[arg-type]
            played.agents.append(await stack.enter_async_context(following))
        for contact, kept in zip(contacts, itertools.cycle(DEVICES), strict=False):
            for keeps in kept:
                token = realm.of_contact(tenant, contact)
                following = Follower.following(lambda: realm.http, token, keeps=keeps)
                played.clients.append((contact, await stack.enter_async_context(following)))
        played.begin()
        try:
            await played.seen(50)
            yield played
        finally:
            await played.end()


async def killed(realm: Realm, process: Process) -> None:
    process.signal(signal.SIGKILL)
    await process.until_dead()


async def test_the_worker_is_killed_and_started_again(realm: Realm):
    async with scene(realm) as played:
        for _ in range(3):
            await killed(realm, realm.worker)
            await realm.stage.crew.start("realtime")
            await played.seen(50)
        await played.judge("realtime killed three times")


async def test_clients_move_between_two_instances(realm: Realm):
    """One after the other is killed; who is cut off goes to the other one."""
    other = await realm.stage.crew.start("realtime")
    async with scene(realm) as played:
        for _ in range(3):
            await killed(realm, realm.worker)
            await realm.stage.crew.start("realtime", wait=False)
            await played.seen(50)
        await played.judge("two instances of realtime, killed in turn")
    assert other


async def test_the_worker_is_told_to_end(realm: Realm):
    async with scene(realm) as played:
        old = realm.worker
        await realm.stage.crew.start("realtime")
        assert await realm.stage.crew.dismiss(old) == [0]
        await played.seen(50)
        await played.judge("realtime drained under load")


async def test_the_worker_is_told_to_end_while_the_bus_is_away(realm: Realm):
    """What a client has acknowledged by then is sent on before it ends."""
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    event = await realm.notify(tenant, contact, "hello")
    old = realm.worker
    ending = await realm.stage.crew.start("realtime", ROLLCALL_GRACE_SECONDS="60")
    await realm.stage.crew.dismiss(old)
    async with realm.watch(realm.of_contact(tenant, contact)) as client:
        realm.stage.stack.kill_nats()
        try:
            await client.send("ack", ids=[event])
            await client.send("ping")
            await client.next("pong")
            ending.signal(signal.SIGTERM)
            await eventually(
                lambda: "marks wait" in ending.tail(1 << 20).partition('"event":"drained"')[2],
                what="it has tried to send what it holds",
            )
        finally:
            await asyncio.to_thread(realm.stage.stack.restart_nats)
        assert await ending.until_dead() == 0

    async def delivered() -> bool:
        return all(e["delivered_at"] for e in await realm.timeline(tenant, contact) if e["title"] == "hello")

    await eventually(delivered, what="it is marked")


async def test_the_worker_is_stopped_for_a_while(realm: Realm):
    async with scene(realm) as played:
        realm.worker.signal(signal.SIGSTOP)
        await asyncio.sleep(2)  # how long it sleeps
        realm.worker.signal(signal.SIGCONT)
        await played.seen(300)
        await played.judge("realtime asleep for two seconds")


async def test_the_bus_is_killed_and_restarted(realm: Realm):
    async with scene(realm) as played:
        for _ in range(2):
            realm.stage.stack.kill_nats()
            await asyncio.to_thread(realm.stage.stack.restart_nats)
            await played.seen(50)
        await played.judge("nats-server killed twice")


async def test_postgres_is_killed_and_restarted(realm: Realm):
    async with scene(realm) as played:
        for _ in range(2):
            realm.stage.stack.kill_postgres()
            await asyncio.to_thread(realm.stage.stack.restart_postgres)
            await played.seen(50)
        await played.judge("PostgreSQL killed twice")


async def test_the_relay_is_killed(realm: Realm):
    async with scene(realm) as played:
        for _ in range(3):
            await killed(realm, realm.stage.crew.alive("relay")[0])
            await realm.stage.crew.start("relay")
            await played.seen(50)
        await played.judge("relay killed three times")


async def test_the_stream_is_deleted_and_made_anew(realm: Realm):
    """Nobody is left believing that they have seen everything: all are told to refetch."""
    async with scene(realm) as played:
        client = realm.stage.client
        before = await stored.state(client)
        await api(client, f"STREAM.DELETE.{EVENTS.name}")
        await once_free(lambda: declare(client))
        await eventually(
            lambda: all(any(r["reason"] == "stream_reset" for r in f.resyncs) for f in played.followers),
            timeout=60,
            what="everybody is told",
        )
        assert (await stored.state(client)).created != before.created
        await played.seen(50)
