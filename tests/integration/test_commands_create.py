"""contact.create: what a contact is made of, and what stands in its way."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.applier import settings
from tests.helpers.office import Office
from tests.helpers.replica import loud

EVERYTHING: dict[str, Any] = {
    "external_id": "crm-1",
    "first_name": "Ada",
    "last_name": "Lovelace",
    "email": "Ada@Example.com",
    "phone": "+49 151 23456789",
    "avatar_url": "https://example.com/a.png",
    "status": "inactive",
    "source": "import",
    "attributes": {"plan": "gold", "nested": {"a": [1, None, "x"]}},
    "tags": ["vip", "lead", "vip"],
    "identifiers": [
        {
            "channel": "telegram",
            "identifier": "991",
            "scope": "bot-1",
            "is_verified": True,
            "metadata": {"k": 1},
        },
        {"channel": "whatsapp", "identifier": "4915123456789", "shared": True},
    ],
}


async def test_document_is_what_was_given_and_what_follows_from_it(office: Office):
    document = await office.get(await office.new(**EVERYTHING))
    given = ("external_id", "first_name", "last_name", "avatar_url", "status", "source", "attributes")
    assert {name: document[name] for name in given} == {name: EVERYTHING[name] for name in given}
    assert document["display_name"] == "Ada Lovelace"
    assert document["email"] == "ada@example.com"
    assert document["phone"] == "+4915123456789"
    assert document["tags"] == ["lead", "vip"]
    assert document["version"] == 1
    assert document["deleted_at"] is None
    assert document["last_contact_at"] is None
    assert document["created_at"] == document["updated_at"]
    shown = [
        (i["channel"], i["scope"], i["identifier"], i["raw"], i["is_primary"], i["is_verified"], i["shared"])
        for i in document["identifiers"]
    ]
    assert shown == [
        ("email", "", "ada@example.com", "Ada@Example.com", True, False, False),
        ("sms", "", "+4915123456789", "+49 151 23456789", True, False, False),
        ("telegram", "bot-1", "991", "991", True, True, False),
        ("whatsapp", "", "+4915123456789", "4915123456789", True, False, True),
    ]
    assert document["identifiers"][2]["metadata"] == {"k": 1}


async def test_created_says_the_document_that_contact_get_answers(office: Office):
    contact_id = await office.new(**EVERYTHING)
    (created,) = office.said("contact.created")
    assert created["data"]["contact"] == await office.get(contact_id)
    assert created["on"] == f"contact.created.{office.tenant}.{contact_id}"


async def test_creation_writes_one_timeline_event_and_no_others(office: Office):
    contact_id = await office.new(**EVERYTHING)
    assert await office.timeline_of(contact_id) == ["contact_created"]
    assert [event["type"] for event in office.events] == ["contact.created", "timeline.system"]


async def test_nothing_is_required(office: Office):
    document = await office.get(await office.new())
    assert loud(document) | {
        "id": "",
        "created_at": "",
        "updated_at": "",
    } == dict.fromkeys(loud(document)) | {
        "id": "",
        "created_at": "",
        "updated_at": "",
        "status": "active",
        "attributes": {},
        "tags": [],
        "identifiers": [],
        "version": 1,
    }


async def test_result_names_contact_version_and_that_it_was_made(office: Office):
    outcome = await office.ok("contact.create", {})
    assert (outcome.version, outcome.created) == (1, True)


async def test_unknown_tags_are_made_once(office: Office):
    await office.new(tags=["a", "b"])
    await office.new(tags=["b", "c"])
    assert [row["name"] for row in await office.rows("contact_tags", "name")] == ["a", "b", "c"]


async def test_a_number_on_two_channels_is_one_key_with_two_rows(office: Office):
    await office.new(
        phone="+4915123456789", identifiers=[{"channel": "whatsapp", "identifier": "+4915123456789"}]
    )
    rows = await office.rows("channel_identifiers", "slot")
    assert [(row["kind"], row["channel"], row["slot"]) for row in rows] == [
        ("phone", "sms", 0),
        ("phone", "whatsapp", 1),
    ]


async def test_the_same_identifier_twice_in_a_command_is_one(office: Office):
    contact_id = await office.new(
        email="a@example.com", identifiers=[{"channel": "email", "identifier": "A@example.com"}]
    )
    (identifier,) = (await office.get(contact_id))["identifiers"]
    assert (identifier["raw"], identifier["aliases"]) == ("a@example.com", ["A@example.com"])


async def test_first_identifier_of_a_channel_is_its_primary_unless_it_says_no(office: Office):
    contact_id = await office.new(
        identifiers=[
            {"channel": "email", "identifier": "no@example.com", "is_primary": False},
            {"channel": "email", "identifier": "first@example.com"},
            {"channel": "email", "identifier": "second@example.com"},
        ]
    )
    assert (await office.get(contact_id))["email"] == "first@example.com"


async def test_explicit_primary_goes_before_the_first(office: Office):
    contact_id = await office.new(
        identifiers=[
            {"channel": "sms", "identifier": "+4915100000001"},
            {"channel": "sms", "identifier": "+4915100000002", "is_primary": True},
        ]
    )
    document = await office.get(contact_id)
    assert document["phone"] == "+4915100000002"
    assert [i["is_primary"] for i in document["identifiers"]] == [False, True]


async def test_whatsapp_number_is_no_phone_of_the_contact(office: Office):
    document = await office.get(
        await office.new(identifiers=[{"channel": "whatsapp", "identifier": "4915123456789"}])
    )
    assert document["phone"] is None
    assert document["display_name"] == "+4915123456789"


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"first_name": "Ada", "last_name": "L", "email": "a@example.com"}, "Ada L"),
        ({"first_name": "Ada"}, "Ada"),
        ({"last_name": "L"}, "L"),
        ({"email": "a@example.com", "phone": "+4915123456789"}, "a@example.com"),
        ({"phone": "+4915123456789"}, "+4915123456789"),
        ({"identifiers": [{"channel": "telegram", "identifier": "77"}]}, "77"),
        ({"external_id": "x"}, None),
    ],
)
async def test_display_name_falls_back(office: Office, fields: dict[str, Any], name: str | None):
    assert (await office.get(await office.new(**fields)))["display_name"] == name


async def test_taken_identifier_is_refused_with_its_owner(office: Office):
    owner = await office.new(phone="+4915123456789")
    code, details = await office.refused(
        "contact.create", {"identifiers": [{"channel": "whatsapp", "identifier": "4915123456789"}]}
    )
    assert code == "identifier_taken"
    assert details == {
        "contact_id": str(owner),
        "channel": "whatsapp",
        "identifier": "+4915123456789",
        "deleted": False,
    }


async def test_deleted_contact_keeps_its_identifiers_and_external_id(office: Office):
    owner = await office.new(email="a@example.com", external_id="e1")
    await office.ok("contact.delete", {"contact": {"id": str(owner)}})
    code, details = await office.refused("contact.create", {"email": "A@EXAMPLE.com"})
    assert (code, details["deleted"], details["contact_id"]) == ("identifier_taken", True, str(owner))
    code, details = await office.refused("contact.create", {"external_id": "e1"})
    assert (code, details["contact_id"]) == ("external_id_taken", str(owner))


async def test_same_identifier_in_another_scope_or_kind_is_somebody_else(office: Office):
    one = {"channel": "messenger", "identifier": "123"}
    await office.new(identifiers=[one])
    await office.new(identifiers=[{**one, "scope": "page-1"}])
    await office.new(identifiers=[{"channel": "telegram", "identifier": "123"}])
    assert (await office.refused("contact.create", {"identifiers": [one]}))[0] == "identifier_taken"


async def test_blank_never_matches_blank(office: Office):
    code, details = await office.refused(
        "contact.create", {"identifiers": [{"channel": "sms", "identifier": "  "}]}
    )
    assert code == "invalid"
    assert details["errors"][0]["field"] == "identifiers.0.identifier"


async def test_external_ids_and_identifiers_are_per_tenant(office: Office, elsewhere: Office):
    await office.new(external_id="e1", phone="+4915123456789")
    await elsewhere.new(external_id="e1", phone="+4915123456789")
    assert (await office.refused("contact.create", {"external_id": "e1"}))[0] == "external_id_taken"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"phone": "0151 23456789"}, "phone"),
        ({"phone": "nonsense"}, "phone"),
        ({"phone": "0151 23456789", "region": "ZZ"}, "region"),
        ({"phone": "0151 23456789", "region": "Germany"}, "region"),
        ({"email": "not an address"}, "email"),
        ({"status": "gone"}, "status"),
        ({"first_name": "x" * 101}, "first_name"),
        ({"first_name": 7}, "first_name"),
        ({"tags": [""]}, "tags.0"),
        ({"attributes": ["a"]}, "attributes"),
        ({"identifiers": [{"channel": "sms", "identifier": "1 2"}]}, "identifiers.0.identifier"),
        ({"identifiers": [{"channel": "SMS!", "identifier": "+4915123456789"}]}, "identifiers.0.channel"),
        ({"identifiers": [{"channel": "sms", "id": "+4915123456789"}]}, "identifiers.0.identifier"),
        ({"nick_name": "x"}, "nick_name"),
        ({"contact": {"external_id": "x"}}, "contact"),
        ({"attributes": {"a": "x" * 300_000}}, "attributes"),
    ],
)
async def test_refused_as_invalid_naming_the_field(office: Office, fields: dict[str, Any], field: str):
    code, details = await office.refused("contact.create", fields)
    assert code == "invalid"
    assert field in [error["field"] for error in details["errors"]]
    assert all(error["message"] for error in details["errors"])


async def test_data_that_is_no_object_is_invalid(office: Office):
    for data in ([], "x", None, 5):
        assert (await office.refused("contact.create", data))[0] == "invalid"  # type: ignore[arg-type]


async def test_region_of_a_number_without_country_code(office: Office):
    contact_id = await office.new(phone="0151 23456789", region="de")
    assert (await office.get(contact_id))["phone"] == "+4915123456789"


async def test_region_of_the_command_before_the_tenants_before_the_default(office: Office):
    office.settings = settings(default_region="FR", tenant_regions={office.tenant: "DE"})
    assert (await office.get(await office.new(phone="0151 23456701")))["phone"] == "+4915123456701"
    swiss = await office.new(phone="079 123 45 67", region="CH")
    assert (await office.get(swiss))["phone"] == "+41791234567"
    office.settings = settings(default_region="FR", tenant_regions={"somebody": "DE"})
    assert (await office.get(await office.new(phone="06 12 34 56 78")))["phone"] == "+33612345678"


async def test_commands_cannot_pose_as_a_provider_that_names_a_person(office: Office):
    """Metadata of a command is data: what the workers read there themselves is only the webhooks' to write."""
    given = {"profile_name": 5, "profile_name_at": "never", "label": "work"}
    contact_id = await office.new(
        identifiers=[{"channel": "whatsapp", "identifier": "4915123456789", "metadata": given}]
    )
    document = await office.get(contact_id)
    assert document["identifiers"][0]["metadata"] == {"label": "work"}
    assert document["display_name"] == "+4915123456789"
