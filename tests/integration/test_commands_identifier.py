"""identifier.add, remove, verify and set_primary, and numbers that several channels share."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.helpers.office import Office

FIRST, SECOND = "+4915100000001", "+4915100000002"


@pytest.fixture
async def ada(office: Office) -> uuid.UUID:
    contact_id = await office.new(external_id="e1", phone=FIRST)
    del office.events[2:]
    return contact_id


async def say(office: Office, verb: str, identifier: str, channel: str = "sms", **fields: Any) -> Any:
    data = {"contact": {"external_id": "e1"}, "channel": channel, "identifier": identifier, **fields}
    return await office.ok(f"identifier.{verb}", data)


async def held(office: Office, contact_id: uuid.UUID) -> list[tuple[Any, ...]]:
    shown = (await office.get(contact_id))["identifiers"]
    return [(i["channel"], i["identifier"], i["is_primary"], i["is_verified"]) for i in shown]


def written(office: Office) -> list[tuple[str, Any]]:
    return [
        (e["data"]["type"], e["data"]["payload"]) for e in office.events[2:] if e["type"] == "timeline.system"
    ]


def about(identifier: str, channel: str = "sms", scope: str = "") -> dict[str, str]:
    return {"channel": channel, "identifier": identifier, "scope": scope}


async def test_added_is_secondary_where_the_channel_has_a_primary(office: Office, ada: uuid.UUID):
    outcome = await say(office, "add", "+49 151 0000 0002")
    assert outcome.version == 2
    assert await held(office, ada) == [("sms", FIRST, True, False), ("sms", SECOND, False, False)]
    assert written(office) == [("identifier_added", about(SECOND))]
    (updated,) = office.said("contact.updated")
    assert list(updated["data"]["changes"]) == ["identifiers"]
    assert len(updated["data"]["changes"]["identifiers"]["old"]) == 1
    assert len(updated["data"]["changes"]["identifiers"]["new"]) == 2


async def test_added_is_primary_where_there_is_none_or_when_asked_to(office: Office, ada: uuid.UUID):
    await say(office, "add", "a@example.com", "email")
    assert (await office.get(ada))["email"] == "a@example.com"
    await say(office, "add", SECOND, is_primary=True, is_verified=True, shared=True, metadata={"a": 1})
    document = await office.get(ada)
    assert document["phone"] == SECOND
    newest = document["identifiers"][-1]
    assert (newest["is_verified"], newest["shared"], newest["metadata"]) == (True, True, {"a": 1})
    assert written(office)[1:] == [
        ("identifier_added", about(SECOND)),
        ("identifier_primary_changed", about(SECOND)),
    ]


async def test_adding_what_is_there_changes_nothing(office: Office, ada: uuid.UUID):
    data = {"contact": {"id": str(ada)}, "channel": "sms", "identifier": FIRST}
    await office.quietly("identifier.add", data)


async def test_adding_what_is_there_changes_its_flags_and_keeps_its_spelling(office: Office, ada: uuid.UUID):
    await say(office, "add", "+49 (151) 00000001", is_verified=True, metadata={"k": "v"})
    (identifier,) = (await office.get(ada))["identifiers"]
    assert (identifier["raw"], identifier["aliases"]) == (FIRST, ["+49 (151) 00000001"])
    assert (identifier["is_verified"], identifier["is_primary"]) == (True, True)
    assert identifier["metadata"] == {"k": "v"}
    told, (kind, payload) = written(office)
    assert (told, kind) == (("identifier_verified", about(FIRST)), "contact_updated")
    change = payload["changes"]["identifiers"]
    assert change == office.said("contact.updated")[-1]["data"]["changes"]["identifiers"]


async def test_what_no_event_of_an_identifier_says_is_an_update_of_the_contact(
    office: Office, ada: uuid.UUID
):
    await say(office, "add", SECOND)
    before, after = [], []
    for verb, fields in [
        ("add", {"shared": True}),
        ("add", {"metadata": {"k": "v"}}),
        ("verify", {}),
        ("verify", {"is_verified": False}),
    ]:
        before.append((await office.get(ada))["identifiers"][1])
        await say(office, verb, SECOND, **fields)
        after.append((await office.get(ada))["identifiers"][1])
    kinds = [kind for kind, _ in written(office)[1:]]
    assert kinds == ["contact_updated", "contact_updated", "identifier_verified", "contact_updated"]
    for n in (0, 1, 3):  # only the identifier that differs, not all that the contact has
        changes = {"identifiers": {"old": [before[n]], "new": [after[n]]}}
        assert written(office)[1 + n][1] == {"changes": changes}


async def test_primary_of_a_channel_that_had_none_is_told(office: Office, ada: uuid.UUID):
    await office.ok("contact.update", {"contact": {"id": str(ada)}, "unset": ["phone"]})
    await say(office, "set_primary", FIRST)
    await say(office, "add", "a@example.com", "email", is_primary=False)
    await say(office, "add", "a@example.com", "email", is_primary=True)
    assert [kind for kind, _ in written(office)] == [
        "contact_updated",
        "identifier_primary_changed",
        "identifier_added",
        "identifier_primary_changed",
    ]


async def test_metadata_of_a_command_leaves_what_a_provider_told(office: Office):
    item = await office.message("4915100000003", channel="whatsapp", profile_name="Ann")
    who = {"contact": {"id": item["contact_id"]}, "channel": "whatsapp", "identifier": "4915100000003"}
    await office.ok("identifier.add", {**who, "metadata": {"label": "work", "profile_name": {"x": 1}}})
    document = await office.get(item["contact_id"])
    assert document["display_name"] == "Ann"
    assert document["identifiers"][0]["metadata"]["label"] == "work"
    assert document["identifiers"][0]["metadata"]["profile_name"] == "Ann"


async def test_identifier_of_another_contact_is_refused_on_every_channel_of_its_kind(
    office: Office, ada: uuid.UUID
):
    await office.new(external_id="e2")
    for channel in ("sms", "whatsapp", "voice"):
        code, details = await office.refused(
            "identifier.add", {"contact": {"external_id": "e2"}, "channel": channel, "identifier": FIRST}
        )
        assert code == "identifier_taken"
        assert details == {
            "contact_id": str(ada),
            "channel": channel,
            "identifier": FIRST,
            "deleted": False,
        }


async def test_region_is_for_numbers_without_country_code(office: Office, ada: uuid.UUID):
    await say(office, "add", "0151 00000002", region="DE")
    assert (await held(office, ada))[-1][1] == SECOND
    await say(office, "set_primary", "0151 00000002", region="DE")
    assert (await office.get(ada))["phone"] == SECOND
    code, details = await office.refused(
        "identifier.add", {"contact": {"id": str(ada)}, "channel": "sms", "identifier": "0151 00000003"}
    )
    assert (code, details["errors"][0]["field"]) == ("invalid", "identifier")


async def test_set_primary(office: Office, ada: uuid.UUID):
    await say(office, "add", SECOND)
    outcome = await say(office, "set_primary", SECOND)
    assert outcome.version == 3
    assert await held(office, ada) == [("sms", FIRST, False, False), ("sms", SECOND, True, False)]
    assert written(office)[1:] == [("identifier_primary_changed", about(SECOND))]
    changes = office.said("contact.updated")[-1]["data"]["changes"]
    assert changes["phone"] == {"old": FIRST, "new": SECOND}
    await office.quietly(
        "identifier.set_primary", {"contact": {"id": str(ada)}, "channel": "sms", "identifier": SECOND}
    )


async def test_primary_and_verified_are_per_channel(office: Office, ada: uuid.UUID):
    await say(office, "add", FIRST, "whatsapp")
    await say(office, "add", SECOND, "whatsapp")
    await say(office, "set_primary", SECOND, "whatsapp")
    await say(office, "verify", FIRST, "whatsapp")
    assert await held(office, ada) == [
        ("sms", FIRST, True, False),
        ("whatsapp", FIRST, False, True),
        ("whatsapp", SECOND, True, False),
    ]
    assert (await office.get(ada))["phone"] == FIRST


async def test_verify_and_no_longer(office: Office, ada: uuid.UUID):
    await say(office, "verify", FIRST)
    assert written(office) == [("identifier_verified", about(FIRST))]
    data = {"contact": {"id": str(ada)}, "channel": "sms", "identifier": FIRST}
    await office.quietly("identifier.verify", data)
    assert (await say(office, "verify", FIRST, is_verified=False)).version == 3
    assert await held(office, ada) == [("sms", FIRST, True, False)]


async def test_removing_hands_primary_to_the_oldest_left(office: Office, ada: uuid.UUID):
    for n in (3, 2):
        await say(office, "add", f"+491510000000{n}")
    await say(office, "remove", FIRST)
    assert (await office.get(ada))["phone"] == "+4915100000003"
    assert written(office)[2:] == [
        ("identifier_primary_changed", about("+4915100000003")),
        ("identifier_removed", about(FIRST)),
    ]


async def test_removing_the_last_one_empties_the_field(office: Office, ada: uuid.UUID):
    await say(office, "remove", FIRST)
    document = await office.get(ada)
    assert (document["phone"], document["display_name"], document["identifiers"]) == (None, None, [])
    assert await office.new(phone=FIRST) != ada


async def test_removed_on_one_channel_it_is_owned_through_the_other(office: Office, ada: uuid.UUID):
    await say(office, "add", FIRST, "whatsapp")
    await say(office, "add", FIRST, "voice")
    rows = await office.rows("channel_identifiers", "slot")
    assert [(row["channel"], row["slot"]) for row in rows] == [("sms", 0), ("whatsapp", 1), ("voice", 2)]
    await say(office, "remove", FIRST, "sms")
    assert (await office.refused("contact.create", {"phone": FIRST}))[0] == "identifier_taken"
    who = {"contact": {"channel": "sms", "identifier": FIRST}}
    assert (await office.ok("contact.update", who)).contact_id == ada
    await say(office, "remove", FIRST, "whatsapp")
    (row,) = await office.rows("channel_identifiers")
    assert (row["channel"], row["slot"]) == ("voice", 0)
    await say(office, "add", FIRST, "sms")
    await say(office, "remove", FIRST, "voice")
    await say(office, "remove", FIRST, "sms")
    assert await office.new(phone=FIRST) != ada


async def test_flags_that_mean_nothing_to_a_command_are_ignored(office: Office, ada: uuid.UUID):
    flags = {"is_primary": False, "is_verified": True, "shared": True, "metadata": {"k": "v"}}
    await say(office, "add", SECOND)
    await say(office, "set_primary", SECOND, **flags)
    await say(office, "verify", SECOND, **flags)
    document = (await office.get(ada))["identifiers"][1]
    assert (document["is_primary"], document["is_verified"]) == (True, True)
    assert (document["shared"], document["metadata"]) == (False, {})
    await say(office, "remove", SECOND, **flags)
    assert await held(office, ada) == [("sms", FIRST, True, False)]


@pytest.mark.parametrize("verb", ["remove", "verify", "set_primary"])
async def test_identifier_that_is_not_there(office: Office, ada: uuid.UUID, verb: str):
    await office.new(phone=SECOND)
    who = {"contact": {"external_id": "e1"}}
    for channel, identifier in [("sms", SECOND), ("whatsapp", FIRST), ("email", "a@example.com")]:
        code, details = await office.refused(
            f"identifier.{verb}", {**who, "channel": channel, "identifier": identifier}
        )
        assert code == "identifier_not_found"
        assert details == {"contact_id": str(ada), "channel": channel, "identifier": identifier}


@pytest.mark.parametrize("verb", ["add", "remove", "verify", "set_primary"])
async def test_only_of_a_contact_that_is_there(office: Office, verb: str):
    code, _ = await office.refused(
        f"identifier.{verb}",
        {"contact": {"external_id": "nobody"}, "channel": "sms", "identifier": FIRST},
    )
    assert code == "contact_not_found"


@pytest.mark.parametrize("verb", ["add", "remove", "verify", "set_primary"])
@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"identifier": FIRST}, "channel"),
        ({"channel": "sms"}, "identifier"),
        ({"channel": "sms", "identifier": " "}, "identifier"),
        ({"channel": "sms", "identifier": FIRST, "is_primry": True}, "is_primry"),
    ],
)
async def test_refused_as_invalid_naming_the_field(
    office: Office, ada: uuid.UUID, verb: str, fields: dict[str, Any], field: str
):
    code, details = await office.refused(f"identifier.{verb}", {"contact": {"id": str(ada)}, **fields})
    assert code == "invalid"
    assert field in [error["field"] for error in details["errors"]]


async def test_scopes_are_told_apart(office: Office, ada: uuid.UUID):
    await say(office, "add", "5", "messenger", scope="page-1")
    await say(office, "add", "5", "messenger", scope="page-2")
    await say(office, "remove", "5", "messenger", scope="page-1")
    shown = (await office.get(ada))["identifiers"]
    assert [(i["identifier"], i["scope"]) for i in shown] == [(FIRST, ""), ("5", "page-2")]
    code, _ = await office.refused(
        "identifier.verify", {"contact": {"id": str(ada)}, "channel": "messenger", "identifier": "5"}
    )
    assert code == "identifier_not_found"


async def test_webhook_number_kept_raw_can_be_spoken_of(office: Office):
    item = await office.message("0151 7654321", text="hi")
    who = {"contact": {"id": item["contact_id"]}, "channel": "sms", "identifier": "0151 7654321"}
    await office.ok("identifier.verify", who)
    await office.ok("identifier.remove", who)
    assert (await office.get(item["contact_id"]))["identifiers"] == []
