"""What commands and queries take, what they refuse, and how a refusal is explained."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from contracts import schemas
from contracts.commands.base import FAULTS, validation_errors
from contracts.commands.contact import ContactCreate, ContactUpdate, ContactUpsert
from contracts.commands.identifier import IdentifierAdd
from contracts.commands.timeline import EventOfMany, TimelineRecord, TimelineRecordMany
from contracts.fields import IN_WORDS
from contracts.realtime.requests import CLIENT_FRAMES
from contracts.realtime.token import Claims
from contracts.registry import COMMANDS, QUERIES
from contracts.webhooks.message import NeutralMessage

ID = "0199d3a4-7c00-7000-8000-00000000c0de"
NAMED = {"contact": {"id": ID}}


def faults(name: str, data: Any) -> dict[str, str]:
    """By field: what the command or query says is wrong with it."""
    model = COMMANDS[name] if name in COMMANDS else QUERIES[name].request
    with pytest.raises(ValidationError) as refused:
        model.model_validate(data)
    return {fault["field"]: fault["message"] for fault in validation_errors(refused.value)}


@pytest.mark.parametrize(
    ("name", "data", "field", "message"),
    [
        ("contact.create", {"nickname": "x"}, "nickname", "is not a field of this message; remove it"),
        (
            "contact.create",
            {"first_name": " \t"},
            "first_name",
            "must not be blank; leave the field out if it is optional",
        ),
        ("contact.create", {"first_name": "x" * 101}, "first_name", "must have at most 100 characters"),
        ("contact.create", {"first_name": 7}, "first_name", "must be a valid string"),
        ("contact.create", {"status": "gone"}, "status", "must be 'active', 'inactive' or 'blocked'"),
        (
            "contact.create",
            {"attributes": {"x" * 101: 1}},
            "attributes." + "x" * 101,
            "must have at most 100 characters",
        ),
        ("contact.create", {"attributes": []}, "attributes", "must be a JSON object"),
        ("contact.create", {"tags": "vip"}, "tags", "must be a JSON array"),
        (
            "contact.create",
            {"identifiers": [{"channel": "E-Mail", "identifier": "a@example.com"}]},
            "identifiers.0.channel",
            "must be a lower-case token such as whatsapp, sms or email: of [a-z0-9_-], 1 to 50 characters",
        ),
        (
            "contact.create",
            {"identifiers": [{"channel": "sms", "identifier": "  "}]},
            "identifiers.0.identifier",
            "must not be blank; leave the field out if it is optional",
        ),
        (
            "contact.create",
            {"identifiers": [{"channel": "sms", "identifier": "1", "is_primary": 1}]},
            "identifiers.0.is_primary",
            "must be a valid boolean",
        ),
        ("contact.create", {"external_id": "x" * 256}, "external_id", "must have at most 255 characters"),
        ("contact.create", {"region": "Germany"}, "region", "must be two letters, such as DE"),
        (
            "contact.upsert",
            {"first_name": "Ann"},
            "data",
            "give at least one of contact, external_id, email, phone or identifiers",
        ),
        (
            "contact.upsert",
            {"email": "a@example.com", "mode": "merge"},
            "mode",
            "must be 'fill' or 'overwrite'",
        ),
        ("contact.update", {}, "contact", "is required"),
        (
            "contact.update",
            {"contact": ID},
            "contact",
            'give {"id": …}, {"external_id": …} or {"channel": …, "identifier": …}',
        ),
        ("contact.update", {"contact": {"id": "42"}}, "contact.id", "must be a UUID"),
        (
            "contact.update",
            {"contact": {}},
            "contact",
            "name the contact by exactly one of id, external_id, or channel and identifier",
        ),
        (
            "contact.update",
            {"contact": {"id": ID, "external_id": "x"}},
            "contact",
            "name the contact by exactly one of id, external_id, or channel and identifier",
        ),
        ("contact.update", {"contact": {"channel": "sms"}}, "contact", "give both channel and identifier"),
        (
            "contact.update",
            {"contact": {"identifier": "1", "scope": "x"}},
            "contact",
            "give both channel and identifier",
        ),
        (
            "contact.update",
            {**NAMED, "set": {"phone": None}},
            "set.phone",
            "must not be null; name the field in unset instead",
        ),
        (
            "contact.update",
            {**NAMED, "set": {"version": 3}},
            "set.version",
            "is not a field of this message; remove it",
        ),
        ("contact.update", {**NAMED, "expected_version": "3"}, "expected_version", "must be a valid integer"),
        (
            "contact.update",
            {**NAMED, "expected_version": 2**63},
            "expected_version",
            f"must be less than or equal to {2**63 - 1}",
        ),
        (
            "contact.update",
            {**NAMED, "unset": ["attributes."]},
            "unset.0",
            "must be one of first_name, last_name, email, phone, avatar_url, source, external_id or attributes.<key>",
        ),
        (
            "contact.update",
            {**NAMED, "set": {"phone": "1", "attributes": {"a.b": 1}}, "unset": ["phone", "attributes.a.b"]},
            "unset",
            "attributes.a.b, phone: is in set as well; keep one",
        ),
        ("timeline.record", {**NAMED}, "type", "is required"),
        (
            "timeline.record",
            {**NAMED, "type": ""},
            "type",
            "must not be blank; leave the field out if it is optional",
        ),
        (
            "timeline.record",
            {**NAMED, "type": "x", "occurred_at": "2026-01-31 12:00"},
            "occurred_at",
            "must be RFC 3339 with an offset, such as 2026-01-31T12:00:00Z",
        ),
        (
            "timeline.record",
            {**NAMED, "type": "x", "occurred_at": 1769850000},
            "occurred_at",
            "must be text, RFC 3339 with an offset, such as 2026-01-31T12:00:00Z",
        ),
        (
            "timeline.record",
            {**NAMED, "type": "x", "expires_at": "9999-12-31T23:59:59-01:00"},
            "expires_at",
            "there is no such moment in the years 1 to 9999 of UTC",
        ),
        ("timeline.record_many", {**NAMED}, "events", "is required"),
        ("timeline.record_many", {"events": []}, "events", "must have at least 1 item, not 0"),
        ("timeline.record_many", {"events": [{}] * 501}, "events", "must have at most 500 items, not 501"),
        (
            "timeline.mark_read",
            {"event_ids": [ID] * 501},
            "event_ids",
            "must have at most 500 items, not 501",
        ),
        ("timeline.mark_read", {"event_ids": [ID, "x"]}, "event_ids.1", "must be a UUID"),
        ("timeline.mark_read", {"event_ids": [ID], "reader": "x"}, "reader", "must be 'client' or 'agent'"),
        ("contact.find", {}, "data", "give either channel and identifier, or external_id"),
        ("contact.find", {"channel": "sms"}, "data", "give both channel and identifier"),
        ("contact.list", {"page_size": 101}, "page_size", "must be less than or equal to 100"),
        ("contact.list", {"page": 0}, "page", "must be greater than or equal to 1"),
        ("contact.timeline", {**NAMED, "limit": 201}, "limit", "must be less than or equal to 200"),
        ("message.status", {"channel": "whatsapp"}, "message_id", "is required"),
    ],
)
def test_refusals_name_the_field_and_the_fix(name: str, data: Any, field: str, message: str) -> None:
    assert faults(name, data) == {field: message}


@pytest.mark.parametrize("data", [None, [], "text", 7])
def test_data_that_is_no_object(data: Any) -> None:
    assert faults("contact.create", data) == {"data": "must be a JSON object"}


def patterns(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"]
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            yield from patterns(part)


def test_no_expression_is_shown_to_people() -> None:
    requests = (query.request for query in QUERIES.values())
    models = [*COMMANDS.values(), EventOfMany, *requests, *CLIENT_FRAMES.values(), Claims, NeutralMessage]
    found = {pattern for model in models for pattern in patterns(model.model_json_schema())}
    assert found == set(IN_WORDS)


def test_explanations_are_bounded() -> None:
    said = faults("contact.create", {f"{'x' * 1000}{n}": n for n in range(1000)})
    assert len(said) <= FAULTS
    assert all(len(field) <= 200 for field in said)


def test_values_are_never_quoted() -> None:
    said = faults("contact.create", {"status": "s3cret", "region": "s3cret", "attributes": "s3cret"})
    assert "s3cret" not in str(said)


def test_white_space_around_text_is_dropped_but_identifiers_stay_as_given() -> None:
    made = ContactCreate.model_validate(
        {
            "first_name": " Ann ",
            "region": "de",
            "external_id": " 42",
            "identifiers": [{"channel": "sms", "identifier": " 0151 1 "}],
        }
    )
    assert (made.first_name, made.region, made.external_id) == ("Ann", "DE", " 42")
    assert made.identifiers is not None
    assert made.identifiers[0].identifier == " 0151 1 "


def test_an_event_of_many_is_taken_as_it_comes_and_its_model_is_in_the_schema() -> None:
    many = TimelineRecordMany.model_validate({"events": [7, {"nonsense": 1}]})
    assert many.events == [7, {"nonsense": 1}]
    schema = schemas.of(TimelineRecordMany)["properties"]
    one, many_items = schemas.of(EventOfMany)["properties"], schema["events"]["items"]["properties"]
    assert many_items == one
    assert set(many_items) == set(TimelineRecord.model_fields)
    assert schema["contact"]["anyOf"][0] == {"$ref": "#/$defs/ContactReference"}


def test_times_are_kept_in_utc() -> None:
    data = {
        **NAMED,
        "type": "x",
        "occurred_at": "1999-12-31T23:30:00.5-02:00",
        "expires_at": "2099-01-01t00:00:00z",
    }
    event = TimelineRecord.model_validate(data)
    assert event.occurred_at == datetime(2000, 1, 1, 1, 30, 0, 500_000, tzinfo=UTC)
    assert event.expires_at == datetime(2099, 1, 1, tzinfo=UTC)


def test_what_an_update_leaves_out_is_told_from_what_it_sets() -> None:
    update = ContactUpdate.model_validate({**NAMED, "set": {"first_name": "Ann", "attributes": {"a": None}}})
    assert update.set is not None
    assert update.set.model_dump(exclude_unset=True) == {"first_name": "Ann", "attributes": {"a": None}}


def test_absent_and_null_are_one_where_nothing_can_be_unset() -> None:
    assert ContactUpsert.model_validate({"email": "a@example.com", "phone": None}).phone is None
    assert (
        IdentifierAdd.model_validate({**NAMED, "channel": "sms", "identifier": "1", "scope": None}).scope
        is None
    )
