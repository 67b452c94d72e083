"""timeline.undelivered, session, by_type, by_category and count over the real bus."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from tests.helpers import seed
from tests.helpers.asker import Asker
from tests.helpers.tenant import Tenant

NEVER = ("metadata", "triggered_by", "integration_source")
NOW = datetime.now(UTC)
PAST, FUTURE = NOW - timedelta(hours=1), NOW + timedelta(days=1)

# What each list shows of an event, and what it is asked for.
LISTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "timeline.undelivered": ({"realtime": True}, {}),
    "timeline.session": ({"session_id": "s-1"}, {"session_id": "s-1"}),
    "timeline.by_type": ({"type": "agent_assigned"}, {"type": "agent_assigned"}),
    "timeline.by_category": ({"category": "assignment"}, {"category": "assignment"}),
    "timeline.search": ({"title": "needle"}, {"q": "needle"}),
}
OLDEST_FIRST = ("timeline.undelivered", "timeline.session")


@pytest.mark.parametrize("name", LISTS)
async def test_an_event_is_shown_whole(tenant: Tenant, name: str) -> None:
    columns, asked = LISTS[name]
    event_id = await tenant.event(**columns, metadata={"m": 1}, triggered_by="user:1")
    await tenant.event()
    answer = await tenant.ask(name, **asked)
    assert answer["meta"] == {"limit": 50, "next_cursor": None}
    (event,) = answer["data"]
    assert event == (await tenant.ask("timeline.get", event_id=event_id))["data"]


@pytest.mark.parametrize("name", LISTS)
async def test_pages_hold_everything_once_in_order(tenant: Tenant, name: str) -> None:
    """Of two contacts, with equals in it."""
    columns, asked = LISTS[name]
    other = await tenant.another()
    ids = [
        await tenant.event(other if n % 2 else None, **columns, occurred_at=seed.at(n // 3))
        for n in range(12)
    ]
    if name not in OLDEST_FIRST:
        ids.reverse()
    shown = await tenant.ids(name, **asked)
    assert shown == ids
    for limit in (1, 5, 12):
        assert await tenant.walk(name, **asked, limit=limit) == shown


@pytest.mark.parametrize("name", LISTS)
async def test_expired_events_are_hidden(tenant: Tenant, name: str) -> None:
    columns, asked = LISTS[name]
    await tenant.event(**columns, expires_at=PAST)
    lasting = await tenant.event(**columns, expires_at=FUTURE)
    assert await tenant.ids(name, **asked) == [lasting]


@pytest.mark.parametrize("name", LISTS)
async def test_a_cursor_serves_only_what_it_was_given_for(
    ask: Asker, tenant: Tenant, writer: asyncpg.Connection, name: str
) -> None:
    columns, asked = LISTS[name]
    for _ in range(3):
        await tenant.event(**columns)
    cursor = (await tenant.ask(name, **asked, limit=1))["meta"]["next_cursor"]
    assert len(await tenant.ids(name, **asked, cursor=cursor)) == 2
    assert await tenant.faults(name, **asked, cursor="forged") == ["cursor"]
    error = await ask.error(name, "elsewhere", **asked, cursor=cursor)
    assert [each["field"] for each in error["details"]["errors"]] == ["cursor"]
    for other, (_, theirs) in LISTS.items():
        if other != name:
            assert await tenant.faults(other, **theirs, cursor=cursor) == ["cursor"]


@pytest.mark.parametrize(
    ("name", "fields", "field"),
    [
        ("timeline.undelivered", {"limit": 201}, "limit"),
        ("timeline.undelivered", {"visible_to": "all"}, "visible_to"),
        ("timeline.undelivered", {"contact": {"id": "x"}}, "contact.id"),
        ("timeline.session", {}, "session_id"),
        ("timeline.session", {"session_id": "s" * 129}, "session_id"),
        ("timeline.by_type", {}, "type"),
        ("timeline.by_type", {"type": "x", "visible_to": "agent"}, "visible_to"),
        ("timeline.by_category", {"category": "nonsense"}, "category"),
        ("timeline.by_category", {"category": "note", "since": "today"}, "since"),
        ("timeline.search", {}, "q"),
        ("timeline.search", {"q": " "}, "q"),
        ("timeline.search", {"q": "x" * 256}, "q"),
        ("timeline.count", {}, "contact"),
        ("timeline.count", {"contact": {"external_id": "e"}, "limit": 5}, "limit"),
    ],
)
async def test_refusals_name_the_field(tenant: Tenant, name: str, fields: dict[str, Any], field: str) -> None:
    assert await tenant.faults(name, **fields) == [field]


@pytest.mark.parametrize("name", ["timeline.undelivered", "timeline.search", "timeline.count"])
async def test_of_a_contact_that_is_not_there(ask: Asker, tenant: Tenant, name: str) -> None:
    asked = LISTS.get(name, ({}, {}))[1]
    nobody = {"id": str(uuid.uuid4())}
    assert await ask.code(name, tenant.name, **asked, contact=nobody) == "contact_not_found"
    theirs = {"id": str(tenant.contact)}
    assert await ask.code(name, "elsewhere", **asked, contact=theirs) == "contact_not_found"


async def test_only_realtime_events_wait_until_they_are_delivered(tenant: Tenant) -> None:
    waiting = await tenant.event(realtime=True)
    await tenant.event(realtime=True, delivered_at=NOW)
    await tenant.event()
    assert await tenant.ids("timeline.undelivered") == [waiting]


async def test_a_contacts_queue_is_by_sequence_the_tenants_by_waiting(tenant: Tenant) -> None:
    other = await tenant.another()
    times = {"occurred_at": seed.at(9), "created_at": NOW}
    first = await tenant.event(realtime=True, **times)
    second = await tenant.event(realtime=True, occurred_at=seed.at(1), created_at=PAST)
    third = await tenant.event(other, realtime=True, created_at=PAST - timedelta(days=40))
    assert await tenant.ids("timeline.undelivered", contact={"id": str(tenant.contact)}) == [first, second]
    assert await tenant.ids("timeline.undelivered") == [third, second, first]


async def test_a_survivors_queue_has_the_merged_contacts_events(tenant: Tenant) -> None:
    merged = await tenant.another(merged_into=tenant.contact)
    own, theirs = await tenant.event(realtime=True), await tenant.event(merged, realtime=True)
    answer = await tenant.ask("timeline.undelivered", contact={"id": str(merged)})
    assert sorted(event["id"] for event in answer["data"]) == sorted([own, theirs])
    assert answer["meta"]["redirected_from"] == str(merged)


@pytest.mark.parametrize("name", ["timeline.undelivered", "timeline.session"])
async def test_who_may_see_it(tenant: Tenant, name: str) -> None:
    columns, asked = LISTS[name]
    client = await tenant.event(**columns, visible_to_client=True, visible_to_agent=False)
    agent = await tenant.event(**columns)
    assert await tenant.ids(name, **asked) == [client, agent]
    assert await tenant.ids(name, **asked, visible_to="agent") == [agent]
    (event,) = (await tenant.ask(name, **asked, visible_to="client"))["data"]
    assert event["id"] == client
    assert not set(NEVER) & set(event)


async def test_a_session_is_oldest_first_of_all_its_contacts(tenant: Tenant) -> None:
    other = await tenant.another()
    late = await tenant.event(session_id="s", occurred_at=seed.at(5))
    early = await tenant.event(other, session_id="s", occurred_at=seed.at(1))
    after = await tenant.event(session_id="s", occurred_at=seed.at(5))
    await tenant.event(session_id="s2")
    assert await tenant.ids("timeline.session", session_id="s") == [early, late, after]


@pytest.mark.parametrize("name", ["timeline.by_type", "timeline.by_category"])
async def test_since_is_included(tenant: Tenant, name: str) -> None:
    columns, asked = LISTS[name]
    ids = [await tenant.event(**columns, occurred_at=seed.at(n)) for n in range(4)]
    assert await tenant.ids(name, **asked) == ids[::-1]
    assert await tenant.ids(name, **asked, since=seed.at(2).isoformat()) == [ids[3], ids[2]]


async def test_a_count_is_exact(tenant: Tenant, writer: asyncpg.Connection) -> None:
    named = {"contact": {"id": str(tenant.contact)}}
    assert (await tenant.ask("timeline.count", **named))["data"] == {"count": 0}
    await writer.execute(
        "insert into contact_events (tenant_id, id, contact_id, sequence, contact_version, type, category, priority, title, "
        "payload, metadata, source, realtime, visible_to_client, visible_to_agent, occurred_at, created_at) "
        "select $1, gen_random_uuid(), $2, n, 1, 'x', 'general', 'normal', 'x', '{}', '{}', 'system', false, false, true, "
        "now(), now() from generate_series(1, 10001) n",
        tenant.name,
        tenant.contact,
    )
    assert (await tenant.ask("timeline.count", **named))["data"] == {"count": 10_001}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, 4),
        ({"category": "note"}, 3),
        ({"type": "tag_added"}, 1),
        ({"source": "system"}, 1),
        ({"since": seed.at(2).isoformat()}, 3),
        ({"until": seed.at(2).isoformat()}, 1),
        ({"visible_to": "client"}, 1),
        ({"visible_to": "agent"}, 3),
        ({"category": "note", "since": seed.at(2).isoformat(), "visible_to": "agent"}, 1),
    ],
)
async def test_what_is_counted(tenant: Tenant, fields: dict[str, Any], expected: int) -> None:
    merged = await tenant.another(merged_into=tenant.contact)
    await tenant.event(visible_to_client=True, visible_to_agent=False, occurred_at=seed.at(2))
    await tenant.event(type="tag_added", category="tag", source="system", occurred_at=seed.at(3))
    await tenant.event(merged, occurred_at=seed.at(1))
    await tenant.event(merged, occurred_at=seed.at(4))
    await tenant.event(expires_at=PAST)
    await tenant.event(await tenant.another())
    answer = await tenant.ask("timeline.count", contact={"id": str(merged)}, **fields)
    assert answer["data"] == {"count": expected}
    assert answer["meta"] == {"redirected_from": str(merged)}
