"""The requests to the JetStream API that a reader makes. Each raises OSError when there is no answer."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson
from nats.aio.client import Client

from contracts.subjects import StreamSpec
from workers.engine.feed import HEARTBEAT_SECONDS, PULL_SECONDS, Pull
from workers.engine.log import StreamState
from workers.engine.record import StreamChanged
from workers.jetstream import NO_MESSAGE, NO_STREAM, Refused, parse_time, request

API = "$JS.API"
TIMEOUT = 2.0  # seconds
INACTIVE_SECONDS = 30  # the broker removes a consumer that nobody asks

_CONSUMER_NOT_FOUND = 10014
_NANOSECONDS = 1_000_000_000


class ApiError(OSError):
    """JetStream refused a request that it may grant later; ``code`` is its err_code."""

    def __init__(self, refusal: Refused) -> None:
        super().__init__(f"JetStream: {refusal}")
        self.code = refusal.code


async def read_state(client: Client, stream: str) -> StreamState:
    """Raises StreamChanged when there is no such stream."""
    answer = await _ask(client, stream, f"STREAM.INFO.{stream}")
    held = answer["state"]
    return StreamState(parse_time(answer["created"]), held["last_seq"], held["first_seq"])


async def create_consumer(client: Client, spec: StreamSpec, name: str, partition: int, position: int) -> int:
    """An ephemeral consumer of what follows the position. Returns how many messages that is. Raises StreamChanged."""
    filters = spec.filters(partition)
    config: dict[str, Any] = {
        "name": name,
        "ack_policy": "none",
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": position + 1,
        "mem_storage": True,
        "num_replicas": 1,
        "inactive_threshold": INACTIVE_SECONDS * _NANOSECONDS,
    }
    subject = f"CONSUMER.CREATE.{spec.name}.{name}"
    if len(filters) == 1:  # in the subject too, so that the broker can hold a worker to its own filters
        config["filter_subject"] = filters[0]
        subject += f".{filters[0]}"
    else:
        config["filter_subjects"] = list(filters)
    answer = await _ask(client, spec.name, subject, {"stream_name": spec.name, "config": config})
    return int(answer["num_pending"])


async def pending(client: Client, spec: StreamSpec, consumer: str) -> int | None:
    """How many messages a consumer has left; None when there is no such consumer."""
    try:
        answer = await _ask(client, spec.name, f"CONSUMER.INFO.{spec.name}.{consumer}")
    except ApiError as error:
        if error.code == _CONSUMER_NOT_FOUND:
            return None
        raise
    return int(answer["num_pending"])


async def next_stored(client: Client, spec: StreamSpec, partition: int, position: int) -> datetime | None:
    """When the partition's next message after the position was stored; None when the stream's leader has none."""
    times = []
    for subject in spec.filters(partition):
        wanted = {"seq": position + 1, "next_by_subj": subject}
        try:
            answer = await _ask(client, spec.name, f"STREAM.MSG.GET.{spec.name}", wanted)
        except ApiError as error:
            if error.code != NO_MESSAGE:
                raise
        else:
            times.append(parse_time(answer["message"]["time"]))
    return min(times, default=None)


async def send_pull(client: Client, stream: str, consumer: str, pull: Pull, reply: str) -> None:
    """Ask for messages; they and the broker's word on the pull come to the reply subject."""
    asked = {
        "batch": pull.batch,
        "expires": PULL_SECONDS * _NANOSECONDS,
        "idle_heartbeat": HEARTBEAT_SECONDS * _NANOSECONDS,
    }
    if pull.max_bytes:
        asked["max_bytes"] = pull.max_bytes
    await client.publish(f"{API}.CONSUMER.MSG.NEXT.{stream}.{consumer}", orjson.dumps(asked), reply)


async def send_delete(client: Client, stream: str, consumer: str, reply: str) -> None:
    """Remove a consumer, without waiting for it."""
    await client.publish(f"{API}.CONSUMER.DELETE.{stream}.{consumer}", b"", reply)


async def _ask(client: Client, stream: str, call: str, body: dict[str, Any] | None = None) -> Any:
    try:
        return await request(
            client, f"{API}.{call}", b"" if body is None else orjson.dumps(body), timeout=TIMEOUT
        )
    except Refused as refusal:
        if refusal.code == NO_STREAM:
            raise StreamChanged(f"stream {stream} does not exist: `rollcall streams` declares it") from None
        raise ApiError(refusal) from refusal
