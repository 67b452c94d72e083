"""contact.delete and contact.restore, and what a deleted contact still answers to."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.helpers.applier import NOW
from tests.helpers.office import Office

NUMBER = "+4915100000001"


@pytest.fixture
async def gone(office: Office) -> uuid.UUID:
    """A deleted contact."""
    contact_id = await office.new(external_id="e1", phone=NUMBER, email="a@example.com")
    await office.ok("contact.delete", {"contact": {"id": str(contact_id)}, "reason": "asked for it"})
    return contact_id


async def test_deletion_is_told_and_written(office: Office, gone: uuid.UUID):
    (deleted,) = office.said("contact.deleted")
    assert deleted["data"] == {"contact_id": str(gone), "version": 2, "reason": "asked for it"}
    assert office.said("contact.updated") == []
    assert await office.timeline_of(gone) == ["contact_created", "contact_deleted"]
    document = await office.get(gone)
    assert document["deleted_at"] == deleted["time"]
    assert (document["version"], document["phone"], document["external_id"]) == (2, NUMBER, "e1")


async def test_deleting_twice_is_applied(office: Office, gone: uuid.UUID):
    await office.quietly("contact.delete", {"contact": {"external_id": "e1"}, "reason": "again"})


async def test_restoration_is_told_and_written(office: Office, gone: uuid.UUID):
    outcome = await office.ok("contact.restore", {"contact": {"external_id": "e1"}, "reason": "a mistake"})
    assert (outcome.contact_id, outcome.version) == (gone, 3)
    (restored,) = office.said("contact.restored")
    assert restored["data"] == {"contact_id": str(gone), "version": 3, "reason": "a mistake"}
    assert (await office.timeline_of(gone))[-1] == "contact_restored"
    assert (await office.get(gone))["deleted_at"] is None


async def test_restoring_who_is_not_deleted_is_applied(office: Office, gone: uuid.UUID):
    await office.ok("contact.restore", {"contact": {"id": str(gone)}})
    await office.quietly("contact.restore", {"contact": {"id": str(gone)}})


async def test_reason_may_be_left_out(office: Office):
    contact_id = await office.new()
    await office.ok("contact.delete", {"contact": {"id": str(contact_id)}})
    assert office.said("contact.deleted")[0]["data"]["reason"] is None


@pytest.mark.parametrize("who", [{"external_id": "e1"}, {"channel": "whatsapp", "identifier": NUMBER}])
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("contact.update", {"set": {"first_name": "X"}}),
        ("contact.update", {}),
        ("contact.upsert", {"first_name": "X"}),
        ("identifier.add", {"channel": "email", "identifier": "b@example.com"}),
        ("identifier.remove", {"channel": "sms", "identifier": NUMBER}),
        ("identifier.verify", {"channel": "sms", "identifier": NUMBER}),
        ("identifier.set_primary", {"channel": "sms", "identifier": NUMBER}),
        ("timeline.record", {"type": "note_added"}),
    ],
)
async def test_other_commands_are_refused(
    office: Office, gone: uuid.UUID, who: dict[str, Any], name: str, data: dict[str, Any]
):
    code, details = await office.refused(name, {"contact": who, **data})
    assert (code, details) == ("contact_deleted", {"contact_id": str(gone)})
    assert office.events[-1]["on"].endswith(str(gone))


async def test_upsert_by_identifier_is_refused(office: Office, gone: uuid.UUID):
    assert (await office.refused("contact.upsert", {"phone": NUMBER}))[0] == "contact_deleted"


async def test_inbound_item_restores(office: Office, gone: uuid.UUID):
    item = await office.message(NUMBER, text="still here")
    assert item["contact_id"] == str(gone)
    (restored,) = office.said("contact.restored")
    assert restored["data"] == {"contact_id": str(gone), "version": 3, "reason": "inbound"}
    assert (await office.timeline_of(gone))[2:] == ["contact_restored", "sms_received"]
    document = await office.get(gone)
    assert (document["deleted_at"], document["version"]) == (None, 3)
    await office.ok("contact.update", {"contact": {"id": str(gone)}, "set": {"first_name": "Ada"}})


async def test_repeated_item_restores_nobody(office: Office):
    item = await office.message(NUMBER, message_id="m1")
    await office.ok("contact.delete", {"contact": {"id": item["contact_id"]}})
    again = await office.message(NUMBER, message_id="m1")
    assert (again["status"], again["contact_id"]) == ("duplicate", item["contact_id"])
    assert (await office.get(item["contact_id"]))["deleted_at"] is not None


async def test_deletion_and_inbound_in_one_transaction_follow_their_order(office: Office):
    """Several messages in a batch act as if each were alone."""
    contact_id = await office.new(external_id="e1", phone=NUMBER)
    who = {"contact": {"external_id": "e1"}}
    records = [
        office.record(f"command.{name}.{office.tenant}.k", f"command.{name}", {**who, **data}, {"time": NOW})
        for name, data in [
            ("contact.delete", {}),
            ("contact.update", {"set": {"first_name": "No"}}),
            ("contact.restore", {}),
            ("contact.update", {"set": {"first_name": "Yes"}}),
        ]
    ]
    outcomes = await office.batch(records)
    assert [(o.status, o.code, o.version) for o in outcomes] == [
        ("applied", None, 2),
        ("rejected", "contact_deleted", None),
        ("applied", None, 3),
        ("applied", None, 4),
    ]
    assert (await office.get(contact_id))["first_name"] == "Yes"
