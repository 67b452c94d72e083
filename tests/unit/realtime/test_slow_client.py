"""What a session does for a client that does not read."""

from __future__ import annotations

import asyncio
import json
import uuid
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from contracts.realtime.requests import Ask, Read
from contracts.vocabulary import GoodbyeReason, Role
from workers.realtime.marks import TooManyMarks
from workers.realtime.outgoing import MOST_BYTES
from workers.realtime.rights import Rights
from workers.realtime.session import ASKED_AT_ONCE, Session

RIGHTS = Rights("acme", Role.AGENT, None, "user:1", datetime.max.replace(tzinfo=UTC))


class Socket:
    """Takes a frame only once ``reads`` is set."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []
        self.reads = asyncio.Event()

    async def send_text(self, text: str) -> None:
        await self.reads.wait()
        self.frames.append(json.loads(text))


async def test_answers_wait_until_the_client_reads():
    """Few are in memory, however many it asks for."""
    asked: list[str] = []

    async def ask(_rights: Rights, _name: str, data: dict[str, Any]) -> dict[str, Any]:
        asked.append(data["n"])
        return {"success": True, "data": "x" * (MOST_BYTES // 2)}

    house = SimpleNamespace(settings=SimpleNamespace(realtime_buffer=1_000), ask=ask)
    socket = Socket()
    session = Session(house, socket)  # type: ignore[arg-type]
    for n in range(10 * ASKED_AT_ONCE):
        session._ask(RIGHTS, Ask(ref=f"r{n}", name="contact.timeline", data={"n": n}))
        for _ in range(3):
            await asyncio.sleep(0)
    assert len(asked) < ASKED_AT_ONCE
    assert session._outgoing._others < MOST_BYTES
    assert not session._ending.done()
    socket.reads.set()
    await asyncio.gather(*session._asked)
    await session._outgoing.flush(30)
    results = [f["ref"] for f in socket.frames if f["type"] == "result"]
    assert results == [f"r{n}" for n in range(len(asked))]


async def test_who_asks_and_never_reads_is_let_go():
    house = SimpleNamespace(settings=SimpleNamespace(realtime_buffer=10))
    session = Session(house, Socket())  # type: ignore[arg-type]
    for _ in range(22):
        session._put(type="pong")
        await asyncio.sleep(0)
    ended = await asyncio.wait_for(session._ending, 30)
    assert (ended.code, ended.reason) == (4429, GoodbyeReason.SLOW)


async def test_marks_that_are_not_taken_are_said():
    async def add(*_: Any) -> None:
        raise TooManyMarks

    house = SimpleNamespace(settings=SimpleNamespace(realtime_buffer=10), marks=SimpleNamespace(add=add))
    session = Session(house, Socket())  # type: ignore[arg-type]
    await session._mark(RIGHTS, Read(ids=[uuid.uuid4()]))
    said = json.loads(str(session._outgoing._queue[-1]))
    assert (said["type"], said["code"]) == ("error", "unavailable")
    assert said["message"].startswith("read: too many")
