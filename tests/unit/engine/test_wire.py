from datetime import UTC, datetime

import pytest

from workers.engine.feed import PULL_MESSAGES, Feed, Frame, Heard, Pull
from workers.engine.wire import Delivery, Status, parse_delivery, parse_headers, parse_status, parse_time


def test_deliveries_of_both_forms():
    plain = parse_delivery(b"$JS.ACK.WEBHOOK.abc-1.1.77.3.1790000000123456789.5")
    assert plain == Delivery(b"abc-1", 77, 3, 1790000000123456789, 5)
    assert parse_delivery(b"$JS.ACK.hub.ACCHASH.WEBHOOK.abc-1.1.77.3.1790000000123456789.5.token") == plain
    with pytest.raises(ValueError):
        parse_delivery(b"$JS.ACK.WEBHOOK.abc-1.1")


def test_headers():
    raw = b"NATS/1.0\r\nce-id: 1\r\nRollcall-Reply-To:_INBOX.a\r\nnot a header\r\nBad: \xff\r\n\r\n"
    assert parse_headers(raw) == {"ce-id": "1", "Rollcall-Reply-To": "_INBOX.a", "Bad": "\ufffd"}
    assert parse_headers(None) == {}


def test_statuses():
    assert parse_status(b"NATS/1.0 100 Idle Heartbeat\r\n\r\n") == Status(100, "Idle Heartbeat")
    assert parse_status(b"NATS/1.0 503\r\n\r\n") == Status(503, "")
    assert parse_status(b"NATS/1.0\r\na: b\r\n\r\n").code == 0
    assert parse_status(None).code == 0


def test_times_keep_their_microseconds():
    assert parse_time(1790000000123456789) == datetime(2026, 9, 21, 14, 13, 20, 123456, UTC)


def frame(sequence: int, size: int = 10) -> Frame:
    return Frame(sequence, 0, b"webhook.1.message.a.k", None, b"x" * size)


def begun(position: int = 0) -> Feed:
    feed = Feed(1, position)
    feed.begin(b"c", 10)
    feed.pulled(Pull(PULL_MESSAGES, 1000))
    return feed


def arrive(feed: Feed, sequence: int, consumer_sequence: int, pending: int = 0, size: int = 10) -> bool:
    return feed.arrived(Delivery(b"c", sequence, consumer_sequence, 0, pending), frame(sequence, size))


def test_a_gap_is_noticed():
    feed = begun()
    assert arrive(feed, 5, 1)
    assert not arrive(feed, 9, 3)
    feed.drop()
    assert feed.position == 0
    assert not feed.buffer


def test_what_is_buffered_and_may_still_come_stays_within_the_window():
    feed = begun()
    assert feed.next_pull(1000) is None  # one is under way
    for n in range(1, 7):
        assert arrive(feed, n, n, size=100)
    assert feed.told(Status(409, "Message Size Exceeds MaxBytes")) is Heard.PULL_ENDED
    assert feed.next_pull(1000) is None  # less than half of the window is free
    feed.take()
    assert feed.next_pull(1000) == Pull(PULL_MESSAGES, 500)


def test_a_message_larger_than_a_window_comes_alone():
    feed = begun()
    feed.told(Status(409, "Message Size Exceeds MaxBytes"))
    pull = feed.next_pull(1000)
    assert pull == Pull(1, 0)
    feed.pulled(pull)
    assert arrive(feed, 1, 1, size=5000)
    assert feed.next_pull(1000) is None
    feed.take()
    assert feed.next_pull(1000) == Pull(PULL_MESSAGES, 1000)


@pytest.mark.parametrize(
    "status", [Status(503, ""), Status(409, "Consumer Deleted"), Status(400, "Bad Request")]
)
def test_a_consumer_that_has_gone_breaks_the_feed(status: Status):
    assert begun().told(status) is Heard.BROKEN


def test_silence_breaks_the_feed_only_while_a_pull_is_under_way():
    feed = begun()
    assert [feed.sweep() for _ in range(3)] == [True, True, True]
    feed.told(Status(100, "Idle Heartbeat"))
    assert [feed.sweep() for _ in range(4)] == [True, True, True, False]
    feed.told(Status(408, "Request Timeout"))
    assert all(feed.sweep() for _ in range(10))


def test_idle_means_everything_was_handed_out_and_a_pull_waits():
    feed = begun(5)
    feed.pending = 1
    assert not feed.idles
    arrive(feed, 6, 1)
    assert not feed.idles
    feed.take()
    assert feed.idles
    feed.told(Status(408, "Request Timeout"))
    assert not feed.idles
