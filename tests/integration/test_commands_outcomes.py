"""Outcomes: applied, duplicate, rejected, dead; what a repetition answers, what a replay lifts, what each leaves behind."""

from __future__ import annotations

import uuid
from typing import Any

import orjson
import pytest

from storage import dead_letters
from storage.dead_letters import NewDeadLetter
from tests.helpers.applier import NOW
from tests.helpers.office import Office
from workers import contacts as worker
from workers.contacts import HANDLERS
from workers.engine.record import Outcome
from workers.engine.replies import facts


async def test_repeated_command_answers_with_its_first_outcome(office: Office):
    first = await office.ok("contact.create", {"external_id": "e1"}, id="m")
    before = list(office.events)
    again = await office.send("contact.create", {"external_id": "e1"}, id="m")
    assert (again.status, again.first) == ("duplicate", facts(first))
    assert again.first == {
        "status": "applied",
        "contact_id": str(first.contact_id),
        "version": 1,
        "created": True,
    }
    assert office.events == before


async def test_first_outcome_holds_whatever_happened_since(office: Office):
    first = await office.ok("contact.upsert", {"external_id": "e1", "first_name": "A"}, id="m")
    await office.ok("contact.update", {"contact": {"external_id": "e1"}, "set": {"first_name": "B"}})
    again = await office.send("contact.upsert", {"external_id": "e1", "first_name": "C"}, id="m")
    assert again.first is not None
    assert again.first["version"] == 1
    assert (await office.get(first.contact_id))["first_name"] == "B"


async def test_repeated_rejection_answers_as_the_first_and_is_told_once(office: Office):
    owner = await office.new(external_id="e1")
    await office.refused("contact.create", {"external_id": "e1"}, id="m")
    await office.ok("contact.update", {"contact": {"id": str(owner)}, "unset": ["external_id"]})
    again = await office.send("contact.create", {"external_id": "e1"}, id="m")
    assert again.status == "duplicate"
    assert again.first is not None
    assert (again.first["status"], again.first["code"]) == ("rejected", "external_id_taken")
    assert again.first["details"] == {"contact_id": str(owner)}
    assert len(office.said("contact.rejected")) == 1


async def test_rejected_by_its_schema_is_remembered_too(office: Office):
    await office.refused("contact.create", {"phone": "x"}, id="m")
    again = await office.send("contact.create", {"phone": "x"}, id="m")
    assert (again.status, again.first and again.first["code"]) == ("duplicate", "invalid")


async def test_repetition_in_one_batch(office: Office):
    record = office.record(
        f"command.contact.create.{office.tenant}.k", "command.contact.create", {"first_name": "A"}, {}
    )
    outcomes = await office.batch([record, record, record])
    assert [outcome.status for outcome in outcomes] == ["applied", "duplicate", "duplicate"]
    assert outcomes[1].first == facts(outcomes[0])


@pytest.mark.parametrize("other", [{"id": "m2"}, {"id": "m", "source": "other"}])
async def test_ids_are_per_source(office: Office, other: dict[str, Any]):
    await office.ok("contact.create", {}, id="m", source="test")
    assert (await office.ok("contact.create", {}, **{"source": "test", **other})).created


async def test_ids_are_per_tenant(office: Office, elsewhere: Office):
    await office.ok("contact.create", {}, id="same")
    await elsewhere.ok("contact.create", {}, id="same")


async def test_rejection_event_says_what_was_refused(office: Office):
    await office.refused(
        "contact.update",
        {"contact": {"external_id": "nobody"}, "set": {"first_name": "X"}},
        id="m1",
        correlationid="c1",
        actor="user:1",
    )
    (event,) = office.events
    assert event["data"]["contact_id"] is None
    assert (event["data"]["type"], event["data"]["message_id"]) == ("command.contact.update", "m1")
    assert (event["causationid"], event["correlationid"], event["actor"]) == ("m1", "c1", "user:1")


async def test_result_leaves_out_what_does_not_apply(office: Office):
    applied = facts(await office.ok("contact.create", {"external_id": "e1"}))
    assert set(applied) == {"status", "contact_id", "version", "created"}
    rejected = facts(await office.send("contact.create", {"external_id": "e1"}))
    assert set(rejected) == {"status", "code", "message", "details"}


@pytest.mark.parametrize(
    ("name", "attributes", "reason"),
    [
        ("contact.create", {"tenantid": "somebody-else"}, "tenant_mismatch"),
        ("contact.create", {"type": "command.contact.delete"}, "type_mismatch"),
        ("contact.create", {"dataversion": "2.0"}, "unknown_version"),
        ("contact.explode", {}, "unknown_type"),
    ],
)
async def test_dead(office: Office, name: str, attributes: dict[str, Any], reason: str):
    outcome = await office.send(name, {}, **attributes)
    assert (outcome.status, outcome.code) == ("dead", reason)
    assert await office.rows("inbox_messages") == []


async def test_minor_versions_and_absent_attributes_are_read(office: Office):
    await office.ok("contact.create", {}, dataversion="1.9")
    await office.ok("contact.create", {}, tenantid=office.tenant)
    await office.ok("contact.create", {}, type="")


