"""What the workers really publish is what the models and schemas say."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from jsonschema import Draft202012Validator, FormatChecker

from contracts import subjects
from contracts.events.base import Truncated
from contracts.events.dead_letter import DeadLetter
from contracts.registry import EVENT_MODELS, PROVIDERS, example
from contracts.results import Result
from contracts.schemas import entries
from contracts.vocabulary import Category, DeadLetterReason
from storage import dead_letters
from tests.helpers.applier import Applier
from workers.engine.replies import facts
from workers.fold import outbound
from workers.relay import announcer

VALIDATORS = {
    entry.name: Draft202012Validator(entry.schema, format_checker=FormatChecker()) for entry in entries()
}
ANN = {"contact": {"external_id": "c-1"}}


@pytest.fixture(scope="module")
async def told(database: str) -> AsyncIterator[Applier]:
    """Everything that a contact goes through, told."""
    connection = await asyncpg.connect(database)
    applier = Applier(connection)
    outcomes = [
        await applier.send(
            "contact.create",
            {"external_id": "c-1", "first_name": "Ann", "tags": ["vip"], "email": "a@example.com"},
        ),
        await applier.send(
            "contact.update",
            {
                **ANN,
                "set": {
                    "status": "blocked",
                    "tags": ["new"],
                    "attributes": {"plan": "gold"},
                    "last_name": "Weber",
                },
                "unset": ["first_name"],
            },
            actor="user:42",
        ),
        await applier.send("identifier.add", {**ANN, "channel": "sms", "identifier": "+4915112345678"}),
        await applier.send("contact.delete", {**ANN, "reason": "asked for it"}),
        await applier.send("contact.restore", ANN),
        await applier.send("contact.update", {**ANN, "set": {"nickname": "A"}}),
        await applier.send("contact.update", {"contact": {"external_id": "nobody"}, "set": {"source": "x"}}),
        await applier.send("contact.update", {**ANN, "set": {"source": "x"}, "expected_version": 99}),
    ]
    outcomes += [
        await applier.send("timeline.record", {**ANN, "type": "note_added", "category": str(category)})
        for category in Category
    ]
    ids = [str(outcome.details["timeline_event_id"]) for outcome in outcomes[-3:] if outcome.details]
    outcomes += [
        await applier.send("timeline.record_many", {**ANN, "events": [{"type": "note_added"}, {"type": ""}]}),
        await applier.send("timeline.mark_read", {"event_ids": ids[:2]}),
        await applier.send("timeline.delete", {"event_ids": ids[1:], "reason": "mistaken"}),
    ]
    outcomes += [await applier.webhook(provider, example(f"webhook.{provider}")) for provider in PROVIDERS]
    for outcome in outcomes:
        assert outcome.status in {"applied", "rejected"}, outcome
        known = facts(outcome)
        VALIDATORS["result"].validate(known)
        assert set(known) <= set(Result.model_fields)
    yield applier
    await connection.close()


def wanted(name: str) -> set[str]:
    return set(EVENT_MODELS[name].model_fields)


async def test_every_event_comes_about(told: Applier) -> None:
    assert {event["type"] for event in told.events} == set(EVENT_MODELS)


async def test_every_event_is_as_promised(told: Applier) -> None:
    for event in told.events:
        name, data = event["type"], event["data"]
        EVENT_MODELS[name].model_validate(data)
        VALIDATORS[name].validate(data)
        assert set(data) == wanted(name), name
        envelope = {key: value for key, value in event.items() if key != "on"}
        VALIDATORS["envelope"].validate(envelope)


async def test_documents_have_no_field_that_the_model_does_not_know(told: Applier) -> None:
    for event in told.said("contact.created"):
        contact = event["data"]["contact"]
        schema = VALIDATORS["contact.created"].schema["$defs"]
        assert contact.keys() == schema["ContactDocument"]["properties"].keys()
        for identifier in contact["identifiers"]:
            assert identifier.keys() == schema["IdentifierDocument"]["properties"].keys()


async def test_subjects_say_type_tenant_and_contact(told: Applier) -> None:
    for event in told.events:
        subject = subjects.parse(event["on"])
        assert (subject.type, subject.tenant) == (event["type"], told.tenant)
        assert subject.key == event["subject"] == (event["data"]["contact_id"] or "-")


async def test_what_is_too_long_is_marked(told: Applier, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that the broker would refuse keeps who it is about."""
    monkeypatch.setattr(outbound, "EVENT_BYTES", 50_000)
    before = len(told.events)
    await told.send("timeline.record", {**ANN, "type": "note_added", "payload": {"text": "x" * 100_000}})
    (event,) = told.events[before:]
    del told.events[before:]
    truncated = Truncated.model_validate(event["data"])
    assert event["data"]["payload"] is None
    assert (str(truncated.id), str(truncated.contact_id)) == (event["id"], event["subject"])


def test_dead_letters_say_why_in_their_headers() -> None:
    letter = _letter()
    headers = announcer.headers_of(letter)
    read = DeadLetter.model_validate(headers)
    assert (read.id, read.reason, read.stream) == (letter.id, DeadLetterReason.NOT_JSON, "COMMAND")
    assert (read.partition, read.position, read.count) == (-1, 7, 2)
    assert read.time == letter.broker_time
    VALIDATORS["deadletter"].validate(headers)
    promised = {str(field.alias) for field in DeadLetter.model_fields.values()} - {"Rollcall-Truncated"}
    assert {name for name in headers if name.startswith("Rollcall-")} == promised


def _letter() -> dead_letters.DeadLetter:
    at = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
    given: dict[str, Any] = {
        "id": uuid.uuid4(),
        "stream": "COMMAND",
        "tenant": "acme",
        "partition": subjects.STRAY,
        "position": 7,
        "subject": "command.contact.create.acme",
        "reason": "not_json",
        "detail": "body: nothing",
        "headers": {},
        "body": b"{",
        "count": 2,
        "broker_time": at,
        "created_at": at,
        "replayed_at": None,
    }
    return dead_letters.DeadLetter(**given)
