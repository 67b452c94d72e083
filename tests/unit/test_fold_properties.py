"""What holds of folding whatever comes, in whichever batches, however often."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import uuid
from collections import Counter
from datetime import datetime
from types import FrameType
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.subjects import HEADER_REPLAY
from storage.ids import uuid7
from storage.rows import Identifier, IdentifierKey
from tests.helpers.messages import logs
from tests.helpers.replica import Replica, loud
from tests.helpers.world import World, canonical, records, renamed, run
from workers import contacts as contacts_worker
from workers.engine.record import Outcome, Record
from workers.fold.directory import Rejection
from workers.fold.documents import document

sizes = st.lists(st.integers(1, 12), min_size=1, max_size=5)
slow = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@given(log=logs, sizes=sizes)
@slow
def test_batches_do_not_show(log: list[Record], sizes: list[int]):
    assert canonical(run(log, sizes)) == canonical(run(log))


@given(log=logs, sizes=sizes, again=st.lists(st.integers(0, 1000), max_size=20))
@slow
def test_repetition_changes_nothing(log: list[Record], sizes: list[int], again: list[int]):
    """A message may come again anywhere behind its first time."""
    repeated = run([*_repeated(log, again), *log], sizes)
    assert canonical(repeated) == canonical(run(log))


@given(log=logs, sizes=sizes, again=st.lists(st.integers(0, 1000), max_size=20))
@slow
def test_repetition_in_new_envelopes_changes_nothing(log: list[Record], sizes: list[int], again: list[int]):
    """Items that have an id of their own may come again in another message; only that message's id is new."""
    own = [r for r in log if r.subject.startswith("webhook.whatsapp.") or b'"message_id"' in r.data]
    more, first = [], set()
    for record in _repeated(log, again):
        if record.sequence not in first:
            more.append(record)
        elif record in own:
            more.append(renamed(record, f"again-{len(more)}"))
        first.add(record.sequence)
    assert canonical(run(more, sizes))[:2] == canonical(run(log))[:2]


def _repeated(log: list[Record], again: list[int]) -> list[Record]:
    more = list(log)
    for n in again:
        record = log[n % len(log)]
        more.insert(more.index(record) + 1 + n % (len(more) - more.index(record)), record)
    return more


@given(log=logs, sizes=sizes)
@slow
def test_events_make_the_documents(log: list[Record], sizes: list[int]):
    """Versions and sequences rise by one, old document + events = new document: the replica checks each step."""
    world = run(log, sizes)
    replica = Replica()
    replica.take(world.events)
    assert set(replica.documents) == {str(contact.id) for contact in world.contacts.values()}
    for contact in world.contacts.values():
        shown = orjson.loads(orjson.dumps(document(contact), option=orjson.OPT_UTC_Z, default=str))
        assert loud(replica.documents[str(contact.id)]) == loud(shown)
        rows = [world.marks[e.tenant_id, e.id] for e in world.timeline.values() if e.contact_id == contact.id]
        assert [(str(e.id), *moments(e.delivered_at, e.read_at)) for e in rows] == [
            (e["id"], e["delivered_at"], e["read_at"]) for e in replica.rows(str(contact.id))
        ]
        assert contact.timeline_sequence == len(replica.timelines[str(contact.id)])
    assert max(Counter(event["id"] for event in world.events).values(), default=1) == 1


@given(log=logs, sizes=sizes)
@slow
def test_no_version_without_a_timeline_event(log: list[Record], sizes: list[int]):
    told = run(log, sizes).events
    versions = {
        (e["data"]["contact_id"], e["data"]["version"], e["causationid"]): e["type"]
        for e in told
        if e["type"].startswith("contact.") and "version" in e["data"]
    }
    written = {
        (e["data"]["contact_id"], e["data"]["contact_version"], e["causationid"])
        for e in told
        if e["type"].startswith("timeline.")
    }
    assert [what for change, what in versions.items() if change not in written] == []


def moments(*given: datetime | None) -> list[str | None]:
    """As JSON has them."""
    return [each and each.isoformat().replace("+00:00", "Z") for each in given]


@given(log=logs, sizes=sizes)
@slow
def test_state_is_in_order(log: list[Record], sizes: list[int]):
    world = run(log, sizes)
    owners: dict[Any, uuid.UUID] = {}
    for contact in world.contacts.values():
        slots: dict[Any, list[int]] = {}
        primaries = Counter(i.channel for i in contact.identifiers.values() if i.is_primary)
        assert max(primaries.values(), default=1) == 1, "two primaries on a channel"
        for (key, channel), identifier in contact.identifiers.items():
            assert (identifier.key, identifier.channel) == (key, channel)
            assert owners.setdefault(key, contact.id) == contact.id, "a key has two owners"
            slots.setdefault(key, []).append(identifier.slot)
        assert all(0 in taken and len(set(taken)) == len(taken) for taken in slots.values())
        by_channel = {i.channel: i.key.identifier for i in contact.identifiers.values() if i.is_primary}
        assert (contact.email, contact.phone) == (by_channel.get("email"), by_channel.get("sms"))


@given(log=logs, poisoned=st.sets(st.integers(0, 40)), sizes=sizes)
@slow
def test_a_handler_that_fails_half_way_leaves_no_trace(
    log: list[Record], poisoned: set[int], sizes: list[int]
):
    """All is as if the poisonous commands had never been there, but for the ids that they took."""
    poisonous = [r for r in log if r.stream == "COMMAND" and r.sequence in poisoned]
    broken = {f"m{record.sequence}" for record in poisonous}
    with pytest.MonkeyPatch.context() as patch:
        real = contacts_worker.Command.fold

        def failing(self: Any, scratch: Any) -> Outcome:
            if self.id not in broken:
                return real(self, scratch)
            with contextlib.suppress(Rejection):
                real(self, scratch)
            key = IdentifierKey("telegram", "poison")
            poison = Identifier(uuid7(), key, "telegram", "poison", created_at=scratch.at)
            scratch.put_identifier(scratch.create("x").id, poison)
            raise RuntimeError("poison")

        patch.setattr(contacts_worker.Command, "fold", failing)
        with_poison = run(log, sizes)
    without = run([r for r in log if r not in poisonous], sizes)
    assert canonical(with_poison)[:2] == canonical(without)[:2]


def test_forged_replay_lifts_nothing():
    (record,) = records([("command.contact.create", {"external_id": "e1"})])
    forged = dataclasses.replace(record, headers={HEADER_REPLAY: "x"})
    world = World()
    statuses = [world.apply([each])[0].status for each in (record, forged, forged, record)]
    assert statuses == ["applied", "duplicate", "duplicate", "duplicate"]


def test_a_body_about_many_people_costs_no_more_for_each_of_them():
    """A fold that grows with the square of a body outlasts its transaction, and everybody behind it waits for ever."""
    assert _steps(400) < 6 * _steps(100)


def _steps(people: int) -> int:
    """Lines of the directory that run while a body about so many people is folded."""
    lines = 0

    def count(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        if not frame.f_code.co_filename.endswith("directory.py"):
            return None
        lines += event == "line"
        return count

    statuses = [{"id": f"w{n}", "status": "sent", "recipient_id": f"4915{n:09}"} for n in range(people)]
    body = {
        "object": "whatsapp_business_account",
        "entry": [{"changes": [{"value": {"statuses": statuses}}]}],
    }
    world = World()
    before = sys.gettrace()
    sys.settrace(count)
    try:
        (outcome,) = world.apply(records([("webhook.whatsapp", body)]))
    finally:
        sys.settrace(before)
    assert len(outcome.items or ()) == people
    return lines
