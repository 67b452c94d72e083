"""How fast a client may send, by a clock of the test's."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from contracts.realtime.requests import Ack, ClientFrame, Ping, Read
from workers.realtime import allowance
from workers.realtime.allowance import Allowance


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    made = Clock()
    monkeypatch.setattr(allowance, "time", made)
    return made


def taken(clock: Clock, frame: ClientFrame | None, a_second: int, seconds: int) -> int:
    """How many of so many a second are taken before the first is not."""
    clock.now = 0.0
    left = Allowance()
    for n in range(a_second * seconds):
        clock.now = n / a_second
        if not left.take(frame):
            return n
    return a_second * seconds


def test_whoever_acknowledges_every_event_alone_may_go_on(clock: Clock):
    for frame in (Ack(ids=[uuid.uuid4()]), Read(ids=[uuid.uuid4()])):
        assert taken(clock, frame, 200, 60) == 200 * 60
        assert taken(clock, frame, 5_000, 60) == pytest.approx(3_750, abs=2)


def test_whoever_asks_may_not(clock: Clock):
    assert taken(clock, Ping(), 100, 60) == 100 * 60
    for frame in (Ping(), None):
        assert taken(clock, frame, 200, 60) == pytest.approx(600, abs=2)
