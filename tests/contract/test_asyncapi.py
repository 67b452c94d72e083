"""The AsyncAPI document against its official schema, and its parts against each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from contracts.registry import CLIENT_FRAMES, COMMANDS, EVENT_MODELS, PROVIDERS, QUERIES, SERVER_FRAMES
from ops.asyncapi import document

OFFICIAL = orjson.loads((Path(__file__).parent / "data/asyncapi-3.0.0.json").read_bytes())


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    return document()


def test_it_is_asyncapi_3(written: dict[str, Any]) -> None:
    assert [error.message for error in Draft7Validator(OFFICIAL).iter_errors(written)] == []


def test_the_official_schema_refuses_what_is_wrong(written: dict[str, Any]) -> None:
    operations = {
        **written["operations"],
        "wrong": {"action": "shout", "channel": {"$ref": "#/channels/result"}},
    }
    assert list(Draft7Validator(OFFICIAL).iter_errors({**written, "operations": operations}))


def test_every_reference_leads_somewhere(written: dict[str, Any]) -> None:
    for reference in references(written):
        node: Any = written
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def test_everything_in_the_registry_is_there(written: dict[str, Any]) -> None:
    received = {f"receive.command.{name}" for name in COMMANDS}
    received |= {f"receive.webhook.{name}" for name in PROVIDERS}
    received |= {f"receive.query.{name}" for name in QUERIES}
    sent = {f"send.{name}" for name in EVENT_MODELS} | {"send.deadletter"}
    assert set(written["operations"]) == received | sent | {"receive.realtime", "send.realtime"}
    frames = {f"realtime.{name}" for name in (*CLIENT_FRAMES, *SERVER_FRAMES)}
    assert set(written["channels"]["realtime"]["messages"]) == frames


def test_message_examples_fit_their_payload(written: dict[str, Any]) -> None:
    for message in written["components"]["messages"].values():
        for shown in message.get("examples", ()):
            schema = {**message["payload"], "components": written["components"]}
            Draft202012Validator(schema).validate(shown["payload"])


def test_channel_parameters_are_those_of_the_address(written: dict[str, Any]) -> None:
    for channel in written["channels"].values():
        named = {part[1:-1] for part in (channel["address"] or "").split(".") if part.startswith("{")}
        assert set(channel.get("parameters", ())) == named


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)
