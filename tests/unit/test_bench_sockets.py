"""The benchmark's clients come back with the last cursor that they were sent."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import websockets

from ops.bench import sockets
from ops.bench.sockets import Client, Figures
from tests.eventually import eventually

CURSORS = ("of subscribed", "of an event")


async def test_with_the_last_cursor_that_they_have(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sockets, "SPREAD", 0.0)
    asked: list[dict[str, Any]] = []

    async def serve(socket: Any) -> None:
        """Cut each client off: the first time behind ``subscribed``, then behind an event."""
        assert json.loads(await socket.recv())["type"] == "auth"
        asked.append(json.loads(await socket.recv()))
        cursor = asked[-1].get("cursor", CURSORS[0])
        await socket.send(json.dumps({"type": "subscribed", "sub": "s", "cursor": cursor}))
        if len(asked) == 2:
            event = {"id": "e", "created_at": "2026-01-01T00:00:00Z", "payload": {}}
            await socket.send(json.dumps({"type": "event", "sub": "s", "cursor": CURSORS[1], "event": event}))

    async with websockets.serve(serve, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        client = Client(f"ws://127.0.0.1:{port}/ws", "token", "*")
        living = asyncio.create_task(client.live(asyncio.Semaphore(1), asyncio.Event(), Figures()))
        try:
            await eventually(lambda: len(asked) >= 3, what="the client comes back twice")
        finally:
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)
    assert [frame.get("cursor") for frame in asked[:3]] == [None, *CURSORS]
