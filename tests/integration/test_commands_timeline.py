"""timeline.record, and how commands name a contact."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.helpers.applier import NOW
from tests.helpers.office import Office

NUMBER = "+4915100000001"
AT = "2026-11-21T12:00:00Z"  # tests.helpers.applier.NOW

WHOLE: dict[str, Any] = {
    "type": "note_added",
    "category": "note",
    "priority": "high",
    "title": "Called back",
    "description": "Wants a quote.",
    "payload": {"a": [1, {"b": None}]},
    "metadata": {"origin": "desk"},
    "source": "workflow",
    "triggered_by": "user:9",
    "integration_source": "crm",
    "session_id": "s" * 128,
    "thread_id": "t-1",
    "realtime": True,
    "visible_to_client": True,
    "visible_to_agent": False,
    "expires_at": "2027-01-01T00:00:00Z",
    "occurred_at": "1999-12-31T23:59:59Z",
}


async def test_every_field_is_kept_and_told(office: Office):
    contact_id = await office.new(external_id="e1")
    outcome = await office.ok("timeline.record", {"contact": {"external_id": "e1"}, **WHOLE}, actor="user:1")
    (event,) = office.said("timeline.note")
    assert event["on"] == f"timeline.note.{office.tenant}.{contact_id}"
    data = event["data"]
    assert {name: data[name] for name in WHOLE} == WHOLE
    assert (data["contact_id"], data["sequence"], data["contact_version"]) == (str(contact_id), 2, 1)
    assert (data["delivered_at"], data["read_at"]) == (None, None)
    assert event["id"] == data["id"]
    assert outcome.details == {"timeline_event_id": event["id"]}
    assert (outcome.version, outcome.created) == (1, False)
    row = (await office.rows("contact_events", "sequence"))[-1]
    assert (str(row["id"]), row["session_id"], row["visible_to_agent"]) == (event["id"], "s" * 128, False)


async def test_defaults(office: Office):
    await office.new(external_id="e1")
    await office.ok(
        "timeline.record", {"contact": {"external_id": "e1"}, "type": "webhook_received"}, actor="user:7"
    )
    data = office.said("timeline.general")[0]["data"]
    shown = (
        "category",
        "priority",
        "title",
        "source",
        "triggered_by",
        "realtime",
        "visible_to_client",
        "visible_to_agent",
        "occurred_at",
        "payload",
        "metadata",
    )
    assert [data[name] for name in shown] == [
        "general",
        "normal",
        "Webhook received",
        "agent",
        "user:7",
        False,
        False,
        True,
        AT,
        {},
        {},
    ]
    absent = (
        "session_id",
        "thread_id",
        "description",
        "integration_source",
        "expires_at",
        "delivered_at",
        "read_at",
    )
    assert [data[name] for name in absent] == [None] * len(absent)


async def test_recording_leaves_version_last_contact_and_updated_at(office: Office):
    contact_id = await office.new(external_id="e1")
    before = await office.get(contact_id)
    for _ in range(3):
        await office.ok("timeline.record", {"contact": {"external_id": "e1"}, "type": "note_added"})
    assert await office.get(contact_id) == before
    assert [row["sequence"] for row in await office.rows("contact_events", "sequence")] == [1, 2, 3, 4]
    assert not [e for e in office.events[1:] if e["type"].startswith("contact.")]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "type"),
        ({"type": ""}, "type"),
        ({"type": "x" * 101}, "type"),
        ({"type": "x", "category": "nonsense"}, "category"),
        ({"type": "x", "priority": "nonsense"}, "priority"),
        ({"type": "x", "source": "nonsense"}, "source"),
        ({"type": "x", "session_id": "s" * 129}, "session_id"),
        ({"type": "x", "thread_id": "s" * 129}, "thread_id"),
        ({"type": "x", "occurred_at": "yesterday"}, "occurred_at"),
        ({"type": "x", "occurred_at": "2026-01-01T00:00:00"}, "occurred_at"),
        ({"type": "x", "realtime": "yes"}, "realtime"),
        ({"type": "x", "payload": []}, "payload"),
        ({"type": "x", "sequence": 5}, "sequence"),
        ({"type": "x", "id": "y"}, "id"),
        ({"type": "x", "delivered_at": AT}, "delivered_at"),
    ],
)
async def test_refused_as_invalid_naming_the_field(office: Office, fields: dict[str, Any], field: str):
    await office.new(external_id="e1")
    code, details = await office.refused("timeline.record", {"contact": {"external_id": "e1"}, **fields})
    assert code == "invalid"
    assert field in [error["field"] for error in details["errors"]]


async def test_a_contact_is_named_by_id_external_id_or_identifier(office: Office):
    contact_id = await office.new(
        external_id="e1",
        phone=NUMBER,
        email="A@example.com",
        identifiers=[{"channel": "messenger", "identifier": "5", "scope": "page-1"}],
    )
    for who in (
        {"id": str(contact_id)},
        {"id": str(contact_id).upper()},
        {"external_id": "e1"},
        {"channel": "sms", "identifier": "+49 151 00000001"},
        {"channel": "whatsapp", "identifier": NUMBER[1:]},
        {"channel": "voice", "identifier": NUMBER},
        {"channel": "email", "identifier": "a@EXAMPLE.com"},
        {"channel": "messenger", "identifier": "5"},
        {"channel": "messenger", "identifier": "5", "scope": "page-1"},
    ):
        outcome = await office.ok("timeline.record", {"contact": who, "type": "note_added"})
        assert outcome.contact_id == contact_id, who


@pytest.mark.parametrize(
    "who",
    [
        {"id": str(uuid.uuid4())},
        {"external_id": "E1"},
        {"channel": "sms", "identifier": "+4915100000002"},
        {"channel": "telegram", "identifier": NUMBER},
        {"channel": "messenger", "identifier": "5", "scope": "page-2"},
        {"channel": "messenger", "identifier": "5", "scope": ""},
    ],
)
async def test_commands_but_create_and_upsert_make_nobody(office: Office, who: dict[str, Any]):
    await office.new(
        external_id="e1",
        phone=NUMBER,
        identifiers=[{"channel": "messenger", "identifier": "5", "scope": "page-1"}],
    )
    for name, data in [
        ("timeline.record", {"type": "note_added"}),
        ("contact.update", {"set": {"first_name": "X"}}),
        ("contact.delete", {}),
        ("contact.restore", {}),
        ("identifier.add", {"channel": "sms", "identifier": "+4915100000003"}),
    ]:
        assert (await office.refused(name, {"contact": who, **data}))[0] == "contact_not_found"
        assert office.events[-1]["on"].endswith(".-")


async def test_other_tenants_contacts_are_not_found(office: Office, elsewhere: Office):
    theirs = await elsewhere.new(external_id="e1", phone=NUMBER)
    for who in ({"id": str(theirs)}, {"external_id": "e1"}, {"channel": "sms", "identifier": NUMBER}):
        code, _ = await office.refused("timeline.record", {"contact": who, "type": "note_added"})
        assert code == "contact_not_found"


async def test_without_scope_an_identifier_of_several_contacts_is_ambiguous(office: Office):
    made = [
        await office.new(identifiers=[{"channel": "messenger", "identifier": "5", "scope": scope}])
        for scope in ("page-1", "page-2")
    ]
    who = {"channel": "messenger", "identifier": "5"}
    code, details = await office.refused("timeline.record", {"contact": who, "type": "x"})
    assert code == "ambiguous_reference"
    assert details == {"contact_ids": sorted(map(str, made))}
    outcome = await office.ok("timeline.record", {"contact": {**who, "scope": "page-2"}, "type": "x"})
    assert outcome.contact_id == made[1]


async def test_without_scope_several_scopes_of_one_contact_will_do(office: Office):
    contact_id = await office.new(
        identifiers=[
            {"channel": "messenger", "identifier": "5", "scope": scope} for scope in ("page-1", "page-2")
        ]
    )
    who = {"channel": "messenger", "identifier": "5"}
    assert (await office.ok("timeline.record", {"contact": who, "type": "x"})).contact_id == contact_id


async def test_merged_id_is_answered_by_the_survivor(office: Office):
    survivor, merged = await office.new(external_id="e1"), await office.new(external_id="e2")
    await office.connection.execute("update contacts set merged_into = $1 where id = $2", survivor, merged)
    for who in ({"id": str(merged)}, {"external_id": "e2"}):
        outcome = await office.ok("timeline.record", {"contact": who, "type": "x"})
        assert outcome.contact_id == survivor
    assert (await office.refused("contact.create", {"external_id": "e2"}))[0] == "external_id_taken"
    await office.connection.execute("update contacts set merged_into = null where id = $1", merged)


async def test_time_of_the_envelope_holds_where_none_is_given(office: Office):
    await office.new(external_id="e1")
    who = {"contact": {"external_id": "e1"}, "type": "x"}
    await office.ok("timeline.record", who, time=NOW.replace(year=2001))
    await office.ok("timeline.record", who, time=None)
    await office.ok("timeline.record", who, time=NOW.replace(minute=4))
    await office.ok("timeline.record", who, time=NOW.replace(minute=6))
    told = [e["data"]["occurred_at"] for e in office.said("timeline.general")]
    assert told == ["2001-11-21T12:00:00Z", AT, "2026-11-21T12:04:00Z", AT]
