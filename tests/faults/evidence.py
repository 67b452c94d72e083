"""What the bus and the database hold of some tenants: the input as it was accepted, and what came of it."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from tests.model.decode import Accepted

PARTITIONED = {"WEBHOOK": 5, "COMMAND": 6}  # tokens of a stored subject that carries its partition
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
RESULTS = "FAULT_RESULTS"


@dataclass
class Evidence:
    """``documents`` are by contact id, as contact.get answers; events in the order of the stream."""

    accepted: list[Accepted] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    results: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # by reply subject
    announced: list[dict[str, Any]] = field(default_factory=list)  # dead letters on the bus
    dead: list[asyncpg.Record] = field(default_factory=list)
    contacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    timeline: dict[str, list[asyncpg.Record]] = field(default_factory=dict)

    def titles(self) -> dict[str, str]:
        """Of the timeline events that were told, by id: how the model knows what a message names."""
        return {e["id"]: e["data"]["title"] for e in self.events if e["type"].startswith("timeline.")}


async def stored(client: Client, stream: str, *filters: str) -> AsyncIterator[Msg]:
    """Every message that a stream holds of these subjects, in order."""
    js = client.jetstream()
    config = ConsumerConfig(
        filter_subjects=list(filters),
        ack_policy=AckPolicy.NONE,
        deliver_policy=DeliverPolicy.ALL,
        mem_storage=True,
    )
    subscription = await js.pull_subscribe_bind(
        consumer=(await js.add_consumer(stream, config)).name, stream=stream
    )
    info = await subscription.consumer_info()
    left = info.num_pending
    while left:
        try:
            batch = await subscription.fetch(min(500, left), timeout=30)
        except NatsTimeoutError:
            raise AssertionError(f"{stream}: {left} messages were not delivered") from None
        for message in batch:
            yield message
        left -= len(batch)
        if left == 0:  # the count of a consumer may be behind what is stored
            left = (await subscription.consumer_info()).num_pending
    await subscription.unsubscribe()
    await js.delete_consumer(stream, info.name)


async def accepted(client: Client, tenants: Iterable[str]) -> list[Accepted]:
    """The input: both streams as the broker stored them, each in its order, by the time of acceptance."""
    found = []
    for tenant in tenants:
        for stream, filters in (
            ("WEBHOOK", [f"webhook.*.*.{tenant}.*"]),
            ("COMMAND", [f"command.*.*.*.{tenant}.*"]),
        ):
            found += [as_accepted(message) async for message in stored(client, stream, *filters)]
    return sorted(found, key=lambda m: (m.time, m.stream, m.sequence))


def as_accepted(message: Msg) -> Accepted:
    meta = message.metadata
    tokens = message.subject.split(".")
    if len(tokens) == PARTITIONED.get(meta.stream):
        del tokens[1]
    return Accepted(
        stream=meta.stream,
        sequence=meta.sequence.stream,
        subject=".".join(tokens),
        headers=dict(message.headers or {}),
        body=message.data,
        time=EPOCH + timedelta(microseconds=_nanoseconds(message.reply) // 1000),
    )


def _nanoseconds(reply: str) -> int:
    """The broker's time of a message, which nats-py rounds by way of a float."""
    tokens = reply.split(".")
    return int(tokens[7] if len(tokens) == 9 else tokens[9])


async def gather(client: Client, dsn: str, tenants: list[str]) -> Evidence:
    """Everything of these tenants. The fleet must have come to rest."""
    evidence = Evidence(accepted=await accepted(client, tenants))
    # Replies are no JetStream publishes: the broker stores them when it comes to it, and this one after them.
    await client.jetstream().publish("result.fence", b"")
    for tenant in tenants:
        filters = [f"contact.*.{tenant}.*", f"timeline.*.{tenant}.*"]
        async for message in stored(client, "EVENTS", *filters):
            evidence.events.append({**json.loads(message.data), "stored_subject": message.subject})
        async for message in stored(client, "DEADLETTER", f"deadletter.*.{tenant}"):
            evidence.announced.append({"headers": dict(message.headers or {}), "subject": message.subject})
        async for message in stored(client, RESULTS, f"result.{tenant}.>"):
            evidence.results.setdefault(message.subject, []).append(json.loads(message.data))
    connection = await asyncpg.connect(dsn)
    try:
        evidence.dead = await connection.fetch(
            "select id, stream, position, tenant_id, reason from dead_letters where tenant_id = any($1)",
            tenants,
        )
        ids = await connection.fetch("select tenant_id, id from contacts where tenant_id = any($1)", tenants)
        rows = await connection.fetch(
            "select id, contact_id, sequence, contact_version, type, category, delivered_at, read_at from contact_events"
            " where tenant_id = any($1) order by contact_id, sequence",
            tenants,
        )
    finally:
        await connection.close()
    timeline: dict[str, list[asyncpg.Record]] = defaultdict(list)
    for row in rows:
        timeline[str(row["contact_id"])].append(row)
    evidence.timeline = dict(timeline)
    gate = asyncio.Semaphore(20)

    async def get(tenant: str, contact_id: str) -> None:
        async with gate:
            answer = await ask(
                client, "contact.get", tenant, contact={"id": contact_id}, include_deleted=True
            )
        evidence.contacts[contact_id] = {**answer["data"], "tenant": tenant}

    await asyncio.gather(*(get(row["tenant_id"], str(row["id"])) for row in ids))
    return evidence


async def ask(client: Client, name: str, tenant: str, **data: Any) -> dict[str, Any]:
    answer = await client.request(f"query.{name}.{tenant}", json.dumps(data).encode(), timeout=30)
    found = json.loads(answer.data)
    assert found["success"], found
    return found
