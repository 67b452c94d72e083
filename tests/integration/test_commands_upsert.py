"""contact.upsert: whom it finds, what it fills, and what it does where its identifiers disagree."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.helpers.office import Office

NUMBER = "+4915100000001"


async def upsert(office: Office, **fields: Any) -> uuid.UUID:
    outcome = await office.ok("contact.upsert", fields)
    assert outcome.contact_id
    return outcome.contact_id


def conflicts(office: Office) -> dict[str, dict[str, Any]]:
    """Payloads of identifier_conflict by the contact that has it."""
    return {
        e["data"]["contact_id"]: e["data"]["payload"]
        for e in office.said("timeline.system")
        if e["data"]["type"] == "identifier_conflict"
    }


@pytest.mark.parametrize(
    "named",
    [
        {"external_id": "e1"},
        {"email": "A@Example.com"},
        {"phone": NUMBER},
        {"identifiers": [{"channel": "whatsapp", "identifier": NUMBER[1:]}]},
        {"contact": {"external_id": "e1"}},
        {"contact": {"channel": "voice", "identifier": NUMBER}},
    ],
)
async def test_makes_whom_it_does_not_find_and_finds_whom_it_made(office: Office, named: dict[str, Any]):
    first = await office.ok("contact.upsert", {**named, "first_name": "Ada"})
    again = await office.ok("contact.upsert", {**named, "last_name": "L"})
    assert (first.created, again.created) == (True, False)
    assert again.contact_id == first.contact_id
    document = await office.get(first.contact_id)
    assert document["display_name"] == "Ada L"
    assert document["external_id"] == ("e1" if "e1" in str(named) else None)


async def test_a_new_contact_takes_everything(office: Office):
    fields = {
        "external_id": "e1",
        "first_name": "Ada",
        "status": "blocked",
        "source": "import",
        "attributes": {"a": 1},
        "tags": ["x"],
        "email": "a@example.com",
    }
    document = await office.get(await upsert(office, **fields))
    assert {name: document[name] for name in fields} == fields
    assert [e["type"] for e in office.events] == ["contact.created", "timeline.system"]


async def test_fill_writes_only_what_is_empty(office: Office):
    contact_id = await office.new(
        external_id="e1", first_name="Ada", phone=NUMBER, attributes={"a": 1}, tags=["x"], source="import"
    )
    given = {
        "external_id": "e1",
        "first_name": "Bea",
        "last_name": "L",
        "email": "a@example.com",
        "phone": "+4915100000002",
        "status": "blocked",
        "source": "other",
        "attributes": {"a": 2, "b": 3},
        "tags": ["y"],
    }
    assert await upsert(office, **given) == contact_id
    document = await office.get(contact_id)
    kept = ("first_name", "last_name", "email", "phone", "status", "source", "attributes", "tags", "version")
    assert {name: document[name] for name in kept} == {
        "first_name": "Ada",
        "last_name": "L",
        "email": "a@example.com",
        "phone": NUMBER,
        "status": "active",
        "source": "import",
        "attributes": {"a": 1, "b": 3},
        "tags": ["x", "y"],
        "version": 2,
    }
    assert [i["identifier"] for i in document["identifiers"]] == [NUMBER, "a@example.com", "+4915100000002"]
    await office.quietly("contact.upsert", given)


async def test_overwrite_writes_what_is_given(office: Office):
    contact_id = await office.new(
        external_id="e1",
        first_name="Ada",
        last_name="L",
        phone=NUMBER,
        attributes={"a": 1, "c": 1},
        tags=["x"],
    )
    given = {
        "external_id": "e1",
        "first_name": "Bea",
        "phone": "+4915100000002",
        "status": "blocked",
        "attributes": {"a": 2},
        "tags": ["y"],
        "mode": "overwrite",
    }
    await upsert(office, **given)
    document = await office.get(contact_id)
    kept = ("first_name", "last_name", "phone", "status", "attributes", "tags")
    assert {name: document[name] for name in kept} == {
        "first_name": "Bea",
        "last_name": "L",
        "phone": "+4915100000002",
        "status": "blocked",
        "attributes": {"a": 2, "c": 1},
        "tags": ["y"],
    }
    await office.quietly("contact.upsert", given)
    await upsert(office, external_id="e1", tags=[], mode="overwrite")
    assert (await office.get(contact_id))["tags"] == []


async def test_external_id_is_filled_or_overwritten(office: Office):
    contact_id = await office.new(phone=NUMBER)
    await upsert(office, phone=NUMBER, external_id="e1")
    await upsert(office, phone=NUMBER, external_id="e2")
    assert (await office.get(contact_id))["external_id"] == "e1"
    await upsert(office, phone=NUMBER, external_id="e2", mode="overwrite")
    assert (await office.get(contact_id))["external_id"] == "e2"
    assert await upsert(office, external_id="e1") != contact_id


async def test_unknown_id_makes_nobody(office: Office):
    code, _ = await office.refused(
        "contact.upsert", {"contact": {"id": str(uuid.uuid4())}, "first_name": "Ada"}
    )
    assert code == "contact_not_found"


VERIFIED = {"channel": "email", "identifier": "v@example.com", "is_verified": True}
USER_ID = {"channel": "whatsapp", "identifier": "DE.abc123"}
PHONE = {"channel": "sms", "identifier": NUMBER}
EMAIL = {"channel": "email", "identifier": "a@example.com"}
IN_ORDER: list[dict[str, Any]] = [
    {"external_id": "e1"},
    {"identifiers": [VERIFIED]},
    {"identifiers": [USER_ID]},
    {"identifiers": [PHONE]},
    {"identifiers": [EMAIL]},
]


@pytest.mark.parametrize("weaker_first", [True, False])
@pytest.mark.parametrize("stronger", range(len(IN_ORDER) - 1))
async def test_goes_to_the_stronger_whichever_is_older(office: Office, stronger: int, weaker_first: bool):
    pair = [IN_ORDER[stronger], IN_ORDER[stronger + 1]]
    made = {n: await office.new(**pair[n]) for n in ([1, 0] if weaker_first else [0, 1])}
    both = {
        **pair[0],
        **pair[1],
        "identifiers": [i for one in reversed(pair) for i in one.get("identifiers", [])],
    }
    both["identifiers"] = [{k: v for k, v in i.items() if k != "is_verified"} for i in both["identifiers"]]
    assert await upsert(office, **both, first_name="P") == made[0]
    assert (await office.get(made[1]))["version"] == 1
    told = conflicts(office)
    assert {k: v["contact_id"] for k, v in told.items()} == {
        str(made[0]): str(made[1]),
        str(made[1]): str(made[0]),
    }
    assert {v["chosen"] for v in told.values()} == {str(made[0])}


async def test_of_equals_goes_to_the_older(office: Office):
    older = await office.new(phone="+4915100000009")
    await office.new(phone="+4915100000001")
    named = [{"channel": "sms", "identifier": f"+491510000000{n}"} for n in (1, 9)]
    assert await upsert(office, identifiers=named) == older


async def test_reference_goes_before_every_identifier(office: Office):
    named = await office.new(email="a@example.com")
    other = await office.new(external_id="e1", phone=NUMBER)
    assert (
        await upsert(
            office,
            contact={"channel": "email", "identifier": "a@example.com"},
            external_id="e1",
            phone=NUMBER,
            first_name="Ada",
        )
        == named
    )
    document = await office.get(named)
    assert (document["first_name"], document["external_id"], document["phone"]) == ("Ada", None, None)
    told = conflicts(office)
    assert set(told) == {str(named), str(other)}
    about = [(i["kind"], i["identifier"]) for i in told[str(named)]["identifiers"]]
    assert sorted(about) == [("external id", "e1"), ("phone", NUMBER)]


async def test_conflict_leaves_the_other_contact_and_takes_what_is_free(office: Office):
    by_phone = await office.new(phone=NUMBER)
    by_email = await office.new(email="a@example.com")
    chosen = await upsert(
        office,
        phone=NUMBER,
        email="a@example.com",
        identifiers=[{"channel": "telegram", "identifier": "77"}],
    )
    assert chosen == by_phone
    held = [i["identifier"] for i in (await office.get(by_phone))["identifiers"]]
    assert held == [NUMBER, "77"]
    assert (await office.get(by_email))["version"] == 1
    assert await office.timeline_of(by_email) == ["contact_created", "identifier_conflict"]


async def test_conflict_alone_leaves_the_version(office: Office):
    by_phone = await office.new(phone=NUMBER)
    await office.new(email="a@example.com")
    outcome = await office.ok("contact.upsert", {"phone": NUMBER, "email": "a@example.com"})
    assert (outcome.contact_id, outcome.version) == (by_phone, 1)
    assert office.said("contact.updated") == []


async def test_shared_identifier_is_no_sign_of_a_duplicate(office: Office):
    office_mail = {"channel": "email", "identifier": "info@example.com"}
    await office.new(identifiers=[{**office_mail, "shared": True, "is_verified": True}])
    person = await office.new(phone=NUMBER)
    assert await upsert(office, phone=NUMBER, identifiers=[office_mail]) == person
    assert conflicts(office) == {}


async def test_a_number_that_comes_back_without_its_exponent_is_no_change(office: Office):
    numbers = {"a": 1.2345678901234577e18, "b": 1e16, "c": 9.2e18, "d": -0.0, "e": [1e300, 0.1]}
    number = {"channel": "sms", "identifier": NUMBER, "metadata": numbers}
    given = {"external_id": "e1", "mode": "overwrite", "attributes": numbers, "identifiers": [number]}
    await upsert(office, **given)
    await office.quietly("contact.upsert", given)


async def test_ambiguous_reference(office: Office):
    for scope in ("page-1", "page-2"):
        await office.new(identifiers=[{"channel": "messenger", "identifier": "5", "scope": scope}])
    code, _ = await office.refused(
        "contact.upsert", {"contact": {"channel": "messenger", "identifier": "5"}, "first_name": "X"}
    )
    assert code == "ambiguous_reference"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "data"),
        ({"first_name": "Ada"}, "data"),
        ({"phone": NUMBER, "mode": "merge"}, "mode"),
        ({"phone": "12"}, "phone"),
        ({"external_id": ""}, "external_id"),
        ({"external_id": "e", "set": {}}, "set"),
        ({"contact": {"channel": "email", "identifier": "not an address"}}, "contact.identifier"),
        ({"contact": {"channel": "sms", "identifier": "0151 1234567"}}, "contact.identifier"),
        (
            {"contact": {"channel": "sms", "identifier": "0151 1234567"}, "external_id": "e", "region": "UK"},
            "region",
        ),
    ],
)
async def test_refused_as_invalid_naming_the_field(office: Office, fields: dict[str, Any], field: str):
    code, details = await office.refused("contact.upsert", fields)
    assert (code, details["errors"][0]["field"]) == ("invalid", field)


async def test_finds_by_an_identifier_that_it_could_not_give(office: Office):
    item = await office.message("0151 1234567")
    named = {"channel": "sms", "identifier": "0151 1234567"}
    assert str(await upsert(office, contact=named, first_name="Ada")) == item["contact_id"]