async def test_handler_that_fails_leaves_no_trace(office: Office, monkeypatch: pytest.MonkeyPatch):
    contact_id = await office.new(external_id="e1", first_name="A")
    before, events = await office.get(contact_id), list(office.events)
    broken = dict(worker.HANDLERS)

    def half_way(scratch: Any, command: Any) -> Outcome:
        worker.HANDLERS["contact.delete"](scratch, command)
        scratch.create("nobody")
        raise KeyError("a secret")

    broken["contact.update"] = half_way
    monkeypatch.setattr(worker, "HANDLERS", {**broken, "contact.delete": worker.HANDLERS["contact.delete"]})
    who = {"contact": {"external_id": "e1"}}
    outcome = await office.send("contact.update", who, id="m")
    assert (outcome.status, outcome.code) == ("dead", "handler_failed")
    assert outcome.message
    assert "secret" not in outcome.message
    assert await office.get(contact_id) == before
    assert office.events == events
    again = await office.send("contact.update", who, id="m")
    assert (again.status, again.first and again.first["code"]) == ("duplicate", "handler_failed")


async def test_a_message_that_the_database_refuses_takes_its_id_as_well(office: Office):
    made = office.record(
        f"command.contact.create.{office.tenant}.k", "command.contact.create", {}, {"id": "m"}
    )
    processor = worker.Commands(office.settings)
    message, dead = processor.decode(made), Outcome("dead", code="handler_failed", message="SQLSTATE 22000")
    assert await processor.bury(office.connection, message, dead) == dead
    for again in (
        await processor.bury(office.connection, message, dead),
        await office.send("contact.create", {}, id="m"),
    ):
        assert (again.status, again.first) == ("duplicate", facts(dead))
    headers = {"Rollcall-Replay": await letter(office)}
    assert (await office.send("contact.create", {}, id="m", headers=headers)).status == "applied"


async def letter(office: Office) -> str:
    """A dead letter of the tenant."""
    new = NewDeadLetter(
        stream="COMMAND",
        tenant=office.tenant,
        partition=0,
        position=1,
        subject=f"command.contact.create.{office.tenant}.k",
        reason="handler_failed",
        detail="x",
        headers={},
        body=b"{}",
        broker_time=NOW,
        replay_of=None,
    )
    (made,) = await dead_letters.insert(office.connection, [new])
    return str(made)


async def test_replay_lifts_the_taken_id_once(office: Office, monkeypatch: pytest.MonkeyPatch):
    def fails(scratch: object, command: object) -> Outcome:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setitem(HANDLERS, "contact.create", fails)
        assert (await office.send("contact.create", {}, id="m")).status == "dead"
    assert (await office.send("contact.create", {}, id="m")).status == "duplicate"
    headers = {"Rollcall-Replay": await letter(office)}
    assert (await office.send("contact.create", {}, id="m", headers=headers)).status == "applied"
    again = await office.send("contact.create", {}, id="m", headers=headers)
    assert (again.status, again.first and again.first["status"]) == ("duplicate", "applied")
    assert (await office.send("contact.create", {}, id="m")).status == "duplicate"
    assert len(await office.rows("contacts")) == 1


async def test_a_replay_takes_the_id_that_its_dead_letter_left(office: Office):
    """What could not be read took no id: its replay does, so that the producer's own repetition is a duplicate."""
    headers = {"Rollcall-Replay": await letter(office)}
    assert (await office.send("contact.create", {}, id="m", headers=headers)).status == "applied"
    assert (await office.send("contact.create", {}, id="m")).status == "duplicate"
    assert (await office.send("contact.create", {}, id="m", headers=headers)).status == "duplicate"
    assert len(await office.rows("contacts")) == 1


@pytest.mark.parametrize("named", ["nobody", "unknown", "other tenant", "another message"])
async def test_a_replay_of_what_did_not_die_lifts_nothing(office: Office, elsewhere: Office, named: str):
    """A sender must not be able to have its message applied again by making up a header."""
    ids = {
        "nobody": "x",
        "unknown": str(uuid.uuid4()),
        "other tenant": await letter(elsewhere),
        "another message": await letter(office),
    }
    headers = {"Rollcall-Replay": ids[named]}
    assert (await office.send("contact.create", {}, id="m", headers=headers)).status == "applied"
    assert (await office.send("contact.create", {}, id="m", headers=headers)).status == "duplicate"
    assert (await office.send("contact.create", {}, id="m")).status == "duplicate"
    assert len(await office.rows("contacts")) == 1


async def test_large_numbers_and_odd_text_are_kept(office: Office):
    attributes = {
        "big": 2**63 - 1,
        "float": 1.5e300,
        "text": "\U0001d518nicode \u2028 \x7f",
        "é" * 100: {"": [[], {}]},
    }
    contact_id = await office.new(attributes=attributes)
    assert (await office.get(contact_id))["attributes"] == attributes
    stored = (await office.rows("contacts"))[0]["attributes"]
    assert orjson.loads(stored) == attributes
