"""Delivered and read: what clients say, once, and who is told of it."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from tests.eventually import eventually
from tests.helpers.realm import Realm
from tests.helpers.watcher import Watcher


async def marks_of(realm: Realm, event_id: uuid.UUID) -> tuple[Any, Any, Any]:
    connection = await asyncpg.connect(realm.stage.dsn)
    try:
        row = await connection.fetchrow(
            "select delivered_at, read_at, metadata from contact_events where id = $1", event_id
        )
    finally:
        await connection.close()
    assert row is not None
    return row["delivered_at"], row["read_at"], row["metadata"]


async def was_skipped(realm: Realm, event_id: uuid.UUID) -> bool:
    delivered_at, read_at, metadata = await marks_of(realm, event_id)
    return delivered_at is not None and read_at is None and '"skipped": "expired"' in metadata


async def told(watcher: Watcher, event_id: uuid.UUID, mark: str) -> dict[str, Any]:
    """The frame that says so of the event."""

    def found(_: object) -> dict[str, Any] | None:
        return next((f for f in watcher.of("changed") if str(event_id) in f[mark]), None)

    frame: dict[str, Any] = await watcher.until(found, f"{mark} of {event_id}")
    return frame


async def test_what_a_client_acknowledges_and_reads(realm: Realm):
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    token = realm.of_contact(tenant, contact)
    async with (
        realm.watch(token) as phone,
        realm.watch(token) as tablet,
        realm.watch(realm.agent(tenant)) as agent,
    ):
        for watcher in (phone, tablet, agent):
            await watcher.subscribe()
        event = await realm.notify(tenant, contact, "hello")
        for watcher in (phone, tablet, agent):
            await watcher.until_title("hello")
        await phone.send("ack", ids=[event])
        for watcher in (phone, tablet, agent):
            frame = await told(watcher, event, "delivered")
            assert (frame["contact_id"], frame["read"], frame["deleted"]) == (str(contact), [], [])
        delivered_at, read_at, _ = await marks_of(realm, event)
        assert delivered_at is not None
        assert read_at is None
        await tablet.send("read", ids=[event])
        for watcher in (phone, tablet, agent):
            await told(watcher, event, "read")
        await phone.send("ack", ids=[event])
        await phone.send("read", ids=[event, uuid.uuid4()])
        other = await realm.notify(tenant, contact, "another")
        await phone.until_title("another")
        await phone.send("read", ids=[other])
        await told(agent, other, "read")
        assert [f["delivered"] for f in agent.of("changed")] == [[str(event)], [], [str(other)]]
        assert (await marks_of(realm, event))[0] == delivered_at
    assert not (await realm.client.query("timeline.undelivered", tenant)).data
    async with realm.watch(token) as later:
        await later.subscribe()
        await realm.notify(tenant, contact, "last")
        await later.until_title("last")
        assert later.titles() == ["last"]


async def test_an_agent_does_not_empty_a_clients_queue(realm: Realm):
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    async with realm.watch(realm.agent(tenant)) as agent:
        await agent.subscribe()
        for_client = await realm.notify(tenant, contact, "for the client")
        internal = await realm.record(tenant, contact, "internal")
        await agent.until_title("internal")
        await agent.send("ack", ids=[for_client, internal])
        await agent.send("read", ids=[for_client, internal])
        await told(agent, internal, "read")
    assert None not in (await marks_of(realm, internal))[:2]
    assert (await marks_of(realm, for_client))[:2] == (None, None)
    async with realm.watch(realm.of_contact(tenant, contact)) as client:
        await client.subscribe()
        await client.until_title("for the client")


async def test_nobody_marks_what_they_may_not_see(realm: Realm):
    tenant, other = realm.tenant(), realm.tenant()
    own, foreign = await realm.contact(tenant), await realm.contact(tenant)
    elsewhere = await realm.contact(other)
    hidden = await realm.notify(tenant, foreign, "another contact's")
    far = await realm.notify(other, elsewhere, "another tenant's")
    internal = await realm.record(tenant, own, "internal")
    mine = await realm.notify(tenant, own, "mine")
    agents = await realm.record(tenant, foreign, "of a contact that the agent may not see")
    nobodys = await realm.record(tenant, own, "for no eyes", visible_to_agent=False)
    async with (
        realm.watch(realm.of_contact(tenant, own)) as client,
        realm.watch(realm.agent(tenant, own, uuid.uuid4())) as agent,
    ):
        await agent.subscribe()
        for watcher in (client, agent):
            for frame in ("ack", "read"):
                await watcher.send(frame, ids=[hidden, far, agents, nobodys, internal, mine])
        await told(agent, mine, "read")
        await told(agent, internal, "read")
    assert None not in (await marks_of(realm, internal))[:2]
    for event in (hidden, far, agents, nobodys):
        assert (await marks_of(realm, event))[:2] == (None, None)


async def test_what_expired_while_the_client_was_away(realm: Realm):
    """It is skipped, and marked so."""
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    expired = await realm.notify(tenant, contact, "expired", expires_at=past)
    async with realm.watch(realm.of_contact(tenant, contact)) as client:
        await client.subscribe()
        await eventually(lambda: was_skipped(realm, expired), what="it is marked")
        assert client.titles() == []


async def test_what_expired_behind_a_clients_cursor(realm: Realm):
    """A client that comes back with a cursor is not sent it either, and that is marked."""
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    token = realm.of_contact(tenant, contact)
    async with realm.watch(token) as client:
        await client.subscribe()
        await realm.notify(tenant, contact, "seen")
        cursor = (await client.until_title("seen"))["cursor"]
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    expired = await realm.notify(tenant, contact, "expired", expires_at=past)
    async with realm.watch(token) as client:
        await client.subscribe(cursor=cursor)
        await eventually(lambda: was_skipped(realm, expired), what="it is marked")
        assert client.titles() == []


async def test_many_marks_at_once(realm: Realm):
    """From several devices, each event once."""
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    token = realm.of_contact(tenant, contact)
    async with (
        realm.watch(token) as one,
        realm.watch(token) as two,
        realm.watch(realm.agent(tenant)) as agent,
    ):
        await agent.subscribe()
        ids = [
            str(i) for i in await asyncio.gather(*(realm.notify(tenant, contact, f"n{n}") for n in range(60)))
        ]
        for start in range(0, 60, 5):
            for watcher in (one, two):
                await watcher.send("ack", ids=ids[start : start + 5])
        marked: list[str] = []

        def everything(_: object) -> bool:
            marked[:] = [i for f in agent.of("changed") for i in f["delivered"]]
            return len(marked) >= 60

        await agent.until(everything)
        assert sorted(marked) == sorted(ids)
        assert len(agent.of("changed")) < 20


async def test_a_deleted_event_leaves_every_screen(realm: Realm):
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    async with (
        realm.watch(realm.agent(tenant)) as agent,
        realm.watch(realm.of_contact(tenant, contact)) as client,
    ):
        cursor = (await agent.subscribe())["cursor"]
        await client.subscribe()
        event = await realm.notify(tenant, contact, "to be deleted")
        internal = await realm.record(tenant, contact, "internal")
        result = await realm.client.send(
            "timeline.delete", tenant, {"event_ids": [str(event), str(internal)]}
        )
        assert result.status == "applied"
        await told(agent, event, "deleted")
        assert (await told(client, event, "deleted"))["deleted"] == [str(event)]
        await agent.subscribe("again", cursor=cursor)
        await agent.until(lambda _: agent.of("changed", "again"))
        assert agent.titles("again") == ["to be deleted", "internal"]
    assert [e["title"] for e in await realm.timeline(tenant, contact)] == ["Contact created"]
