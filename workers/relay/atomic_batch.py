"""Publish many messages as one JetStream atomic batch: all are stored, in order and without a gap, or none is.

nats-py offers messages of a batch one by one, at a third of the speed: the frames are built here and handed over as one
buffer, as whole frames, so that they may share a connection with everything else.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Final, NamedTuple

from nats.aio.client import Client

from workers.jetstream import NoAnswer, request

MAX_MESSAGES: Final = 1000  # that the broker allows in a batch, marks included
EXPECTED: Final = "Nats-Expected-Last-Subject-Sequence"
WRONG_SEQUENCE: Final = 10071
DUPLICATE: Final = 10201

_CONTENT_TYPE: Final = b"Content-Type: application/cloudevents+json\r\n"
HEADER_ROOM: Final = 512  # bytes that the headers of one message stay below


class Line(NamedTuple):
    """One message on its way out."""

    subject: bytes
    id: bytes
    payload: bytes

    @property
    def tenant(self) -> str:
        return self.subject.split(b".", 3)[2].decode()


class Mark(NamedTuple):
    """A message that is taken only if ``expected`` is the sequence of the last one on its subject (0: there is none)."""

    subject: str
    body: bytes
    expected: int


async def publish_batch(client: Client, lines: Sequence[Line], marks: Sequence[Mark], timeout: float) -> int:
    """Publish the lines, then the marks: at most 1000 messages, at least one mark. Returns the last one's sequence.

    Raises Refused (WRONG_SEQUENCE, DUPLICATE, …): nothing was stored; and NoAnswer: all of it was, or nothing.
    """
    if not client.is_connected:
        raise NoAnswer("not connected to the broker")
    batch = uuid.uuid4().hex
    start = b"NATS/1.0\r\nNats-Batch-Id: %b\r\nNats-Batch-Sequence: " % batch.encode()
    end = b"\r\n%bNats-Msg-Id: " % _CONTENT_TYPE
    frames = [
        _frame(line.subject, b"%b%d%b%b\r\n\r\n" % (start, place, end, line.id), line.payload)
        for place, line in enumerate(lines, 1)
    ]
    *others, last = marks
    for place, mark in enumerate(others, len(lines) + 1):
        head = b"%b%d\r\n%b: %d\r\n\r\n" % (start, place, EXPECTED.encode(), mark.expected)
        frames.append(_frame(mark.subject.encode(), head, mark.body))
    await _write(client, frames)
    headers = {
        "Nats-Batch-Id": batch,
        "Nats-Batch-Sequence": str(len(lines) + len(marks)),
        "Nats-Batch-Commit": "1",
        EXPECTED: str(last.expected),
    }
    return int((await request(client, last.subject, last.body, headers, timeout))["seq"])


async def publish_mark(client: Client, mark: Mark) -> int:
    """Publish a mark by itself. Returns its sequence. Raises Refused (WRONG_SEQUENCE) and NoAnswer."""
    answer = await request(client, mark.subject, mark.body, {EXPECTED: str(mark.expected)})
    return int(answer["seq"])


async def publish_singly(client: Client, lines: Sequence[Line], guard: Mark) -> int:
    """Publish the lines one after the other; what the broker has already counts as published.

    Each is taken only while the guard's subject is as expected. Returns the last one's sequence, or what is expected
    without any. Raises Refused and NoAnswer.
    """
    reached = guard.expected
    for subject, id_, payload in lines:
        headers = {
            "Content-Type": "application/cloudevents+json",
            "Nats-Msg-Id": id_.decode(),
            EXPECTED: str(guard.expected),
            f"{EXPECTED}-Subject": guard.subject,
        }
        answer = await request(client, subject.decode(), payload, headers)
        reached = max(reached, int(answer["seq"]))
    return reached


async def send(client: Client, messages: Sequence[tuple[bytes, bytes]]) -> None:
    """Core messages (subject, payload), on the broker when this returns. Raises NoAnswer."""
    if not client.is_connected:
        raise NoAnswer("not connected to the broker")
    head = b"NATS/1.0\r\n%b\r\n" % _CONTENT_TYPE
    await _write(client, [_frame(subject, head, payload) for subject, payload in messages])
    try:
        await client.flush(timeout=5)
    except Exception as error:
        raise NoAnswer(f"flush: {str(error) or type(error).__name__}") from error


def _frame(subject: bytes, head: bytes, payload: bytes) -> bytes:
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (subject, len(head), len(head) + len(payload), head, payload)


async def _write(client: Client, frames: Sequence[bytes]) -> None:
    """Hand frames over as one command: the client counts it against its pending size and writes it out whole."""
    await client._send_command(b"".join(frames))  # noqa: SLF001 - nothing public takes frames
