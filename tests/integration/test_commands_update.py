"""contact.update: what set and unset do, and what is written and told of it."""

from __future__ import annotations

import uuid
from typing import Any

import orjson
import pytest

from tests.helpers.office import Office

CONTACT: dict[str, Any] = {
    "external_id": "e1",
    "first_name": "Ada",
    "email": "a@example.com",
    "phone": "+4915100000001",
    "attributes": {"plan": "gold", "city": "Ulm"},
    "tags": ["lead", "vip"],
    "source": "import",
}


@pytest.fixture
async def ada(office: Office) -> uuid.UUID:
    return await office.new(**CONTACT)


def since(office: Office, *types: str) -> list[dict[str, Any]]:
    """Events after the creation, of these types."""
    return [e for e in office.events[2:] if not types or e["type"] in types]


async def update(office: Office, contact_id: uuid.UUID, **fields: Any) -> Any:
    return await office.ok("contact.update", {"contact": {"id": str(contact_id)}, **fields})


async def test_one_update_writes_each_kind_of_change_on_its_own(office: Office, ada: uuid.UUID):
    await update(
        office,
        ada,
        set={
            "first_name": "Bea",
            "status": "blocked",
            "attributes": {"plan": "basic", "n": 1},
            "tags": ["vip", "new"],
            "email": "b@example.com",
        },
        unset=["attributes.city", "source"],
    )
    written = [(e["data"]["type"], e["data"]["category"], e["data"]["payload"]) for e in since(office)[3:]]
    about = {"channel": "email", "identifier": "b@example.com", "scope": ""}
    assert written == [
        ("status_changed", "status", {"old": "active", "new": "blocked"}),
        ("custom_field_cleared", "custom_field", {"key": "city", "old": "Ulm"}),
        ("custom_field_set", "custom_field", {"key": "n", "old": None, "new": 1}),
        ("custom_field_set", "custom_field", {"key": "plan", "old": "gold", "new": "basic"}),
        ("tag_added", "tag", {"tag": "new"}),
        ("tag_removed", "tag", {"tag": "lead"}),
        ("identifier_added", "system", about),
        ("identifier_primary_changed", "system", about),
        (
            "contact_updated",
            "system",
            {
                "changes": {
                    "first_name": {"old": "Ada", "new": "Bea"},
                    "display_name": {"old": "Ada", "new": "Bea"},
                    "email": {"old": "a@example.com", "new": "b@example.com"},
                    "source": {"old": "import", "new": None},
                }
            },
        ),
    ]


async def test_one_update_is_one_version_and_one_contact_updated(office: Office, ada: uuid.UUID):
    outcome = await update(
        office, ada, set={"first_name": "Bea", "status": "blocked", "tags": ["vip", "new"]}
    )
    assert (outcome.version, outcome.created) == (2, False)
    told = [(e["type"], e["data"]["version"]) for e in since(office) if e["type"].startswith("contact.")]
    assert told == [("contact.updated", 2), ("contact.tagged", 2), ("contact.untagged", 2)]
    (updated,) = since(office, "contact.updated")
    assert updated["data"]["changes"] == {
        "first_name": {"old": "Ada", "new": "Bea"},
        "display_name": {"old": "Ada", "new": "Bea"},
        "status": {"old": "active", "new": "blocked"},
        "tags": {"old": ["lead", "vip"], "new": ["new", "vip"]},
    }
    assert since(office, "contact.tagged")[0]["data"]["tag"] == "new"
    assert since(office, "contact.untagged")[0]["data"]["tag"] == "lead"


async def test_events_carry_envelope_and_actor(office: Office, ada: uuid.UUID):
    outcome = await office.ok(
        "contact.update",
        {"contact": {"id": str(ada)}, "set": {"status": "blocked"}},
        id="cause-1",
        actor="user:42",
        correlationid="corr-1",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    assert outcome.status == "applied"
    updated, timeline = since(office)
    for event in (updated, timeline):
        assert event["specversion"] == "1.0"
        assert (event["causationid"], event["correlationid"]) == ("cause-1", "corr-1")
        assert (event["actor"], event["tenantid"], event["source"]) == ("user:42", office.tenant, "rollcall")
        assert event["traceparent"].startswith("00-0af7651916cd43dd8448eb211c80319c-")
        assert event["on"] == f"{event['type']}.{office.tenant}.{ada}"
        uuid.UUID(event["id"])
    assert timeline["data"]["triggered_by"] == "user:42"
    assert timeline["data"]["source"] == "agent"
    assert timeline["data"]["title"] == "Status changed"


async def test_without_actor_or_correlation(office: Office, ada: uuid.UUID):
    await office.ok("contact.update", {"contact": {"id": str(ada)}, "set": {"status": "blocked"}}, id="c2")
    updated, timeline = since(office)
    assert (updated["actor"], updated["correlationid"]) == ("system", "c2")
    assert (timeline["data"]["triggered_by"], timeline["data"]["source"]) == (None, "system")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"set": {}},
        {"set": {"first_name": "Ada", "status": "active", "external_id": "e1"}},
        {"set": {"email": "a@example.com", "phone": "+4915100000001"}},
        {"set": {"attributes": {"plan": "gold"}, "tags": ["vip", "lead", "vip"]}},
        {"set": {"attributes": {}}},
        {"unset": ["last_name", "attributes.nothing", "avatar_url"]},
        {"expected_version": 1},
    ],
)
async def test_a_command_that_changes_nothing_is_applied(
    office: Office, ada: uuid.UUID, fields: dict[str, Any]
):
    await office.quietly("contact.update", {"contact": {"id": str(ada)}, **fields})


