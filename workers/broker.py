"""FastStream's broker over a client that a broken frame does not make deaf."""

from __future__ import annotations

from faststream.nats import NatsBroker

from workers.engine.wire import LogClient


class Broker(NatsBroker):
    """The connection that the host shares with its service."""

    async def _connect(self) -> LogClient:
        client = LogClient()
        await client.connect(**self._connection_kwargs)
        self.config.connect(client)
        return client
