"""JSON Schemas (2020-12) of what crosses the bus, from the registry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from contracts.events.base import Truncated
from contracts.events.dead_letter import DeadLetter
from contracts.queries.base import Failure
from contracts.registry import CLIENT_FRAMES, COMMANDS, EVENT_MODELS, QUERIES, SERVER_FRAMES
from contracts.results import Result
from contracts.webhooks.message import NeutralMessage

DIALECT = "https://json-schema.org/draft/2020-12/schema"

# Who must be able to read old documents: we what others send, others what we send.
Direction = Literal["request", "answer"]


class Entry(NamedTuple):
    """A schema by its name, which is the type of the message it describes (the ``data`` of)."""

    name: str
    version: str
    direction: Direction
    schema: dict[str, Any]


class _Generator(GenerateJsonSchema):
    """Without titles that only repeat the field's name."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False


def entries() -> Iterator[Entry]:
    """Every schema, in the registry's order."""
    yield Entry("envelope", "1.0", "request", envelope())
    for name, command in COMMANDS.items():
        yield _entry(f"command.{name}", command.VERSION, "request", of(command))
    yield _entry("webhook.message", "1.0", "request", of(NeutralMessage))
    for name, event in EVENT_MODELS.items():
        schema = of(event)
        if name.startswith("timeline."):
            schema["properties"]["category"] = {"const": name.removeprefix("timeline.")}
            _drop_unused(schema)
        yield _entry(name, event.VERSION, "answer", schema)
    yield _entry("truncated", Truncated.VERSION, "answer", of(Truncated))
    for name, query in QUERIES.items():
        yield _entry(f"query.{name}.request", query.request.VERSION, "request", of(query.request))
        yield _entry(f"query.{name}.answer", query.request.VERSION, "answer", _answer(name))
    for name, asked in CLIENT_FRAMES.items():
        yield _entry(f"realtime.{name}", "1.0", "request", of(asked))
    for name, sent in SERVER_FRAMES.items():
        yield _entry(f"realtime.{name}", "1.0", "answer", of(sent))
    yield _entry("result", "1.0", "answer", of(Result))
    yield _entry("deadletter", "1.0", "answer", of(DeadLetter))


def of(model: type[BaseModel]) -> dict[str, Any]:
    """The schema of one model, tidied: no default that is null."""
    schema = model.model_json_schema(schema_generator=_Generator)
    _tidy(schema)
    return schema


def envelope() -> dict[str, Any]:
    """The structured CloudEvent around ``data``. Where it says no more, an attribute is text of at most 255 characters."""
    attribute = {"type": "string", "minLength": 1, "maxLength": 255}
    described = {
        "id": "Unique per source; UUIDv7 where Rollcall makes it",
        "source": "Who says so: a service's name",
        "type": "The subject up to the tenant: command.contact.create, webhook.whatsapp, contact.created",
        "tenantid": "May be absent; must not differ from the subject's tenant",
        "correlationid": "Goes along from message to message",
        "causationid": "The id of the message that caused this one",
        "actor": "user:42, service:inbox, system",
        "dataversion": "Of data: 1.0",
        "traceparent": "W3C trace context",
        "datacontenttype": "application/json, or application/x-www-form-urlencoded where data is a form",
    }
    properties = {name: {**attribute, "description": text} for name, text in described.items()}
    return {
        "$schema": DIALECT,
        "$id": _id("envelope", "1.0"),
        "title": "Envelope",
        "description": "A CloudEvent 1.0 in structured mode. Further attributes are ignored.",
        "type": "object",
        "properties": {
            "specversion": {"const": "1.0"},
            **properties,
            "subject": {"type": "string"},
            "time": {"type": "string", "format": "date-time", "description": "When it happened"},
            "data": {"description": "As the message's own schema says"},
        },
        "required": ["specversion", "id", "source"],
    }


def _answer(name: str) -> dict[str, Any]:
    """Success or failure of one query; definitions of all parts side by side."""
    query = QUERIES[name]
    definitions: dict[str, Any] = {}

    def part(model: type[BaseModel]) -> dict[str, str]:
        schema = of(model)
        definitions.update(schema.pop("$defs", {}))
        definitions[model.__name__] = schema
        return {"$ref": f"#/$defs/{model.__name__}"}

    data: dict[str, Any] = part(query.document)
    return {
        "title": "Answer",
        "description": "``data`` and ``meta`` where ``success``, else ``error``.",
        "type": "object",
        "properties": {
            "success": {"type": "boolean"},
            "data": {"type": "array", "items": data} if query.many else data,
            "meta": part(query.meta),
            "error": part(Failure),
        },
        "required": ["success"],
        "$defs": definitions,
    }


def _entry(name: str, version: str, direction: Direction, schema: dict[str, Any]) -> Entry:
    return Entry(name, version, direction, {"$schema": DIALECT, "$id": _id(name, version), **schema})


def _id(name: str, version: str) -> str:
    return f"urn:rollcall:schema:{name}:{version}"


def _tidy(node: JsonSchemaValue | list[Any]) -> None:
    if isinstance(node, list):
        for item in node:
            _tidy(item)
    elif isinstance(node, dict):
        if node.get("default", ...) is None:
            del node["default"]
        for value in node.values():
            _tidy(value)


def _drop_unused(schema: dict[str, Any]) -> None:
    """Definitions that nothing refers to any longer."""
    definitions = schema["$defs"]
    text = repr({name: part for name, part in schema.items() if name != "$defs"})
    for name in [name for name in definitions if f"#/$defs/{name}'" not in text]:
        del definitions[name]
