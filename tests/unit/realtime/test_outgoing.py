"""What waits for a client that reads as the test says."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import pytest

from contracts.vocabulary import ResyncReason
from workers.realtime import outgoing
from workers.realtime.outgoing import Outgoing


@dataclass(frozen=True)
class Frame:
    sub: str
    number: int
    size: int = 10

    def text(self) -> str | None:
        return json.dumps([self.sub, self.number])


class Client:
    """``sent`` is what it got; it takes a frame for each ``read``."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.gone = False
        self.let_go_of = 0
        self._reads = asyncio.Semaphore(0)

    async def send(self, text: str) -> None:
        await self._reads.acquire()
        if self.gone:
            raise ConnectionResetError
        self.sent.append(json.loads(text))

    def let_go(self) -> None:
        self.let_go_of += 1

    async def read(self, count: int = 1_000) -> None:
        for _ in range(count):
            self._reads.release()
        for _ in range(3 * count + 3):
            await asyncio.sleep(0)


async def test_in_order_and_without_a_task_when_idle():
    client = Client()
    out = Outgoing(client.send, 10, client.let_go)
    for n in range(5):
        out.offer(Frame("a", n))
    out.put('"hello"')
    out.offer(Frame("a", 5))
    await client.read()
    assert client.sent == [*(["a", n] for n in range(5)), "hello", ["a", 5]]
    assert out._writer is None


async def test_overflow_loses_frames_of_events_alone_and_says_so():
    client = Client()
    out = Outgoing(client.send, 10, client.let_go)
    for n in range(6):
        out.offer(Frame("a", n))
        out.offer(Frame("b", n))
    out.put('"kept"')
    for n in range(6, 9):
        out.offer(Frame("a", n))
    await client.read()
    resyncs = [f for f in client.sent if isinstance(f, dict)]
    assert resyncs == [{"type": "resync", "sub": sub, "reason": "overflow"} for sub in ("a", "b")]
    assert "kept" in client.sent
    for sub in ("a", "b"):
        numbers = [f[1] for f in client.sent if isinstance(f, list) and f[0] == sub]
        place = client.sent.index({"type": "resync", "sub": sub, "reason": "overflow"})
        assert numbers == sorted(numbers)
        assert all(f[1] > 4 for f in client.sent[place:] if isinstance(f, list))


async def test_a_subscription_is_told_once_however_often_it_overflows():
    client = Client()
    out = Outgoing(client.send, 10, client.let_go)
    for n in range(1_000):
        out.offer(Frame("a", n))
    await client.read(2_000)
    assert [f for f in client.sent if isinstance(f, dict)] == [
        {"type": "resync", "sub": "a", "reason": "overflow"}
    ]
    assert client.sent[-1] == ["a", 999]


async def test_bytes_bound_it_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(outgoing, "MOST_BYTES", 1_000)
    client = Client()
    out = Outgoing(client.send, 10_000, client.let_go)
    out.offer(Frame("a", 0, 5_000))  # alone, one of any size
    await asyncio.sleep(0)
    for n in range(1, 4):
        out.offer(Frame("a", n, 400))
    await client.read()
    assert client.sent[0] == ["a", 0]
    assert client.sent[1] == {"type": "resync", "sub": "a", "reason": "overflow"}


async def test_the_reason_that_was_first_is_told():
    client = Client()
    out = Outgoing(client.send, 10, client.let_go)
    out.put('"busy"')
    await asyncio.sleep(0)
    out.resync("a", ResyncReason.STREAM_RESET)
    for n in range(12):
        out.offer(Frame("a", n))
    await client.read()
    assert [f["reason"] for f in client.sent if isinstance(f, dict)] == ["stream_reset"]


async def test_what_is_dropped_is_not_sent():
    client = Client()
    out = Outgoing(client.send, 10, client.let_go)
    for n in range(3):
        out.offer(Frame("a", n))
        out.offer(Frame("b", n))
    out.drop("a")
    await client.read()
    assert client.sent == [["b", n] for n in range(3)]


async def test_whoever_can_wait_waits_for_room():
    client = Client()
    out = Outgoing(client.send, 10, client.let_go)
    done = []

    async def replay() -> None:
        for n in range(40):
            await out.room()
            out.offer(Frame("a", n))
            done.append(n)

    working = asyncio.create_task(replay())
    await client.read(5)
    assert len(done) < 20
    await client.read(100)
    await working
    assert client.sent == [["a", n] for n in range(40)]


@pytest.mark.parametrize("by", ["the client", "us"])
async def test_nobody_waits_for_a_client_that_has_gone(by: str):
    client = Client()
    out = Outgoing(client.send, 10, client.let_go)
    for n in range(10):
        out.offer(Frame("a", n))
    waiting = asyncio.create_task(out.room())
    await asyncio.sleep(0)
    client.gone = True
    if by == "us":
        out.close()
    else:
        await client.read(1)
    with pytest.raises(OSError):
        await asyncio.wait_for(waiting, 30)
    out.offer(Frame("a", 11))
    assert not out._queue


async def test_a_client_that_asks_and_never_reads_is_let_go():
    client = Client()
    out = Outgoing(client.send, 10, client.let_go)
    for _ in range(20):
        out.put('"pong"')
    assert client.let_go_of == 0
    for _ in range(3):
        out.put('"pong"')
    assert client.let_go_of == 1


async def test_so_is_one_for_which_few_large_frames_wait(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(outgoing, "MOST_BYTES", 1_000)
    client = Client()
    out = Outgoing(client.send, 10_000, client.let_go)
    large = json.dumps("x" * 600)
    out.put(large)
    await asyncio.sleep(0)
    out.put(large)
    out.put(large)
    assert client.let_go_of == 0
    out.put('"goodbye"')
    assert client.let_go_of == 1
    await client.read()
    assert client.sent == ["x" * 600] * 3 + ["goodbye"]
    for _ in range(4):
        await out.room()
        out.put(large)
        await client.read()
    assert client.sent[4:] == ["x" * 600] * 4


async def test_whoever_can_wait_waits_for_frames_that_are_no_events_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(outgoing, "MOST_BYTES", 1_000)
    client = Client()
    out = Outgoing(client.send, 10_000, client.let_go)
    for _ in range(2):
        out.put(json.dumps("x" * 600))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(out.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    await client.read(1)
    await asyncio.wait_for(waiting, 30)
