"""The end of the stream EVENTS, as it grows, into the hub. Nothing is acknowledged: every instance reads all of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from contracts.subjects import EVENTS, STRAY
from ops import metrics
from ops.logging import get_logger
from workers.engine.log import Log
from workers.engine.record import Reader, Record, StreamChanged
from workers.faults import TRANSIENT, said
from workers.realtime.entries import CHANGED, parse
from workers.realtime.hub import Hub

READ_MESSAGES: Final = 500
READ_BYTES: Final = 4 << 20
SLICE: Final = 32  # messages after which the clients' writers get their turn
WAITS: Final = (0.05, 2.0)  # seconds after a failure: at first, at most

# Read as one partition: one consumer of these subjects, in the order of the stream.
WATCHED: Final = replace(EVENTS, stray_filters=("timeline.>", f"{CHANGED}.>"))

log = get_logger("workers.realtime.tail")


class Tail:
    """Follows a log of ``WATCHED``. ``problem`` says why nothing comes at the moment."""

    def __init__(self, source: Log, hub: Hub) -> None:
        self._log = source
        self._hub = hub
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
                    await self._take(await reader.read(READ_MESSAGES, READ_BYTES))
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
        reader = await self._log.reader(found.created)
        await reader.assign({STRAY: self._hub.sequence})
        return reader

    async def _take(self, records: list[Record]) -> None:
        for n, record in enumerate(records, 1):
            self._hub.take(record.sequence, parse(record.sequence, record.subject, record.data))
            if n % SLICE == 0:
                await asyncio.sleep(0)
        metrics.REALTIME_LAG_SECONDS.observe((datetime.now(UTC) - records[-1].time).total_seconds())

    def _failed(self, error: Exception) -> None:
        problem = f"no events come: {said(error)}"
        if problem != self.problem:
            log.warning("waiting", operation="tail", error=said(error))
        self.problem = problem
