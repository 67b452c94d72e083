"""Every command, event, query and provider has a handler, an example and a schema, and they agree."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from contracts.envelope import FORM, Envelope
from contracts.events.dead_letter import DeadLetter
from contracts.registry import (
    CLIENT_FRAMES,
    COMMANDS,
    EVENT_MODELS,
    PROVIDERS,
    QUERIES,
    SERVER_FRAMES,
    example,
)
from contracts.results import Result
from contracts.schemas import entries
from contracts.vocabulary import Category
from workers.contacts import HANDLERS as COMMAND_HANDLERS
from workers.queries.handlers import HANDLERS as QUERY_HANDLERS

SCHEMAS = {entry.name: entry.schema for entry in entries()}


def check(schema: str, data: Any) -> None:
    Draft202012Validator(SCHEMAS[schema], format_checker=Draft202012Validator.FORMAT_CHECKER).validate(data)


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_schemas(name: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[name])
    assert SCHEMAS[name]["$id"].startswith(f"urn:rollcall:schema:{name}:")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_whole(name: str) -> None:
    data = example(f"command.{name}")
    check(f"command.{name}", data)
    COMMANDS[name].model_validate(data)
    with pytest.raises(ValidationError):
        COMMANDS[name].model_validate({**data, "no_such_field": 1})
    assert name in COMMAND_HANDLERS


@pytest.mark.parametrize("name", EVENT_MODELS)
def test_an_event_is_whole(name: str) -> None:
    data = example(name)
    check(name, data)
    model = EVENT_MODELS[name].model_validate({**data, "a_later_field": 1})
    assert data.items() <= model.model_dump(mode="json").items() or name.startswith(
        ("timeline.", "contact.c")
    )


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_is_whole(name: str) -> None:
    exchanged = example(f"query.{name}")
    check(f"query.{name}.request", exchanged["request"])
    check(f"query.{name}.answer", exchanged["answer"])
    check(
        f"query.{name}.answer",
        {"success": False, "error": {"code": "invalid", "message": "…", "details": {}}},
    )
    query = QUERIES[name]
    query.request.model_validate(exchanged["request"])
    with pytest.raises(ValidationError):
        query.request.model_validate({**exchanged["request"], "no_such_field": 1})
    for document in exchanged["answer"]["data"] if query.many else [exchanged["answer"]["data"]]:
        query.document.model_validate(document)
    query.meta.model_validate(exchanged["answer"]["meta"])
    assert name in QUERY_HANDLERS


@pytest.mark.parametrize("name", [*CLIENT_FRAMES, *SERVER_FRAMES])
def test_a_frame_is_whole(name: str) -> None:
    data = example(f"realtime.{name}")
    check(f"realtime.{name}", data)
    frame = {**CLIENT_FRAMES, **SERVER_FRAMES}[name].model_validate({**data, "a_later_field": 1})
    assert frame.type == data["type"] == name
    assert not CLIENT_FRAMES.keys() & SERVER_FRAMES.keys()


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_provider_reads_its_example(provider: str) -> None:
    data = example(f"webhook.{provider}")
    content_type = FORM if isinstance(data, str) else "application/json"
    envelope = Envelope("1", "test", f"webhook.{provider}", data, datacontenttype=content_type)
    assert PROVIDERS[provider](envelope)


def test_nothing_is_handled_that_the_registry_does_not_know() -> None:
    assert set(COMMAND_HANDLERS) == set(COMMANDS)
    assert set(QUERY_HANDLERS) == set(QUERIES)
    assert {f"timeline.{category}" for category in Category} <= set(EVENT_MODELS)


@pytest.mark.parametrize(
    "name", ["result.contact.create", "result.webhook.whatsapp", "result.timeline.record_many"]
)
def test_results(name: str) -> None:
    check("result", example(name))
    assert Result.model_validate(example(name)).model_dump(mode="json", exclude_none=True) == example(name)


def test_a_dead_letter_is_read_from_its_headers() -> None:
    letter = DeadLetter.model_validate(example("deadletter.WEBHOOK"))
    assert (letter.stream, letter.partition, letter.position, letter.count) == ("WEBHOOK", 7, 4711, 1)