async def test_tags_replace_the_set(office: Office, ada: uuid.UUID):
    await update(office, ada, set={"tags": []})
    assert (await office.get(ada))["tags"] == []
    assert await office.rows("contact_tag_mappings") == []


async def test_attributes_merge_by_key(office: Office, ada: uuid.UUID):
    await update(office, ada, set={"attributes": {"city": {"a": 1}, "z": None}})
    assert (await office.get(ada))["attributes"] == {"plan": "gold", "city": {"a": 1}, "z": None}


@pytest.mark.parametrize(("field", "channel"), [("email", "email"), ("phone", "sms")])
async def test_set_email_or_phone_becomes_primary_and_the_old_one_stays(
    office: Office, ada: uuid.UUID, field: str, channel: str
):
    new = {"email": "new@example.com", "phone": "+4915100000009"}[field]
    await update(office, ada, set={field: new})
    document = await office.get(ada)
    assert document[field] == new
    held = [(i["identifier"], i["is_primary"]) for i in document["identifiers"] if i["channel"] == channel]
    assert held == [(CONTACT[field], False), (new, True)]
    await update(office, ada, set={field: CONTACT[field]})
    assert (await office.get(ada))[field] == CONTACT[field]
    assert len((await office.get(ada))["identifiers"]) == 3


@pytest.mark.parametrize(("field", "channel"), [("email", "email"), ("phone", "sms")])
async def test_unset_email_or_phone_empties_the_field_and_keeps_the_identifier(
    office: Office, ada: uuid.UUID, field: str, channel: str
):
    await update(office, ada, unset=[field])
    document = await office.get(ada)
    assert document[field] is None
    assert [i["is_primary"] for i in document["identifiers"] if i["channel"] == channel] == [False]
    who = {"channel": channel, "identifier": CONTACT[field]}
    assert (await office.ok("contact.update", {"contact": who})).contact_id == ada


@pytest.mark.parametrize("name", ["first_name", "source", "external_id", "avatar_url"])
async def test_unset_empties(office: Office, ada: uuid.UUID, name: str):
    await update(office, ada, set={"avatar_url": "https://example.com/x"})
    await update(office, ada, unset=[name])
    assert (await office.get(ada))[name] is None


async def test_unset_attribute(office: Office, ada: uuid.UUID):
    await update(office, ada, unset=["attributes.plan"])
    assert (await office.get(ada))["attributes"] == {"city": "Ulm"}


async def test_external_id_changes_hands(office: Office, ada: uuid.UUID):
    await update(office, ada, set={"external_id": "e2"})
    other = await office.new(external_id="e1")
    assert (await office.ok("contact.update", {"contact": {"external_id": "e1"}})).contact_id == other
    code, details = await office.refused(
        "contact.update", {"contact": {"id": str(other)}, "set": {"external_id": "e2"}}
    )
    assert (code, details["contact_id"]) == ("external_id_taken", str(ada))


async def test_identifier_of_another_is_refused(office: Office, ada: uuid.UUID):
    other = await office.new(email="b@example.com")
    code, details = await office.refused(
        "contact.update", {"contact": {"id": str(ada)}, "set": {"first_name": "X", "email": "B@example.com"}}
    )
    assert code == "identifier_taken"
    assert details == {
        "contact_id": str(other),
        "channel": "email",
        "identifier": "b@example.com",
        "deleted": False,
    }
    assert (await office.get(ada))["first_name"] == "Ada"


async def test_expected_version(office: Office, ada: uuid.UUID):
    who = {"contact": {"id": str(ada)}, "set": {"first_name": "Bea"}}
    assert (await office.ok("contact.update", {**who, "expected_version": 1})).version == 2
    code, details = await office.refused("contact.update", {**who, "expected_version": 1})
    assert (code, details) == ("version_conflict", {"expected": 1, "actual": 2})
    assert office.events[-1]["on"].endswith(str(ada))


