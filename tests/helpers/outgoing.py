"""What leaves, for tests: outbox rows by hand, and EVENTS read back."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import orjson
from nats.aio.client import Client

from contracts import envelope
from contracts.subjects import EVENTS, SHARDS
from ops.settings import Settings
from storage import outbox
from storage.outbox import OutboundEvent, Reply
from tests.eventually import eventually
from tests.helpers.logs import once_free
from workers import streams
from workers.jetstream import NO_MESSAGE, Refused, api, request
from workers.relay.publisher import Publisher
from workers.relay.service import Relay


def event(shard: int, number: int, contact: str = "c", size: int = 0) -> OutboundEvent:
    """The number-th event of a contact."""
    id_ = envelope.new_id()
    payload = {
        "specversion": "1.0",
        "id": id_,
        "source": "test",
        "type": "contact.updated",
        "data": {"contact_id": contact, "version": number, "filler": "x" * size},
    }
    return OutboundEvent(shard, f"contact.updated.acme.{contact}", id_, orjson.dumps(payload))


def reply(subject: str, number: int) -> Reply:
    return Reply(
        subject, orjson.dumps({"specversion": "1.0", "id": str(number), "data": {"status": "applied"}})
    )


async def stored(client: Client) -> list[dict[str, Any]]:
    """Everything in EVENTS, in order: sequence, subject, data (parsed), headers."""
    info = await api(client, f"STREAM.INFO.{EVENTS.name}")
    found = []
    for sequence in range(max(info["state"]["first_seq"], 1), info["state"]["last_seq"] + 1):
        try:
            message = (await api(client, f"STREAM.MSG.GET.{EVENTS.name}", {"seq": sequence}))["message"]
        except Refused as refusal:
            if refusal.code == NO_MESSAGE:  # deleted
                continue
            raise
        found.append(
            {
                "sequence": sequence,
                "subject": message["subject"],
                "data": orjson.loads(base64.b64decode(message["data"])),
                "headers": base64.b64decode(message.get("hdrs", "")).decode(),
            }
        )
    return found


async def events(client: Client) -> list[str]:
    """Ids of the events in EVENTS, in order, markers left out."""
    return [each["data"]["id"] for each in await stored(client) if each["subject"].startswith("contact.")]


async def append(
    connection: asyncpg.Connection, events: Sequence[OutboundEvent], replies: Sequence[Reply] = ()
) -> None:
    async with connection.transaction():
        await outbox.append(connection, events, replies)


async def made_anew(client: Client) -> None:
    """Every stream as it is on a fresh server."""
    for name in streams.STREAMS:
        if await streams.info(client, name):
            await api(client, f"STREAM.DELETE.{name}")
    await once_free(lambda: streams.declare(client))


def settings(dsn: str, url: str, **given: Any) -> Settings:
    return Settings(postgres_dsn=dsn, nats_url=url, instance=f"test-{uuid.uuid4()}", **given)


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Relay]:
    """A relay at work."""
    relay = Relay(settings)
    working = asyncio.create_task(relay.run())
    try:
        yield relay
    finally:
        await relay.stop()
        await asyncio.wait_for(working, 30)


async def settle(publisher: Publisher, connection: asyncpg.Connection) -> None:
    for shard in range(SHARDS):
        assert await publisher.settle(connection, shard)


async def drain(publisher: Publisher, connection: asyncpg.Connection) -> None:
    await settle(publisher, connection)
    while await publisher.publish(connection, range(SHARDS)):
        await settle(publisher, connection)


async def waiting(connection: asyncpg.Connection) -> int:
    return (await outbox.backlog(connection)).rows


async def window_zero(client) -> None:
    """The ids of deleted messages are forgotten, as a broker that lost messages lost their ids."""
    milliseconds = itertools.cycle((100, 101))  # the broker takes no window below 100

    # Once in thousands of times the broker goes on by the window that it had before: it is told again.
    async def told() -> bool:
        config = (await api(client, f"STREAM.INFO.{EVENTS.name}"))["config"]
        await api(
            client,
            f"STREAM.UPDATE.{EVENTS.name}",
            config | {"duplicate_window": next(milliseconds) * 1_000_000},
        )
        await window_passed(client, 3)
        return True

    await eventually(told)


async def window_passed(client, timeout: float = 30) -> None:
    async def forgotten() -> bool:
        answer = await request(client, "relay.probe", b"{}", {"Nats-Msg-Id": "probe"}, 30)
        return not answer.get("duplicate")

    await forgotten()
    await eventually(forgotten, timeout, what="the duplicate window has passed")
