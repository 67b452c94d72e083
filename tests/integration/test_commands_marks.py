"""timeline.mark_delivered, mark_read and delete, one after the other."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from tests.helpers.office import Office

WHO = {"external_id": "e1"}
PAST = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
FUTURE = (datetime.now(UTC) + timedelta(days=1)).isoformat()
NOTHING: dict[str, Any] = {"delivered": [], "read": [], "deleted": [], "skipped": [], "reason": None}


@pytest.fixture
async def ada(office: Office) -> uuid.UUID:
    return await office.new(external_id="e1")


async def record(office: Office, who: dict[str, Any] | None = None, **fields: Any) -> str:
    """A timeline event; its id."""
    data = {"contact": who or WHO, "type": "notification_sent", "realtime": True, **fields}
    outcome = await office.ok("timeline.record", data)
    assert outcome.details
    return str(outcome.details["timeline_event_id"])


async def do(office: Office, verb: str, *event_ids: str, **fields: Any) -> tuple[list[str], list[str]]:
    """The ids that were marked or deleted, and those that are unknown."""
    outcome = await office.ok(f"timeline.{verb}", {"event_ids": list(event_ids), **fields})
    assert outcome.details
    changed = outcome.details["deleted" if verb == "delete" else "marked"]
    assert outcome.details.keys() == {"deleted" if verb == "delete" else "marked", "unknown"}
    return changed, outcome.details["unknown"]


async def at(office: Office, event_id: str) -> tuple[datetime | None, datetime | None]:
    """When the event was delivered and read."""
    (row,) = [row for row in await office.rows("contact_events") if str(row["id"]) == event_id]
    return row["delivered_at"], row["read_at"]


def changes(office: Office) -> list[dict[str, Any]]:
    return [event["data"] for event in office.said("contact.timeline_changed")]


async def test_a_delivery_is_marked_and_told(office: Office, ada: uuid.UUID):
    first, second = await record(office, visible_to_client=True), await record(office)
    before = await office.get(ada)
    outcome = await office.ok("timeline.mark_delivered", {"event_ids": [second, first]}, actor="service:push")
    assert outcome.details == {"marked": [second, first], "unknown": []}
    assert (outcome.contact_id, outcome.version) == (ada, 1)
    delivered, read = await at(office, first)
    assert delivered is not None
    assert read is None
    (event,) = office.said("contact.timeline_changed")
    assert event["data"] == {
        **NOTHING,
        "contact_id": str(ada),
        "delivered": [second, first],
        "at": delivered.isoformat().replace("+00:00", "Z"),
        "visible_to_client": [first],
        "visible_to_agent": [second, first],
    }
    assert event["on"] == f"contact.timeline_changed.{office.tenant}.{ada}"
    assert (event["actor"], event["time"]) == ("service:push", event["data"]["at"])
    assert await office.get(ada) == before
    assert [row["timeline_sequence"] for row in await office.rows("contacts")] == [3]


async def test_a_second_mark_changes_nothing(office: Office, ada: uuid.UUID):
    event_id = await record(office)
    assert await do(office, "mark_delivered", event_id) == ([event_id], [])
    first = await at(office, event_id)
    said = len(office.events)
    for verb in ("mark_delivered", "mark_delivered"):
        assert await do(office, verb, event_id) == ([], [])
    assert await at(office, event_id) == first
    assert len(office.events) == said


async def test_reading_is_delivery_too(office: Office, ada: uuid.UUID):
    event_id = await record(office)
    assert await do(office, "mark_read", event_id) == ([event_id], [])
    delivered, read = await at(office, event_id)
    assert delivered == read is not None
    assert [(c["delivered"], c["read"]) for c in changes(office)] == [([event_id], [event_id])]
    assert await do(office, "mark_delivered", event_id) == ([], [])
    assert await do(office, "mark_read", event_id) == ([], [])
    assert len(changes(office)) == 1


async def test_reading_what_was_delivered_leaves_when(office: Office, ada: uuid.UUID):
    event_id = await record(office)
    await do(office, "mark_delivered", event_id)
    before, _ = await at(office, event_id)
    assert await do(office, "mark_read", event_id) == ([event_id], [])
    delivered, read = await at(office, event_id)
    assert delivered == before != read
    assert [(c["delivered"], c["read"]) for c in changes(office)] == [([event_id], []), ([], [event_id])]


@pytest.mark.parametrize("verb", ["mark_delivered", "mark_read"])
@pytest.mark.parametrize(("reader", "marked"), [("client", [0, 1]), ("agent", [2]), (None, [0, 1, 2, 3])])
async def test_a_mark_speaks_of_the_client_where_the_client_may_see_it(
    office: Office, ada: uuid.UUID, verb: str, reader: str | None, marked: list[int]
):
    ids = [
        await record(office, visible_to_client=client, visible_to_agent=agent)
        for client in (True, False)
        for agent in (True, False)
    ]
    assert await do(office, verb, *ids, reader=reader) == ([ids[n] for n in marked], [])
    for n, event_id in enumerate(ids):
        assert ((await at(office, event_id))[0] is not None) == (n in marked)


async def test_of_what_expired_only_what_has_passed_is_skipped(office: Office, ada: uuid.UUID):
    past, future, lasting = (
        await record(office, expires_at=PAST, metadata={"a": 1}, visible_to_client=True),
        await record(office, expires_at=FUTURE),
        await record(office),
    )
    assert await do(office, "mark_delivered", past, future, lasting, expired=True) == ([past], [])
    assert [(c["delivered"], c["skipped"]) for c in changes(office)] == [([past], [past])]
    rows = {str(row["id"]): row for row in await office.rows("contact_events")}
    assert orjson.loads(rows[past]["metadata"]) == {"a": 1, "skipped": "expired"}
    assert {rows[each]["delivered_at"] for each in (future, lasting)} == {None}
    assert await do(office, "mark_delivered", past, expired=True) == ([], [])


async def test_what_was_delivered_in_time_is_not_skipped_later(office: Office, ada: uuid.UUID):
    event_id = await record(office, expires_at=PAST)
    await do(office, "mark_delivered", event_id)
    assert await do(office, "mark_delivered", event_id, expired=True) == ([], [])
    (row,) = [row for row in await office.rows("contact_events") if str(row["id"]) == event_id]
    assert orjson.loads(row["metadata"]) == {}


async def test_what_expired_of_the_other_reader_is_left_alone(office: Office, ada: uuid.UUID):
    event_id = await record(office, expires_at=PAST, visible_to_client=True)
    assert await do(office, "mark_delivered", event_id, expired=True, reader="agent") == ([], [])
    assert changes(office) == []


async def test_what_is_deleted_has_gone(office: Office, ada: uuid.UUID):
    first, second = await record(office, visible_to_client=True), await record(office, visible_to_agent=False)
    before = await office.get(ada)
    outcome = await office.ok("timeline.delete", {"event_ids": [first], "reason": "by mistake"})
    assert outcome.details == {"deleted": [first], "unknown": []}
    assert outcome.contact_id == ada
    assert [str(row["id"]) for row in await office.rows("contact_events", "sequence")][1:] == [second]
    (change,) = changes(office)
    assert (change["deleted"], change["reason"]) == ([first], "by mistake")
    assert (change["visible_to_client"], change["visible_to_agent"]) == ([first], [first])
    assert await do(office, "delete", first, second) == ([second], [first])
    assert changes(office)[1]["visible_to_agent"] == []
    for verb in ("mark_delivered", "mark_read", "delete"):
        assert await do(office, verb, first) == ([], [first])
    assert await office.get(ada) == before


async def test_sequences_of_what_is_deleted_are_not_given_again(office: Office, ada: uuid.UUID):
    first = await record(office)
    await do(office, "delete", first)
    await record(office)
    assert [row["sequence"] for row in await office.rows("contact_events", "sequence")] == [1, 3]


@pytest.mark.parametrize("verb", ["mark_delivered", "mark_read", "delete"])
async def test_ids_come_back_in_their_order_and_once(office: Office, ada: uuid.UUID, verb: str):
    first, second = await record(office), await record(office)
    strangers = [str(uuid.uuid4()) for _ in range(2)]
    given = [strangers[1], second, first.upper(), strangers[0], second, first, strangers[1]]
    assert await do(office, verb, *given) == ([second, first], [strangers[1], strangers[0]])


@pytest.mark.parametrize("verb", ["mark_delivered", "mark_read", "delete"])
async def test_events_of_several_contacts(office: Office, ada: uuid.UUID, verb: str):
    """A change is told to each contact once, and the result names none of them."""
    bea = await office.new(external_id="e2")
    of_ada, of_bea = await record(office), await record(office, {"external_id": "e2"})
    more = await record(office)
    outcome = await office.ok(f"timeline.{verb}", {"event_ids": [of_ada, of_bea, more]})
    assert (outcome.contact_id, outcome.version) == (None, None)
    word = {"mark_delivered": "delivered", "mark_read": "read", "delete": "deleted"}[verb]
    assert {c["contact_id"]: c[word] for c in changes(office)} == {
        str(ada): [of_ada, more],
        str(bea): [of_bea],
    }
    assert len(changes(office)) == 2


@pytest.mark.parametrize("verb", ["mark_delivered", "mark_read", "delete"])
async def test_of_another_contact_than_named_events_are_unknown(office: Office, ada: uuid.UUID, verb: str):
    bea = await office.new(external_id="e2", phone="+4915100000001")
    event_id = await record(office)
    outcome = await office.ok(
        f"timeline.{verb}",
        {"event_ids": [event_id], "contact": {"channel": "sms", "identifier": "+4915100000001"}},
    )
    assert outcome.contact_id == bea
    assert (outcome.details or {})["unknown"] == [event_id]
    assert await at(office, event_id) == (None, None)
    assert await do(office, verb, event_id, contact={"id": str(ada)}) == ([event_id], [])


@pytest.mark.parametrize("verb", ["mark_delivered", "mark_read", "delete"])
async def test_other_tenants_events_are_unknown(office: Office, elsewhere: Office, ada: uuid.UUID, verb: str):
    await elsewhere.new(external_id="e1")
    theirs = await record(elsewhere)
    assert await do(office, verb, theirs) == ([], [theirs])
    assert await do(office, verb, theirs, contact=WHO) == ([], [theirs])
    assert await at(elsewhere, theirs) == (None, None)
    assert changes(elsewhere) == []


@pytest.mark.parametrize("verb", ["mark_delivered", "mark_read", "delete"])
async def test_a_deleted_contacts_timeline_can_be_marked(office: Office, ada: uuid.UUID, verb: str):
    event_id = await record(office)
    await office.ok("contact.delete", {"contact": WHO})
    assert await do(office, verb, event_id, contact=WHO) == ([event_id], [])
    assert (await office.get(ada))["version"] == 2


@pytest.mark.parametrize("verb", ["mark_delivered", "mark_read", "delete"])
async def test_a_merged_contacts_events_are_the_survivors(office: Office, ada: uuid.UUID, verb: str):
    merged = await office.new(external_id="e2")
    event_id = await record(office, {"external_id": "e2"})
    await office.connection.execute("update contacts set merged_into = $1 where id = $2", ada, merged)
    try:
        assert await do(office, verb, event_id, contact={"id": str(merged)}) == ([event_id], [])
    finally:
        await office.connection.execute("update contacts set merged_into = null where id = $1", merged)
    assert [c["contact_id"] for c in changes(office)] == [str(ada)]


@pytest.mark.parametrize("verb", ["mark_delivered", "mark_read", "delete"])
async def test_events_of_every_partition_are_found(office: Office, ada: uuid.UUID, verb: str):
    ids = [await record(office) for _ in range(3)]
    for event_id, created in zip(ids, ("1999-01-01", "now", "now + 32 days"), strict=True):
        moment = datetime(1999, 1, 1, tzinfo=UTC) if created == "1999-01-01" else datetime.now(UTC)
        moment += timedelta(days=32) if created.endswith("days") else timedelta()
        await office.connection.execute(
            "update contact_events set created_at = $1 where id = $2", moment, uuid.UUID(event_id)
        )
        for event in office.events:
            if event["id"] == event_id:
                event["data"]["created_at"] = moment.isoformat().replace("+00:00", "Z")
    assert await do(office, verb, *ids) == (ids, [])


@pytest.mark.parametrize(
    ("verb", "data", "field"),
    [
        ("mark_delivered", {}, "event_ids"),
        ("mark_delivered", {"event_ids": []}, "event_ids"),
        ("mark_read", {"event_ids": "x"}, "event_ids"),
        ("mark_read", {"event_ids": ["x"]}, "event_ids.0"),
        ("delete", {"event_ids": [str(uuid.uuid4())] * 501}, "event_ids"),
        ("delete", {"event_ids": [str(uuid.uuid4())], "reader": "client"}, "reader"),
        ("mark_read", {"event_ids": [str(uuid.uuid4())], "reader": "both"}, "reader"),
        ("mark_read", {"event_ids": [str(uuid.uuid4())], "expired": True}, "expired"),
        ("mark_delivered", {"event_ids": [str(uuid.uuid4())], "expired": 1}, "expired"),
        ("mark_delivered", {"event_ids": [str(uuid.uuid4())], "at": PAST}, "at"),
        ("mark_delivered", {"event_ids": [str(uuid.uuid4())], "contact": {"id": "x"}}, "contact.id"),
    ],
)
async def test_refused_as_invalid_naming_the_field(
    office: Office, verb: str, data: dict[str, Any], field: str
):
    code, details = await office.refused(f"timeline.{verb}", data)
    assert code == "invalid"
    assert [error["field"] for error in details["errors"]] == [field]


@pytest.mark.parametrize("verb", ["mark_delivered", "mark_read", "delete"])
async def test_a_contact_that_is_not_there(office: Office, ada: uuid.UUID, verb: str):
    event_id = await record(office)
    data = {"event_ids": [event_id], "contact": {"external_id": "nobody"}}
    assert (await office.refused(f"timeline.{verb}", data))[0] == "contact_not_found"
    assert await at(office, event_id) == (None, None)


async def test_a_repeat_is_answered_with_the_first_outcome(office: Office, ada: uuid.UUID):
    event_id = await record(office)
    first = await office.ok("timeline.mark_read", {"event_ids": [event_id]}, id="once")
    again = await office.send("timeline.mark_read", {"event_ids": [event_id]}, id="once")
    assert again.status == "duplicate"
    assert (again.first or {})["details"] == first.details
    assert len(changes(office)) == 1
