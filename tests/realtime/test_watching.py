"""Who is pushed what, while nothing goes wrong."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import asyncpg

from contracts.realtime.frames import SERVER_FRAMES
from tests.helpers.realm import Realm
from tests.helpers.watcher import Watcher


async def test_an_agent_sees_every_contact_of_its_tenant(realm: Realm):
    tenant, other = realm.tenant(), realm.tenant()
    async with realm.watch(realm.agent(tenant)) as watcher:
        await watcher.subscribe()
        one, two = await realm.contact(tenant), await realm.contact(tenant)
        stranger = await realm.contact(other)
        await realm.record(other, stranger, "not for us")
        await realm.record(tenant, one, "first")
        await realm.record(tenant, two, "second")
        await watcher.until_title("second")
        assert watcher.titles() == ["Contact created", "Contact created", "first", "second"]
        assert {f["event"]["contact_id"] for f in watcher.of("event")} == {str(one), str(two)}
        for frame in watcher.frames:
            SERVER_FRAMES[frame["type"]].model_validate(frame)


async def test_an_event_frame_is_the_event_as_a_query_shows_it(realm: Realm):
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    async with realm.watch(realm.agent(tenant)) as watcher:
        await watcher.subscribe(contacts=[contact])
        await realm.record(
            tenant, contact, "whole", payload={"Zoë": [1, {"a": None}]}, metadata={"k": "v"}, session_id="s-1"
        )
        frame = await watcher.until_title("whole")
    assert frame["event"] == (await realm.timeline(tenant, contact))[-1]


async def test_one_contact_or_a_set(realm: Realm):
    tenant = realm.tenant()
    one, two, three = [await realm.contact(tenant) for _ in range(3)]
    async with realm.watch(realm.agent(tenant)) as watcher:
        await watcher.subscribe("one", [one])
        await watcher.subscribe("pair", [one, two])
        for title, contact in (("a", one), ("b", two), ("c", three), ("d", one)):
            await realm.record(tenant, contact, title)
        for each in ("one", "pair"):
            await watcher.until_title("d", each)
        assert watcher.titles("one") == ["a", "d"]
        assert watcher.titles("pair") == ["a", "b", "d"]


async def test_a_contacts_client(realm: Realm):
    """Only its own contact, only what is visible to it and realtime, never what is internal."""
    tenant = realm.tenant()
    own, other = await realm.contact(tenant), await realm.contact(tenant)
    async with realm.watch(realm.of_contact(tenant, own)) as watcher:
        await watcher.subscribe()
        secret = {"metadata": {"margin": 3}, "triggered_by": "user:7", "integration_source": "crm"}
        await realm.notify(tenant, other, "somebody else's")
        await realm.record(tenant, own, "internal", realtime=True, **secret)
        await realm.record(tenant, own, "not realtime", visible_to_client=True)
        await realm.notify(tenant, own, "for the client", **secret)
        frame = await watcher.until_title("for the client")
        assert watcher.titles() == ["for the client"]
    assert not frame["event"].keys() & secret.keys()
    assert frame["event"] == (await realm.timeline(tenant, own, visible_to="client"))[-1]


async def test_what_is_not_for_agents(realm: Realm):
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    async with realm.watch(realm.agent(tenant)) as watcher:
        await watcher.subscribe()
        await realm.notify(tenant, contact, "hidden", visible_to_agent=False)
        await realm.record(tenant, contact, "shown")
        await watcher.until_title("shown")
        assert watcher.titles() == ["shown"]


async def test_expired_events_are_not_pushed(realm: Realm):
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    async with realm.watch(realm.agent(tenant)) as watcher:
        cursor = (await watcher.subscribe())["cursor"]
        past = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
        await realm.record(tenant, contact, "stale", expires_at=past)
        await realm.record(tenant, contact, "fresh")
        await watcher.until_title("fresh")
        assert watcher.titles() == ["fresh"]
        await watcher.subscribe("again", cursor=cursor)
        await watcher.until_title("fresh", "again")
        assert watcher.titles("again") == ["fresh"]


async def test_a_subscription_that_is_ended_or_replaced(realm: Realm):
    tenant = realm.tenant()
    one, two = await realm.contact(tenant), await realm.contact(tenant)
    async with realm.watch(realm.agent(tenant)) as watcher:
        await watcher.subscribe("a", [one])
        await watcher.subscribe("b", [one])
        await watcher.send("unsubscribe", sub="b")
        await watcher.send("unsubscribe", sub="nobody")
        await watcher.next("error", code="unknown_subscription", ref="nobody")
        await watcher.send("subscribe", sub="a", contacts=[str(two)])
        await watcher.until(lambda _: len(watcher.of("subscribed", "a")) == 2)
        await realm.record(tenant, one, "of the first")
        await realm.record(tenant, two, "of the second")
        await watcher.until_title("of the second")
        assert watcher.titles() == ["of the second"]


async def test_every_instance_pushes_every_event(realm: Realm):
    second = await realm.stage.crew.start("realtime")
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    first = realm.stage.crew.alive("realtime")[0]
    token = realm.agent(tenant)
    async with Watcher.open(first.http, token) as one, Watcher.open(second.http, token) as two:
        for watcher in (one, two):
            await watcher.subscribe()
        for n in range(20):
            await realm.record(tenant, contact, f"n{n}")
        for watcher in (one, two):
            await watcher.until_title("n19")
        # The contact's creation may still have been on its way to one of them.
        pushed = [
            [f for f in each.of("event") if f["event"]["type"] != "contact_created"] for each in (one, two)
        ]
        assert [f["event"]["title"] for f in pushed[0]] == [f"n{n}" for n in range(20)]
        assert pushed[0] == pushed[1]
    await realm.stage.crew.dismiss(second)


async def test_queries_with_the_rights_of_an_agent(realm: Realm):
    tenant = realm.tenant()
    known = await realm.contact(tenant, email="known@example.com")
    other = await realm.contact(tenant, email="other@example.com")
    await realm.notify(tenant, known, "for the client alone", visible_to_agent=False)
    async with realm.watch(realm.agent(tenant)) as watcher:
        await watcher.send(
            "query",
            ref="1",
            name="contact.find",
            data={"channel": "email", "identifier": "known@example.com"},
        )
        found = await watcher.next("result", ref="1")
        assert (found["success"], found["data"]["id"]) == (True, str(known))
        await watcher.send("query", ref="2", name="contact.list", data={"page_size": 1})
        assert (await watcher.next("result", ref="2"))["data"][0]["id"] == str(other)
        await watcher.send("query", ref="3", name="contact.timeline", data={"contact": {"id": str(known)}})
        assert [e["title"] for e in (await watcher.next("result", ref="3"))["data"]] == ["Contact created"]
        await watcher.send("query", ref="4", name="contact.find", data={"channel": "email"})
        refused = await watcher.next("result", ref="4")
        assert (refused["success"], refused["error"]["code"]) == (False, "invalid")
        await watcher.send("query", ref="5", name="contact.get", data={"contact": {"id": str(known)}})
        assert (await watcher.next("result", ref="5"))["data"]["email"] == "known@example.com"
        await realm.notify(tenant, known, "for both", metadata={"internal": True})
        as_client = {"contact": {"id": str(known)}, "visible_to": "client"}
        await watcher.send("query", ref="6", name="contact.timeline", data=as_client)
        (event,) = (await watcher.next("result", ref="6"))["data"]
        assert (event["title"], "metadata" in event) == ("for both", False)
        await watcher.send("query", ref="7", name="contact.timeline", data={**as_client, "visible_to": "x"})
        assert (await watcher.next("result", ref="7"))["error"]["code"] == "invalid"
    async with realm.watch(realm.agent(tenant, known)) as watcher:
        await watcher.send(
            "query",
            ref="1",
            name="contact.find",
            data={"channel": "email", "identifier": "other@example.com"},
        )
        assert (await watcher.next("result", ref="1"))["error"]["code"] == "contact_not_found"
        await watcher.send("query", ref="2", name="contact.timeline", data={"contact": {"id": str(other)}})
        assert (await watcher.next("result", ref="2"))["error"]["code"] == "contact_not_found"
        by_name = {"contact": {"channel": "email", "identifier": "known@example.com"}}
        await watcher.send("query", ref="3", name="contact.timeline", data=by_name)
        assert (await watcher.next("result", ref="3"))["success"]
        await watcher.send("query", ref="4", name="contact.list")
        assert (await watcher.next("error", ref="4"))["code"] == "forbidden"
        for ref, contact in (("5", other), ("6", uuid.uuid4())):
            await watcher.send("query", ref=ref, name="contact.get", data={"contact": {"id": str(contact)}})
            assert (await watcher.next("result", ref=ref))["error"]["code"] == "contact_not_found"
        await watcher.send("query", ref="7", name="contact.get", data={"contact": {"id": str(known)}})
        assert (await watcher.next("result", ref="7"))["data"]["id"] == str(known)


async def test_queries_with_the_rights_of_a_contacts_client(realm: Realm):
    tenant = realm.tenant()
    own, other = await realm.contact(tenant), await realm.contact(tenant)
    await realm.notify(tenant, own, "for the client", metadata={"internal": True})
    async with realm.watch(realm.of_contact(tenant, own)) as watcher:
        await watcher.send("query", ref="1", name="contact.timeline")
        (event,) = (await watcher.next("result", ref="1"))["data"]
        assert event["title"] == "for the client"
        assert "metadata" not in event
        for ref, name, data in (
            ("2", "contact.timeline", {"contact": {"id": str(other)}}),
            ("3", "contact.find", {"external_id": "x"}),
            ("4", "contact.list", {}),
            ("6", "contact.get", {"contact": {"id": str(own)}}),
        ):
            await watcher.send("query", ref=ref, name=name, data=data)
            assert (await watcher.next("error", ref=ref))["code"] == "forbidden"
        trick = {"contact": {"id": str(own)}, "visible_to": "agent"}
        spelled = {"contact": {"id": str(own).upper()}}
        for ref, data in (("5", trick), ("7", spelled), ("8", {"contact": None})):
            await watcher.send("query", ref=ref, name="contact.timeline", data=data)
            assert len((await watcher.next("result", ref=ref))["data"]) == 1


async def test_many_queries_at_once_are_answered_in_turn(realm: Realm):
    tenant = realm.tenant()
    known = await realm.contact(tenant)
    async with realm.watch(realm.agent(tenant)) as watcher:
        for n in range(30):
            await watcher.send("query", ref=str(n), name="contact.get", data={"contact": {"id": str(known)}})
        for n in range(30):
            assert (await watcher.next("result", ref=str(n)))["success"]


# What the server counted of the role that realtime reads as (queries does too, while somebody asks), and when a session of
# realtime's last said anything, in whichever role: the tickets' is the writer's, as which other workers are never silent.
SAID = """
select
  (select coalesce(sum(calls), 0) from pg_stat_statements s join pg_roles r on r.oid = s.userid where r.rolname = 'rollcall_reader'),
  (select max(query_start) from pg_stat_activity where application_name like 'rollcall realtime%')
"""


async def test_idle_sockets_ask_the_database_nothing(realm: Realm):
    """Nothing of a session lives by polling."""
    tenant = realm.tenant()
    contacts = [uuid.uuid4() for _ in range(100)]
    owner = await asyncpg.connect(realm.stage.dsn)
    opened = [realm.watch(realm.of_contact(tenant, c)) for c in contacts]
    watchers: list[asyncio.Task[Watcher]] = []
    for start in range(0, len(opened), 10):  # none waits for so long that it comes too late with its token
        async with asyncio.TaskGroup() as group:
            watchers += [group.create_task(each.__aenter__()) for each in opened[start : start + 10]]
    try:
        for watcher in [task.result() for task in watchers]:
            await watcher.subscribe()
        async with asyncio.timeout(90):
            while True:  # the openings come to an end
                before = await owner.fetchrow(SAID)
                await asyncio.sleep(1)
                if (await owner.fetchrow(SAID)) == before:
                    break
        await asyncio.sleep(10)  # the span of the promise
        assert await owner.fetchrow(SAID) == before
        assert before is not None
        assert before[0] > 100  # else they are not counted at all
    finally:
        for each in opened:
            await each.__aexit__(None, None, None)
        await owner.close()
