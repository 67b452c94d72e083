"""Logs to read from: one in memory and one of a real broker, behind the same few verbs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from nats.aio.client import Client

from contracts.subjects import STRAY, WEBHOOK, StreamSpec
from tests.eventually import eventually
from workers.engine.log import Log
from workers.engine.memory import MemoryLog
from workers.engine.nats import NatsLog
from workers.engine.record import Reader, Record
from workers.jetstream import NO_STREAM, Refused, api
from workers.streams import created

EVERY = (STRAY, *range(WEBHOOK.partitions))
MEGABYTE = 1 << 20
NO_STORE = 10049  # the files of the stream that had the name before are still being removed


class Stage(Protocol):
    """A log, and whoever publishes to it."""

    log: Log

    def another(self) -> Log:
        """For whoever closes it."""

    async def publish(self, subject: str, data: bytes, headers: Mapping[str, str] | None = None) -> int:
        """Returns the sequence."""

    async def make_anew(self) -> None: ...


class MemoryStage:
    def __init__(self) -> None:
        self.log = MemoryLog(WEBHOOK)
        self.publish = self.log.publish

    def another(self) -> MemoryLog:
        return self.log

    async def make_anew(self) -> None:
        self.log.make_anew()


class NatsStage:
    def __init__(self, client: Client, url: str) -> None:
        self.client = client
        self._url = url
        self.log = self.another()

    def another(self) -> NatsLog:
        return NatsLog(self._url, WEBHOOK)

    async def publish(self, subject: str, data: bytes, headers: Mapping[str, str] | None = None) -> int:
        ack = await self.client.jetstream().publish(subject, data, headers=dict(headers) if headers else None)
        return ack.seq

    async def make_anew(self) -> None:
        await declare(self.client, WEBHOOK)


async def declare(client: Client, spec: StreamSpec) -> None:
    """The stream, empty, whatever was there."""
    try:
        await api(client, f"STREAM.DELETE.{spec.name}")
    except Refused as refusal:
        if refusal.code != NO_STREAM:
            raise
    await once_free(lambda: api(client, f"STREAM.CREATE.{spec.name}", created(spec)))


async def once_free(make: Callable[[], Awaitable[object]]) -> None:
    """Make streams whose names were others' a moment ago."""

    async def made() -> bool:
        try:
            await make()
        except Refused as refusal:
            if refusal.code != NO_STORE:
                raise
            return False
        return True

    await eventually(made, what="the streams are made")


async def fill(stage: Stage, numbers: Sequence[int], key: str = "k{}", tenant: str = "acme") -> list[int]:
    """Publish numbers, each under the key made from it. Returns the sequences."""
    return [
        await stage.publish(f"webhook.message.{tenant}.{key.format(n)}", str(n).encode()) for n in numbers
    ]


async def opened(stage: Stage, positions: Mapping[int, int] | None = None) -> Reader:
    """A reader of everything from the beginning, or of the positions."""
    reader = await stage.log.reader((await stage.log.state()).created)
    await reader.assign(dict.fromkeys(EVERY, 0) if positions is None else positions)
    return reader


async def read(reader: Reader, count: int, max_records: int = 500, max_bytes: int = MEGABYTE) -> list[Record]:
    """At least so many records, over several reads."""
    records: list[Record] = []
    while len(records) < count:
        records += await reader.read(max_records, max_bytes)
    return records
