"""Neutral webhooks on the database: who they are about, what they change, and what a repetition of one does."""

from __future__ import annotations

import itertools
import uuid
from datetime import timedelta
from typing import Any

import pytest

from tests.helpers.applier import NOW, settings
from tests.helpers.office import Office

NUMBER, OTHER = "+4915100000001", "+4915100000002"


def at(minute: int) -> str:
    return f"2026-11-20T10:{minute:02}:00Z"


async def test_message_of_an_unknown_sender_makes_the_contact(office: Office):
    outcome = await office.webhook(
        "message",
        {
            "channel": "whatsapp",
            "from": "4915100000001",
            "profile_name": "Ann",
            "message_id": "m1",
            "text": "hello",
            "occurred_at": at(1),
            "session_id": "s1",
            "thread_id": "t1",
        },
        actor="service:inbox",
    )
    assert (outcome.status, outcome.version, outcome.created) == ("applied", 1, True)
    (item,) = outcome.items or []
    assert (item["status"], item["contact_id"]) == ("applied", str(outcome.contact_id))
    document = await office.get(outcome.contact_id)
    named = ("first_name", "last_name", "display_name", "phone", "source", "last_contact_at")
    assert [document[name] for name in named] == [None, None, "Ann", None, "message", at(1)]
    (identifier,) = document["identifiers"]
    shown = ("channel", "identifier", "raw", "is_primary", "is_verified")
    assert [identifier[n] for n in shown] == ["whatsapp", NUMBER, "4915100000001", True, False]
    assert await office.timeline_of(outcome.contact_id) == ["contact_created", "whatsapp_message_received"]
    (event,) = office.said("timeline.general")
    assert event["id"] == item["timeline_event_id"]
    data = event["data"]
    kept = ("description", "session_id", "thread_id", "occurred_at", "source", "integration_source")
    assert [data[name] for name in kept] == ["hello", "s1", "t1", at(1), "webhook", "message"]
    assert (data["triggered_by"], data["title"]) == ("service:inbox", "WhatsApp message received")
    assert data["payload"]["message_id"] == "m1"


async def test_created_says_what_contact_get_answers(office: Office):
    item = await office.message(NUMBER, channel="whatsapp", profile_name="Ann", occurred_at=at(1))
    (created,) = office.said("contact.created")
    assert created["data"]["contact"] == await office.get(item["contact_id"])


@pytest.mark.parametrize(
    ("channel", "sender", "type_"),
    [
        ("sms", NUMBER, "sms_received"),
        ("email", "a@example.com", "email_received"),
        ("telegram", "77", "telegram_message_received"),
        ("messenger", "88", "messenger_message_received"),
    ],
)
async def test_type_by_channel(office: Office, channel: str, sender: str, type_: str):
    item = await office.message(sender, channel=channel)
    assert await office.timeline_of(item["contact_id"]) == ["contact_created", type_]


async def test_known_sender_on_any_channel_of_the_kind(office: Office):
    contact_id = await office.new(phone=NUMBER)
    item = await office.message(NUMBER, channel="whatsapp")
    assert item["contact_id"] == str(contact_id)
    document = await office.get(contact_id)
    assert [(i["channel"], i["is_primary"]) for i in document["identifiers"]] == [
        ("sms", True),
        ("whatsapp", True),
    ]
    assert document["version"] == 2
    written = await office.timeline_of(contact_id)
    assert written == ["contact_created", "identifier_added", "whatsapp_message_received"]


async def test_plain_message_of_a_known_sender_leaves_the_version(office: Office):
    contact_id = await office.new(phone=NUMBER)
    outcome = await office.webhook("message", {"channel": "sms", "from": NUMBER})
    assert (outcome.contact_id, outcome.version, outcome.created) == (contact_id, 1, False)
    assert [e["type"] for e in office.events[2:]] == ["timeline.general"]


async def test_item_in_a_new_envelope_is_a_duplicate(office: Office):
    first = await office.message(NUMBER, message_id="m1", text="a")
    events = list(office.events)
    again = await office.message(NUMBER, message_id="m1", text="b")
    assert again == {**first, "status": "duplicate"}
    assert office.events == events


