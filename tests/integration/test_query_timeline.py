"""contact.timeline and timeline.get over the real bus."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Executable, Row

from storage.reads.session import TenantReads
from tests.helpers import seed
from tests.helpers.asker import Asker
from workers.queries.service import Queries

EVENT = [
    "id",
    "contact_id",
    "sequence",
    "contact_version",
    "session_id",
    "thread_id",
    "type",
    "category",
    "priority",
    "title",
    "description",
    "payload",
    "metadata",
    "source",
    "triggered_by",
    "integration_source",
    "realtime",
    "delivered_at",
    "read_at",
    "visible_to_client",
    "visible_to_agent",
    "expires_at",
    "occurred_at",
    "created_at",
]
CLIENT_NEVER_SEES = {"metadata", "triggered_by", "integration_source"}


@pytest.fixture
async def contact(writer: asyncpg.Connection) -> uuid.UUID:
    return await seed.contact(writer, "a")


def named(contact: uuid.UUID) -> dict[str, Any]:
    return {"contact": {"id": str(contact)}}


def sequences(events: list[dict[str, Any]]) -> list[int]:
    return [event["sequence"] for event in events]


async def test_one_event(ask: Asker, writer: asyncpg.Connection, contact: uuid.UUID) -> None:
    event_id = await seed.event(
        writer,
        "a",
        contact,
        1,
        session_id="s",
        thread_id="t",
        description="said",
        payload={"n": 1},
        metadata={"m": 2},
        triggered_by="user:42",
        integration_source="crm",
        created_at=seed.at(3),
    )
    event = await ask.data("timeline.get", event_id=str(event_id))
    assert list(event) == EVENT
    assert event == {
        "id": str(event_id),
        "contact_id": str(contact),
        "sequence": 1,
        "contact_version": 1,
        "session_id": "s",
        "thread_id": "t",
        "type": "note_added",
        "category": "note",
        "priority": "normal",
        "title": "Note added",
        "description": "said",
        "payload": {"n": 1},
        "metadata": {"m": 2},
        "source": "agent",
        "triggered_by": "user:42",
        "integration_source": "crm",
        "realtime": False,
        "delivered_at": None,
        "read_at": None,
        "visible_to_client": False,
        "visible_to_agent": True,
        "expires_at": None,
        "occurred_at": "2026-01-01T00:01:00Z",
        "created_at": "2026-01-01T00:03:00Z",
    }
    assert await ask.data("contact.timeline", **named(contact)) == [event]


async def test_when_an_event_was_delivered_and_read(
    ask: Asker, writer: asyncpg.Connection, contact: uuid.UUID
) -> None:
    event_id = await seed.event(writer, "a", contact, 1, delivered_at=seed.at(4), read_at=seed.at(5))
    event = await ask.data("timeline.get", event_id=str(event_id))
    assert (event["delivered_at"], event["read_at"]) == ("2026-01-01T00:04:00Z", "2026-01-01T00:05:00Z")
    assert await ask.data("contact.timeline", **named(contact), visible_to="agent") == [event]


async def test_unknown_events_and_contacts(
    ask: Asker, writer: asyncpg.Connection, contact: uuid.UUID
) -> None:
    event_id = str(await seed.event(writer, "a", contact, 1))
    assert await ask.code("timeline.get", event_id=str(uuid.uuid4())) == "event_not_found"
    assert await ask.code("timeline.get", "b", event_id=event_id) == "event_not_found"
    assert await ask.code("contact.timeline", **named(uuid.uuid4())) == "contact_not_found"
    assert await ask.code("contact.timeline", "b", **named(contact)) == "contact_not_found"


async def test_a_contact_without_events(ask: Asker, contact: uuid.UUID) -> None:
    answer = await ask("contact.timeline", **named(contact), total=True)
    assert answer["data"] == []
    assert answer["meta"] == {"limit": 50, "next_cursor": None, "total": 0, "total_is": "exact"}


async def test_newest_first_by_when_it_happened(
    ask: Asker, writer: asyncpg.Connection, contact: uuid.UUID
) -> None:
    for sequence, minute in ((1, 5), (2, 1), (3, 5), (4, -9_000_000), (5, 9_000_000)):
        await seed.event(writer, "a", contact, sequence, occurred_at=seed.at(minute))
    assert sequences(await ask.data("contact.timeline", **named(contact))) == [5, 3, 1, 2, 4]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"category": "note"}, [4, 3]),
        ({"type": "tag_added"}, [2]),
        ({"source": "system"}, [2, 1]),
        ({"category": "note", "source": "system"}, []),
        ({"since": seed.at(2).isoformat()}, [4, 3, 2]),
        ({"until": seed.at(2).isoformat()}, [1]),
        ({"since": seed.at(2).isoformat(), "until": seed.at(4).isoformat()}, [3, 2]),
        ({"visible_to": "client"}, [3, 1]),
        ({"visible_to": "agent"}, [4, 3, 2]),
        ({"limit": 2}, [4, 3]),
    ],
)
async def test_filters(
    ask: Asker, writer: asyncpg.Connection, contact: uuid.UUID, fields: dict[str, Any], expected: list[int]
) -> None:
    await seed.event(
        writer,
        "a",
        contact,
        1,
        type="x",
        category="general",
        source="system",
        visible_to_client=True,
        visible_to_agent=False,
    )
    await seed.event(writer, "a", contact, 2, type="tag_added", category="tag", source="system")
    await seed.event(writer, "a", contact, 3, visible_to_client=True)
    await seed.event(writer, "a", contact, 4)
    answer = await ask("contact.timeline", **named(contact), **fields, total=True)
    assert sequences(answer["data"]) == expected
    if "limit" not in fields:
        assert answer["meta"]["total"] == len(expected)


async def test_a_client_sees_less_of_an_event(
    ask: Asker, writer: asyncpg.Connection, contact: uuid.UUID
) -> None:
    await seed.event(
        writer,
        "a",
        contact,
        1,
        visible_to_client=True,
        metadata={"secret": 1},
        triggered_by="user:1",
        integration_source="x",
    )
    (event,) = await ask.data("contact.timeline", **named(contact), visible_to="client")
    assert list(event) == [name for name in EVENT if name not in CLIENT_NEVER_SEES]


async def test_expired_events_are_hidden(ask: Asker, writer: asyncpg.Connection, contact: uuid.UUID) -> None:
    now = datetime.now(UTC)
    expired = await seed.event(writer, "a", contact, 1, expires_at=now - timedelta(seconds=1))
    lasting = await seed.event(writer, "a", contact, 2, expires_at=now + timedelta(hours=1))
    answer = await ask("contact.timeline", **named(contact), total=True)
    assert sequences(answer["data"]) == [2]
    assert answer["meta"]["total"] == 1
    assert await ask.code("timeline.get", event_id=str(expired)) == "event_not_found"
    assert (await ask.data("timeline.get", event_id=str(lasting)))["sequence"] == 2


async def test_a_survivors_timeline_has_the_merged_contacts_events(
    ask: Asker, writer: asyncpg.Connection, contact: uuid.UUID
) -> None:
    merged = [await seed.contact(writer, "a", merged_into=contact) for _ in range(2)]
    stranger = await seed.contact(writer, "a")
    for minute, owner in enumerate([contact, *merged, stranger, contact, *merged]):
        await seed.event(writer, "a", owner, 1 + minute // 4, occurred_at=seed.at(minute))
    answer = await ask("contact.timeline", **named(contact), total=True)
    assert [e["contact_id"] for e in answer["data"]] == [
        str(c) for c in (*reversed(merged), contact) for _ in "1"
    ] * 2
    assert answer["meta"]["total"] == 6
    by_merged_id = await ask("contact.timeline", **named(merged[0]))
    assert by_merged_id["data"] == answer["data"]
    assert by_merged_id["meta"]["redirected_from"] == str(merged[0])
    walked = await walk(ask, contact, limit=1)
    assert walked == [e["id"] for e in answer["data"]]


async def test_events_of_every_partition_are_read(
    ask: Asker, writer: asyncpg.Connection, contact: uuid.UUID
) -> None:
    now = datetime.now(UTC)
    for sequence, created in enumerate(
        (datetime(1999, 1, 1, tzinfo=UTC), now, now + timedelta(days=32)), start=1
    ):
        await seed.event(writer, "a", contact, sequence, created_at=created)
    assert sequences(await ask.data("contact.timeline", **named(contact))) == [3, 2, 1]


async def test_a_deleted_contacts_timeline_can_be_read(ask: Asker, writer: asyncpg.Connection) -> None:
    gone = await seed.contact(writer, "a", deleted_at=seed.at(1))
    await seed.event(writer, "a", gone, 1, type="contact_deleted", category="system")
    assert [e["type"] for e in await ask.data("contact.timeline", **named(gone))] == ["contact_deleted"]


async def walk(ask: Asker, contact: uuid.UUID, **fields: Any) -> list[str]:
    """The ids of the whole timeline, page by page."""
    walked: list[str] = []
    while True:
        answer = await ask("contact.timeline", **named(contact), **fields)
        assert answer["success"], answer
        walked += [event["id"] for event in answer["data"]]
        if answer["meta"]["next_cursor"] is None:
            return walked
        fields["cursor"] = answer["meta"]["next_cursor"]


@pytest.mark.parametrize("limit", [1, 3, 200])
async def test_cursors_walk_a_timeline_once(
    ask: Asker, writer: asyncpg.Connection, contact: uuid.UUID, limit: int
) -> None:
    ids = [str(await seed.event(writer, "a", contact, n, occurred_at=seed.at(n // 3))) for n in range(1, 13)]
    assert await walk(ask, contact, limit=limit) == ids[::-1]


async def test_a_cursor_serves_only_the_timeline_that_gave_it(
    ask: Asker, writer: asyncpg.Connection, contact: uuid.UUID
) -> None:
    other = await seed.contact(writer, "a")
    stranger = await seed.contact(writer, "b", id=contact)
    for sequence in (1, 2, 3):
        await seed.event(writer, "a", contact, sequence)
        await seed.event(writer, "a", other, sequence)
        await seed.event(writer, "b", stranger, sequence)
    cursor = (await ask("contact.timeline", **named(contact), limit=1))["meta"]["next_cursor"]
    for tenant, fields in (
        ("a", named(other)),
        ("b", named(stranger)),
        ("a", {**named(contact), "category": "note"}),
        ("a", {**named(contact), "visible_to": "agent"}),
    ):
        error = await ask.error("contact.timeline", tenant, **fields, cursor=cursor)
        assert [e["field"] for e in error["details"]["errors"]] == ["cursor"]
    assert sequences(await ask.data("contact.timeline", **named(contact), cursor=cursor)) == [2, 1]


async def test_totals_are_exact_to_ten_thousand(
    ask: Asker, writer: asyncpg.Connection, contact: uuid.UUID
) -> None:
    await writer.execute(
        "insert into contact_events (tenant_id, id, contact_id, sequence, contact_version, type, category, priority, title, "
        "payload, metadata, source, realtime, visible_to_client, visible_to_agent, occurred_at, created_at) "
        "select 'a', gen_random_uuid(), $1, n, 1, 'x', 'general', 'normal', 'x', '{}', '{}', 'system', false, false, true, "
        "now(), now() from generate_series(1, 10001) n",
        contact,
    )
    answer = await ask("contact.timeline", **named(contact), total=True, limit=200)
    assert len(answer["data"]) == 200
    assert (answer["meta"]["total"], answer["meta"]["total_is"]) == (10_000, "at_least")


@pytest.mark.parametrize(
    "large",
    [{"description": "x" * 400_000}, {"payload": {"x": "x" * 400_000}}, {"metadata": {"x": "x" * 400_000}}],
)
@pytest.mark.parametrize("name", ["contact.timeline", "timeline.by_type"])
async def test_a_page_that_is_too_large_is_not_read_whole(
    ask: Asker,
    writer: asyncpg.Connection,
    contact: uuid.UUID,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    large: dict[str, Any],
) -> None:
    count, kind = 12, f"type-{uuid.uuid4()}"
    for sequence in range(count):
        await seed.event(writer, "a", contact, sequence, type=kind, visible_to_client=True, **large)
    asked = named(contact) if name == "contact.timeline" else {"type": kind}
    read: list[int] = []
    rows = TenantReads.rows

    async def counted(self: TenantReads, statement: Executable, **parameters: Any) -> Sequence[Row[Any]]:
        found = await rows(self, statement, **parameters)
        read.append(sum(len(str(value)) for row in found for value in row))
        return found

    monkeypatch.setattr(TenantReads, "rows", counted)
    monkeypatch.setattr(Queries, "_most_bytes", 1_000_000)
    error = await ask.error(name, limit=200, **asked)
    assert error["code"] == "too_large"
    assert "smaller page" in error["message"]
    assert sum(read) < 3_000_000  # of nearly five
    first = await ask(name, limit=2, **asked)
    assert len(first["data"]) == 2
    second = await ask(name, limit=2, cursor=first["meta"]["next_cursor"], **asked)
    assert len({event["id"] for event in first["data"] + second["data"]}) == 4


async def test_what_a_client_does_not_see_takes_no_room_in_its_page(
    ask: Asker, writer: asyncpg.Connection, contact: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Queries, "_most_bytes", 1_000_000)
    for sequence in range(8):
        await seed.event(
            writer, "a", contact, sequence, visible_to_client=True, metadata={"x": "x" * 400_000}
        )
    assert len(await ask.data("contact.timeline", visible_to="client", **named(contact))) == 8
