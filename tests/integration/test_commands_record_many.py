"""timeline.record_many: events that apply or are refused each alone."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.results import EventResult, Result
from tests.helpers.office import Office
from workers.engine.record import Outcome
from workers.engine.replies import facts

NUMBER = "+4915100000001"
WHO = {"external_id": "e1"}
NOTE = {"contact": WHO, "type": "note_added"}


def statuses(outcome: Outcome) -> list[str]:
    """Of its items: applied, or the code of a refusal."""
    assert outcome.items is not None
    return [item.get("code", item["status"]) for item in outcome.items]


async def refused(office: Office, events: list[Any], **command: Any) -> list[dict[str, Any]]:
    """The refused events of a command, each of which is told as contact.rejected."""
    before = len(office.events)
    outcome = await office.ok("timeline.record_many", {"events": events, **command})
    items = [item for item in outcome.items or () if item["status"] == "rejected"]
    told = [e["data"] for e in office.events[before:] if e["type"] == "contact.rejected"]
    assert [(t["code"], t["message"], t["details"]) for t in told] == [
        (i["code"], i["message"], i.get("details")) for i in items
    ]
    assert {t["type"] for t in told} <= {"command.timeline.record_many"}
    return items


async def fields(office: Office, event: Any, **command: Any) -> list[str]:
    """The fields that a refused event is refused for."""
    (item,) = await refused(office, [{**NOTE, "title": "stays"}, event], **command)
    assert item["code"] == "invalid"
    return [error["field"] for error in item["details"]["errors"]]


async def test_each_event_is_recorded_in_order(office: Office):
    ada, bea = await office.new(external_id="e1"), await office.new(phone=NUMBER)
    before = [await office.get(contact) for contact in (ada, bea)]
    outcome = await office.ok(
        "timeline.record_many",
        {
            "contact": WHO,
            "events": [
                {"type": "session_started", "category": "session", "session_id": "s1"},
                {"contact": {"channel": "sms", "identifier": NUMBER}, "type": "note_added", "title": "Other"},
                {"type": "session_ended", "category": "session", "session_id": "s1"},
            ],
        },
        actor="user:7",
    )
    told = [e for e in office.events if e["type"] in ("timeline.session", "timeline.general")]
    assert [e["data"]["type"] for e in told] == ["session_started", "session_ended", "note_added"]
    assert [e["data"]["sequence"] for e in told] == [2, 3, 2]
    assert {e["data"]["triggered_by"] for e in told} == {"user:7"}
    by_type = {e["data"]["type"]: e["id"] for e in told}
    assert outcome.items == [
        {"status": "applied", "contact_id": str(ada), "timeline_event_id": by_type["session_started"]},
        {"status": "applied", "contact_id": str(bea), "timeline_event_id": by_type["note_added"]},
        {"status": "applied", "contact_id": str(ada), "timeline_event_id": by_type["session_ended"]},
    ]
    assert (outcome.contact_id, outcome.version) == (None, None)
    assert [await office.get(contact) for contact in (ada, bea)] == before


async def test_the_contact_of_all_events_is_the_results(office: Office):
    ada = await office.new(external_id="e1")
    outcome = await office.ok("timeline.record_many", {"events": [NOTE, NOTE]})
    assert (outcome.contact_id, outcome.version, outcome.created) == (ada, 1, False)


async def test_the_result_is_read_back(office: Office):
    await office.new(external_id="e1")
    outcome = await office.ok("timeline.record_many", {"events": [NOTE, {}]})
    read = Result.model_validate(facts(outcome))
    applied, rejected = read.items or ()
    assert isinstance(applied, EventResult)
    assert isinstance(rejected, EventResult)
    assert str(applied.timeline_event_id) == office.said("timeline.general")[0]["id"]
    assert (applied.code, rejected.code, rejected.timeline_event_id) == (None, "invalid", None)


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ({**NOTE, "category": "nonsense"}, "events.1.category"),
        ({**NOTE, "type": " "}, "events.1.type"),
        ({"contact": WHO}, "events.1.type"),
        ({**NOTE, "payload": {"a": 1}, "occurred_at": "yesterday"}, "events.1.occurred_at"),
        ({**NOTE, "sequence": 5}, "events.1.sequence"),
        ({**NOTE, "contact": {"id": "42"}}, "events.1.contact.id"),
        ({**NOTE, "contact": {}}, "events.1.contact"),
        ({"type": "note_added"}, "events.1.contact"),
        ({"type": "note_added", "contact": None}, "events.1.contact"),
        (5, "events.1"),
        (None, "events.1"),
        ([], "events.1"),
    ],
)
async def test_an_event_that_its_schema_refuses_is_refused_alone(office: Office, event: Any, field: str):
    ada = await office.new(external_id="e1")
    assert await fields(office, event) == [field]
    assert await office.timeline_of(ada) == ["contact_created", "note_added"]


async def test_an_event_that_the_state_refuses_is_refused_alone(office: Office):
    ada, gone = await office.new(external_id="e1"), await office.new(external_id="gone")
    twins = [
        await office.new(identifiers=[{"channel": "messenger", "identifier": "5", "scope": scope}])
        for scope in ("p1", "p2")
    ]
    await office.ok("contact.delete", {"contact": {"external_id": "gone"}})
    unknown, deleted, ambiguous = await refused(
        office,
        [
            NOTE,
            {**NOTE, "contact": {"external_id": "nobody"}},
            {**NOTE, "contact": {"external_id": "gone"}},
            {**NOTE, "contact": {"channel": "messenger", "identifier": "5"}},
            NOTE,
        ],
    )
    assert unknown["message"] == "events.1.contact: no contact of this tenant is so named"
    assert (unknown["code"], "details" in unknown) == ("contact_not_found", False)
    assert (deleted["code"], deleted["details"]) == ("contact_deleted", {"contact_id": str(gone)})
    assert deleted["message"].startswith("events.2.contact: ")
    assert (ambiguous["code"], ambiguous["details"]) == (
        "ambiguous_reference",
        {"contact_ids": sorted(map(str, twins))},
    )
    assert [e["on"].rpartition(".")[2] for e in office.said("contact.rejected")] == ["-", str(gone), "-"]
    assert await office.timeline_of(ada) == ["contact_created", "note_added", "note_added"]


async def test_the_command_s_contact_refuses_the_events_that_need_it(office: Office):
    await office.new(external_id="e1")
    own, bare = NOTE, {"type": "note_added"}
    first, second = await refused(office, [bare, own, bare], contact={"external_id": "nobody"})
    assert first == second
    assert first["code"] == "contact_not_found"
    assert first["message"] == "contact: no contact of this tenant is so named"
    assert len(office.said("timeline.general")) == 1


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({}, "events"),
        ({"events": None}, "events"),
        ({"events": {"0": NOTE}}, "events"),
        ({"events": []}, "events"),
        ({"events": [NOTE] * 501}, "events"),
        ({"events": [NOTE], "type": "note_added"}, "type"),
        ({"events": [NOTE], "contact": {"id": "42"}}, "contact.id"),
        ({"events": [NOTE], "contact": {"idd": "42"}}, "contact.idd"),
        ({"events": [NOTE], "contact": "e1"}, "contact"),
    ],
)
async def test_the_command_as_a_whole_is_refused(office: Office, data: dict[str, Any], field: str):
    await office.new(external_id="e1")
    code, details = await office.refused("timeline.record_many", data)
    assert code == "invalid"
    assert [error["field"] for error in details["errors"]] == [field]


async def test_all_may_be_refused_and_the_command_applies(office: Office):
    outcome = await office.ok("timeline.record_many", {"events": [NOTE, {}]})
    assert statuses(outcome) == ["contact_not_found", "invalid"]
    assert outcome.contact_id is None


async def test_five_hundred_events(office: Office):
    ada = await office.new(external_id="e1")
    events = [{**NOTE, "title": f"n{n}"} for n in range(500)]
    outcome = await office.ok("timeline.record_many", {"events": events})
    assert statuses(outcome) == ["applied"] * 500
    rows = await office.rows("contact_events", "sequence")
    assert [row["title"] for row in rows[1:]] == [f"n{n}" for n in range(500)]
    assert {row["contact_id"] for row in rows} == {ada}


async def test_explanations_are_bounded(office: Office):
    """However many faults a body has room for, the answer fits the bus."""
    await office.new(external_id="e1")
    events = [{f"{'x' * 150}{n}": 1 for n in range(12)}] * 450
    outcome = await office.ok("timeline.record_many", {"events": events})
    assert [len(item["details"]["errors"]) for item in outcome.items or ()] == [5] * 450


async def test_a_repeat_is_answered_with_the_first_outcome(office: Office):
    await office.new(external_id="e1")
    data = {"events": [NOTE, {}]}
    first = await office.ok("timeline.record_many", data, id="once")
    said = len(office.events)
    again = await office.send("timeline.record_many", data, id="once")
    assert again.status == "duplicate"
    assert again.first == facts(first)
    assert len(office.events) == said
