"""A session whose client, house and bus are the test's: what it is told, and with which code it closes."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from starlette.websockets import WebSocket

from contracts.vocabulary import Role
from ops.settings import Settings
from storage.errors import ReadTimeout, Unavailable
from tests.eventually import eventually
from workers.realtime.doorkeeper import Doorkeeper
from workers.realtime.hub import Hub
from workers.realtime.positions import Cursors
from workers.realtime.rights import Rights
from workers.realtime.session import House, Session
from workers.realtime.tokens import issue

SETTINGS = Settings(
    nats_url="nats://127.0.0.1:1",
    postgres_dsn="postgresql://somebody@127.0.0.1:1/nowhere",
    jwt_secret="of the tests, and long enough for the hash",
)
IDS = [str(uuid.uuid4())]


class Client:
    """Both ends of a socket: ``frames`` is what it was sent, ``code`` how it was closed."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []
        self.code: int | None = None
        self._sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def send(self, kind: str, **fields: Any) -> None:
        text = json.dumps({"type": kind, **fields})
        self._sent.put_nowait({"type": "websocket.receive", "text": text})

    def leave(self) -> None:
        self._sent.put_nowait({"type": "websocket.disconnect", "code": 1001})

    async def receive(self) -> dict[str, Any]:
        return await self._sent.get()

    async def send_text(self, text: str) -> None:
        self.frames.append(json.loads(text))

    async def close(self, code: int) -> None:
        self.code = code

    async def until(self, kind: str) -> dict[str, Any]:
        """The last frame, once it is of that type."""
        await eventually(lambda: self.frames and self.frames[-1]["type"] == kind, what=f"{kind} comes")
        return self.frames[-1]


class Marks:
    """``raises`` for whoever marks."""

    def __init__(self) -> None:
        self.raises: Exception | None = None
        self.count = 0

    async def add(self, _kind: str, _rights: Rights, _ids: Iterable[uuid.UUID]) -> None:
        if self.raises is not None:
            raise self.raises
        self.count += 1


class CatchUp:
    async def run(self, *_: Any) -> None:
        raise RuntimeError("a fault of ours")


@pytest.fixture
def house() -> House:
    hub = Hub(Cursors(b"k" * 32))
    return House(
        SETTINGS,
        hub,
        Cursors(b"k" * 32),
        Doorkeeper(SETTINGS),
        cast("Any", Marks()),
        cast("Any", CatchUp()),
        nobody,
    )


async def nobody(_rights: Rights, _name: str, _data: dict[str, Any]) -> dict[str, Any]:
    raise AssertionError


def token(**more: Any) -> str:
    about = {"tenant": "acme", "role": Role.AGENT, "seconds": 600, "sub": "user:42"}
    return issue(SETTINGS, **{**about, **more})


@asynccontextmanager
async def come(house: House, shown: str | None) -> AsyncIterator[tuple[Client, Session, asyncio.Task[None]]]:
    """A client that shows a token, with its session, which runs as the task."""
    client = Client()
    session = Session(house, cast("WebSocket", client))
    running = asyncio.create_task(session.run())
    if shown is not None:
        client.send("auth", token=shown)
    try:
        yield client, session, running
    finally:
        client.leave()
        await running


@pytest.mark.parametrize("failure", [Unavailable(), ReadTimeout()])
async def test_marks_without_a_database_are_to_be_sent_again(house: House, failure: Exception):
    house.hub.begin(datetime.now(UTC), 0)
    marks = cast("Marks", house.marks)
    async with come(house, token()) as (client, _, running):
        marks.raises = failure
        client.send("ack", ids=IDS)
        assert (await client.until("error"))["code"] == "unavailable"
        marks.raises = None
        client.send("ack", ids=IDS)
        await eventually(lambda: marks.count == 1, what="it is marked")
        assert not running.done()


@pytest.mark.parametrize("cursor", ["", "x", "x" * 501, 7, {"of": "another kind"}, [], True])
async def test_a_cursor_that_cannot_be_read(house: House, cursor: Any):
    house.hub.begin(datetime.now(UTC), 0)
    async with come(house, token()) as (client, _, running):
        client.send("subscribe", sub="s", contacts="*", cursor=cursor)
        error = await client.until("error")
        assert (error["code"], error["ref"]) == ("bad_cursor", "s")
        client.send("subscribe", sub="s", contacts="*")
        await client.until("subscribed")
        assert not running.done()
