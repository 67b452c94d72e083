"""What the stream EVENTS holds of a tenant or a contact behind a position: pages of it, by direct get, without a consumer.

A direct get may be answered by a replica that is behind its leader. So that nothing follows is the leader's word alone.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import nats.errors
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

from contracts.subjects import EVENTS
from workers.jetstream import NO_MESSAGE, NoAnswer, Refused, api, parse_time
from workers.realtime.entries import Entry, parse

PAGE: Final = 256  # messages
PAGE_BYTES: Final = 2 << 20
TIMEOUT: Final = 5.0  # seconds

_STATUS, _SUBJECT, _SEQUENCE = "Status", "Nats-Subject", "Nats-Sequence"


@dataclass(frozen=True, slots=True)
class State:
    """What the broker says of the stream."""

    created: datetime
    first: int
    last: int


async def state(client: Client) -> State:
    """Raises Refused (NO_STREAM) and NoAnswer."""
    info = await api(client, f"STREAM.INFO.{EVENTS.name}")
    return State(parse_time(info["created"]), info["state"]["first_seq"], info["state"]["last_seq"])


def subjects(tenant: str, contact_id: uuid.UUID | None) -> str:
    """Of everything that EVENTS says about the tenant's contacts, or about one."""
    return f"*.*.{tenant}.{contact_id or '*'}"


async def page(client: Client, filter_subject: str, after: int) -> list[tuple[int, Entry | None]]:
    """The next messages by sequence, as (sequence, entry); empty where the broker that was asked knows of none.

    Raises NoAnswer.
    """
    asked = {"seq": after + 1, "next_by_subj": filter_subject, "batch": PAGE, "max_bytes": PAGE_BYTES}
    inbox = client.new_inbox()
    found: list[tuple[int, Entry | None]] = []
    try:
        subscription = await client.subscribe(inbox)
        try:
            await client.publish(f"$JS.API.DIRECT.GET.{EVENTS.name}", orjson.dumps(asked), reply=inbox)
            while not _ends(message := await subscription.next_msg(TIMEOUT)):
                found.append(_read(message))
        finally:
            await subscription.unsubscribe()
    except (nats.errors.Error, TimeoutError, OSError) as error:
        raise NoAnswer(f"reading {EVENTS.name}: {str(error) or type(error).__name__}") from error
    return found


def _ends(message: Msg) -> bool:
    """The broker's own word: the end of a batch, or that there is nothing (404)."""
    status = (message.headers or {}).get(_STATUS)
    if status is not None and status not in ("204", "404"):
        raise NoAnswer(f"reading {EVENTS.name}: status {status}")
    return status is not None


def _read(message: Msg) -> tuple[int, Entry | None]:
    headers = message.headers or {}
    sequence = int(headers[_SEQUENCE])
    return sequence, parse(sequence, headers[_SUBJECT], message.data)


async def ends_at(client: Client, filter_subject: str, position: int) -> bool:
    """Whether the stream's leader has nothing behind the position. Raises Refused and NoAnswer."""
    wanted = {"seq": position + 1, "next_by_subj": filter_subject}
    try:
        await api(client, f"STREAM.MSG.GET.{EVENTS.name}", wanted)
    except Refused as refusal:
        if refusal.code == NO_MESSAGE:
            return True
        raise
    return False
