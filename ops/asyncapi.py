"""The AsyncAPI 3 document, from the registry: what Rollcall receives, answers and sends."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson

from contracts import envelope, subjects
from contracts.envelope import FORM, Envelope
from contracts.registry import (
    CLIENT_FRAMES,
    COMMANDS,
    EVENT_MODELS,
    PROVIDERS,
    QUERIES,
    SERVER_FRAMES,
    example,
)
from contracts.schemas import Entry, entries

VERSION = "1.0.0"  # of the contracts
TENANT = "acme"
TIME = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)

_TOKEN = "letters, digits, - and _; at most 64"  # noqa: S105 - a subject's
_PARAMETERS = {
    "tenant": {
        "description": f"Whose contacts these are: {_TOKEN}; - alone is nobody's, of a dead letter whose subject named none"
    },
    "key": {"description": f"What must stay in order, or -: {_TOKEN}"},
    "contact_id": {"description": "UUID of the contact, or - where a rejected command names none"},
    "stream": {"description": "The stream that the original stood in", "enum": ["WEBHOOK", "COMMAND"]},
}
_REPLY_TO = {
    "type": "object",
    "properties": {
        subjects.HEADER_REPLY_TO: {
            "type": "string",
            "description": "Where the result is published after commit: _INBOX.… or result.<tenant>.…",
        }
    },
}


def document() -> dict[str, Any]:
    """The whole document."""
    return _Builder().document()


def sample(type: str) -> dict[str, Any]:  # noqa: A002 - the envelope's own word
    """A whole CloudEvent around the type's example."""
    data = example(type)
    ours = type.startswith(("contact.", "timeline.", "result."))
    message = Envelope(
        id=data["id"] if type.startswith("timeline.") else "0199d3a4-7c00-7000-8000-000000000001",
        source="rollcall" if ours else "shop",
        type=type,
        data=data,
        time=TIME,
        tenantid=TENANT,
        correlationid="order-5",
        causationid="0199d3a4-7c00-7000-8000-000000000001" if ours else None,
        actor=None if type.startswith(("webhook.", "result.")) else "user:42",
        datacontenttype=FORM if isinstance(data, str) else "application/json",
    )
    parsed: dict[str, Any] = orjson.loads(envelope.dump(message))
    return parsed