async def test_message_in_the_same_envelope_is_a_duplicate(office: Office):
    body = {"channel": "sms", "from": NUMBER, "text": "a"}
    first = await office.webhook("message", body, id="e1")
    again = await office.webhook("message", body, id="e1")
    assert again.status == "duplicate"
    assert again.first is not None
    assert again.first["items"] == first.items
    assert (await office.webhook("message", body, id="e2")).items[0]["status"] == "applied"  # type: ignore[index]
    assert len(await office.rows("contact_events")) == 3


async def test_message_ids_are_per_channel_and_tenant(office: Office, elsewhere: Office):
    for channel in ("sms", "whatsapp"):
        assert (await office.message(NUMBER, channel=channel, message_id="m1"))["status"] == "applied"
    assert (await elsewhere.message(NUMBER, message_id="m1"))["status"] == "applied"


async def test_last_contact_is_the_latest_whatever_the_order(office: Office):
    for minute in (5, 9, 2):
        item = await office.message(NUMBER, occurred_at=at(minute))
    assert (await office.get(item["contact_id"]))["last_contact_at"] == at(9)
    assert (await office.get(item["contact_id"]))["version"] == 1


async def test_a_time_from_the_future_is_kept_and_overrules_nothing(office: Office):
    ahead = "2031-01-01T00:00:00Z"
    await office.message(NUMBER, profile_name="Anne", occurred_at=ahead)
    item = await office.message(
        NUMBER, profile_name="Ann", occurred_at=(NOW + timedelta(minutes=1)).isoformat()
    )
    document = await office.get(item["contact_id"])
    assert (document["display_name"], document["last_contact_at"]) == ("Ann", ahead)


async def test_message_sent_counts_as_contact(office: Office):
    item = await office.message(NUMBER, direction="outbound", occurred_at=at(3))
    assert (await office.get(item["contact_id"]))["last_contact_at"] == at(3)
    assert await office.timeline_of(item["contact_id"]) == ["contact_created", "sms_sent"]


async def test_time_of_the_envelope_holds_where_none_is_given(office: Office):
    await office.message(NUMBER)
    assert office.said("timeline.general")[0]["data"]["occurred_at"] == "2026-11-21T12:00:00Z"


@pytest.mark.parametrize("order", list(itertools.permutations((1, 2, 3))))
async def test_newest_profile_name_wins_in_any_order(office: Office, order: tuple[int, ...]):
    for minute in order:
        item = await office.message(
            "77", channel="telegram", profile_name=f"Name {minute}", occurred_at=at(minute)
        )
    assert (await office.get(item["contact_id"]))["display_name"] == "Name 3"


async def test_profile_name_gives_way_to_a_name_and_is_told_when_it_shows(office: Office):
    item = await office.message("77", channel="telegram", profile_name="Ann", occurred_at=at(1))
    contact_id = uuid.UUID(item["contact_id"])
    await office.message("77", channel="telegram", profile_name="Annie", occurred_at=at(2))
    (updated,) = office.said("contact.updated")
    assert updated["data"]["changes"]["display_name"] == {"old": "Ann", "new": "Annie"}
    await office.ok(
        "contact.update",
        {"contact": {"id": str(contact_id)}, "set": {"first_name": "Anna", "last_name": "B"}},
    )
    await office.message("77", channel="telegram", profile_name="Nan", occurred_at=at(3))
    assert (await office.get(contact_id))["display_name"] == "Anna B"
    await office.ok(
        "contact.update", {"contact": {"id": str(contact_id)}, "unset": ["first_name", "last_name"]}
    )
    assert (await office.get(contact_id))["display_name"] == "Nan"


async def test_every_spelling_is_kept_once(office: Office):
    for sender in ("+4915100000001", "+49 151 00000001", "+4915100000001", "+49 151 00000001"):
        item = await office.message(sender)
    (identifier,) = (await office.get(item["contact_id"]))["identifiers"]
    assert (identifier["raw"], identifier["aliases"]) == (NUMBER, ["+49 151 00000001"])


