"""The hub, its subscriptions and what they are shown, without a socket."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.vocabulary import ResyncReason, Role
from workers.realtime import subscription as subscription_module
from workers.realtime.entries import Entry, parse
from workers.realtime.hub import Hub
from workers.realtime.positions import Cursors
from workers.realtime.subscription import WAITING, WAITING_BYTES, Subscription

CREATED = datetime(2026, 1, 1, tzinfo=UTC)
ANN, BEN = uuid.UUID(int=1), uuid.UUID(int=2)


class Taken:
    """In the place of what goes to a client."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []
        self.missed: list[tuple[str, uuid.UUID, str]] = []
        self.before_writing: Callable[[], None] = lambda: None

    def miss(self, tenant: str, contact: uuid.UUID, ids: list[uuid.UUID]) -> None:
        self.missed += [(tenant, contact, str(event_id)) for event_id in ids]

    def offer(self, frame: Any) -> None:
        self.before_writing()
        if (text := frame.text()) is not None:
            self.frames.append(json.loads(text))

    def resync(self, sub: str, reason: ResyncReason) -> None:
        self.frames.append({"type": "resync", "sub": sub, "reason": str(reason)})


def hub() -> Hub:
    made = Hub(Cursors(b"k" * 32))
    made.begin(CREATED, 10)
    return made


def watch(
    hub: Hub,
    contacts: set[uuid.UUID] | None = None,
    role: Role = Role.AGENT,
    tenant: str = "acme",
    live: bool = True,
) -> tuple[Subscription, Taken]:
    taken = Taken()
    named = None if contacts is None else frozenset(contacts)
    subscription = Subscription("s", tenant, role, named, taken, taken.miss)  # type: ignore[arg-type]
    hub.watch(subscription)
    if live:
        subscription.go_live(hub.sequence)
    return subscription, taken


def event(
    contact: uuid.UUID = ANN, tenant: str = "acme", number: int = 1, at: int = 0, **fields: Any
) -> Entry:
    data = {
        "id": str(uuid.uuid4()),
        "contact_id": str(contact),
        "sequence": number,
        "title": f"n{number}",
        "visible_to_agent": True,
        "visible_to_client": True,
        "realtime": True,
        "metadata": {"secret": 1},
        "triggered_by": "user:7",
        "integration_source": "crm",
        "expires_at": None,
        **fields,
    }
    found = parse(at, f"timeline.note.{tenant}.{contact}", json.dumps({"data": data}).encode())
    assert found is not None
    return found


def take(house: Hub, sequence: int, entry: Entry | None) -> None:
    if entry is not None:
        entry.sequence = sequence
    house.take(sequence, entry)


def titles(taken: Taken) -> list[str]:
    return [f["event"]["title"] for f in taken.frames if f["type"] == "event"]


def test_who_watches_whom():
    house = hub()
    _, everyone = watch(house)
    _, ann = watch(house, {ANN})
    _, both = watch(house, {ANN, BEN})
    _, other_tenant = watch(house, tenant="other")
    _, same_id = watch(house, {ANN}, tenant="other")
    take(house, 11, event(ANN, number=1))
    take(house, 12, None)
    take(house, 13, event(BEN, number=2))
    take(house, 14, event(ANN, "other", number=3))
    assert titles(everyone) == titles(both) == ["n1", "n2"]
    assert titles(ann) == ["n1"]
    assert titles(other_tenant) == titles(same_id) == ["n3"]
    assert house.sequence == 14


def test_nobody_is_kept_who_has_left():
    house = hub()
    leaving = [watch(house)[0], watch(house, {ANN, BEN})[0]]
    for subscription in leaving:
        house.unwatch(subscription)
    assert not house._by_tenant
    assert not house._by_contact


def test_what_happens_waits_for_who_catches_up():
    house = hub()
    subscription, taken = watch(house, live=False)
    for n in range(11, 16):
        take(house, n, event(number=n, at=n))
    assert taken.frames == []
    subscription.go_live(13)
    assert titles(taken) == ["n14", "n15"]
    take(house, 16, event(number=16))
    assert titles(taken)[-1] == "n16"


def test_what_does_not_wait_any_more_is_known_to_be_lost():
    house = hub()
    subscription, taken = watch(house, live=False)
    for n in range(WAITING + 1):
        take(house, 11 + n, event(number=n))
    assert subscription.lost
    assert not subscription._waiting
    assert taken.frames == []


def test_what_waits_is_bounded_by_what_its_client_may_see():
    house = hub()
    subscription, taken = watch(house, {ANN}, Role.CONTACT, live=False)
    for n in range(WAITING + 1):
        take(house, 11 + n, event(number=n, realtime=False))
    assert not subscription.lost
    take(house, 2_000, event(number=2_000, payload={"x": "y" * WAITING_BYTES}))
    assert not subscription.lost
    take(house, 2_001, event(number=2_001))
    assert subscription.lost
    assert not subscription._waiting
    assert taken.frames == []


def test_what_has_been_sent_is_not_sent_again_as_the_hub_comes_to_it():
    house = hub()
    subscription, taken = watch(house, {ANN}, live=False)
    take(house, 11, event(number=1))
    subscription.go_live(13)
    for n in (12, 13, 14):
        take(house, n, event(number=n))
    assert titles(taken) == ["n14"]
    house.begin(CREATED + timedelta(days=1), 3)
    take(house, 4, event(number=20))
    assert titles(taken) == ["n14", "n20"]