class _Builder:
    def __init__(self) -> None:
        self._schemas: dict[str, Any] = {}
        self._messages: dict[str, Any] = {}
        self._channels: dict[str, Any] = {}
        self._operations: dict[str, Any] = {}
        for entry in entries():
            self._add_schema(entry)

    def document(self) -> dict[str, Any]:
        for name in COMMANDS:
            self._inbound(f"command.{name}", f"command.{name}", COMMANDS[name].__doc__)
        for provider in PROVIDERS:
            named = f"webhook.{provider}"
            self._inbound(
                named, named if named in self._schemas else None, f"A raw payload of provider {provider}."
            )
        for name, event in EVENT_MODELS.items():
            self._outbound(name, event.__doc__)
        for name, query in QUERIES.items():
            self._query(name, query.request.__doc__)
        self._results()
        self._dead_letters()
        self._realtime()
        return {
            "asyncapi": "3.0.0",
            "info": {
                "title": "Rollcall",
                "version": VERSION,
                "description": "Commands, webhooks and queries that Rollcall takes, and the events that it publishes.",
                "license": {"name": "Apache-2.0"},
            },
            "defaultContentType": envelope.CONTENT_TYPE,
            "channels": self._channels,
            "operations": self._operations,
            "components": {"messages": self._messages, "schemas": self._schemas},
        }

    def _add_schema(self, entry: Entry) -> None:
        """With its definitions beside it, each once: AsyncAPI resolves references from the root."""
        schema = dict(entry.schema)
        for dialect in ("$schema", "$id"):
            schema.pop(dialect)
        definitions = schema.pop("$defs", {})
        for name, definition in definitions.items():
            shared = _rerooted(definition)
            if self._schemas.setdefault(name, shared) != shared:
                raise ValueError(f"{entry.name}: another schema has a definition {name} that differs")
        self._schemas[entry.name] = _rerooted(schema)

    def _inbound(self, type: str, schema: str | None, summary: str | None) -> None:  # noqa: A002
        message = self._event_message(type, schema, summary, headers=_REPLY_TO)
        self._channel(type, f"{type}.{{tenant}}.{{key}}", message)
        self._operations[f"receive.{type}"] = {
            "action": "receive",
            "channel": _ref("channels", type),
            "messages": [_ref("channels", type, "messages", type)],
            "reply": {
                "address": {"location": f"$message.header#/{subjects.HEADER_REPLY_TO}"},
                "channel": _ref("channels", "result"),
            },
        }

    def _outbound(self, type: str, summary: str | None) -> None:  # noqa: A002
        self._channel(type, f"{type}.{{tenant}}.{{contact_id}}", self._event_message(type, type, summary))
        self._send(type)

    def _query(self, name: str, summary: str | None) -> None:
        named = f"query.{name}"
        exchanged = example(named)
        for part in ("request", "answer"):
            self._messages[f"{named}.{part}"] = {
                "name": f"{named}.{part}",
                "summary": _line(summary),
                "contentType": "application/json",
                "payload": _ref("components", "schemas", f"{named}.{part}"),
                "examples": [{"payload": exchanged[part]}],
            }
        self._channel(named, f"{named}.{{tenant}}", f"{named}.request")
        self._channels[f"{named}.answer"] = {
            "address": None,
            "description": "The requester's own inbox",
            "messages": {f"{named}.answer": _ref("components", "messages", f"{named}.answer")},
        }
        self._operations[f"receive.{named}"] = {
            "action": "receive",
            "channel": _ref("channels", named),
            "messages": [_ref("channels", named, "messages", f"{named}.request")],
            "reply": {"channel": _ref("channels", f"{named}.answer")},
            "bindings": {"nats": {"queue": "queries"}},
        }

    def _results(self) -> None:
        self._event_message(
            "result",
            "result",
            "What became of a message.",
            samples=("result.contact.create", "result.webhook.whatsapp"),
        )
        self._channels["result"] = {
            "address": None,
            "description": f"As {subjects.HEADER_REPLY_TO} of the message says",
            "messages": {"result": _ref("components", "messages", "result")},
        }

    def _dead_letters(self) -> None:
        self._messages["deadletter"] = {
            "name": "deadletter",
            "summary": "A message that could not be applied: its bytes, cut where the broker would refuse them.",
            "contentType": "application/octet-stream",
            "headers": _ref("components", "schemas", "deadletter"),
        }
        self._channel("deadletter", "deadletter.{stream}.{tenant}", "deadletter")
        self._send("deadletter")

    def _realtime(self) -> None:
        """One channel, the WebSocket; a message a frame."""
        both = {**CLIENT_FRAMES, **SERVER_FRAMES}
        for name, frame in both.items():
            self._messages[f"realtime.{name}"] = {
                "name": f"realtime.{name}",
                "summary": _line(frame.__doc__),
                "contentType": "application/json",
                "payload": _ref("components", "schemas", f"realtime.{name}"),
                "examples": [{"payload": example(f"realtime.{name}")}],
            }
        self._channels["realtime"] = {
            "address": "/ws",
            "description": "The WebSocket of the realtime worker. The first frame is auth; the token is never in the address.",
            "messages": {
                f"realtime.{name}": _ref("components", "messages", f"realtime.{name}") for name in both
            },
            "bindings": {"ws": {"method": "GET"}},
        }
        for action, frames in (("receive", CLIENT_FRAMES), ("send", SERVER_FRAMES)):
            self._operations[f"{action}.realtime"] = {
                "action": action,
                "channel": _ref("channels", "realtime"),
                "messages": [_ref("channels", "realtime", "messages", f"realtime.{name}") for name in frames],
            }

    def _event_message(
        self,
        type: str,  # noqa: A002
        schema: str | None,
        summary: str | None,
        *,
        headers: dict[str, Any] | None = None,
        samples: tuple[str, ...] = (),
    ) -> str:
        payload: dict[str, Any] = _ref("components", "schemas", "envelope")
        if schema is not None:
            data: dict[str, Any] = _ref("components", "schemas", schema)
            if type in EVENT_MODELS:
                data = {"anyOf": [data, _ref("components", "schemas", "truncated")]}
            payload = {"allOf": [payload, {"type": "object", "properties": {"data": data}}]}
        self._messages[type] = {
            "name": type,
            "summary": _line(summary),
            "contentType": envelope.CONTENT_TYPE,
            "payload": payload,
            "examples": [{"payload": sample(named)} for named in samples or (type,)],
        }
        if headers is not None:
            self._messages[type]["headers"] = headers
        return type

    def _channel(self, name: str, address: str, message: str) -> None:
        self._channels[name] = {
            "address": address,
            "parameters": {p: body for p, body in _PARAMETERS.items() if f"{{{p}}}" in address},
            "messages": {message: _ref("components", "messages", message)},
        }

    def _send(self, name: str) -> None:
        self._operations[f"send.{name}"] = {"action": "send", "channel": _ref("channels", name)}


def _ref(*path: str) -> dict[str, str]:
    return {"$ref": "#/" + "/".join(path)}


def _line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]


def _rerooted(node: Any) -> Any:
    if isinstance(node, list):
        return [_rerooted(item) for item in node]
    if isinstance(node, dict):
        return {
            name: value.replace("#/$defs/", "#/components/schemas/") if name == "$ref" else _rerooted(value)
            for name, value in node.items()
        }
    return node
