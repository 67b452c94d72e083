"""Clients that want to see everything, whatever happens to their connections, and what each of them keeps to come back with."""

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

# Of the cursors that it is sent: the last one; that of the first ``subscribed``, behind which it hangs up at once; none, but it
# acknowledges what it gets.
Keeps = Literal["last", "first", "none"]


class Follower:
    """``events`` in the order in which they came, repeats left out; ``connections`` counts how often it was let in.

    ``repeats`` are counted for who keeps the last cursor: the others are sent things again.
    """

    def __init__(
        self, http: Callable[[], str], token: str, contacts: Literal["*"] | list[uuid.UUID], keeps: Keeps
    ) -> None:
        self._http = http
        self._token = token
        self._contacts = contacts
        self._keeps = keeps
        self._cursor: str | None = None
        self.events: dict[str, dict[str, Any]] = {}
        self.repeats = 0
        self.resyncs: list[Frame] = []
        self.connections = 0

    @classmethod
    @asynccontextmanager
    async def following(
        cls,
        http: Callable[[], str],
        token: str,
        contacts: Literal["*"] | list[uuid.UUID] = "*",
        keeps: Keeps = "last",
    ) -> AsyncIterator[Follower]:
        """``http``: where the worker is at the moment."""
        follower = cls(http, token, contacts, keeps)
        living = asyncio.create_task(follower._live())
        try:
            await eventually(lambda: follower.connections > 0, timeout=60, what="the follower is in")
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
            begin = await watcher.subscribe(contacts=self._contacts, cursor=self._cursor)
            self.connections += 1
            if self._keeps != "none":
                self._cursor = self._cursor or begin["cursor"]
            if self._keeps == "first" and self.connections == 1:
                return
            while True:
                seen = len(watcher.frames)
                new = watcher.frames[taken:seen]
                for frame in new:
                    self._take(frame)
                if self._keeps == "none" and (ids := [f["event"]["id"] for f in new if f["type"] == "event"]):
                    await watcher.send("ack", ids=ids)
                taken = seen
                await watcher.until(lambda frames: len(frames) > taken, patient=True)  # noqa: B023

    def _take(self, frame: Frame) -> None:
        if frame["type"] == "resync":
            self.resyncs.append(frame)
        if self._keeps == "last" and frame["type"] in {"event", "changed"}:
            self._cursor = frame["cursor"]
        if frame["type"] == "event":
            self.repeats += self._keeps == "last" and frame["event"]["id"] in self.events
            self.events.setdefault(frame["event"]["id"], frame["event"])

    def of(self, contact: uuid.UUID) -> list[dict[str, Any]]:
        return [event for event in self.events.values() if event["contact_id"] == str(contact)]
