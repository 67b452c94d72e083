"""Raw provider bodies through the whole fleet: who they are about, what is written, and what must not be."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.e2e.cases import CASES, Case, Known
from tests.e2e.conftest import Caller
from tests.model.build import command, webhook

FORM = "application/x-www-form-urlencoded"
RECEIVED = "2026-04-01T10:00:00Z"  # the envelope's time, where the provider gives none


@pytest.mark.parametrize("case", CASES, ids=lambda case: re.sub(r"[^a-z0-9]+", "_", case.name.lower()))
async def test_payload(caller: Caller, tenant: str, case: Case):
    ids = {}
    for data in case.before:
        made = await caller.send(command("contact.create", tenant, "k", data))
        assert made["status"] == "applied", made
        ids[data["external_id"]] = made["contact_id"]
    for _ in range(2):  # the second time in a new envelope: the same items again
        for body in case.bodies:
            form = {"datacontenttype": FORM} if isinstance(body, str) else {}
            result = await caller.send(webhook(case.provider, tenant, "k", body, time=RECEIVED, **form))
            assert result["status"] == "applied", result
    for known in case.contacts:
        await _known(caller, tenant, known, ids)
    for channel, identifier in case.absent:
        answer = await caller.query("contact.find", tenant, channel=channel, identifier=identifier)
        assert not answer["success"], answer
        assert answer["error"]["code"] == "contact_not_found"
    everyone = await caller.query("contact.list", tenant, count="exact")
    expected = {await _id(caller, tenant, known.channel, known.identifier) for known in case.contacts} | {
        *ids.values()
    }
    assert {found["id"] for found in everyone["data"]} == expected
    await _activities(caller, tenant, case)
    for message_id, status in case.statuses.items():
        answer = await caller.query("message.status", tenant, channel="whatsapp", message_id=message_id)
        assert answer["data"]["status"] == status


async def _id(caller: Caller, tenant: str, channel: str, identifier: str) -> str:
    answer = await caller.query("contact.find", tenant, channel=channel, identifier=identifier)
    assert answer["success"], answer
    return answer["data"]["id"]


async def _known(caller: Caller, tenant: str, known: Known, ids: dict[str, str]) -> None:
    answer = await caller.query("contact.find", tenant, channel=known.channel, identifier=known.identifier)
    assert answer["success"], answer
    found = answer["data"]
    assert {name: found[name] for name in known.fields} == known.fields
    if known.same_as:
        assert found["id"] == ids[known.same_as]
    if known.alias:
        spellings = {s for i in found["identifiers"] for s in (i["raw"], *i["aliases"])}
        assert known.alias in spellings


async def _activities(caller: Caller, tenant: str, case: Case) -> None:
    """By contact: exactly these events of webhooks, each once though delivered twice."""
    expected: dict[str, list[tuple[str, str]]] = {}
    for seen in case.activities:
        contact_id = await _id(caller, tenant, seen.channel, seen.identifier)
        expected.setdefault(contact_id, []).append((seen.type, seen.occurred_at or ""))
    for contact_id, wanted in expected.items():
        answer = await caller.query("contact.timeline", tenant, contact={"id": contact_id})
        events: list[dict[str, Any]] = [e for e in answer["data"] if e["source"] == "webhook"]
        assert sorted(e["type"] for e in events) == sorted(kind for kind, _ in wanted)
        for kind, at in wanted:
            assert any(e["type"] == kind and (not at or e["occurred_at"] == at) for e in events), (
                kind,
                at,
                events,
            )
        assert {e["integration_source"] for e in events} == {case.provider}
        if case.provider == "twilio":
            assert {e["occurred_at"] for e in events} == {RECEIVED}
