"""What waits is counted until it is committed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from workers.engine.feed import Feed, Frame
from workers.engine.record import Lag, total
from workers.engine.wire import Delivery

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_the_oldest_of_several_counts():
    found = total([Lag(2, NOON), Lag(), Lag(1, NOON - timedelta(seconds=5)), Lag(3, None, "why")])
    assert found == (6, NOON - timedelta(seconds=5), "why")
    assert total([]) == (0, None, None)


def test_the_age_is_of_the_oldest_and_never_negative():
    assert Lag().seconds == 0
    assert Lag(1, datetime.now(UTC) + timedelta(seconds=60)).seconds == 0
    assert 59 < Lag(1, datetime.now(UTC) - timedelta(seconds=60)).seconds < 90


def test_what_a_feed_forgets_still_waits():
    feed = Feed(1, 0)
    feed.begin(b"c", 3)
    for sequence in (1, 2):
        arrived = Delivery(b"c", sequence, sequence, 0, 3 - sequence)
        assert feed.arrived(arrived, Frame(sequence, 0, b"s", None, b""))
    feed.take()
    feed.drop()
    assert feed.pending == 2