async def test_version_rises_for_documents_only(office: Office, ada: uuid.UUID):
    await office.message("+4915100000001", text="hi")
    assert (await office.get(ada))["version"] == 1
    assert (await office.get(ada))["last_contact_at"] is not None
    await office.ok("timeline.record", {"contact": {"id": str(ada)}, "type": "note_added"})
    assert (await office.get(ada))["version"] == 1
    assert (await update(office, ada, set={"status": "blocked"})).version == 2


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"set": {"first_name": None}}, "set.first_name"),
        ({"set": {"last_name": " "}}, "set.last_name"),
        ({"set": {"email": "x"}}, "set.email"),
        ({"set": {"phone": "0151 1"}}, "set.phone"),
        ({"set": {"identifiers": []}}, "set.identifiers"),
        ({"set": {"status": "deleted"}}, "set.status"),
        ({"set": {"version": 7}}, "set.version"),
        ({"unset": ["status"]}, "unset.0"),
        ({"unset": ["attributes."]}, "unset.0"),
        ({"unset": ["display_name"]}, "unset.0"),
        ({"expected_version": "1"}, "expected_version"),
        ({"expected_version": -1}, "expected_version"),
        ({"first_name": "x"}, "first_name"),
        ({"contact": {}}, "contact"),
        ({"contact": {"id": "nonsense"}}, "contact.id"),
        ({"contact": {"external_id": "e1", "channel": "sms", "identifier": "1"}}, "contact"),
        ({"contact": {"channel": "sms"}}, "contact"),
        ({"contact": {"external_id": "e1", "name": "x"}}, "contact.name"),
    ],
)
async def test_refused_as_invalid_naming_the_field(
    office: Office, ada: uuid.UUID, fields: dict[str, Any], field: str
):
    code, details = await office.refused("contact.update", {"contact": {"id": str(ada)}, **fields})
    assert code == "invalid"
    assert field in [error["field"] for error in details["errors"]]


async def test_too_many_attributes_in_total_are_invalid(office: Office, ada: uuid.UUID):
    await update(office, ada, set={"attributes": {"big": "x" * 200_000}})
    code, _ = await office.refused(
        "contact.update", {"contact": {"id": str(ada)}, "set": {"attributes": {"more": "x" * 100_000}}}
    )
    assert code == "invalid"


async def test_set_and_unset_of_one_field_are_invalid(office: Office, ada: uuid.UUID):
    for fields in (
        {"set": {"email": "b@example.com"}, "unset": ["email"]},
        {"set": {"attributes": {"plan": 1}}, "unset": ["attributes.plan"]},
    ):
        code, _ = await office.refused("contact.update", {"contact": {"id": str(ada)}, **fields})
        assert code == "invalid"


@pytest.mark.parametrize(
    ("held", "given"),
    [(1, True), (0, False), ([1, {"x": 0}], [True, {"x": False}]), ({"x": [True]}, {"x": [1]})],
)
async def test_true_is_not_one(office: Office, held: Any, given: Any):
    contact_id = await office.new(attributes={"a": held})
    outcome = await office.ok(
        "contact.update", {"contact": {"id": str(contact_id)}, "set": {"attributes": {"a": given}}}
    )
    assert outcome.version == 2
    (told,) = [event["data"] for event in office.events if event["type"] == "timeline.custom_field"][-1:]
    assert orjson.dumps(told["payload"]) == orjson.dumps({"key": "a", "old": held, "new": given})
    assert orjson.dumps((await office.get(contact_id))["attributes"]) == orjson.dumps({"a": given})


async def test_metadata_that_turns_true_is_a_change(office: Office, ada: uuid.UUID):
    add = {"contact": {"id": str(ada)}, "channel": "telegram", "identifier": "9"}
    first = await office.ok("identifier.add", {**add, "metadata": {"m": 1}})
    second = await office.ok("identifier.add", {**add, "metadata": {"m": True}})
    assert (first.version, second.version) == (2, 3)
    (*_, identifier) = (await office.get(ada))["identifiers"]
    assert identifier["metadata"]["m"] is True


@pytest.mark.parametrize(
    ("command", "data", "field"),
    [
        (
            "contact.update",
            {"contact": {"channel": "sms", "identifier": "0151 2000000"}},
            "contact.identifier",
        ),
        ("contact.delete", {"contact": {"channel": "email", "identifier": "nope"}}, "contact.identifier"),
        ("identifier.remove", {"channel": "sms", "identifier": "0151 2000000"}, "identifier"),
        ("identifier.verify", {"channel": "sms", "identifier": "0151 2000000"}, "identifier"),
    ],
)
async def test_what_names_nobody_because_it_is_no_identifier_is_invalid(
    office: Office, ada: uuid.UUID, command: str, data: dict[str, Any], field: str
):
    code, details = await office.refused(command, {"contact": {"id": str(ada)}, **data})
    assert (code, details["errors"][0]["field"]) == ("invalid", field)
