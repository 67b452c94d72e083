"""A socket that comes before the realtime worker has begun."""

from __future__ import annotations

import asyncio
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest
import uvicorn
import websockets
from websockets.exceptions import InvalidStatus

from ops.devstack.process import free_port
from tests.eventually import eventually
from workers.host import Host
from workers.realtime.protocol import Protocol


async def test_it_is_told_to_come_again():
    """Not 403, which reads as if it had no right to be here."""
    host = cast("Any", SimpleNamespace(_service=None, _paths=frozenset()))
    port = free_port()
    config = uvicorn.Config(
        partial(Host._answer, host),
        port=port,
        interface="asgi3",
        ws=Protocol,
        lifespan="off",
        log_config=None,  # the loggers are every test's
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        await eventually(lambda: server.started, what="it listens")
        with pytest.raises(InvalidStatus) as refused:
            await websockets.connect(f"ws://127.0.0.1:{port}/ws")
        assert refused.value.response.status_code == 503
        assert refused.value.response.headers["retry-after"] == "1"
    finally:
        server.should_exit = True
        await serving