async def test_number_without_country_code_is_kept_raw_or_takes_the_tenants_region(office: Office):
    raw = await office.message("0151 00000001")
    (identifier,) = (await office.get(raw["contact_id"]))["identifiers"]
    assert identifier["identifier"] == "0151 00000001"
    office.settings = settings(tenant_regions={office.tenant: "DE"})
    item = await office.message("0151 00000001")
    assert item["contact_id"] != raw["contact_id"]
    assert (await office.get(item["contact_id"]))["phone"] == NUMBER


async def test_further_identifiers_find_and_are_added(office: Office):
    contact_id = await office.new(email="a@example.com")
    further = [
        {"channel": "email", "identifier": "A@example.com"},
        {"channel": "messenger", "identifier": "5", "scope": "page-1"},
    ]
    item = await office.message(NUMBER, identifiers=further)
    assert item["contact_id"] == str(contact_id)
    held = [(i["channel"], i["identifier"]) for i in (await office.get(contact_id))["identifiers"]]
    assert held == [("email", "a@example.com"), ("sms", NUMBER), ("messenger", "5")]


async def test_identifiers_of_two_contacts_go_to_the_stronger_and_are_written_on_both(office: Office):
    by_email = await office.new(email="a@example.com")
    by_phone = await office.new(phone=NUMBER)
    further = [
        {"channel": "email", "identifier": "a@example.com"},
        {"channel": "telegram", "identifier": "7"},
    ]
    item = await office.message(NUMBER, identifiers=further)
    assert item["contact_id"] == str(by_phone)
    assert await office.timeline_of(by_email) == ["contact_created", "identifier_conflict"]
    assert sorted(await office.timeline_of(by_phone)) == [
        "contact_created",
        "identifier_added",
        "identifier_conflict",
        "sms_received",
    ]
    conflict = next(e for e in office.events if e["data"].get("type") == "identifier_conflict")
    assert conflict["data"]["payload"]["identifiers"] == [
        {"kind": "email", "identifier": "a@example.com", "scope": ""}
    ]
    assert (await office.get(by_email))["version"] == 1


async def test_scopes_of_inbound_identifiers_are_told_apart(office: Office):
    one = await office.message("5", channel="messenger", scope="page-1")
    two = await office.message("5", channel="messenger", scope="page-2")
    assert one["contact_id"] != two["contact_id"]
    assert (await office.message("5", channel="messenger", scope="page-1"))["contact_id"] == one["contact_id"]


async def test_opt_out_and_opt_in_keywords(office: Office):
    item = await office.message(NUMBER, text=" Stop. ", occurred_at=at(1))
    contact_id = item["contact_id"]
    assert (await office.timeline_of(contact_id))[1:] == ["sms_received", "consent_revoked"]
    (row,) = await office.rows("contact_consents")
    assert (row["channel"], row["purpose"], row["granted"], row["source"]) == (
        "sms",
        "marketing",
        False,
        "message",
    )
    assert (row["revoked_at"].minute, row["granted_at"]) == (1, None)
    await office.message(NUMBER, text="START", occurred_at=at(2))
    (row,) = await office.rows("contact_consents")
    assert (row["granted"], row["granted_at"].minute, row["revoked_at"].minute) == (True, 2, 1)
    (revoked, granted) = [
        e["data"] for e in office.said("timeline.system") if e["data"]["type"].startswith("consent")
    ]
    assert (revoked["type"], granted["type"]) == ("consent_revoked", "consent_granted")
    assert revoked["payload"]["purpose"] == "marketing"
    assert (await office.get(contact_id))["version"] == 1


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("order", list(itertools.permutations(((1, "stop"), (2, "start"), (3, "stop")))))
async def test_latest_word_on_consent_holds_in_any_order(office: Office, order: Any, batched: bool):
    bodies = [
        {"channel": "sms", "from": NUMBER, "text": text, "occurred_at": at(minute)} for minute, text in order
    ]
    kind, subject = "webhook.message", f"webhook.message.{office.tenant}.k"
    records = [office.record(subject, kind, body, {"time": NOW}) for body in bodies]
    for batch in [records] if batched else [[record] for record in records]:
        await office.batch(batch)
    (row,) = await office.rows("contact_consents")
    assert (row["granted"], row["granted_at"].minute, row["revoked_at"].minute) == (False, 2, 3)


