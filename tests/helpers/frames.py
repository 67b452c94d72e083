"""Frames as no client library sends them."""

from __future__ import annotations

import asyncio

_BLOCK = b"NATS/1.0\r\n\r\n"  # a header block without a header


def breaking(subject: bytes) -> list[bytes]:
    """Frames on subjects that ``subject`` with a last token stands for, each of which breaks nats-py."""
    return [
        b"PUB %b.t\xff inbox.x 2\r\n{}\r\n" % subject,
        b"PUB %b.t inbox.\xff 2\r\n{}\r\n" % subject,
        b"PUB %b.t\x0bt 2\r\n{}\r\n" % subject,
        b"PUB %b.t inbox.\x0c1 2\r\n{}\r\n" % subject,
        headless(b"%b.t" % subject),
    ]


def headless(subject: bytes) -> bytes:
    return b"HPUB %b %d %d\r\n%b{}\r\n" % (subject, len(_BLOCK), len(_BLOCK) + 2, _BLOCK)


async def send(port: int, *frames: bytes) -> None:
    """Until the server has taken them all."""
    stream, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b'CONNECT {"verbose":false,"headers":true}\r\n')
    writer.writelines(frames)
    writer.write(b"PING\r\n")
    await writer.drain()
    while line := await stream.readline():
        if line.startswith(b"PONG"):
            break
        assert not line.startswith(b"-ERR"), line
    writer.close()
