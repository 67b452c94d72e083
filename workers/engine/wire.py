"""What the workers need below the client library's own API. The only place that reaches into nats-py.

Anybody who may publish may send a frame that breaks the library: a subject or a reply subject that is not UTF-8, or a
broken header block, ends its read loop for good, and a subject with a form feed in it its connection. Here such a frame
harms that frame alone. Frames of a routed subscription go to a plain function, as bytes: the library would build a message
object, parse its headers and queue it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.errors import ProtocolError
from nats.protocol import parser

ACK_PREFIX = b"$JS.ACK."

# (subject, reply, data, headers): headers are the raw block, or None.
Sink = Callable[[bytes, bytes, bytes, bytes | None], None]


# The library splits a frame's first line at every white space; the server takes form feeds and vertical tabs for letters.
parser.MSG_RE = re.compile(rb"\AMSG ([^ \t\r\n]+) (\d+) (([^ \t\r\n]+) )?(\d+)\r\n")
parser.HMSG_RE = re.compile(rb"\AHMSG ([^ \t\r\n]+) (\d+) (([^ \t\r\n]+) )?(\d+) (\d+)\r\n")


class LogClient(Client):
    """The NATS client of every worker. It can hand the frames of some subscriptions straight to functions."""

    def __init__(self) -> None:
        super().__init__()
        self._sinks: dict[int, Sink] = {}
        self.online = asyncio.Event()  # kept by whoever connects

    def route(self, subscription: Subscription, sink: Sink) -> None:
        """Send what arrives on the subscription to the sink. It runs in the read loop and must not raise."""
        self._sinks[subscription._id] = sink  # noqa: SLF001

    def unroute(self, subscription: Subscription) -> None:
        self._sinks.pop(subscription._id, None)  # noqa: SLF001

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        sink = self._sinks.get(sid)
        if sink is not None:
            sink(subject, reply, data, headers)
            return
        try:
            await super()._process_msg(sid, subject, reply, data, headers)
        except Exception as error:  # noqa: BLE001 - or the read loop ends, and nothing arrives any more
            await self._error_cb(error)

    async def _read_loop(self) -> None:
        """Where the library's own ends by a fault, the client would stay connected and deaf: it connects anew."""
        await super()._read_loop()
        task = asyncio.current_task()
        if self.is_connected and task is not None and not task.cancelling():
            await self._process_op_err(ProtocolError())


class Delivery(NamedTuple):
    """What the reply subject of a delivered message says. ``pending`` is what the consumer has left after it."""

    consumer: bytes
    sequence: int
    consumer_sequence: int
    nanoseconds: int
    pending: int


def parse_delivery(reply: bytes) -> Delivery:
    """``$JS.ACK.<stream>.<consumer>.…``, or with domain and account in front and a random token at the end.

    Raises ValueError.
    """
    tokens = reply.split(b".")
    count = len(tokens)
    if count == 9:
        _, _, _, consumer, _, sequence, consumer_sequence, nanoseconds, pending = tokens
    elif count >= 11:
        consumer, _, sequence, consumer_sequence, nanoseconds, pending = tokens[5:11]
    else:
        raise ValueError(f"a reply subject of {count} tokens")
    return Delivery(consumer, int(sequence), int(consumer_sequence), int(nanoseconds), int(pending))


class Status(NamedTuple):
    """A frame of the server's own."""

    code: int
    text: str


def parse_status(headers: bytes | None) -> Status:
    """The inline status of a header block; code 0 where there is none."""
    line = (headers or b"").partition(b"\r\n")[0].decode("utf-8", "replace")
    parts = line.split(" ", 2)
    if len(parts) < 2 or not parts[1].isdecimal():
        return Status(0, line)
    return Status(int(parts[1]), parts[2] if len(parts) > 2 else "")


def parse_headers(headers: bytes | None) -> dict[str, str]:
    """Name to value; of a repeated name the last value. What is not UTF-8 is replaced, never refused."""
    if not headers:
        return {}
    found = {}
    for line in headers.decode("utf-8", "replace").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if colon:
            found[name] = value.strip()
    return found


def parse_time(nanoseconds: int) -> datetime:
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)
