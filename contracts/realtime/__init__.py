"""The WebSocket of the realtime worker: what clients send (``requests``), what they are sent (``frames``), and who they are (``token``)."""
