"""Which contacts have changed: a durable consumer of EVENTS that all indexers share.

Only the subject of an event is read; what the contact looks like now is in the database. So events may come twice, late
and out of order, and an event is acknowledged when the contact's state, as it was read after the event came, is indexed.
What is held here and takes long is held on to by saying so; what a dead indexer held is delivered to the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import orjson
from nats.aio.client import Client
from nats.aio.subscription import Subscription

from contracts.subjects import EVENTS, NO_KEY
from storage.contacts import ContactKey
from workers.engine.wire import LogClient, parse_delivery, parse_status, parse_time
from workers.jetstream import api
from workers.lag import CHANGES, CONSUMER

BATCH: Final = 500  # contacts
HELD: Final = 10_000  # events that all indexers together may hold
LINGER: Final = 0.03  # seconds that a small batch waits for more
PULL_SECONDS: Final = 30
FLUSH_SECONDS: Final = 2
HEARTBEAT_SECONDS: Final = 2  # the broker shows that it has the pull
NANOSECONDS: Final = 1_000_000_000

# Events beside which the contact stays as it was.
NOT_CHANGES: Final = frozenset({"rejected", "timeline_changed"})

ACK, HOLD, GIVE_BACK = b"+ACK", b"+WPI", b"-NAK"


@dataclass(frozen=True, slots=True)
class Change:
    """The latest event of a contact in a batch."""

    sequence: int
    subject: str
    time: datetime


@dataclass(slots=True)
class Batch:
    """Contacts that have changed, and the acknowledgements of every event that said so."""

    contacts: dict[ContactKey, Change] = field(default_factory=dict)
    replies: list[str] = field(default_factory=list)


def contact_of(subject: str) -> ContactKey | None:
    """The contact that an event's subject names; None where the event changes none."""
    _, kind, tenant, named = subject.split(".") if subject.count(".") == 3 else ("", "", "", NO_KEY)
    if kind in NOT_CHANGES:
        return None
    try:
        return tenant, uuid.UUID(named)
    except ValueError:
        return None


