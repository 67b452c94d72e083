"""The tail over a log in memory, from which messages go before they were read."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import pytest

from contracts.vocabulary import Role
from tests.eventually import eventually
from workers.engine.memory import MemoryLog
from workers.realtime import tail
from workers.realtime.hub import Hub
from workers.realtime.outgoing import Outgoing
from workers.realtime.positions import Cursors
from workers.realtime.subscription import Subscription
from workers.realtime.tail import WATCHED, Tail

ANN = uuid.UUID(int=1)


class World:
    """A log, a tail of it and an agent who watches. ``frames``: the types of what the agent was sent, or titles."""

    def __init__(self) -> None:
        self.log = MemoryLog(WATCHED)
        self.hub = Hub(Cursors(b"k" * 32))
        self.tail = Tail(self.log, self.hub)
        self.frames: list[str] = []
        self._running: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        self._running = asyncio.create_task(self.tail.run())
        await self.hub.started.wait()
        if not self.hub._by_tenant:
            outgoing = Outgoing(self._send, 1_000, lambda: None)
            watching = Subscription("s", "acme", Role.AGENT, None, outgoing, lambda *_: None)
            self.hub.watch(watching)
            watching.go_live(self.hub.sequence)

    async def end(self) -> None:
        """As if it were stopped: nothing is read meanwhile."""
        assert self._running is not None
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    async def happen(self, *titles: str) -> None:
        for title in titles:
            data = {
                "id": str(uuid.uuid4()),
                "title": title,
                "visible_to_agent": True,
                "visible_to_client": True,
            }
            await self.log.publish(f"timeline.note.acme.{ANN}", json.dumps({"data": data}).encode())

    async def until(self, *frames: str) -> None:
        await eventually(lambda: len(self.frames) >= len(frames), what=f"{frames}")
        assert self.frames == list(frames)

    async def _send(self, text: str) -> None:
        frame: dict[str, Any] = json.loads(text)
        self.frames.append(frame["event"]["title"] if frame["type"] == "event" else frame["reason"])


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "CHECK_SECONDS", 0.02)
    monkeypatch.setattr(tail, "ASLEEP_SECONDS", 0.0)


async def test_what_left_the_stream_while_nobody_read_is_said():
    world = World()
    await world.begin()
    await world.happen("a")
    await world.until("a")
    await world.end()
    await world.happen("b", "c")
    world.log.purge(3)
    await world.begin()
    await world.until("a", "too_old", "c")
    await world.end()


async def test_the_same_where_the_reader_was_there_all_the_time(fast):
    """A process that was stopped: its consumer goes on as if nothing were missing."""
    world = World()
    await world.begin()
    await world.happen("a")
    await world.until("a")
    await world.happen("b", "c")  # before the tail has its turn
    world.log.purge(3)
    await world.until("a", "too_old", "c")
    world.log.last_sequence += 2  # published, and purged, and nothing follows
    world.log.purge(world.log.last_sequence + 1)
    await world.until("a", "too_old", "c", "too_old")
    await world.end()


async def test_what_nobody_watches_may_leave_the_stream(fast):
    world = World()
    await world.begin()
    await world.happen("a")
    await world.until("a")
    for _ in range(3):
        await world.log.publish("contact.updated", b"{}")
    world.log.records = {p: [r for r in found if r.sequence <= 1] for p, found in world.log.records.items()}
    await eventually(lambda: world.tail._until == 4, what="the tail knows that nothing follows")
    world.log.purge(5)
    await world.happen("b")
    await world.until("a", "b")
    await world.end()
