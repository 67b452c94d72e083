"""Marks and deletions within a batch, and races about them: who waits for whom is read from pg_locks."""

from __future__ import annotations

import uuid
from typing import Any
from unittest import mock

import pytest
import uuid_utils

from storage.errors import Restart
from storage.ids import uuid7
from tests.helpers.office import Office
from tests.helpers.party import Party, command
from workers.engine.record import Outcome, Record

WHO = {"external_id": "e1"}
NOTE = {"contact": WHO, "type": "notification_sent", "realtime": True}


async def recorded(office: Office, **fields: Any) -> str:
    outcome = await office.ok("timeline.record", {**NOTE, **fields})
    return str((outcome.details or {})["timeline_event_id"])


def mark(office: Office, verb: str, *event_ids: str, **fields: Any) -> Record:
    return command(office, f"timeline.{verb}", {"event_ids": list(event_ids), **fields})


def said(outcomes: list[Outcome]) -> list[Any]:
    """What was marked or deleted, and what is unknown, of each."""
    return [tuple((outcome.details or {}).values()) for outcome in outcomes]


def changes(office: Office) -> list[tuple[list[str], list[str], list[str]]]:
    return [
        (e["data"]["delivered"], e["data"]["read"], e["data"]["deleted"])
        for e in office.said("contact.timeline_changed")
    ]


async def test_later_messages_see_the_marks_of_earlier_ones(office: Office):
    await office.new(external_id="e1")
    one, two = await recorded(office), await recorded(office)
    outcomes = await office.batch(
        [
            mark(office, "mark_delivered", one),
            mark(office, "mark_delivered", one, two),
            mark(office, "mark_read", one),
            mark(office, "mark_read", one),
            mark(office, "delete", two),
            mark(office, "mark_read", two, one),
            mark(office, "delete", two),
        ]
    )
    assert said(outcomes) == [
        ([one], []),
        ([two], []),
        ([one], []),
        ([], []),
        ([two], []),
        ([], [two]),
        ([], [two]),
    ]
    assert changes(office) == [([one], [], []), ([two], [], []), ([], [one], []), ([], [], [two])]


async def test_what_a_batch_records_it_can_mark_and_delete(office: Office):
    """No sender can know the ids so soon; whatever a batch holds comes out as if it came one by one."""
    ada = await office.new(external_id="e1")
    drawn = [uuid7() for _ in range(50)]
    one, two = map(str, drawn[:2])
    records = [
        command(office, "timeline.record_many", {"contact": WHO, "events": [{"type": "x"}, {"type": "y"}]}),
        mark(office, "mark_read", one, two),
        mark(office, "delete", two),
    ]
    with mock.patch.object(uuid_utils, "uuid7", iter(drawn).__next__):
        outcomes = await office.batch(records)
    assert said(outcomes[1:]) == [([one, two], []), ([two], [])]
    assert changes(office) == [([one, two], [one, two], []), ([], [], [two])]
    assert await office.timeline_of(ada) == ["contact_created", "x"]
    (row,) = [row for row in await office.rows("contact_events") if row["id"] == uuid.UUID(one)]
    assert row["read_at"] == row["delivered_at"] == row["created_at"]


async def test_a_message_that_is_rejected_marks_nothing(office: Office):
    await office.new(external_id="e1")
    event_id = await recorded(office)
    outcomes = await office.batch(
        [
            mark(office, "delete", event_id, contact={"external_id": "nobody"}),
            mark(office, "mark_delivered", event_id),
        ]
    )
    assert [outcome.status for outcome in outcomes] == ["rejected", "applied"]
    assert said(outcomes[1:]) == [([event_id], [])]


async def test_two_batches_that_mark_the_same_event_mark_it_once(office: Office, parties: list[Party]):
    one, two, _ = parties
    await office.new(external_id="e1")
    event_id = await recorded(office)
    first = await one.begin(mark(office, "mark_delivered", event_id))
    async with two.waiting_for(one, mark(office, "mark_read", event_id)) as task:
        await one.commit()
        second = await task
    await two.commit()
    assert said([*first, *second]) == [([event_id], []), ([event_id], [])]
    assert changes(office) == [([event_id], [], []), ([], [event_id], [])]


async def test_a_deletion_that_came_first_leaves_nothing_to_mark(office: Office, parties: list[Party]):
    one, two, _ = parties
    await office.new(external_id="e1")
    event_id = await recorded(office)
    await one.begin(mark(office, "delete", event_id))
    async with two.waiting_for(one, mark(office, "mark_read", event_id)) as task:
        await one.commit()
        outcomes = await task
    await two.commit()
    assert said(outcomes) == [([], [event_id])]
    assert changes(office) == [([], [], [event_id])]


async def test_marks_of_two_contacts_in_two_orders_do_not_lock_each_other_out(
    office: Office, parties: list[Party]
):
    one, two, three = parties
    await office.new(external_id="e1")
    await office.new(external_id="e2")
    ids = [await recorded(office), await recorded(office, contact={"external_id": "e2"})]
    await three.begin(mark(office, "mark_delivered", *ids))
    async with one.waiting_for(three, mark(office, "mark_read", *ids)) as first:
        await three.rollback()
        await first
        async with two.waiting_for(one, mark(office, "delete", *reversed(ids))) as second:
            await one.commit()
            outcomes = await second
        await two.commit()
    assert said(outcomes) == [(ids[::-1], [])]


@pytest.mark.parametrize("parted", [False, True])
async def test_a_merge_between_finding_and_locking_begins_again(
    office: Office, parties: list[Party], parted: bool
):
    """Merged meanwhile, or no longer merged: the contact that was locked does not answer for the event."""
    one, two, _ = parties
    survivor, merged = await office.new(external_id="survivor"), await office.new(external_id="e1")
    event_id = await recorded(office)
    merge = "update contacts set merged_into = $1 where id = $2"
    if parted:
        await office.connection.execute(merge, survivor, merged)
    transaction = one.connection.transaction()
    await transaction.start()
    await one.connection.execute("select from contacts where id = any($1) for update", [survivor, merged])
    await one.connection.execute(merge, None if parted else survivor, merged)
    async with two.waiting_for(one, mark(office, "mark_read", event_id)) as task:
        await transaction.commit()
        with pytest.raises(Restart):
            await task
    outcomes = await two.begin(mark(office, "mark_read", event_id))
    await two.commit()
    assert (outcomes[0].contact_id, said(outcomes)) == (merged if parted else survivor, [([event_id], [])])
    await office.connection.execute(merge, None, merged)
