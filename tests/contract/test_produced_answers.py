"""What the queries really answer is what the schemas say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from jsonschema import Draft202012Validator, FormatChecker

from contracts.registry import QUERIES
from contracts.schemas import entries
from ops.devstack import NatsServer
from tests.helpers.applier import Applier
from tests.helpers.asker import Asker, asking

ANN = {"external_id": "c-1"}
SCHEMAS = {entry.name: entry.schema for entry in entries()}


@pytest.fixture(scope="module")
async def ask(database: str, bus: NatsServer) -> AsyncIterator[Asker]:
    connection = await asyncpg.connect(database)
    applier = Applier(connection)
    for number in range(3):
        person = {"external_id": f"c-{number}", "email": f"a{number}@example.com", "tags": ["vip"]}
        await applier.send("contact.create", person)
    status = {
        "MessageSid": "SM1",
        "MessageStatus": "delivered",
        "From": "+15017122661",
        "To": "+4915112345678",
    }
    await applier.webhook("twilio", status)
    notice = {"type": "notification_sent", "session_id": "s-1", "realtime": True, "visible_to_client": True}
    events = [{**notice, "title": f"Notice {number}"} for number in range(2)]
    await applier.send("timeline.record_many", {"contact": ANN, "events": events})
    await connection.close()
    async with asking(database, bus.url) as asker:
        yield asker


def fits(name: str, answer: dict[str, Any]) -> None:
    schema = SCHEMAS[f"query.{name}.answer"]
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(answer)
    if not answer["success"]:
        return
    entry = QUERIES[name]
    assert set(answer["meta"]) <= set(entry.meta.model_fields)
    for shown in answer["data"] if entry.many else [answer["data"]]:
        assert set(shown) <= set(entry.document.model_fields)


async def test_every_answer_is_as_promised(ask: Asker) -> None:
    (event, *_) = await ask.data("contact.timeline", "acme", contact=ANN)
    asked: dict[str, list[dict[str, Any]]] = {
        "contact.get": [{"contact": ANN}, {"contact": {"external_id": "nobody"}}, {"contact": {}}],
        "contact.find": [ANN, {"channel": "email", "identifier": "a1@example.com"}, {}],
        "contact.list": [{"page_size": 2}, {"count": "exact", "tags": ["vip"]}, {"page": 0}, {"cursor": "x"}],
        "contact.search": [
            {"q": "example.com", "page_size": 2},
            {"filters": {"tags": ["vip"]}, "sort_by": "display_name"},
            {"q": "exampel"},
            {"page": 501, "page_size": 20},
        ],
        "search.status": [{}, {"tenant": "acme"}],
        "contact.timeline": [
            {"contact": ANN, "limit": 1, "total": True},
            {"contact": ANN, "visible_to": "agent"},
            {"contact": ANN, "limit": 0},
        ],
        "timeline.get": [{"event_id": event["id"]}, {"event_id": "7"}],
        "timeline.undelivered": [{"limit": 1}, {"contact": ANN, "visible_to": "client"}, {"visible_to": "x"}],
        "timeline.session": [{"session_id": "s-1", "visible_to": "client"}, {"session_id": ""}],
        "timeline.by_type": [{"type": "notification_sent", "limit": 1}, {}],
        "timeline.by_category": [{"category": "general"}, {"category": "x"}],
        "timeline.search": [{"q": "notice", "limit": 1}, {"q": "NOTICE 1", "contact": ANN}, {"q": ""}],
        "timeline.count": [{"contact": ANN, "visible_to": "client"}, {"contact": {"external_id": "nobody"}}],
        "message.status": [{"channel": "sms", "message_id": "SM1"}, {"channel": "sms", "message_id": "no"}],
    }
    assert set(asked) == set(QUERIES)
    for name, questions in asked.items():
        answers = [await ask(name, "acme", **question) for question in questions]
        assert {answer["success"] for answer in answers} == {True, False}
        for answer in answers:
            fits(name, answer)


async def test_deep_pages(ask: Asker) -> None:
    for name, fields in (
        ("contact.list", {"page_size": 1}),
        ("contact.list", {"search": "example", "page_size": 1}),
        ("contact.search", {"q": "example", "page_size": 1}),
        ("timeline.undelivered", {"limit": 1}),
        ("timeline.search", {"q": "notice", "limit": 1}),
    ):
        first = await ask(name, "acme", **fields)
        fits(name, first)
        assert first["meta"]["next_cursor"]
        fits(name, await ask(name, "acme", cursor=first["meta"]["next_cursor"], **fields))