class Changes:
    """Reads the consumer over a connection that somebody else keeps. ``hold_seconds``: until a silent indexer is not waited for."""

    def __init__(self, client: LogClient, hold_seconds: float) -> None:
        self._client = client
        self._hold_seconds = hold_seconds
        self._inbox = client.new_inbox()
        self._subscription: Subscription | None = None
        self._holding: asyncio.Task[None] | None = None
        self._arrived = asyncio.Event()
        self._queue: deque[tuple[bytes, str]] = deque()  # subject and reply
        self._held: dict[str, None] = {}  # replies of everything that is here and not acknowledged
        self._pulls = 0
        self._left = 0  # messages that the pull under way may still bring; 0 without one
        self._heard = 0.0  # when the broker last said something about it
        self._reconnects = -1
        self._known = False  # whether the consumer is as it must be, as far as is known

    async def open(self) -> None:
        """Raises Refused and NoAnswer."""
        await declare(self._client, self._hold_seconds)
        self._subscription = await self._client.subscribe(f"{self._inbox}.*")
        self._client.route(self._subscription, self._receive)
        self._holding = asyncio.create_task(self._hold(), name="holding")

    async def close(self) -> None:
        """Give back what is held, so that the others need not wait for it."""
        if self._holding is not None:
            self._holding.cancel()
            await asyncio.gather(self._holding, return_exceptions=True)
        if self._subscription is not None:
            self._client.unroute(self._subscription)
            with contextlib.suppress(Exception):
                await self._subscription.unsubscribe()
                await self._say(GIVE_BACK, list(self._held))
                await self._client.flush(timeout=FLUSH_SECONDS)
        self._held.clear()
        self._queue.clear()

    def wake(self) -> None:
        """Let ``take`` return."""
        self._arrived.set()

    async def take(self, timeout: float) -> Batch:
        """The contacts that have changed, at most BATCH; empty after ``timeout`` seconds or ``wake``.

        Raises Refused (no stream, no consumer of ours) and NoAnswer.
        """
        until = time.monotonic() + timeout
        self._arrived.clear()
        await self._pull()
        while not self._queue:
            left = until - time.monotonic()
            if left <= 0:
                return Batch()
            try:
                async with asyncio.timeout(min(left, HEARTBEAT_SECONDS)):
                    await self._arrived.wait()
            except TimeoutError:
                await self._pull()
            else:
                self._arrived.clear()
                if not self._queue:
                    return Batch()
        if len(self._queue) < BATCH:
            await asyncio.sleep(LINGER)
        batch = self._collect()
        await self._pull()  # the next one comes while this one is written
        return batch

    async def done(self, batch: Batch) -> None:
        """Every event of the batch is behind us."""
        for reply in batch.replies:
            self._held.pop(reply, None)
        await self._say(ACK, batch.replies)

    def _collect(self) -> Batch:
        batch = Batch()
        while self._queue and len(batch.contacts) < BATCH:
            name, reply = self._queue.popleft()
            batch.replies.append(reply)
            subject = name.decode("ascii", "replace")
            key = contact_of(subject)
            if key is not None:
                delivery = parse_delivery(reply.encode())
                batch.contacts[key] = Change(delivery.sequence, subject, parse_time(delivery.nanoseconds))
        return batch

    def _receive(self, subject: bytes, reply: bytes, _data: bytes, headers: bytes | None) -> None:
        """In the client's read loop."""
        self._heard = time.monotonic()
        if reply.startswith(b"$JS.ACK."):
            named = reply.decode("ascii", "replace")
            self._left = max(0, self._left - 1)
            self._held[named] = None
            self._queue.append((subject, named))
            self._arrived.set()
            return
        if subject != f"{self._inbox}.{self._pulls}".encode():
            return  # of a pull that was given up
        code = parse_status(headers).code
        if code == 100:
            return
        self._left = 0
        if code not in (404, 408):
            self._known = False  # the consumer may have gone

    async def _pull(self) -> None:
        """See to it that a pull is under way, unless enough is here already."""
        reconnects = self._client.stats["reconnects"]
        if reconnects != self._reconnects:
            self._reconnects = reconnects
            self._left = 0
            self._known = False
        if time.monotonic() - self._heard > 3 * HEARTBEAT_SECONDS:
            self._left = 0
        if self._left or len(self._queue) >= BATCH:
            return
        if not self._known:
            await declare(self._client, self._hold_seconds)
            self._known = True
        self._pulls += 1
        self._left = BATCH
        self._heard = time.monotonic()
        asked = {
            "batch": BATCH,
            "expires": PULL_SECONDS * NANOSECONDS,
            "idle_heartbeat": HEARTBEAT_SECONDS * NANOSECONDS,
        }
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{EVENTS.name}.{CONSUMER}"
        await self._client.publish(subject, orjson.dumps(asked), f"{self._inbox}.{self._pulls}")

    async def _hold(self) -> None:
        while True:
            await asyncio.sleep(self._hold_seconds / 3)
            with contextlib.suppress(Exception):  # while the broker is away there is nothing to hold on to
                await self._say(HOLD, list(self._held))

    async def _say(self, what: bytes, replies: list[str]) -> None:
        for reply in replies:
            await self._client.publish(reply, what)


async def declare(client: Client, hold_seconds: float) -> None:
    """Make the consumer, or make it what it must be. Raises Refused and NoAnswer."""
    config: dict[str, Any] = {
        "durable_name": CONSUMER,
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "ack_wait": int(hold_seconds * NANOSECONDS),
        "max_ack_pending": HELD,
        "max_deliver": -1,
        "filter_subject": CHANGES,
        "headers_only": True,
        "replay_policy": "instant",
    }
    subject = f"CONSUMER.CREATE.{EVENTS.name}.{CONSUMER}.{CHANGES}"
    await api(client, subject, {"stream_name": EVENTS.name, "config": config})
