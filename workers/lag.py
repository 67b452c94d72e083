"""How far what is indexed may be behind what is committed.

A change is on its way in two places: in the outbox, until the relay has published its events, and in the stream, until an
indexer has acknowledged them. The lag is the age of the oldest change in either. It says nothing of a change whose event the
stream has dropped unread.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

import asyncpg
from nats.aio.client import Client

from contracts.subjects import EVENTS
from storage import outbox
from storage.postgres import WRITER, connect
from storage.search import state
from storage.search.state import State
from workers import streams
from workers.jetstream import NO_MESSAGE, NoAnswer, Refused, api, parse_time

CONSUMER: Final = "indexer"  # the durable consumer that all indexers share
CHANGES: Final = "contact.>"  # the events that say which contact has changed
FRESH: Final = 1.0  # seconds that an answer is good for
TIMEOUT: Final = 1.0  # seconds a look may take

# What keeps the lag from being known.
UNKNOWN: Final = (
    Refused,
    NoAnswer,
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


class Event(NamedTuple):
    """An event in the stream."""

    sequence: int
    time: datetime


class Waiting(NamedTuple):
    """What the stream holds for the indexers, by the broker's clock. ``oldest`` None: nothing."""

    now: datetime
    oldest: Event | None

    @property
    def seconds(self) -> float:
        return 0.0 if self.oldest is None else max(0.0, (self.now - self.oldest.time).total_seconds())


async def waiting(client: Client) -> Waiting:
    """The oldest change that no indexer has acknowledged. Raises Refused (no stream, no consumer) and NoAnswer."""
    info = await api(client, f"CONSUMER.INFO.{EVENTS.name}.{CONSUMER}")
    now = parse_time(info["ts"])
    # A consumer that was just made says for a moment that nothing is pending, whatever there is.
    fresh = not info["delivered"]["consumer_seq"]
    if not info["num_pending"] and not info["num_ack_pending"] and not fresh:
        return Waiting(now, None)
    after = {"seq": info["ack_floor"]["stream_seq"] + 1, "next_by_subj": CHANGES}
    try:
        found = (await api(client, f"STREAM.MSG.GET.{EVENTS.name}", after))["message"]
    except Refused as refusal:
        if refusal.code != NO_MESSAGE:
            raise
        return Waiting(now, None)
    return Waiting(now, Event(found["seq"], parse_time(found["time"])))


def dropped(stream: Mapping[str, Any], known: State) -> bool:
    """Whether the stream, by its info, may have dropped events that were not indexed."""
    if known.caught_up_at is None:
        return False
    if parse_time(stream["created"]) > known.caught_up_at:
        return True
    held = stream["state"]
    if known.caught_up_sequence is not None:
        return bool(held["first_seq"] > known.caught_up_sequence + 1)
    # All that is known is a time: nothing was missed while something from before it is there, or was the last to go.
    oldest = parse_time(held["first_ts"] if held["messages"] else held["last_ts"])
    return bool(held["first_seq"] > 1 and oldest > known.caught_up_at)


class Lag:
    """The lag as of about a second ago. ``bus`` answers the connected client.

    ``incomplete``, as of the last look that went well: whether the index lacks changes that no event brings any more.
    """

    def __init__(self, dsn: str, bus: Callable[[], Client]) -> None:
        self._dsn = dsn
        self._bus = bus
        self._connection: asyncpg.Connection | None = None
        self._looking = asyncio.Lock()
        self._seconds: float | None = None
        self.incomplete = False
        self._at = -float("inf")

    async def seconds(self) -> float | None:
        """0 when nothing is on its way; None when it cannot be known: no indexer has ever run, or a server is out of reach."""
        async with self._looking:  # whoever asks meanwhile waits for the same look
            if time.monotonic() - self._at > FRESH:
                self._seconds = await self._look()
                self._at = time.monotonic()
            return self._seconds

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await connection.close(timeout=TIMEOUT)

    async def _look(self) -> float | None:
        connection, self._connection = self._connection, None
        try:
            async with asyncio.timeout(TIMEOUT):
                if connection is None or connection.is_closed():
                    connection = await connect(self._dsn, WRITER, "rollcall lag")
                unpublished = await outbox.oldest(connection)
                known = await state.read(connection)
                stream = await streams.info(self._bus(), EVENTS.name)
                unread = await waiting(self._bus())
        # Also where who waits gives up: what state the connection is in nobody knows.
        except BaseException as error:
            if connection is not None:
                connection.terminate()
            if isinstance(error, UNKNOWN):
                return None
            raise
        self._connection = connection
        gone = stream is not None and dropped(stream, known)
        self.incomplete = gone or known.incomplete_since is not None
        return max(unpublished, unread.seconds)
