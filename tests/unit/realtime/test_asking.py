"""What is asked for an agent whose token names its contacts, and what it is told, whatever the queries answer."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from nats.aio.client import Client

from contracts.vocabulary import QueryError, Role
from workers.realtime.asking import ask
from workers.realtime.rights import Rights

OWN, STRANGER = uuid.uuid4(), uuid.uuid4()
RIGHTS = Rights("acme", Role.AGENT, frozenset({OWN}), "user:42", datetime.now(UTC))
BY_NAME = {"external_id": "ann"}


class Queries:
    """Answers as the test says; ``asked`` is what it was asked, ``last`` the data of the last."""

    def __init__(self, **answers: dict[str, Any]) -> None:
        self.asked: list[str] = []
        self.last: dict[str, Any] = {}
        self._answers = answers

    async def request(self, subject: str, body: bytes, timeout: float) -> SimpleNamespace:
        self.last = json.loads(body)
        noun, verb = subject.split(".")[1:3]
        self.asked.append(f"{noun}.{verb}")
        return SimpleNamespace(data=json.dumps(self._answers[verb]))


def failure(code: str) -> dict[str, Any]:
    return {"success": False, "error": {"code": code, "message": "…", "details": {}}}


def contact(contact_id: uuid.UUID) -> dict[str, Any]:
    return {"success": True, "data": {"id": str(contact_id)}, "meta": {}}


async def answered(queries: Queries, name: str, data: dict[str, Any]) -> dict[str, Any]:
    return await ask(cast("Client", queries), RIGHTS, name, data)


TIMELINE = {"success": True, "data": ["private"], "meta": {}}


@pytest.mark.parametrize("code", QueryError)
async def test_a_contact_that_cannot_be_looked_up_is_not_shown(code: QueryError):
    queries = Queries(get=failure(code), timeline=TIMELINE)
    said = await answered(queries, "contact.timeline", {"contact": BY_NAME})
    if code is QueryError.AMBIGUOUS_REFERENCE:  # there are some
        assert said["error"]["code"] == "contact_not_found"
    else:
        assert said == failure(code)
    assert queries.asked == ["contact.get"]


async def test_a_stranger_is_not_there():
    for name, data in (("contact.timeline", {"contact": BY_NAME}), ("contact.find", BY_NAME)):
        queries = Queries(get=contact(STRANGER), find=contact(STRANGER), timeline=TIMELINE)
        answer = await answered(queries, name, data)
        assert answer["error"]["code"] == "contact_not_found"
        assert len(queries.asked) == 1


async def test_the_contacts_of_the_token_by_any_name():
    by_id = {"id": str(OWN)}
    for named, asked in ((BY_NAME, ["contact.get", "contact.timeline"]), (by_id, ["contact.timeline"])):
        queries = Queries(get=contact(OWN), timeline=TIMELINE)
        assert await answered(queries, "contact.timeline", {"contact": named}) == TIMELINE
        assert queries.asked == asked


@pytest.mark.parametrize("merged", [None, uuid.uuid4(), OWN])
async def test_a_name_that_moves_on_while_it_is_asked_for(merged: uuid.UUID | None):
    """The timeline is that of the contact that was found to be allowed; a merged one is asked for as itself."""
    found = contact(STRANGER if merged == OWN else OWN)
    found["meta"] = {"redirected_from": str(merged)} if merged else {}
    queries = Queries(get=found, timeline=TIMELINE)
    await answered(queries, "contact.timeline", {"contact": BY_NAME, "cursor": "x"})
    assert queries.last["contact"] == {"id": str(merged or OWN)}
    assert queries.last["cursor"] == "x"
