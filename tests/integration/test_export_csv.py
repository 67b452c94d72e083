"""A timeline as CSV: every event once, oldest first, and nothing that is not for its reader."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import asyncpg
import orjson
import pytest

from storage.reads.events import CLIENT_NEVER_SEES, NAMES
from storage.reads.session import Reads
from tests.helpers import seed
from tests.helpers.exporting import exported, rows
from workers.exports import export as door
from workers.exports.export import export
from workers.queries.handlers.answer import Refusal


@pytest.fixture
async def contact(writer: asyncpg.Connection) -> uuid.UUID:
    return await seed.contact(writer, "a")


async def test_one_event(reads: Reads, writer: asyncpg.Connection, contact: uuid.UUID) -> None:
    event_id = await seed.event(
        writer,
        "a",
        contact,
        1,
        session_id="s",
        title="=cmd|' /C calc'!A0",
        description="Müller, العربية\n漢字",
        payload={"text": "Ü"},
        metadata={"n": 1},
        triggered_by="user:42",
        integration_source="meta",
        visible_to_client=True,
        occurred_at=datetime(2026, 1, 31, 12, tzinfo=UTC),
        created_at=datetime(2026, 2, 1, 0, 0, 0, 5, UTC),
    )
    (row,) = rows(await exported(reads, contact, "csv"))
    assert tuple(row) == NAMES
    assert {name: value for name, value in row.items() if value} == {
        "id": str(event_id),
        "contact_id": str(contact),
        "sequence": "1",
        "contact_version": "1",
        "session_id": "s",
        "type": "note_added",
        "category": "note",
        "priority": "normal",
        "title": "'=cmd|' /C calc'!A0",
        "description": "Müller, العربية\n漢字",
        "payload": '{"text":"Ü"}',
        "metadata": '{"n":1}',
        "source": "agent",
        "triggered_by": "user:42",
        "integration_source": "meta",
        "realtime": "false",
        "visible_to_client": "true",
        "visible_to_agent": "true",
        "occurred_at": "2026-01-31T12:00:00Z",
        "created_at": "2026-02-01T00:00:00.000005Z",
    }


async def test_every_event_once_oldest_first(
    reads: Reads, writer: asyncpg.Connection, contact: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [str(await seed.event(writer, "a", contact, n, occurred_at=seed.at(n // 3))) for n in range(1, 13)]
    for size in (1, 4, 5, 200):
        monkeypatch.setattr(door, "PAGE", size)
        assert [row["id"] for row in rows(await exported(reads, contact, "csv"))] == ids


async def test_a_timeline_without_events_is_a_header(reads: Reads, contact: uuid.UUID) -> None:
    assert await exported(reads, contact, "csv") == b"\xef\xbb\xbf" + ",".join(NAMES).encode() + b"\r\n"


async def test_a_reader_that_pauses_holds_no_transaction(
    reads: Reads, writer: asyncpg.Connection, contact: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pool has one connection: a page that kept it would be waited for."""
    monkeypatch.setattr(door, "PAGE", 2)
    for n in range(1, 4):
        await seed.event(writer, "a", contact, n)
    begun = await export(reads, "a", contact, "csv")
    written = await anext(begun) + await anext(begun)
    assert [row["sequence"] for row in rows(written)] == ["1", "2"]
    assert len(rows(await exported(reads, contact, "csv"))) == 3
    await seed.event(writer, "a", contact, 4)
    written += b"".join([piece async for piece in begun])
    assert [row["sequence"] for row in rows(written)] == ["1", "2", "3", "4"]


async def test_who_may_see_what(reads: Reads, writer: asyncpg.Connection, contact: uuid.UUID) -> None:
    secret = {"metadata": {"secret": 1}, "triggered_by": "user:1", "integration_source": "secret"}
    await seed.event(writer, "a", contact, 1, visible_to_client=True, visible_to_agent=False, **secret)
    await seed.event(writer, "a", contact, 2, **secret)
    await seed.event(writer, "a", contact, 3, visible_to_client=True, visible_to_agent=True, **secret)
    await seed.event(writer, "a", contact, 4, visible_to_agent=False, **secret)
    shown = {
        who: rows(await exported(reads, contact, "csv", visible_to=who)) for who in ("client", "agent", None)
    }
    assert {who: [row["sequence"] for row in found] for who, found in shown.items()} == {
        "client": ["1", "3"],
        "agent": ["2", "3"],
        None: ["1", "2", "3", "4"],
    }
    assert tuple(shown["client"][0]) == tuple(name for name in NAMES if name not in CLIENT_NEVER_SEES)
    assert "secret" not in str(shown["client"])
    assert tuple(shown["agent"][0]) == NAMES


async def test_expired_events_are_hidden(
    reads: Reads, writer: asyncpg.Connection, contact: uuid.UUID
) -> None:
    await seed.event(writer, "a", contact, 1, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    await seed.event(writer, "a", contact, 2, expires_at=datetime.now(UTC) + timedelta(hours=1))
    assert [row["sequence"] for row in rows(await exported(reads, contact, "csv"))] == ["2"]


async def test_a_survivors_export_has_the_merged_contacts_events(
    reads: Reads, writer: asyncpg.Connection, contact: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "PAGE", 2)
    merged = await seed.contact(writer, "a", merged_into=contact)
    owners = [contact, merged, merged, contact, merged]
    for minute, owner in enumerate(owners):
        await seed.event(writer, "a", owner, minute + 1)
    for named in (contact, merged):
        found = rows(await exported(reads, named, "csv"))
        assert [row["contact_id"] for row in found] == [str(owner) for owner in owners]


async def test_a_deleted_contacts_timeline_is_exported(reads: Reads, writer: asyncpg.Connection) -> None:
    gone = await seed.contact(writer, "a", deleted_at=seed.at(1))
    await seed.event(writer, "a", gone, 1, type="contact_deleted")
    assert [row["type"] for row in rows(await exported(reads, gone, "csv"))] == ["contact_deleted"]


@pytest.mark.parametrize("kind", ["csv", "pdf"])
async def test_whose_contact_it_is_not_gets_nothing(
    reads: Reads, writer: asyncpg.Connection, contact: uuid.UUID, kind: str
) -> None:
    """Also where another tenant has a contact of the same id: its events stay its own."""
    await seed.event(writer, "a", contact, 1)
    for tenant, wanted in (("b", contact), ("a", uuid.uuid4())):
        with pytest.raises(Refusal) as refused:
            await export(reads, tenant, wanted, kind)
        assert refused.value.code == "contact_not_found"
    await seed.contact(writer, "b", id=contact)
    await seed.event(writer, "b", contact, 9, title="of b")
    (row,) = rows(await exported(reads, contact, "csv", tenant="b"))
    assert row["title"] == "of b"
    assert [row["sequence"] for row in rows(await exported(reads, contact, "csv"))] == ["1"]


async def test_payloads_are_json(reads: Reads, writer: asyncpg.Connection, contact: uuid.UUID) -> None:
    payload = {"changes": {"name": {"old": None, "new": 'a"b,c\nd'}}, "list": [1, 2.5, True]}
    await seed.event(writer, "a", contact, 1, payload=payload)
    (row,) = rows(await exported(reads, contact, "csv"))
    assert orjson.loads(row["payload"]) == payload
