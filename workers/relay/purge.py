"""Make room in the inbound streams: only what every reader has passed goes, and not before a replay window is over.

The window gives way when the stream is half full: a full stream refuses its publishers, and what is purged was applied.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
from nats.aio.client import Client

from contracts.subjects import STRAY, StreamSpec
from ops.logging import get_logger
from storage import cursors
from storage.postgres import within
from workers.jetstream import api, parse_time

REPLAY_WINDOW: Final = timedelta(hours=24)
PRESSED: Final = 0.5  # of max_bytes

log = get_logger("workers.relay.purge")


async def purge(
    client: Client,
    connection: asyncpg.Connection,
    spec: StreamSpec,
    window: timedelta = REPLAY_WINDOW,
) -> int:
    """Delete what is below the cursors and older than the window. Returns how many messages went.

    A partition without a cursor, or with one of another stream, keeps everything. Raises Refused and NoAnswer.
    """
    found = await api(client, f"STREAM.INFO.{spec.name}")
    state, limit = found["state"], found["config"].get("max_bytes", -1)
    if not state["messages"]:
        return 0
    made = parse_time(found["created"])
    with within(connection):
        known = await cursors.load(connection, spec.name)
    passed = {p: c.sequence for p, c in known.items() if c.stream_created == made}
    if limit > 0 and state["bytes"] > limit * PRESSED:
        log.warning("the replay window gives way", stream=spec.name, bytes=state["bytes"], max_bytes=limit)
        newest = state["last_seq"]
    else:
        newest = await last_before(client, spec, datetime.now(UTC) - window, state)
    bounds = {p: min(sequence, newest) for p, sequence in passed.items()}
    gone = 0
    floor = min((bounds.get(p, 0) for p in (*range(spec.partitions), STRAY)), default=0)
    if floor >= state["first_seq"]:
        gone += await _purge(client, spec, floor)
    for partition, bound in bounds.items():
        if bound > max(floor, state["first_seq"]):  # the others wait for a partition that stands still
            for subject in spec.filters(partition):
                gone += await _purge(client, spec, bound, subject)
    if gone:
        log.info("purged", operation="purge", stream=spec.name, messages=gone)
    return gone


async def _purge(client: Client, spec: StreamSpec, sequence: int, subject: str | None = None) -> int:
    """Delete up to and including the sequence."""
    body: dict[str, Any] = {"seq": sequence + 1} | ({"filter": subject} if subject else {})
    return int((await api(client, f"STREAM.PURGE.{spec.name}", body))["purged"])


async def last_before(client: Client, spec: StreamSpec, moment: datetime, state: dict[str, Any]) -> int:
    """The sequence of the last message stored before the moment, as a consumer that starts there sees it."""
    if parse_time(state["last_ts"]) < moment:
        return int(state["last_seq"])
    if parse_time(state["first_ts"]) >= moment:
        return int(state["first_seq"]) - 1
    config = {
        "deliver_policy": "by_start_time",
        "opt_start_time": moment.isoformat().replace("+00:00", "Z"),
        "ack_policy": "none",
        "mem_storage": True,
        "num_replicas": 1,
        "inactive_threshold": 5_000_000_000,
    }
    made = await api(client, f"CONSUMER.CREATE.{spec.name}", {"stream_name": spec.name, "config": config})
    await api(client, f"CONSUMER.DELETE.{spec.name}.{made['name']}")
    return int(made["delivered"]["stream_seq"])
