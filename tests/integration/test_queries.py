"""Queries about one contact and one message, and how the worker refuses, over the real bus."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import nats.errors
import orjson
import pytest

from contracts.registry import QUERIES
from ops.devstack import NatsServer
from tests.helpers import seed
from tests.helpers.asker import Asker, asking
from workers.queries.handlers import HANDLERS
from workers.queries.service import MAX_REQUEST

DOCUMENT = [
    "id",
    "external_id",
    "first_name",
    "last_name",
    "display_name",
    "email",
    "phone",
    "avatar_url",
    "status",
    "source",
    "attributes",
    "tags",
    "identifiers",
    "last_contact_at",
    "created_at",
    "updated_at",
    "deleted_at",
    "version",
]

NUMBER = "+4915112345678"


@pytest.fixture(scope="module")
async def ask(database: str, bus: NatsServer) -> AsyncIterator[Asker]:
    async with asking(database, bus.url, tenant_regions={"a": "DE"}) as asker:
        yield asker


@pytest.fixture(scope="module")
async def ada(writer: asyncpg.Connection) -> dict[str, Any]:
    """A contact with everything; the ids of it and of its identifiers."""
    contact = await seed.contact(
        writer,
        "a",
        external_id="crm-1",
        first_name="Ada",
        last_name="Lovelace",
        display_name="Ada Lovelace",
        email="ada@example.org",
        phone=NUMBER,
        avatar_url="https://example.org/a.png",
        source="import",
        attributes={"company": "Analytical", "big": 123456789012345678901234567890},
        last_contact_at=seed.at(5),
        updated_at=seed.at(1),
        version=3,
    )
    whatsapp = await seed.identifier(
        writer,
        "a",
        contact,
        "whatsapp",
        NUMBER,
        raw="4915112345678",
        aliases=["015112345678"],
        is_primary=True,
        metadata={"profile_name": "Ada"},
    )
    sms = await seed.identifier(
        writer, "a", contact, "sms", NUMBER, slot=1, is_primary=True, is_verified=True
    )
    page = await seed.identifier(writer, "a", contact, "messenger", "psid-1", scope="page-1", shared=True)
    await seed.tag(writer, "a", contact, "vip", "Berlin", "ärzte")
    return {"id": str(contact), "whatsapp": str(whatsapp), "sms": str(sms), "page": str(page)}


def test_every_query_of_the_registry_has_a_handler() -> None:
    assert set(QUERIES) == set(HANDLERS)


async def test_get_answers_the_whole_document(ask: Asker, ada: dict[str, Any]) -> None:
    answer = await ask("contact.get", contact={"id": ada["id"]})
    assert answer["meta"] == {}
    contact = answer["data"]
    assert list(contact) == DOCUMENT
    identifiers = contact.pop("identifiers")
    assert contact == {
        "id": ada["id"],
        "external_id": "crm-1",
        "first_name": "Ada",
        "last_name": "Lovelace",
        "display_name": "Ada Lovelace",
        "email": "ada@example.org",
        "phone": NUMBER,
        "avatar_url": "https://example.org/a.png",
        "status": "active",
        "source": "import",
        "attributes": {"company": "Analytical", "big": float(123456789012345678901234567890)},
        "tags": ["Berlin", "vip", "ärzte"],
        "last_contact_at": "2026-01-01T00:05:00Z",
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:01:00Z",
        "deleted_at": None,
        "version": 3,
    }
    assert identifiers[0] == {
        "id": ada["whatsapp"],
        "channel": "whatsapp",
        "scope": "",
        "identifier": NUMBER,
        "raw": "4915112345678",
        "aliases": ["015112345678"],
        "is_primary": True,
        "is_verified": False,
        "shared": False,
        "metadata": {"profile_name": "Ada"},
    }
    assert [i["id"] for i in identifiers] == [ada["whatsapp"], ada["sms"], ada["page"]]


@pytest.mark.parametrize(
    "name",
    [
        {"external_id": "crm-1"},
        {"channel": "whatsapp", "identifier": "4915112345678"},
        {"channel": "sms", "identifier": "+49 151 12345678"},
        {"channel": "voice", "identifier": NUMBER},
        {"channel": "sms", "identifier": "0151 12345678"},  # the tenant's region
        {"channel": "messenger", "identifier": "psid-1", "scope": "page-1"},
        {"channel": "messenger", "identifier": "psid-1"},
    ],
)
async def test_a_contact_is_found_by_each_of_its_names(
    ask: Asker, ada: dict[str, Any], name: dict[str, Any]
) -> None:
    assert (await ask.data("contact.find", **name))["id"] == ada["id"]
    assert (await ask.data("contact.get", contact=name))["id"] == ada["id"]


@pytest.mark.parametrize(
    "name",
    [
        {"external_id": "crm-2"},
        {"external_id": "CRM-1"},
        {"channel": "email", "identifier": "nobody@example.org"},
        {"channel": "messenger", "identifier": "psid-1", "scope": "page-2"},
        {"channel": "push", "identifier": "psid-1"},
        {"channel": "sms", "identifier": "not a number at all"},
    ],
)
async def test_nobody_is_found(ask: Asker, ada: dict[str, Any], name: dict[str, Any]) -> None:
    assert await ask.code("contact.find", **name) == "contact_not_found"
    assert await ask.code("contact.get", contact=name) == "contact_not_found"


async def test_an_unknown_id_is_not_found(ask: Asker) -> None:
    assert await ask.code("contact.get", contact={"id": str(uuid.uuid4())}) == "contact_not_found"


async def test_what_a_provider_gave_raw_is_found_as_it_was_given(
    ask: Asker, writer: asyncpg.Connection
) -> None:
    short_code = await seed.contact(writer, "a")
    await seed.identifier(writer, "a", short_code, "sms", "MYBANK")
    assert (await ask.data("contact.find", channel="sms", identifier="MYBANK"))["id"] == str(short_code)


async def test_a_bare_contact(ask: Asker, writer: asyncpg.Connection) -> None:
    bare = await seed.contact(writer, "a")
    contact = await ask.data("contact.get", contact={"id": str(bare)})
    assert list(contact) == DOCUMENT
    assert (contact["tags"], contact["identifiers"], contact["attributes"]) == ([], [], {})


async def test_the_same_identifier_in_two_scopes(ask: Asker, writer: asyncpg.Connection) -> None:
    one, two = await seed.contact(writer, "a"), await seed.contact(writer, "a")
    await seed.identifier(writer, "a", one, "messenger", "psid-2", scope="page-1")
    await seed.identifier(writer, "a", two, "messenger", "psid-2", scope="page-2")
    name = {"channel": "messenger", "identifier": "psid-2"}
    assert await ask.code("contact.find", **name) == "ambiguous_reference"
    assert await ask.code("contact.timeline", contact=name) == "ambiguous_reference"
    assert (await ask.data("contact.find", **name, scope="page-2"))["id"] == str(two)


async def test_no_scope_is_a_scope_where_it_is_given(ask: Asker, writer: asyncpg.Connection) -> None:
    """Identifiers are shown with the scope "" where they have none; what was shown can be asked for."""
    one, two = await seed.contact(writer, "a"), await seed.contact(writer, "a")
    await seed.identifier(writer, "a", one, "messenger", "psid-4")
    await seed.identifier(writer, "a", two, "messenger", "psid-4", scope="page-1")
    name = {"channel": "messenger", "identifier": "psid-4"}
    assert await ask.code("contact.find", **name) == "ambiguous_reference"
    assert (await ask.data("contact.find", **name, scope=""))["id"] == str(one)
    assert (await ask.data("contact.get", contact={**name, "scope": ""}))["id"] == str(one)


async def test_two_scopes_of_one_contact_are_no_ambiguity(ask: Asker, writer: asyncpg.Connection) -> None:
    one = await seed.contact(writer, "a")
    for scope in ("page-1", "page-2"):
        await seed.identifier(writer, "a", one, "messenger", "psid-3", scope=scope)
    assert (await ask.data("contact.find", channel="messenger", identifier="psid-3"))["id"] == str(one)


async def test_deleted_contacts_are_left_out_unless_asked_for(ask: Asker, writer: asyncpg.Connection) -> None:
    gone = await seed.contact(writer, "a", external_id="gone", deleted_at=seed.at(9))
    for fields in ({"id": str(gone)}, {"external_id": "gone"}):
        assert await ask.code("contact.get", contact=fields) == "contact_not_found"
        contact = await ask.data("contact.get", contact=fields, include_deleted=True)
        assert contact["deleted_at"] == "2026-01-01T00:09:00Z"
    assert await ask.code("contact.find", external_id="gone") == "contact_not_found"
    assert (await ask.data("contact.find", external_id="gone", include_deleted=True))["id"] == str(gone)


async def test_a_merged_id_answers_with_the_survivor(ask: Asker, writer: asyncpg.Connection) -> None:
    survivor = await seed.contact(writer, "a")
    merged = await seed.contact(writer, "a", merged_into=survivor, external_id="merged")
    for name in ({"id": str(merged)}, {"external_id": "merged"}):
        answer = await ask("contact.get", contact=name)
        assert answer["data"]["id"] == str(survivor)
        assert answer["meta"] == {"redirected_from": str(merged)}


async def test_message_status(ask: Asker, writer: asyncpg.Connection, ada: dict[str, Any]) -> None:
    await seed.message_status(writer, "a", uuid.UUID(ada["id"]), "whatsapp", "wamid.1", "read")
    answer = await ask("message.status", channel="whatsapp", message_id="wamid.1")
    assert answer == {"success": True, "data": {"status": "read", "at": "2026-01-01T00:00:00Z"}, "meta": {}}
    assert await ask.code("message.status", channel="sms", message_id="wamid.1") == "message_not_found"
    assert (
        await ask.code("message.status", "b", channel="whatsapp", message_id="wamid.1") == "message_not_found"
    )


# -- refusals


async def fields(ask: Asker, subject: str, body: bytes) -> list[str]:
    """The fields that the refusal of a request names."""
    answer = await ask.raw(subject, body)
    assert answer["error"]["code"] == "invalid", answer
    errors = answer["error"]["details"]["errors"]
    assert errors
    assert all(set(error) == {"field", "message"} for error in errors)
    return [error["field"] for error in errors]


async def test_an_unknown_query_says_which_are_known(ask: Asker) -> None:
    error = await ask.error("contact.guess")
    assert error["code"] == "unknown_query"
    assert "contact.get" in error["details"]["known"]


@pytest.mark.parametrize("body", [b"{", b"nonsense", b'{"external_id": "\xff"}', b"[" * 5000, b'{"a": NaN}'])
async def test_what_is_no_json_is_refused(ask: Asker, body: bytes) -> None:
    assert await fields(ask, "query.contact.find.a", body) == ["data"]


@pytest.mark.parametrize("body", [b"[]", b"7", b"null", b'"x"'])
async def test_what_is_no_object_is_refused(ask: Asker, body: bytes) -> None:
    await fields(ask, "query.contact.find.a", body)


async def test_an_empty_body_asks_without_fields(ask: Asker) -> None:
    assert (await ask.raw("query.contact.list.a", b""))["success"]


@pytest.mark.parametrize(
    ("name", "body", "field"),
    [
        ("contact.get", {"contact": {"id": str(uuid.uuid4())}, "colour": "red"}, "colour"),
        ("contact.get", {"contact": {"id": str(uuid.uuid4()), "colour": "red"}}, "contact.colour"),
        ("contact.get", {}, "contact"),
        ("contact.get", {"contact": {"id": "7"}}, "contact.id"),
        ("contact.list", {"page": 0}, "page"),
        ("contact.list", {"page_size": 101}, "page_size"),
        ("contact.list", {"sort_by": "shoe_size"}, "sort_by"),
        ("contact.list", {"cursor": "forged"}, "cursor"),
        ("contact.list", {"tenant_id": "b"}, "tenant_id"),
        ("contact.timeline", {"contact": {"external_id": "crm-1"}, "limit": 201}, "limit"),
        ("contact.timeline", {"contact": {"external_id": "crm-1"}, "cursor": "forged"}, "cursor"),
        ("contact.timeline", {"contact": {"external_id": "crm-1"}, "visible_to": "all"}, "visible_to"),
        ("timeline.get", {"event_id": "x"}, "event_id"),
        ("message.status", {"channel": "whatsapp"}, "message_id"),
    ],
)
async def test_a_refusal_names_the_field(
    ask: Asker, ada: dict[str, Any], name: str, body: Any, field: str
) -> None:
    assert field in await fields(ask, f"query.{name}.a", orjson.dumps(body))


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"channel": "sms"},
        {"identifier": "x"},
        {"channel": "sms", "identifier": " "},
        {"channel": "sms", "identifier": "1" * 256},
        {"external_id": "x", "channel": "sms", "identifier": "1"},
        {"external_id": "x\x00y"},
    ],
)
async def test_a_name_that_cannot_be_one_is_refused(ask: Asker, body: dict[str, Any]) -> None:
    assert await ask.code("contact.find", **body) == "invalid"


@pytest.mark.parametrize("tenant", ["a b"[0:1] + "$", "ä", "x" * 65, "a'b"])
async def test_a_tenant_that_breaks_the_grammar_is_refused(ask: Asker, tenant: str) -> None:
    assert await fields(ask, f"query.contact.list.{tenant}", b"{}") == ["subject"]


async def test_the_tenant_is_the_subjects(ask: Asker, ada: dict[str, Any]) -> None:
    assert await ask.code("contact.get", "b", contact={"id": ada["id"]}) == "contact_not_found"
    assert await ask.code("contact.find", "b", external_id="crm-1") == "contact_not_found"
    assert await ask.code("contact.find", "b", channel="sms", identifier=NUMBER) == "contact_not_found"


async def test_a_request_that_is_too_large_is_refused(ask: Asker) -> None:
    body = orjson.dumps({"external_id": "x" * MAX_REQUEST})
    assert (await ask.raw("query.contact.find.a", body))["error"]["code"] == "too_large"


async def test_a_subject_with_too_few_tokens_is_nobodys(ask: Asker) -> None:
    with pytest.raises(nats.errors.NoRespondersError):
        await ask.raw("query.contact.get", b"{}")


async def test_an_answer_that_the_broker_would_not_take_is_refused(
    ask: Asker, writer: asyncpg.Connection
) -> None:
    for _ in range(10):
        await seed.contact(writer, "huge", attributes={"text": "x" * 900_000})
    error = await ask.error("contact.list", "huge", page_size=100)
    assert error["code"] == "too_large"
    assert "smaller page" in error["message"]
    assert len(await ask.data("contact.list", "huge", page_size=5)) == 5
