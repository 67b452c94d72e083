"""Every bundled payload yields exactly the items that stand beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from contracts.envelope import Envelope
from contracts.webhooks import PROVIDERS, Item, NamedIdentifier

CASES = sorted((Path(__file__).parent / "payloads").glob("*.json"))


def envelope(data: Any) -> Envelope:
    return Envelope(id="envelope", source="source", data=data)


def spelled(identifiers: tuple[NamedIdentifier, ...]) -> list[str]:
    return [f"{one.channel}:{one.identifier}" + (f"@{one.scope}" if one.scope else "") for one in identifiers]


def seen(item: Item, name: str) -> Any:
    if name == "key":
        return item.dedupe_key
    value = getattr(item, name)
    if name.endswith("identifiers"):
        return spelled(value)
    return value.isoformat() if name == "occurred_at" and value is not None else value


def check(items: list[Item], expected: list[dict[str, Any]]) -> None:
    assert [item.dedupe_key for item in items] == [one["key"] for one in expected]
    for item, one in zip(items, expected, strict=True):
        wanted = {name: value for name, value in one.items() if name not in {"payload", "exact_payload"}}
        assert {name: seen(item, name) for name in wanted} == wanted
        payload = one.get("payload", {})
        shown = (
            item.payload if one.get("exact_payload") else {name: item.payload.get(name) for name in payload}
        )
        assert shown == payload
        json.dumps(item.payload)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_payload_yields_its_items(path: Path) -> None:
    case = json.loads(path.read_text(encoding="utf-8"))
    check(PROVIDERS[path.stem.partition("_")[0]](envelope(case["body"])), case["items"])


@pytest.mark.parametrize(
    "path", [path for path in CASES if path.stem.startswith("twilio_")], ids=lambda path: path.stem
)
def test_a_form_yields_the_same_as_its_fields(path: Path) -> None:
    case = json.loads(path.read_text(encoding="utf-8"))
    check(PROVIDERS["twilio"](envelope(urlencode(case["body"]))), case["items"])


def test_the_same_delivery_has_the_same_keys_in_another_envelope() -> None:
    for path in CASES:
        if path.stem in {"whatsapp_missing_parts", "message_minimal"}:
            continue  # what has no id of its own takes the envelope's
        body = json.loads(path.read_text(encoding="utf-8"))["body"]
        parse = PROVIDERS[path.stem.partition("_")[0]]
        again = parse(Envelope(id="another", source="elsewhere", data=body))
        assert [item.dedupe_key for item in again] == [item.dedupe_key for item in parse(envelope(body))]
