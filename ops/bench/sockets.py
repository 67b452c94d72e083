"""Clients of the realtime worker in a process of their own: ``python -m ops.bench.sockets``, driven by lines of JSON on stdin.

    {"do": "open", "url", "clients": [{"token", "contact"}]}   contact: an id, or "*"     -> {"opened": n}
    {"do": "report"}                                                                     -> {"frames", "ids", "ms", "at"}

Whoever is cut off comes back after a random part of SPREAD seconds, with the last cursor that it was sent. ``ids`` are by client: what it
was sent, each once. ``ms``: from the commit of an event (its created_at, which is a little before) to its frame; ``at``: by the
message id in the payload, the wall clock when its frame came.
"""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import orjson
import uvloop
import websockets
from websockets.exceptions import WebSocketException

OPENING: Final = 50  # at a time
SPREAD: Final = 8.0  # seconds within which everybody is back


@dataclass
class Client:
    url: str
    token: str
    contact: str
    ids: dict[str, None] = field(default_factory=dict)
    cursor: str | None = None
    resyncs: int = 0

    async def live(self, gate: asyncio.Semaphore, opened: asyncio.Event, figures: Figures) -> None:
        """Until cancelled."""
        while True:
            try:
                async with gate:
                    socket = await websockets.connect(
                        self.url, compression=None, open_timeout=30, max_size=None
                    )
                    await socket.send(orjson.dumps({"type": "auth", "token": self.token}).decode())
                    await socket.send(orjson.dumps(self._subscription()).decode())
                    while (frame := orjson.loads(await socket.recv()))["type"] != "subscribed":
                        pass
                    self.cursor = frame["cursor"]
                opened.set()
                async for text in socket:
                    self._take(text, figures)
            except (OSError, WebSocketException, TimeoutError):
                pass
            await asyncio.sleep(random.uniform(0, SPREAD))

    def _subscription(self) -> dict[str, Any]:
        contacts = "*" if self.contact == "*" else [self.contact]
        cursor = {"cursor": self.cursor} if self.cursor else {}
        return {"type": "subscribe", "sub": "s", "contacts": contacts, **cursor}

    def _take(self, text: str | bytes, figures: Figures) -> None:
        now = time.time()
        frame = orjson.loads(text)
        if "cursor" in frame:
            self.cursor = frame["cursor"]
        if frame["type"] == "resync":
            self.resyncs += 1
        if frame["type"] != "event":
            return
        event = frame["event"]
        self.ids[event["id"]] = None
        figures.frames += 1
        figures.ms.append(1000 * (now - datetime.fromisoformat(event["created_at"]).timestamp()))
        if message_id := event["payload"].get("message_id"):
            figures.at[message_id] = now


@dataclass
class Figures:
    frames: int = 0
    ms: list[float] = field(default_factory=list)
    at: dict[str, float] = field(default_factory=dict)


async def main() -> None:
    reader = asyncio.StreamReader(limit=1 << 26)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    gate = asyncio.Semaphore(OPENING)
    figures = Figures()
    clients: list[Client] = []
    tasks: list[asyncio.Task[None]] = []
    while line := await reader.readline():
        asked = orjson.loads(line)
        if asked["do"] == "open":
            events = []
            for each in asked["clients"]:
                client, opened = Client(asked["url"], each["token"], each["contact"]), asyncio.Event()
                clients.append(client)
                events.append(opened)
                tasks.append(asyncio.create_task(client.live(gate, opened, figures)))
            await asyncio.gather(*(opened.wait() for opened in events))
            # Looking through thousands of sockets for cycles stops a process for most of a second: not what is measured.
            gc.collect()
            gc.freeze()
            answer: dict[str, Any] = {"opened": len(events)}
        else:
            answer = {
                "frames": figures.frames,
                "ms": [round(ms, 2) for ms in figures.ms],
                "at": figures.at,
                "ids": [[client.contact, list(client.ids)] for client in clients],
                "resyncs": sum(client.resyncs for client in clients),
            }
            figures.frames, figures.ms, figures.at = 0, [], {}
        sys.stdout.buffer.write(orjson.dumps(answer) + b"\n")
        sys.stdout.flush()
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    uvloop.run(main())
