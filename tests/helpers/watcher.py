"""A client of the realtime worker, as a program would write one: it keeps every frame that it is sent."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Literal

import websockets
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

Frame = dict[str, Any]
WITHIN = 30.0  # seconds that a frame is waited for


class Watcher:
    """``frames`` are those that have come; ``code`` is the close code, once the server has closed."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.frames: list[Frame] = []
        self.code: int | None = None
        self.closed = asyncio.Event()
        self._come = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    @asynccontextmanager
    async def open(cls, http: str, token: str | None = None, **options: Any) -> AsyncIterator[Watcher]:
        """Connect and, with a token, wait until the session is ready."""
        url = http.replace("http://", "ws://", 1) + "/ws"
        # With a bounded queue a client that reads no further does not see the end of its own closing, and waits for it.
        unbounded = {"max_size": None, "max_queue": None}
        async with websockets.connect(
            url, compression=None, open_timeout=30, **unbounded, **options
        ) as socket:
            watcher = cls(socket)
            try:
                if token is not None:
                    await watcher.send("auth", token=token)
                    await watcher.next("ready")
                yield watcher
            finally:
                watcher._reading.cancel()

    async def _read(self) -> None:
        try:
            async for text in self.socket:
                await self._take(json.loads(text))
        except ConnectionClosed:
            pass
        self.code = self.socket.close_code
        self.closed.set()
        async with self._come:
            self._come.notify_all()

    async def _take(self, frame: Frame) -> None:
        async with self._come:
            self.frames.append(frame)
            self._come.notify_all()

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}, default=str))

    async def subscribe(
        self,
        sub: str = "s",
        contacts: Literal["*"] | Iterable[uuid.UUID] = "*",
        cursor: str | None = None,
    ) -> Frame:
        """Subscribe, and wait until it is confirmed."""
        named = contacts if isinstance(contacts, str) else [str(c) for c in contacts]
        await self.send("subscribe", sub=sub, contacts=named, **({"cursor": cursor} if cursor else {}))
        return await self.next("subscribed", sub=sub)

    async def until(
        self, held: Callable[[list[Frame]], Any], what: str = "", *, patient: bool = False
    ) -> Any:
        """Wait until it holds of the frames; its answer. Fails once the socket is closed, or, unless patient, after a while."""
        try:
            async with asyncio.timeout(None if patient else WITHIN), self._come:
                while not (answer := held(self.frames)):
                    assert not self.closed.is_set(), f"{what}: closed with {self.code}; {self.frames[-3:]}"
                    await self._come.wait()
                return answer
        except TimeoutError:
            raise AssertionError(f"{what or 'frames'} did not come; last: {self.frames[-3:]}") from None

    async def next(self, kind: str, **fields: Any) -> Frame:
        """The first frame of the type and these fields, whenever it came."""

        def found(frames: list[Frame]) -> Frame | None:
            return next(
                (f for f in frames if f["type"] == kind and fields.items() <= f.items()),
                None,
            )

        frame: Frame = await self.until(found, f"{kind} {fields}")
        return frame

    async def until_closed(self) -> int | None:
        async with asyncio.timeout(WITHIN):
            await self.closed.wait()
        return self.code

    def of(self, kind: str, sub: str | None = None) -> list[Frame]:
        return [f for f in self.frames if f["type"] == kind and (sub is None or f.get("sub") == sub)]

    def titles(self, sub: str | None = None) -> list[str]:
        """Of the events that have come, in the order in which they came."""
        return [f["event"]["title"] for f in self.of("event", sub)]

    async def until_title(self, title: str, sub: str | None = None) -> Frame:
        """The frame of the event with this title."""

        def found(_frames: list[Frame]) -> Frame | None:
            return next((f for f in self.of("event", sub) if f["event"]["title"] == title), None)

        frame: Frame = await self.until(found, f"event {title!r}")
        return frame

    @property
    def cursor(self) -> str:
        """Of the last frame that had one."""
        return str(next(f["cursor"] for f in reversed(self.frames) if "cursor" in f))
