"""A session whose client, house and bus are the test's: what it is told, and with which code it closes."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from starlette.websockets import WebSocket

from contracts.codes import CLOSES
from contracts.vocabulary import Role
from ops.settings import Settings
from storage.errors import ReadTimeout, Unavailable
from tests.eventually import eventually
from workers.realtime import session as sessions
from workers.realtime.app import Front
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
        self.accepted = False
        self.code: int | None = None
        self.headers: dict[str, str] = {}
        self.reads = asyncio.Event()
        self.reads.set()
        self.read = 0  # frames that the session has taken
        self._sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def send(self, kind: str, **fields: Any) -> None:
        text = json.dumps({"type": kind, **fields})
        self._sent.put_nowait({"type": "websocket.receive", "text": text})

    def leave(self) -> None:
        self._sent.put_nowait({"type": "websocket.disconnect", "code": 1001})

    async def accept(self) -> None:
        self.accepted = True

    async def receive(self) -> dict[str, Any]:
        message = await self._sent.get()
        self.read += 1
        return message

    async def send_text(self, text: str) -> None:
        await self.reads.wait()
        self.frames.append(json.loads(text))

    async def close(self, code: int) -> None:
        self.code = code

    @property
    def kinds(self) -> list[str]:
        return [frame["type"] for frame in self.frames]

    @property
    def last_words(self) -> tuple[Any, ...]:
        """The last frame, which is a goodbye, and the close code."""
        goodbye = self.frames[-1]
        assert goodbye["type"] == "goodbye"
        assert 0 <= goodbye["reconnect_after_ms"] < 3_000
        assert self.code in CLOSES
        return goodbye["reason"], self.code

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

    def expired(self, *_: Any) -> None:
        raise AssertionError


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


# -- how it ends


@pytest.mark.parametrize("point", ["before auth", "before ready", "after ready"])
async def test_a_session_is_drained_at_whatever_point_it_is(house: House, point: str):
    if point == "after ready":
        house.hub.begin(datetime.now(UTC), 0)
    async with come(house, None if point == "before auth" else token()) as (client, session, running):
        if point != "before auth":
            await eventually(lambda: client.read == 1, what="auth is read")
        if point == "after ready":
            await client.until("ready")
        session.drain()
        await running
        assert client.last_words == ("draining", 1012)


async def test_who_comes_while_the_instance_drains(house: House):
    front = Front(house, cast("Any", None))
    assert await front.drain(1) == 0
    client = Client()
    await front._socket(cast("WebSocket", client))
    assert client.accepted
    assert client.last_words == ("draining", 1012)


async def test_no_stream_comes(house: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sessions, "BEGIN_SECONDS", 0.01)
    async with come(house, token()) as (client, _, running):
        await running
        assert [frame.get("code") for frame in client.frames[:-1]] == ["unavailable"]
        assert client.last_words == ("unavailable", 1012)


async def test_tickets_cannot_be_looked_up(house: House):
    """Which says nothing of the ticket: the client is to come back, not to sign out."""
    async with come(house, None) as (client, _, running):
        client.send("auth", ticket="t" * 43)
        await running
        assert [frame.get("code") for frame in client.frames[:-1]] == ["unavailable"]
        assert client.last_words == ("unavailable", 1012)


async def test_the_token_expires_before_the_stream_is_known(house: House):
    async with come(house, token(seconds=4)) as (client, _, running):
        await running
        assert client.last_words == ("expired", 4401)


async def test_a_fault_of_ours_in_catching_up(house: House):
    house.hub.begin(datetime.now(UTC), 0)
    contact = {"role": Role.CONTACT, "contact_id": uuid.uuid4()}
    async with come(house, token(**contact)) as (client, _, running):
        client.send("subscribe", sub="s", contacts="*")
        await running
        assert client.last_words == ("unavailable", 1012)


async def test_a_fault_of_ours_in_the_session(house: House):
    house.hub.begin(datetime.now(UTC), 0)
    cast("Marks", house.marks).raises = KeyError()
    async with come(house, token()) as (client, _, running):
        client.send("ack", ids=IDS)
        await running
        assert client.last_words == ("unavailable", 1012)


async def test_a_frame_that_is_nested_too_deeply(house: House):
    house.hub.begin(datetime.now(UTC), 0)
    deep: Any = []
    for _ in range(200):
        deep = [deep]
    async with come(house, token()) as (client, _, running):
        client.send("query", ref="q", name="contact.list", data={"x": deep})
        assert (await client.until("error"))["code"] == "bad_frame"
        assert not running.done()


async def test_too_many_frames(house: House):
    house.hub.begin(datetime.now(UTC), 0)
    async with come(house, token()) as (client, _, running):
        for _ in range(4_000):  # more than it may send in the time that they take
            client.send("ping")
        await running
        assert client.frames[-2]["code"] == "limit"
        assert client.last_words == ("limit", 4429)


async def test_too_many_sockets(house: House):
    house.hub.begin(datetime.now(UTC), 0)
    few = replace(house, doorkeeper=Doorkeeper(SETTINGS.model_copy(update={"realtime_token_sockets": 1})))
    shown = token()
    async with come(few, shown) as (first, _, _), come(few, shown) as (second, _, running):
        await running
        assert first.kinds == ["ready"]
        assert second.kinds == ["error", "goodbye"]
        assert second.last_words == ("limit", 4429)


async def test_who_asks_and_does_not_read(house: House):
    house.hub.begin(datetime.now(UTC), 0)
    small = replace(house, settings=SETTINGS.model_copy(update={"realtime_buffer": 10}))
    async with come(small, token()) as (client, _, running):
        await client.until("ready")
        client.reads.clear()
        for _ in range(30):
            client.send("ping")
        await eventually(lambda: client.read > 22, what="it has read enough")
        client.reads.set()
        await running
        assert "too many answers wait to be read" in [frame.get("message") for frame in client.frames]
        assert client.last_words == ("slow", 4429)
