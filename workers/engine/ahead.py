"""Reads and decodes the next batch while the present one is applied."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from ops import failpoint
from workers.engine.batch import Batch, Unread
from workers.engine.record import Lag, Message, Reader, Record, lag_of, total

M = TypeVar("M", bound=Message)

SLICE = 64  # records decoded before others on the event loop get their turn


class Ahead(Generic[M]):
    """Fills one batch until someone takes it, and then the next. ``ready`` is set when there is something to take."""

    def __init__(
        self,
        reader: Reader,
        decode: Callable[[Record], M | Unread],
        max_records: int,
        max_bytes: int,
        ready: asyncio.Event,
    ) -> None:
        self._reader = reader
        self._decode = decode
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._ready = ready
        self._room = asyncio.Event()
        self._decoding: list[Record] = []
        self._next: Batch[M] = Batch()
        self._task = asyncio.create_task(self._fill(), name="read ahead")
        self._task.add_done_callback(lambda _: ready.set())

    def take(self) -> Batch[M]:
        """What is there, perhaps nothing. Raises what the reader raised."""
        if self._task.done():
            self._task.result()
        taken, self._next = self._next, Batch()
        self._room.set()
        return taken

    def lag(self) -> Lag:
        """Of what was read and not taken, also after ``stop``."""
        return total((lag_of(self._decoding), self._next.lag()))

    async def stop(self) -> None:
        """What was read and not taken is forgotten; the reader must be told where to go on."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _fill(self) -> None:
        while True:
            records = self._decoding = await self._reader.read(
                self._max_records - len(self._next), self._max_bytes - self._next.size
            )
            failpoint.hit("after_read")
            decoded: list[M | Unread] = []
            for n, record in enumerate(records, 1):
                decoded.append(self._decode(record))
                if n % SLICE == 0:
                    await asyncio.sleep(0)
            for entry in decoded:
                self._next.add(entry)
            self._decoding = []
            self._ready.set()
            while len(self._next) >= self._max_records or self._next.size >= self._max_bytes:
                self._room.clear()
                await self._room.wait()
