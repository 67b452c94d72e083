"""uvicorn's WebSocket protocol, with an end to clients that have stopped reading."""

from __future__ import annotations

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class Protocol(WebSocketsSansIOProtocol):
    def keepalive_timeout(self) -> None:
        """A client that does not read does not answer pings either: closing would wait for it to read what was written."""
        super().keepalive_timeout()
        self.transport.abort()
