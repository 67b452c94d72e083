"""What the supervisor does while a server is away."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

import pytest

from ops.settings import Settings, read
from ops.supervisor import EMBEDDED, Fleet
from tests.eventually import eventually

SECONDS = 10  # until a start that nobody lets go on gives up


class SlowServer:
    """A dead server that takes its time to start."""

    def __init__(self):
        self.begun, self.may_end = threading.Event(), threading.Event()
        self.told = []

    def alive(self):
        return bool(self.told)

    def restart(self):
        self.begun.set()
        self.told.append("up" if self.may_end.wait(SECONDS) else "nobody was there to let it")

    def stop(self):
        self.told.append("stopped")


@pytest.fixture
def server():
    return SlowServer()


@pytest.fixture
async def minding(server):
    stack = SimpleNamespace(postgres=server, nats=None, elasticsearch=None, stop=server.stop)
    fleet = Fleet({}, stack, read(Settings, **EMBEDDED))
    fleet._tasks.append(asyncio.create_task(fleet._keep_servers()))
    return fleet


async def test_others_are_minded_while_a_server_starts(server, minding):
    await eventually(server.begun.is_set)
    server.may_end.set()
    await eventually(server.alive)
    await minding.stop()
    assert server.told == ["up", "stopped"]


async def test_a_server_that_starts_while_the_fleet_ends_is_stopped(server, minding):
    await eventually(server.begun.is_set)
    stopping = asyncio.create_task(minding.stop())
    await asyncio.wait({stopping}, timeout=0.1)
    assert not stopping.done()
    server.may_end.set()
    await stopping
    assert server.told == ["up", "stopped"]