async def test_keyword_within_a_text_says_nothing_of_consent(office: Office):
    await office.message(NUMBER, text="please stop calling at night")
    assert await office.rows("contact_consents") == []


@pytest.mark.parametrize("sender", ["12345", "AMAZON", "+12"])
async def test_sender_that_is_no_person_makes_nobody(office: Office, sender: str):
    outcome = await office.webhook("message", {"channel": "sms", "from": sender})
    assert (outcome.status, outcome.items, outcome.contact_id) == ("applied", [], None)
    assert office.events == []


@pytest.mark.parametrize(
    ("provider", "body", "reason"),
    [
        ("message", {"channel": "sms"}, "invalid_payload"),
        ("message", {"channel": "sms", "from": " "}, "invalid_payload"),
        ("message", {"channel": "sms", "from": "9" * 256}, "invalid_payload"),
        ("message", {"channel": "sms", "from": NUMBER, "colour": "red"}, "invalid_payload"),
        ("message", [], "invalid_payload"),
        ("twilio", {}, "invalid_payload"),
        ("whatsapp", {"object": "page"}, "invalid_payload"),
        ("carrier-pigeon", {}, "unknown_type"),
    ],
)
async def test_dead(office: Office, provider: str, body: Any, reason: str):
    outcome = await office.webhook(provider, body)
    assert (outcome.status, outcome.code) == ("dead", reason)


@pytest.mark.parametrize("type_", ["anything.at.all", "", "x" * 300, 5, {}, None])
async def test_type_of_a_webhook_is_not_looked_at(office: Office, type_: Any):
    outcome = await office.webhook("message", {"channel": "sms", "from": NUMBER}, type=type_)
    assert outcome.status == "applied"


async def test_many_messages_in_one_batch_act_as_if_each_were_alone(office: Office):
    bodies = [
        {"channel": "sms", "from": NUMBER, "message_id": "a"},
        {"channel": "whatsapp", "from": NUMBER, "message_id": "b", "profile_name": "Ann"},
        {"channel": "sms", "from": OTHER, "message_id": "c"},
        {"channel": "sms", "from": NUMBER, "message_id": "a"},
        {"channel": "telegram", "from": "5", "identifiers": [{"channel": "sms", "identifier": OTHER}]},
    ]
    subject = f"webhook.message.{office.tenant}.k"
    outcomes = await office.batch([office.record(subject, "webhook.message", body, {}) for body in bodies])
    items = [(o.items or [])[0] for o in outcomes]
    assert [item["status"] for item in items] == ["applied", "applied", "applied", "duplicate", "applied"]
    owners = [item["contact_id"] for item in items]
    assert owners[0] == owners[1] == owners[3]
    assert owners[2] == owners[4] != owners[0]
    assert [o.version for o in outcomes] == [1, 2, 1, None, 2]


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"])
async def test_the_ends_of_time_are_moments_like_others(office: Office, at: str):
    """The database's client takes the very first and the very last for infinite, and reads them back without a zone."""
    first = await office.message("+491511000000", message_id="1", occurred_at=at)
    second = await office.message("+491511000000", message_id="2")
    assert second["contact_id"] == first["contact_id"]
    rows = await office.rows("contact_events", "sequence")
    assert all(row["occurred_at"].tzinfo for row in rows)
    assert (await office.get(first["contact_id"]))["last_contact_at"].endswith("Z")


async def test_null_is_absent(office: Office):
    nothing = dict.fromkeys(("direction", "identifiers", "scope", "profile_name", "occurred_at", "text"))
    assert (await office.message("+491511000000", **nothing))["status"] == "applied"
