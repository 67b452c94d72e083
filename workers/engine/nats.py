"""A JetStream stream as a log: one connection, which the readers of a worker share."""

from __future__ import annotations

import asyncio
from datetime import datetime
from functools import partial

from contracts.connection import servers
from contracts.subjects import StreamSpec
from ops.logging import get_logger
from workers.engine import jetstream
from workers.engine.log import StreamState
from workers.engine.nats_reader import NatsReader
from workers.engine.wire import LogClient
from workers.faults import said

log = get_logger("workers.engine.nats")


class NatsLog:
    """A ``Log``. Connects when it is first asked something, and reconnects for as long as it lives."""

    def __init__(self, url: str, spec: StreamSpec, name: str = "rollcall") -> None:
        self._url = url
        self._spec = spec
        self._name = name
        self._client: LogClient | None = None
        self._connecting = asyncio.Lock()
        self._readers: list[NatsReader] = []

    async def state(self) -> StreamState:
        return await jetstream.read_state(await self._connected(), self._spec.name)

    async def holds(self, partition: int, position: int) -> bool:
        client = await self._connected()
        return await jetstream.next_stored(client, self._spec, partition, position) is not None

    async def reader(self, created: datetime) -> NatsReader:
        reader = NatsReader(await self._connected(), self._spec, created)
        await reader.open()
        self._readers = [r for r in self._readers if not r.closed] + [reader]
        return reader

    async def close(self) -> None:
        for reader in self._readers:
            await reader.close()
        if self._client is not None:
            await self._client.close()

    async def _connected(self) -> LogClient:
        """Waits while no server can be reached for the first time; a client that the library has closed is replaced."""
        async with self._connecting:
            if self._client is None or self._client.is_closed:
                client = LogClient()
                try:
                    await client.connect(
                        servers(self._url),
                        name=self._name,
                        max_reconnect_attempts=-1,
                        reconnect_time_wait=0.25,  # type: ignore[arg-type]  # it is slept on
                        connect_timeout=2,
                        ping_interval=5,
                        error_cb=self._error,
                        disconnected_cb=partial(self._disconnected, client),
                        reconnected_cb=partial(self._reconnected, client),
                        closed_cb=partial(self._closed, client),
                    )
                except OSError:
                    raise
                except Exception as error:
                    raise OSError(f"no connection to the broker: {type(error).__name__}") from error
                client.online.set()
                self._client = client
        return self._client

    async def _error(self, error: Exception) -> None:
        log.warning("broker_error", stream=self._spec.name, error=said(error))

    # -- of one client: what is left of one that was closed may still speak when another has taken its place

    async def _disconnected(self, client: LogClient) -> None:
        client.online.clear()
        for reader in self._readers_of(client):
            reader.disconnected()

    async def _reconnected(self, client: LogClient) -> None:
        client.online.set()

    async def _closed(self, client: LogClient) -> None:
        """The library gave up, as it does when the broker turns our credentials down; whoever reads begins again."""
        for reader in self._readers_of(client):
            reader.fail(OSError("the connection to the broker was closed"))

    def _readers_of(self, client: LogClient) -> list[NatsReader]:
        return [reader for reader in self._readers if reader.client is client]
