"""A worker with small limits: how many may come, and what becomes of those who do not read."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import pytest

from tests.eventually import eventually
from tests.helpers.realm import Realm
from tests.helpers.watcher import Watcher

BUFFER = 50
SLOW_HEART = {"ROLLCALL_REALTIME_HEARTBEAT_S": "300"}


@pytest.fixture(scope="module")
async def small(realm: Realm) -> AsyncIterator[str]:
    """Where a worker that takes few sockets answers."""
    process = await realm.stage.crew.start(
        "realtime",
        ROLLCALL_REALTIME_TENANT_SOCKETS="5",
        ROLLCALL_REALTIME_TOKEN_SOCKETS="3",
    )
    yield process.http
    await realm.stage.crew.dismiss(process)


async def test_sockets_of_a_token_and_of_a_tenant(realm: Realm, small: str):
    tenant, other = realm.tenant(), realm.tenant()
    one, two = realm.agent(tenant), realm.agent(tenant, sub="user:43")
    async with Opened(small) as opened:
        for token in (one, one, one):
            assert await opened.come(token) == "ready"
        assert await opened.come(one) == "limit"
        for token in (two, two):
            assert await opened.come(token) == "ready"
        assert await opened.come(two) == "limit"
        assert await opened.come(realm.agent(other)) == "ready"
        await opened.leave_first()
        assert await opened.come(two) == "ready"


class Opened:
    """Sockets that are open."""

    def __init__(self, http: str) -> None:
        self._http = http
        self._opened: list[tuple[object, Watcher]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        while self._opened:
            await self.leave_first()

    async def come(self, token: str) -> str:
        opening = Watcher.open(self._http)
        watcher = await opening.__aenter__()
        await watcher.send("auth", token=token)
        (first,) = await watcher.until(lambda frames: frames[:1])
        if first["type"] == "ready":
            self._opened.append((opening, watcher))
            return "ready"
        assert await watcher.until_closed() == 4429
        await opening.__aexit__(None, None, None)
        return str(first["code"])

    async def leave_first(self) -> None:
        opening, _ = self._opened.pop(0)
        await opening.__aexit__(None, None, None)  # type: ignore[attr-defined]


@asynccontextmanager
async def deaf(http: str, token: str, *frames: dict[str, object]) -> AsyncIterator[asyncio.StreamReader]:
    """A client that sends and does not read, with a small window: what it is read by is the reader that is given.

    It answers no heartbeat: a worker that it is to stay with has a slow one.
    """
    host, port = http.removeprefix("http://").split(":")
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=sock, limit=1 << 12)
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    writer.write(
        f"GET /ws HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    for frame in ({"type": "auth", "token": token}, *frames):
        text = json.dumps(frame).encode()
        head = (
            bytes([0x81, 0x80 | len(text)])
            if len(text) < 126
            else bytes([0x81, 0xFE, *divmod(len(text), 256)])
        )
        writer.write(head + bytes(4) + text)
    try:
        yield reader
    finally:
        writer.transport.abort()


async def frames_of(reader: asyncio.StreamReader) -> AsyncIterator[dict[str, object]]:
    """Text frames, as they are read; others are passed over."""
    while True:
        first, size = await reader.readexactly(2)
        if size == 126:
            size = int.from_bytes(await reader.readexactly(2))
        elif size == 127:
            size = int.from_bytes(await reader.readexactly(8))
        body = await reader.readexactly(size)
        if first & 15 == 1:
            yield json.loads(body)


async def test_a_client_that_reads_slowly_is_told_to_resync(realm: Realm):
    """Frames are lost from the middle, and that is said where they would have come; the others notice nothing."""
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    token = realm.agent(tenant)
    process = await realm.stage.crew.start("realtime", ROLLCALL_REALTIME_BUFFER=str(BUFFER), **SLOW_HEART)
    filling = {"payload": {"x": "y" * 60_000}}
    async with (
        Watcher.open(process.http, token) as brisk,
        deaf(process.http, token, {"type": "subscribe", "sub": "s", "contacts": "*"}) as reader,
    ):
        await brisk.subscribe()
        slow = frames_of(reader)
        while (await anext(slow))["type"] != "subscribed":
            pass
        count = BUFFER + 150
        for n in range(0, count, 10):
            await asyncio.gather(*(realm.record(tenant, contact, f"n{n + k}", **filling) for k in range(10)))
            # Or all that a slow relay was behind with could come at once, and be too much for whoever reads as well.
            await brisk.until(lambda _: len(brisk.of("event")) == n + 10)  # noqa: B023
        assert not brisk.of("resync")
        everything = [f["event"]["sequence"] for f in brisk.of("event")]
        got: list[dict[str, object]] = []
        async with asyncio.timeout(60):
            async for frame in slow:
                got.append(frame)
                if frame["type"] == "resync":
                    break
            await realm.record(tenant, contact, "after")
            async for frame in slow:
                got.append(frame)
                if frame["type"] == "event" and frame["event"]["title"] == "after":  # type: ignore[index]
                    break
    place = next(n for n, f in enumerate(got) if f["type"] == "resync")
    assert got[place] == {"type": "resync", "sub": "s", "reason": "overflow"}
    before = [f["event"]["sequence"] for f in got[:place]]  # type: ignore[index]
    after = [f["event"]["sequence"] for f in got[place + 1 :]]  # type: ignore[index]
    assert before == everything[: len(before)]
    assert len(before) < count
    assert after[-1] == everything[-1] + 1
    assert after == list(range(after[0], after[-1] + 1))
    await realm.stage.crew.dismiss(process)


async def test_what_a_slow_client_lost_is_in_its_cursor(realm: Realm):
    """It may go on from the last frame that it has, and gets what was dropped."""
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    token = realm.agent(tenant)
    process = await realm.stage.crew.start("realtime", ROLLCALL_REALTIME_BUFFER="10", **SLOW_HEART)
    async with deaf(process.http, token, {"type": "subscribe", "sub": "s", "contacts": "*"}) as reader:
        slow = frames_of(reader)
        while (frame := await anext(slow))["type"] != "subscribed":
            pass
        for n in range(0, 100, 10):
            await asyncio.gather(
                *(realm.record(tenant, contact, f"n{n + k}", payload={"x": "y" * 60_000}) for k in range(10))
            )
        last, got = str(frame["cursor"]), []
        async with asyncio.timeout(60):
            async for frame in slow:
                if frame["type"] == "resync":
                    break
                last = str(frame["cursor"])
                got.append(frame["event"]["sequence"])  # type: ignore[index]
    async with Watcher.open(process.http, token) as watcher:
        await watcher.subscribe(cursor=last)
        await watcher.until(lambda _: len(watcher.of("event")) == 100 - len(got))
        got += [f["event"]["sequence"] for f in watcher.of("event")]
    assert got == list(range(2, 102))
    await realm.stage.crew.dismiss(process)


async def test_a_client_that_never_reads_is_let_go(realm: Realm):
    """It does not answer the heartbeat either."""
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    process = await realm.stage.crew.start(
        "realtime", ROLLCALL_REALTIME_BUFFER=str(BUFFER), ROLLCALL_REALTIME_HEARTBEAT_S="3"
    )
    async with deaf(
        process.http, realm.agent(tenant), {"type": "subscribe", "sub": "s", "contacts": "*"}
    ) as reader:
        slow = frames_of(reader)
        while (await anext(slow))["type"] != "subscribed":
            pass
        for n in range(0, 200, 20):
            await asyncio.gather(
                *(realm.record(tenant, contact, f"n{n + k}", payload={"x": "y" * 60_000}) for k in range(20))
            )

        async def alone() -> bool:
            return 'rollcall_realtime_sockets{role="agent"} 0.0' in await process.metrics()

        await eventually(alone, timeout=60, what="the socket is gone")
    await realm.stage.crew.dismiss(process)
