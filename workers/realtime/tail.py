"""The end of the stream EVENTS, as it grows, into the hub. Nothing is acknowledged: every instance reads all of it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from contracts.subjects import EVENTS, STRAY
from ops import metrics
from ops.logging import get_logger
from workers.engine.log import Log, StreamState
from workers.engine.record import Reader, Record, StreamChanged
from workers.faults import TRANSIENT, said
from workers.realtime.entries import CHANGED, parse
from workers.realtime.hub import Hub

READ_MESSAGES: Final = 500
READ_BYTES: Final = 4 << 20
CHECK_SECONDS: Final = 2.0  # after which it is asked again whether anything left the stream unread
ASLEEP_SECONDS: Final = 0.25  # without a message, after which this process may have been asleep
SLICE: Final = 32  # messages after which the clients' writers get their turn
WAITS: Final = (0.05, 2.0)  # seconds after a failure: at first, at most

# Read as one partition: one consumer of these subjects, in the order of the stream.
WATCHED: Final = replace(EVENTS, stray_filters=("timeline.>", f"{CHANGED}.>"))

log = get_logger("workers.realtime.tail")


class Tail:
    """Follows a log of ``WATCHED``. ``problem`` says why nothing comes at the moment.

    A consumer steps over what has left the stream, and does not say so. So whoever may have been overtaken (a process that was
    stopped, a connection that was away) asks what the stream begins with before it hands on what comes next.
    """

    def __init__(self, source: Log, hub: Hub) -> None:
        self._log = source
        self._hub = hub
        self._until = 0  # of the stream's sequences: nothing up to there is to be read any more
        self._checked = self._read = time.monotonic()
        self.problem: str | None = "starting"

    async def run(self) -> None:
        """Until cancelled. Raises what is neither passing nor an operator's to mend."""
        wait, longest = WAITS
        while True:
            reader = None
            try:
                reader = await self._opened()
                self.problem = None
                wait = WAITS[0]
                while True:
                    await self._take(await self._next(reader))
            except (StreamChanged, *TRANSIENT) as error:
                self._failed(error)
            finally:
                if reader is not None:
                    await reader.close()
            await asyncio.sleep(wait)
            wait = min(wait * 2, longest)

    async def _opened(self) -> Reader:
        """A reader behind what the hub has. A stream that is not the one it was is begun at its end."""
        found = await self._log.state()
        if not self._hub.is_of(found.created, found.last_sequence):
            self._hub.begin(found.created, found.last_sequence)
            self._until = 0
        self._look(found)
        reader = await self._log.reader(found.created)
        await reader.assign({STRAY: self._hub.sequence})
        return reader

    async def _next(self, reader: Reader) -> list[Record]:
        """What comes next. Raises StreamChanged, OSError."""
        reading = asyncio.ensure_future(reader.read(READ_MESSAGES, READ_BYTES))
        try:
            while not (await asyncio.wait({reading}, timeout=CHECK_SECONDS))[0]:
                await self._check()
                await reader.lag()
                if (idle := reader.idle_positions().get(STRAY)) is not None:
                    self._until = idle.until
            now = time.monotonic()
            if now - self._read > ASLEEP_SECONDS or now - self._checked > CHECK_SECONDS:
                await self._check()
            self._read = time.monotonic()
            return reading.result()
        finally:
            reading.cancel()

    async def _check(self) -> None:
        """That the stream is the same, and holds what was not read. Raises StreamChanged, OSError."""
        found = await self._log.state()
        if not self._hub.is_of(found.created, found.last_sequence):
            raise StreamChanged(f"stream {EVENTS.name} was made anew, or lost its end")
        self._look(found)

    def _look(self, found: StreamState) -> None:
        self._checked = time.monotonic()
        if found.first_sequence > max(self._hub.sequence, self._until) + 1:
            log.warning("overtaken", operation="tail", at=self._hub.sequence, first=found.first_sequence)
            self._hub.skip(found.first_sequence - 1)

    async def _take(self, records: list[Record]) -> None:
        for n, record in enumerate(records, 1):
            if record.sequence <= self._hub.sequence:
                continue  # read before it was known that what follows it had left the stream
            self._hub.take(record.sequence, parse(record.sequence, record.subject, record.data))
            if n % SLICE == 0:
                await asyncio.sleep(0)
        metrics.REALTIME_LAG_SECONDS.observe((datetime.now(UTC) - records[-1].time).total_seconds())

    def _failed(self, error: Exception) -> None:
        problem = f"no events come: {said(error)}"
        if problem != self.problem:
            log.warning("waiting", operation="tail", error=said(error))
        self.problem = problem
