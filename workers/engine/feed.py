"""One partition of a NATS reader: what the broker was asked for, what has arrived, what was handed out. Pure.

Invariants:

- The buffer holds what follows ``position`` without a gap: the consumer's sequence has risen by exactly one a message,
  or everything was dropped and the feed waits for a new consumer at ``position`` + 1.
- At most one pull is under way, so that what is buffered and what may still arrive stay within the window together.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import NamedTuple

from workers.engine.wire import Delivery, Status

PULL_MESSAGES = 1000
PULL_SECONDS = 30  # a pull that nothing answers is renewed
HEARTBEAT_SECONDS = 5  # the broker shows that it has the pull


class Frame(NamedTuple):
    """A message as it arrived."""

    sequence: int
    nanoseconds: int
    subject: bytes
    headers: bytes | None
    data: bytes


class Pull(NamedTuple):
    """A request for messages; ``max_bytes`` 0 asks for one message of any size."""

    batch: int
    max_bytes: int


class Heard(enum.Enum):
    """What a status of the broker comes to."""

    NOTHING = 0
    PULL_ENDED = 1
    BROKEN = 2


class Feed:
    __slots__ = (
        "buffer",
        "buffered",
        "consumer",
        "expected",
        "idle",
        "left",
        "oversized",
        "partition",
        "pending",
        "position",
        "quiet_sweeps",
    )

    def __init__(self, partition: int, position: int) -> None:
        self.partition = partition
        self.position = position  # the last sequence handed out
        self.idle = 0  # nothing of this partition is stored between position and here
        self.pending = 0  # messages that the broker has left, as it last said
        self.consumer: bytes | None = None
        self.buffer: deque[Frame] = deque()
        self.drop()

    def drop(self) -> bytes | None:
        """Forget what was not handed out, but not that it waits. Returns the consumer to delete, if there was one."""
        gone = self.consumer
        self.consumer = None
        self.pending += len(self.buffer)
        self.buffer.clear()
        self.buffered = 0
        self.expected = 1
        self.left = 0  # messages that the pull under way may still bring; 0 without one
        self.oversized = False  # the next message is larger than a window
        self.quiet_sweeps = 0
        return gone

    def begin(self, consumer: bytes, pending: int) -> None:
        """A consumer at position + 1 is there."""
        self.consumer = consumer
        self.pending = pending

    def arrived(self, delivery: Delivery, frame: Frame) -> bool:
        """Keep a message; False when one is missing before it."""
        if delivery.consumer_sequence != self.expected or frame.sequence <= self.position:
            return False
        self.expected += 1
        self.pending = delivery.pending
        self.left -= 1
        self.quiet_sweeps = 0
        self.buffer.append(frame)
        self.buffered += len(frame.data)
        return True

    def told(self, status: Status) -> Heard:
        """What a status means for the pull under way."""
        self.quiet_sweeps = 0
        if status.code == 100:
            return Heard.NOTHING
        if status.code in (404, 408):
            self.left = 0
            return Heard.PULL_ENDED
        if status.code == 409 and "MaxBytes" in status.text:
            self.oversized = self.left == PULL_MESSAGES and not self.buffer  # not even the first one fitted
            self.left = 0
            return Heard.PULL_ENDED
        return Heard.BROKEN

    def next_pull(self, window: int) -> Pull | None:
        """What to ask for now, given the bytes that this feed may hold."""
        if self.consumer is None or self.left:
            return None
        if self.oversized:
            return None if self.buffer else Pull(1, 0)
        room = window - self.buffered
        if room * 2 < window or len(self.buffer) >= PULL_MESSAGES:
            return None
        return Pull(PULL_MESSAGES, room)

    def pulled(self, pull: Pull) -> None:
        self.left = pull.batch
        self.oversized = pull.max_bytes == 0

    def take(self) -> Frame:
        """Hand out the next message."""
        frame = self.buffer.popleft()
        self.buffered -= len(frame.data)
        self.position = frame.sequence
        self.oversized = False
        return frame

    @property
    def idles(self) -> bool:
        """Whether everything that the broker spoke of was handed out, and a pull waits for more."""
        return self.consumer is not None and self.left > 0 and self.pending == 0 and not self.buffer

    def sweep(self) -> bool:
        """Called once a heartbeat; False when the broker has been silent for too long while a pull was under way."""
        if not self.left:
            self.quiet_sweeps = 0
            return True
        self.quiet_sweeps += 1
        return self.quiet_sweeps < 4