def test_a_stream_made_anew():
    house = hub()
    _, live = watch(house)
    behind, catching = watch(house, {ANN}, live=False)
    take(house, 11, event())
    house.begin(CREATED + timedelta(days=1), 3)
    assert live.frames[-1] == catching.frames[-1] == {"type": "resync", "sub": "s", "reason": "stream_reset"}
    assert behind.live
    take(house, 4, event(number=9))
    assert titles(live)[-1] == titles(catching)[-1] == "n9"
    assert not house.is_of(CREATED, 100)
    assert house.is_of(CREATED + timedelta(days=1), 4)
    assert not house.is_of(CREATED + timedelta(days=1), 3)


def test_the_contacts_sequence_is_the_seam_of_an_opening():
    house = hub()
    subscription, taken = watch(house, {ANN}, Role.CONTACT, live=False)
    for n in range(1, 6):
        take(house, 10 + n, event(number=n, at=10 + n))
    subscription.floor = 3
    subscription.go_live(10)
    take(house, 16, event(number=3))
    assert titles(taken) == ["n4", "n5"]


@pytest.mark.parametrize(
    ("fields", "agent", "client"),
    [
        ({}, True, True),
        ({"visible_to_agent": False}, False, True),
        ({"visible_to_client": False}, True, False),
        ({"realtime": False}, True, False),
        ({"expires_at": "2020-01-01T00:00:00Z"}, False, False),
        ({"expires_at": "2120-01-01T00:00:00Z"}, True, True),
    ],
)
def test_who_is_shown_what(fields: dict[str, Any], agent: bool, client: bool):
    house = hub()
    taken = {role: watch(house, {ANN}, role)[1] for role in Role}
    take(house, 11, event(**fields))
    assert bool(taken[Role.AGENT].frames) == agent
    assert bool(taken[Role.CONTACT].frames) == client
    if agent:
        assert taken[Role.AGENT].frames[0]["event"]["metadata"] == {"secret": 1}
    if client:
        shown = taken[Role.CONTACT].frames[0]["event"]
        assert not shown.keys() & {"metadata", "triggered_by", "integration_source"}


@pytest.mark.parametrize("when", ["as it comes", "while it waits", "on its way"])
def test_what_expires_before_a_contacts_client_gets_it_is_said(monkeypatch: pytest.MonkeyPatch, when: str):
    class Clock(datetime):
        moment = datetime(2026, 1, 1, tzinfo=UTC)

        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return cls.moment

    def pass_time() -> None:
        Clock.moment = datetime(2026, 1, 3, tzinfo=UTC)

    monkeypatch.setattr(subscription_module, "datetime", Clock)
    house = hub()
    client, taken = watch(house, {ANN}, Role.CONTACT, live=when != "while it waits")
    _, agent = watch(house, {ANN})
    if when == "as it comes":
        pass_time()
    if when == "on its way":
        taken.before_writing = pass_time
    expired = str(uuid.uuid4())
    take(house, 11, event(id=expired, expires_at="2026-01-02T00:00:00Z"))
    take(house, 12, event(realtime=False, expires_at="2026-01-02T00:00:00Z"))
    if when == "while it waits":
        pass_time()
        client.go_live(10)
    assert taken.frames == []
    assert taken.missed == [("acme", ANN, expired)]
    assert agent.missed == []


def test_an_event_of_which_nobody_knows_who_may_see_it():
    """It was too large for the bus: all that is left are ids."""
    house = hub()
    _, taken = watch(house)
    _, client = watch(house, {ANN}, Role.CONTACT)
    body = json.dumps({"data": {"id": "x", "contact_id": str(ANN), "truncated": True}}).encode()
    take(house, 11, parse(11, f"timeline.note.acme.{ANN}", body))
    assert taken.frames == client.frames == [{"type": "resync", "sub": "s", "reason": "overflow"}]


def test_marks_are_told_of_events_that_one_may_know_of():
    ids = [str(uuid.uuid4()) for _ in range(3)]
    data = {
        "contact_id": str(ANN),
        "delivered": ids[:2],
        "read": ids[1:],
        "deleted": [],
        "at": "2026-01-31T09:30:00Z",
        "visible_to_client": ids[:1],
        "visible_to_agent": ids[1:],
    }
    house = hub()
    taken = {role: watch(house, {ANN}, role)[1] for role in Role}
    take(house, 11, parse(11, f"contact.timeline_changed.acme.{ANN}", json.dumps({"data": data}).encode()))
    (agent,), (client,) = taken[Role.AGENT].frames, taken[Role.CONTACT].frames
    assert (agent["type"], agent["delivered"], agent["read"]) == ("changed", ids[1:2], ids[1:])
    assert (client["delivered"], client["read"], client["deleted"]) == (ids[:1], [], [])
    take(
        house,
        12,
        parse(
            12,
            f"contact.timeline_changed.acme.{ANN}",
            json.dumps({"data": {**data, "visible_to_client": []}}).encode(),
        ),
    )
    assert len(taken[Role.CONTACT].frames) == 1


@pytest.mark.parametrize(
    ("subject", "body"),
    [
        (f"contact.created.acme.{ANN}", b'{"data": {}}'),
        ("timeline.note.acme.-", b'{"data": {}}'),
        (f"timeline.note.{ANN}", b'{"data": {}}'),
        (f"timeline.note.acme.{ANN}", b"nonsense"),
        (f"timeline.note.acme.{ANN}", b'{"data": []}'),
        (f"timeline.note.acme.{ANN}", b"[]"),
        (f"timeline.note.acme.{ANN}", b"{}"),
    ],
)
def test_what_is_no_timelines(subject: str, body: bytes):
    assert parse(1, subject, body) is None
