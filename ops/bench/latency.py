"""Latency in an open loop: from the intended time of publishing a webhook to its timeline event received on the bus."""

from __future__ import annotations

import asyncio
import random
import time

import nats
import orjson
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from ops.bench.ground import Ground
from ops.bench.workload import body, person, subject, text

WARM_UP_SECONDS = 2.0


async def measure(ground: Ground, *, contacts: int, rate: int, seconds: float) -> list[float]:
    """Milliseconds of every message, sorted. The workers run already."""
    publisher = await nats.connect(ground.stack.nats_url)
    subscriber = await nats.connect(ground.stack.nats_url)
    intended: dict[str, float] = {}
    taken: list[float] = []
    done = asyncio.Event()

    async def received(message: Msg) -> None:
        now = time.perf_counter()
        data = orjson.loads(message.data)["data"]
        at = intended.pop(data["payload"].get("message_id", ""), None)
        if at is not None:
            taken.append(1000 * (now - at))
            if not intended:
                done.set()

    await subscriber.jetstream().subscribe(
        "timeline.general.>",
        stream="EVENTS",
        cb=received,
        config=ConsumerConfig(deliver_policy=DeliverPolicy.NEW, ack_policy=AckPolicy.NONE, mem_storage=True),
    )
    chance = random.Random(11)
    count = int(rate * (seconds + WARM_UP_SECONDS))
    messages = []
    for n in range(count):
        who = person(chance.randrange(contacts))
        change = text(who, 50_000_000 + n)
        messages.append((subject(who), body(who, f"latency-{n}", change), change["messages"][0]["id"]))  # type: ignore[index]
    began = time.perf_counter() + 0.5
    tasks = set()
    for n, (on, payload, message_id) in enumerate(messages):
        at = began + n / rate
        if (wait := at - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        intended[message_id] = at
        task = asyncio.ensure_future(publisher.jetstream().publish(on, payload))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    done.clear()
    if intended:
        await asyncio.wait_for(done.wait(), 60)
    await publisher.close()
    await subscriber.close()
    return sorted(taken[int(rate * WARM_UP_SECONDS) :])


def percentile(values: list[float], share: float) -> float:
    return round(values[min(len(values) - 1, int(share * len(values)))], 2)
