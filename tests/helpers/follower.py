"""A client that wants to see everything, whatever happens to its connection: it comes back with its cursor."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

import websockets

from tests.eventually import eventually
from tests.helpers.watcher import Frame, Watcher

AGAIN = 0.1  # seconds until it tries again


class Follower:
    """``events`` in the order in which they came, repeats left out; ``connections`` counts how often it was let in."""

    def __init__(self, http: Callable[[], str], token: str, contacts: Literal["*"] | list[uuid.UUID]) -> None:
        self._http = http
        self._token = token
        self._contacts = contacts
        self._cursor: str | None = None
        self.events: dict[str, dict[str, Any]] = {}
        self.repeats = 0
        self.resyncs: list[Frame] = []
        self.connections = 0

    @classmethod
    @asynccontextmanager
    async def following(
        cls, http: Callable[[], str], token: str, contacts: Literal["*"] | list[uuid.UUID] = "*"
    ) -> AsyncIterator[Follower]:
        """``http``: where the worker is at the moment."""
        follower = cls(http, token, contacts)
        living = asyncio.create_task(follower._live())
        try:
            await eventually(lambda: follower._cursor is not None, timeout=30, what="the follower is in")
            yield follower
        finally:
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)

    async def _live(self) -> None:
        while True:
            with contextlib.suppress(OSError, AssertionError, TimeoutError, websockets.WebSocketException):
                await self._once()
            await asyncio.sleep(AGAIN)

    async def _once(self) -> None:
        taken = 0
        async with Watcher.open(self._http(), self._token) as watcher:
            self.connections += 1
            begin = await watcher.subscribe(contacts=self._contacts, cursor=self._cursor)
            self._cursor = self._cursor or begin["cursor"]
            while True:
                seen = len(watcher.frames)
                for frame in watcher.frames[taken:seen]:
                    self._take(frame)
                taken = seen
                await watcher.until(lambda frames: len(frames) > taken, patient=True)  # noqa: B023

    def _take(self, frame: Frame) -> None:
        if frame["type"] == "resync":
            self.resyncs.append(frame)
        if frame["type"] in {"event", "changed"}:
            self._cursor = frame["cursor"]
        if frame["type"] == "event":
            self.repeats += frame["event"]["id"] in self.events
            self.events.setdefault(frame["event"]["id"], frame["event"])

    def of(self, contact: uuid.UUID) -> list[dict[str, Any]]:
        return [event for event in self.events.values() if event["contact_id"] == str(contact)]
