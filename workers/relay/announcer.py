"""Dead letters, announced on the bus for whoever listens. The rows in the database are the whole of them."""

from __future__ import annotations

import asyncio
import re
from typing import Final

import asyncpg
from nats.aio.client import Client

from contracts.subjects import SubjectError, dead_letter
from ops import metrics
from ops.logging import get_logger
from storage import dead_letters
from storage.dead_letters import DeadLetter
from workers.jetstream import request

READ_ROWS: Final = 50
READ_BYTES: Final = 4_000_000
ORIGINAL_HEADERS: Final = 32_000  # bytes; the broker refuses a header block of more than 64 kB
HEADER_ROOM: Final = 4_000  # bytes that our own headers stay below
ORIGINAL_PREFIX: Final = "Rollcall-Original-"

# The broker acts on these, and readers would take ours for the original's: they are kept under another name.
_MEANT_FOR_US: Final = re.compile(r"nats-|rollcall-(?!reply-to$|replay$)", re.IGNORECASE)
_NO_NAME: Final = re.compile(r"[^!-9;-~]")
_NO_VALUE: Final = re.compile(r"[^ -~]")

log = get_logger("workers.relay.announcer")


async def announce(client: Client, connection: asyncpg.Connection) -> int:
    """Publish the dead letters that the bus has not heard of, oldest first, and mark them. Returns how many.

    A letter announced twice has the same Nats-Msg-Id. Raises Refused and NoAnswer.
    """
    letters = await dead_letters.unpublished(connection, READ_ROWS, READ_BYTES)
    answers = await asyncio.gather(*(_publish(client, letter) for letter in letters), return_exceptions=True)
    announced = [
        letter.id
        for letter, answer in zip(letters, answers, strict=True)
        if not isinstance(answer, Exception)
    ]
    if announced:
        await dead_letters.mark_published(connection, announced)
        metrics.PUBLISHED.labels("dead_letter").inc(len(announced))
        log.info("announced", operation="announce", dead_letters=len(announced))
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return len(announced)


async def _publish(client: Client, letter: DeadLetter) -> None:
    headers = headers_of(letter)
    body = letter.body
    room = (
        client.max_payload - HEADER_ROOM - sum(len(name) + len(value) + 4 for name, value in headers.items())
    )
    if len(body) > room:
        headers["Rollcall-Truncated"] = str(len(body))
        body = body[:room]
    await request(client, subject_of(letter), body, headers)


def subject_of(letter: DeadLetter) -> str:
    """A tenant that is no token (it stood in a subject that broke the grammar) is "-"."""
    try:
        return dead_letter(letter.stream, letter.tenant)
    except SubjectError:
        return dead_letter(letter.stream)


def headers_of(letter: DeadLetter) -> dict[str, str]:
    """The original's headers as far as there is room, and ours; ASCII without line ends."""
    headers: dict[str, str] = {}
    room = ORIGINAL_HEADERS
    for name, value in letter.headers.items():
        kept = _NO_NAME.sub("_", name)
        if _MEANT_FOR_US.match(kept):
            kept = ORIGINAL_PREFIX + kept
        shown = _ascii(value)
        size = len(kept) + len(shown) + 4
        if kept and size <= room:
            room -= size
            headers[kept] = shown
    return headers | {
        "Nats-Msg-Id": str(letter.id),
        "Rollcall-Dead-Letter": str(letter.id),
        "Rollcall-Reason": _ascii(letter.reason),
        "Rollcall-Detail": _ascii(letter.detail)[:1000],
        "Rollcall-Stream": _ascii(letter.stream),
        "Rollcall-Subject": _ascii(letter.subject)[:1000],
        "Rollcall-Position": str(letter.position),
        "Rollcall-Partition": str(letter.partition),
        "Rollcall-Count": str(letter.count),
        "Rollcall-Time": letter.broker_time.isoformat(),
    }


def _ascii(text: str) -> str:
    """Text as a header value can hold it: other letters as escapes, control characters as spaces."""
    return _NO_VALUE.sub(" ", text.encode("ascii", "backslashreplace").decode()).strip()
