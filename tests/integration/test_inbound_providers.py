"""Raw bodies of WhatsApp and Twilio on the database."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from prometheus_client import REGISTRY

from storage.reads import messages
from tests.helpers.applier import NOW
from tests.helpers.office import Office

ANN, BOB = "4915100000001", "4915100000002"
T = 1_795_000_000  # a Unix time


def whatsapp(
    said: list[dict[str, Any]] | None = None,
    statuses: list[dict[str, Any]] | None = None,
    contacts: list[dict[str, Any]] | None = None,
    field: str = "messages",
    **value: Any,
) -> dict[str, Any]:
    """A body of one change."""
    parts = {"messages": said, "statuses": statuses, "contacts": contacts, **value}
    filled = {name: part for name, part in parts.items() if part}
    change = {"field": field, "value": {"messaging_product": "whatsapp", **filled}}
    return {"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [change]}]}


def text(sender: str, id_: str, seconds: int = 0, body: str = "hi") -> dict[str, Any]:
    return {
        "from": sender,
        "id": id_,
        "timestamp": str(T + seconds),
        "type": "text",
        "text": {"body": body},
    }


def status(recipient: str, id_: str, word: str, seconds: int = 0) -> dict[str, Any]:
    return {"recipient_id": recipient, "id": id_, "timestamp": str(T + seconds), "status": word}


def moved(old: str, new: str, id_: str = "sys1") -> dict[str, Any]:
    """The sender has a new number."""
    system = {"type": "user_changed_number", "wa_id": new, "body": f"changed from {old} to {new}"}
    return {"from": old, "id": id_, "timestamp": str(T), "type": "system", "system": system}


def profile(wa_id: str, name: str) -> dict[str, Any]:
    return {"wa_id": wa_id, "profile": {"name": name}}


async def reached(office: Office, channel: str, message_id: str) -> Any:
    async with office.reads.of(office.tenant) as reads:
        return await messages.status(reads, channel, message_id)


async def test_several_items_of_one_body(office: Office):
    body = whatsapp(
        [text(ANN, "w1", 5), text(BOB, "w2", 1), text(ANN, "w3", 2)],
        [status("4915100000003", "out1", "delivered")],
        [profile(BOB, "Bob"), profile(ANN, "Ann")],
    )
    outcome = await office.webhook("whatsapp", body)
    items = outcome.items or []
    assert [item["dedupe_key"] for item in items] == [
        "whatsapp:w1",
        "whatsapp:w2",
        "whatsapp:w3",
        "whatsapp:out1:delivered",
    ]
    assert {item["status"] for item in items} == {"applied"}
    ann, bob, again, third = [item["contact_id"] for item in items]
    assert ann == again
    assert len({ann, bob, third}) == 3
    assert outcome.contact_id is None
    assert [(await office.get(who))["display_name"] for who in (ann, bob, third)] == [
        "Ann",
        "Bob",
        "+4915100000003",
    ]
    assert (await office.get(ann))["version"] == 1
    assert (await office.get(ann))["last_contact_at"].endswith(":45Z")  # T + 5
    assert (await office.get(third))["last_contact_at"] is None


async def test_items_are_deduped_one_by_one_in_new_envelopes(office: Office):
    await office.receive("whatsapp", whatsapp([text(ANN, "w1")]))
    items = await office.receive("whatsapp", whatsapp([text(ANN, "w1"), text(ANN, "w2"), text(ANN, "w2")]))
    assert [item["status"] for item in items] == ["duplicate", "applied", "duplicate"]
    assert len({item["contact_id"] for item in items}) == 1
    assert items[1]["timeline_event_id"] == items[2]["timeline_event_id"]


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("order", list(itertools.permutations(("sent", "delivered", "read"))))
async def test_statuses_in_any_order(office: Office, order: tuple[str, ...], batched: bool):
    subject = f"webhook.whatsapp.{office.tenant}.k"
    records = [
        office.record(subject, "webhook.whatsapp", whatsapp(statuses=[status(ANN, "out1", word, n)]), {})
        for n, word in enumerate(order)
    ]
    outcomes = []
    for batch in [records] if batched else [[record] for record in records]:
        outcomes += await office.batch(batch)
    contact_id = str(outcomes[0].contact_id)
    written = [f"whatsapp_message_{word}" for word in order]
    assert await office.timeline_of(contact_id) == ["contact_created", *written]
    assert {e["data"]["category"] for e in office.said("timeline.tracking")} == {"tracking"}
    (row,) = await office.rows("message_statuses")
    assert (row["status"], row["rank"], str(row["contact_id"])) == ("read", 3, contact_id)
    assert (await reached(office, "whatsapp", "out1"))["status"] == "read"
    document = await office.get(contact_id)
    assert (document["last_contact_at"], document["version"]) == (None, 1)


async def test_failure_outranks_and_a_repeated_status_is_a_duplicate(office: Office):
    for word in ("delivered", "failed", "sent", "failed"):
        items = await office.receive("whatsapp", whatsapp(statuses=[status(ANN, "out1", word)]))
    assert items[0]["status"] == "duplicate"
    assert (await reached(office, "whatsapp", "out1"))["status"] == "failed"


async def test_of_equal_ranks_the_later_status_holds(office: Office):
    for word, seconds in (("queued", 1), ("sending", 3), ("accepted", 2)):
        await office.receive("whatsapp", whatsapp(statuses=[status(ANN, "out1", word, seconds)]))
    assert (await reached(office, "whatsapp", "out1"))["status"] == "sending"


async def test_number_change_of_a_known_person(office: Office):
    (first,) = await office.receive("whatsapp", whatsapp([text(ANN, "w1")], contacts=[profile(ANN, "Ann")]))
    (item,) = await office.receive("whatsapp", whatsapp([moved(ANN, BOB)]))
    assert item["contact_id"] == first["contact_id"]
    written = await office.timeline_of(first["contact_id"])
    assert written[2:] == ["identifier_changed"]
    changed = office.said("timeline.system")[-1]["data"]
    assert (changed["payload"]["old"], changed["payload"]["new"]) == (f"+{ANN}", f"+{BOB}")
    document = await office.get(first["contact_id"])
    assert [i["identifier"] for i in document["identifiers"]] == [f"+{ANN}", f"+{BOB}"]
    assert (document["version"], document["display_name"]) == (2, "Ann")
    (after,) = await office.receive("whatsapp", whatsapp([text(BOB, "w2")]))
    assert after["contact_id"] == first["contact_id"]


async def test_number_change_to_a_number_of_another_is_a_conflict(office: Office):
    (ann,) = await office.receive("whatsapp", whatsapp([text(ANN, "w1")]))
    (bob,) = await office.receive("whatsapp", whatsapp([text(BOB, "w2")]))
    (item,) = await office.receive("whatsapp", whatsapp([moved(ANN, BOB)]))
    assert item["contact_id"] == ann["contact_id"]
    written = await office.timeline_of(ann["contact_id"])
    assert sorted(written[2:]) == ["identifier_changed", "identifier_conflict"]
    assert (await office.timeline_of(bob["contact_id"]))[-1] == "identifier_conflict"
    for who in (ann, bob):
        assert (await office.get(who["contact_id"]))["version"] == 1
        assert len((await office.get(who["contact_id"]))["identifiers"]) == 1


async def test_system_message_about_an_unknown_person_makes_nobody(office: Office):
    (item,) = await office.receive("whatsapp", whatsapp([moved(ANN, BOB)]))
    assert item == {"dedupe_key": item["dedupe_key"], "status": "applied"}
    assert office.events == []
    await office.receive("whatsapp", whatsapp([text(ANN, "w1")]))
    (again,) = await office.receive("whatsapp", whatsapp([moved(ANN, BOB)]))
    assert again == {"dedupe_key": item["dedupe_key"], "status": "duplicate"}


async def test_user_id_and_number_of_one_person_meet(office: Office):
    (first,) = await office.receive("whatsapp", whatsapp([{**text("", "w1"), "from_user_id": "DE.abc1"}]))
    both = {**text(ANN, "w2"), "from_user_id": "DE.abc1"}
    (second,) = await office.receive("whatsapp", whatsapp([both]))
    (third,) = await office.receive("whatsapp", whatsapp([text(ANN, "w3")]))
    assert first["contact_id"] == second["contact_id"] == third["contact_id"]
    rows = await office.rows("channel_identifiers", "kind")
    assert [(row["kind"], row["identifier"]) for row in rows] == [
        ("phone", f"+{ANN}"),
        ("whatsapp", "DE.abc1"),
    ]


async def test_user_id_goes_before_the_number(office: Office):
    (number,) = await office.receive("whatsapp", whatsapp([text(ANN, "w1")]))
    (user,) = await office.receive("whatsapp", whatsapp([{**text("", "w2"), "from_user_id": "DE.abc1"}]))
    (item,) = await office.receive("whatsapp", whatsapp([{**text(ANN, "w3"), "from_user_id": "DE.abc1"}]))
    assert item["contact_id"] == user["contact_id"]
    assert (await office.timeline_of(number["contact_id"]))[-1] == "identifier_conflict"


async def test_preference_writes_consent(office: Office):
    def preference(value: str, seconds: int) -> dict[str, Any]:
        choice = {
            "wa_id": ANN,
            "category": "marketing_messages",
            "value": value,
            "timestamp": T + seconds,
            "detail": "User requested",
        }
        return whatsapp(field="user_preferences", user_preferences=[choice])

    (item,) = await office.receive("whatsapp", preference("stop", 0))
    await office.receive("whatsapp", preference("resume", 9))
    await office.receive("whatsapp", preference("resume", 9))
    assert (await office.timeline_of(item["contact_id"]))[1:] == ["consent_revoked", "consent_granted"]
    (row,) = await office.rows("contact_consents")
    assert (row["channel"], row["purpose"], row["granted"]) == ("whatsapp", "marketing", True)


async def test_regional_spellings_are_one_person(office: Office):
    for sender in ("551187654321", "5511987654321"):
        items = await office.receive("whatsapp", whatsapp([text(sender, f"w{sender}")]))
    (identifier,) = (await office.get(items[0]["contact_id"]))["identifiers"]
    assert identifier["identifier"] == "+5511987654321"
    assert (identifier["raw"], identifier["aliases"]) == ("551187654321", ["5511987654321"])


SMS = {"MessageSid": "SM1", "SmsStatus": "received", "From": "+15550142001", "Body": "hi"}


@pytest.mark.parametrize(
    ("provider", "body", "reason"),
    [
        ("whatsapp", whatsapp(field="account_update"), "no_items"),
        ("whatsapp", whatsapp([moved(ANN, BOB)]), "unknown_person"),
        ("twilio", {"CallSid": "CA1", "From": "72645"}, "no_items"),
        ("twilio", SMS | {"From": ""}, "no_items"),
        ("twilio", SMS | {"From": "72645"}, "no_person"),
        ("twilio", SMS | {"From": "SHOP 24"}, "no_person"),
        ("twilio", {"MessageSid": "SM1", "MessageStatus": "sent", "To": "72645"}, "no_person"),
        ("twilio", {"MessageSid": "SM1", "MessageStatus": "sent"}, "no_items"),
        ("message", {"channel": "sms", "from": "72645", "text": "hi"}, "no_person"),
    ],
)
async def test_nothing_to_do_is_applied_and_counted_by_reason(
    office: Office, provider: str, body: dict[str, Any], reason: str
):
    def counted() -> dict[str, float]:
        reasons = ("no_items", "no_person", "unknown_person")
        return {r: REGISTRY.get_sample_value("rollcall_ignored_total", {"reason": r}) or 0 for r in reasons}

    before = counted()
    outcome = await office.webhook(provider, body)
    assert outcome.status == "applied"
    assert outcome.contact_id is None
    assert counted() == before | {reason: before[reason] + 1}
    assert await office.rows("contacts") == []


SMS = {"MessageSid": "SM1", "From": f"+{ANN}", "To": "+15550001111", "Body": "hello"}


async def test_twilio_message(office: Office):
    (item,) = await office.receive("twilio", SMS)
    assert item["dedupe_key"] == "twilio:SM1"
    document = await office.get(item["contact_id"])
    assert (document["phone"], document["source"]) == (f"+{ANN}", "twilio")
    assert document["last_contact_at"] == NOW.isoformat().replace("+00:00", "Z")
    (event,) = office.said("timeline.general")
    assert (event["data"]["type"], event["data"]["integration_source"]) == ("sms_received", "twilio")


async def test_twilio_form(office: Office):
    form = f"MessageSid=SM2&From=whatsapp%3A%2B{ANN}&To=whatsapp%3A%2B15550001111&Body=hi&ProfileName=Ann"
    outcome = await office.webhook("twilio", form, datacontenttype="application/x-www-form-urlencoded")
    assert (await office.get(outcome.contact_id))["display_name"] == "Ann"
    assert await office.timeline_of(outcome.contact_id) == ["contact_created", "whatsapp_message_received"]


@pytest.mark.parametrize(
    ("fields", "granted"),
    [({"OptOutType": "STOP", "Body": "adios"}, False), ({"OptOutType": "START", "Body": "stop"}, True)],
)
async def test_twilio_opt_out_field_goes_before_the_keyword(
    office: Office, fields: dict[str, str], granted: bool
):
    (item,) = await office.receive("twilio", {**SMS, **fields})
    (row,) = await office.rows("contact_consents")
    assert (row["granted"], row["source"], str(row["contact_id"])) == (granted, "twilio", item["contact_id"])


async def test_twilio_statuses_are_about_the_recipient_and_undelivered_is_a_failure(office: Office):
    (first,) = await office.receive("twilio", {**SMS, "MessageSid": "SM3"})
    for word in ("queued", "sent", "undelivered"):
        (item,) = await office.receive(
            "twilio", {"MessageSid": "SM9", "MessageStatus": word, "From": "+15550001111", "To": f"+{ANN}"}
        )
        assert item["contact_id"] == first["contact_id"]
    assert (await office.timeline_of(first["contact_id"]))[2:] == ["sms_queued", "sms_sent", "sms_failed"]
    assert (await reached(office, "sms", "SM9"))["status"] == "failed"
    assert await reached(office, "sms", "SM404") is None
