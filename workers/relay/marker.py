"""The relay's markers, on a subject of the shard's own: one a shard at the end of an atomic batch, or before a few events.

A marker's body names the rows that it speaks of. Its sequence is what the next publish of the shard must expect, which
makes the broker the judge of who publishes: whoever missed a marker is refused.

Behind a batch's events the rows are published. Before a few events that leave singly, the rows are only intended: which of
their events are there is for whoever finds the marker to look up, among what the shard stored after ``since``.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import orjson
from nats.aio.client import Client

from contracts.subjects import EVENTS, relay_marker
from storage.outbox import RowName
from workers.jetstream import NO_MESSAGE, Refused, api, parse_time

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Log(NamedTuple):
    """What the broker says of the stream: its identity, and the first and last sequence it holds."""

    created: datetime
    first: int
    last: int


class Found(NamedTuple):
    """A shard's last marker in the stream: 0 and nothing where there is none."""

    sequence: int
    rows: list[RowName]
    since: int | None = None  # the rows are intended, and no event of theirs lies before this sequence


def body(rows: Sequence[RowName], since: int | None = None) -> bytes:
    """Rows as [id, microseconds since 1970]."""
    named = [[row.id, (row.created_at - _EPOCH) // _MICROSECOND] for row in rows]
    return orjson.dumps({"rows": named} if since is None else {"rows": named, "since": since})


def rows_of(marker: bytes) -> list[RowName]:
    return [RowName(id_, _EPOCH + micros * _MICROSECOND) for id_, micros in orjson.loads(marker)["rows"]]


async def log(client: Client) -> Log:
    """Raises Refused (NO_STREAM) and NoAnswer."""
    info = await api(client, f"STREAM.INFO.{EVENTS.name}")
    return Log(parse_time(info["created"]), info["state"]["first_seq"], info["state"]["last_seq"])


async def find(client: Client, shard: int) -> Found:
    """The shard's last marker, from the stream's leader. Raises Refused (NO_STREAM) and NoAnswer."""
    try:
        answer = await api(client, f"STREAM.MSG.GET.{EVENTS.name}", {"last_by_subj": relay_marker(shard)})
    except Refused as refusal:
        if refusal.code == NO_MESSAGE:
            return Found(0, [])
        raise
    message = answer["message"]
    said = base64.b64decode(message.get("data", ""))
    return Found(message["seq"], rows_of(said), orjson.loads(said).get("since"))


async def last_id(client: Client, subject: str, after: int) -> str | None:
    """The id of the last event on a subject, if it was stored after that sequence. Raises Refused and NoAnswer."""
    try:
        answer = await api(client, f"STREAM.MSG.GET.{EVENTS.name}", {"last_by_subj": subject})
    except Refused as refusal:
        if refusal.code == NO_MESSAGE:
            return None
        raise
    message = answer["message"]
    if message["seq"] <= after:
        return None
    headers = base64.b64decode(message.get("hdrs", "")).decode("utf-8", "replace").split("\r\n")
    return next((line.partition(": ")[2] for line in headers if line.startswith("Nats-Msg-Id: ")), None)
