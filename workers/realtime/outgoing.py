"""What waits to be sent to one client: bounded, in order, written out as fast as the client reads.

Invariants:

- Whoever reads too slowly loses frames about events, never others, and is told so once for each subscription that lost any:
  the resync comes where the lost ones would have, before everything that happens later.
- Nothing here makes another client wait: putting never blocks, and only the client's own writer does.
- Every frame counts, in number and in size. Whoever can wait for room does, so that a client for which much else waits is one
  that sends and never reads: it is let go.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

import orjson

from contracts.vocabulary import ResyncReason
from ops import metrics

MOST_BYTES: Final = 4 << 20  # of frames about events that wait, and of the others; one of any size aside

Send = Callable[[str], Awaitable[None]]


class Renderable(Protocol):
    """A frame about an event, made when its turn comes."""

    @property
    def sub(self) -> str: ...
    @property
    def size(self) -> int: ...  # characters, about

    def text(self) -> str | None:
        """None when it is not to be sent any more."""


@dataclass(frozen=True, slots=True)
class _Resync:
    sub: str
    reason: ResyncReason

    def text(self) -> str:
        return orjson.dumps({"type": "resync", "sub": self.sub, "reason": self.reason}).decode()


class Outgoing:
    """``send`` writes one frame and waits while the client is slow; it raises OSError once the client has gone.

    ``clogged`` is called, once, when so much waits, events aside, that the client cannot be reading.
    """

    def __init__(self, send: Send, most: int, clogged: Callable[[], None]) -> None:
        self._send = send
        self._most = most  # frames
        self._clogged: Callable[[], None] | None = clogged
        self.turn = asyncio.Lock()  # of whoever holds a page that is to be sent: one at a time
        self._queue: deque[str | _Resync | Renderable] = deque()
        self._bytes = 0  # of events
        self._others = 0  # bytes of the other frames
        self._writer: asyncio.Task[None] | None = None
        # Where somebody has waited for room: an idle socket has none.
        self._moved: asyncio.Event | None = None
        self._ended = False

    def put(self, frame: str) -> None:
        """A frame that is no event's."""
        is_clogged = len(self._queue) >= 2 * self._most or self._others > MOST_BYTES
        self._others += len(frame)
        self._append(frame)
        if is_clogged and self._clogged is not None:
            clogged, self._clogged = self._clogged, None
            clogged()

    def offer(self, frame: Renderable) -> None:
        """A frame about an event; where there is no room for it, its subscription is told to refetch."""
        if self._bytes and (len(self._queue) >= self._most or self._bytes + frame.size > MOST_BYTES):
            self._overflow(frame.sub)
            return
        self._bytes += frame.size
        self._append(frame)

    def resync(self, sub: str, reason: ResyncReason) -> None:
        """Tell a subscription to refetch; what waits for it is not sent."""
        kept = [f for f in self._queue if isinstance(f, str) or f.sub != sub]
        self._replace([*kept, _Resync(sub, reason)])
        metrics.REALTIME_RESYNCS.labels(reason).inc()

    def drop(self, sub: str) -> None:
        """Nothing that waits for the subscription is wanted any more."""
        self._replace([f for f in self._queue if isinstance(f, str) or f.sub != sub])

    async def room(self) -> None:
        """Wait until there is room for someone who can wait. Raises OSError once the client has gone."""
        while len(self._queue) * 2 >= self._most or (self._bytes + self._others) * 2 >= MOST_BYTES:
            if self._moved is None:
                self._moved = asyncio.Event()
            self._moved.clear()
            self._check()
            await self._moved.wait()
        self._check()

    async def flush(self, seconds: float) -> None:
        """Wait until everything is written, or for so long."""
        if self._writer is not None:
            await asyncio.wait({self._writer}, timeout=seconds)

    def close(self) -> None:
        """Nothing is written any more."""
        self._ended = True
        self._replace([])
        self._move()
        if self._writer is not None:
            self._writer.cancel()

    def _overflow(self, sub: str) -> None:
        losers = {f.sub for f in self._queue if not isinstance(f, str)} | {sub}
        reasons = {f.sub: f.reason for f in self._queue if isinstance(f, _Resync)}
        kept: list[str | _Resync | Renderable] = [f for f in self._queue if isinstance(f, str)]
        for loser in sorted(losers):
            kept.append(_Resync(loser, reasons.get(loser, ResyncReason.OVERFLOW)))
            metrics.REALTIME_RESYNCS.labels(ResyncReason.OVERFLOW).inc(loser not in reasons)
        self._replace(kept)

    def _replace(self, frames: list[str | _Resync | Renderable]) -> None:
        self._queue = deque(frames)
        self._bytes = sum(f.size for f in frames if not isinstance(f, str | _Resync))
        self._others = sum(len(f) for f in frames if isinstance(f, str))
        self._wake()

    def _append(self, frame: str | Renderable) -> None:
        if not self._ended:
            self._queue.append(frame)
            self._wake()

    def _wake(self) -> None:
        if self._queue and self._writer is None and not self._ended:
            self._writer = asyncio.create_task(self._write(), name="write")

    def _move(self) -> None:
        if self._moved is not None:
            self._moved.set()

    def _check(self) -> None:
        if self._ended:
            raise ConnectionResetError("the client has gone")

    async def _write(self) -> None:
        """Lives while something waits, so that an idle client costs no task."""
        try:
            while self._queue:
                frame = self._queue.popleft()
                if isinstance(frame, str):
                    self._others -= len(frame)
                    text: str | None = frame
                elif isinstance(frame, _Resync):
                    text = frame.text()
                else:
                    self._bytes -= frame.size
                    text = frame.text()
                self._move()
                if text is not None:
                    await self._send(text)
        except OSError:
            self._ended = True
            self._replace([])
        finally:
            self._writer = None
            self._move()
