"""A queries worker in this process, and a client that asks it over the bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import nats
import orjson
from nats.aio.client import Client

from contracts.registry import QUERIES, QueryEntry
from ops.settings import Settings
from workers.broker import Broker
from workers.queries.service import QUEUE, build
from workers.service import Runtime, Service


def fits(name: str, answer: dict[str, Any]) -> None:
    """An answer is what the registry promises, and holds no field that it does not know."""
    entry = QUERIES[name]
    assert set(answer) == {"success", "data", "meta"}
    for model, shown in [
        (entry.meta, answer["meta"]),
        *((entry.document, d) for d in documents(entry, answer)),
    ]:
        model.model_validate(shown)
        assert set(shown) <= set(model.model_fields)


def documents(entry: QueryEntry, answer: dict[str, Any]) -> list[dict[str, Any]]:
    return answer["data"] if entry.many else [answer["data"]]


class Asker:
    """Asks as any program would: a NATS request, plain JSON."""

    engine = "postgres"  # that answers searches, where it is always the same

    def __init__(self, client: Client, service: Service, broker: Broker) -> None:
        self._client = client
        self._service = service
        self._broker = broker

    @property
    def problems(self) -> list[str]:
        """What the worker says on its health page."""
        return self._service.problems()

    @property
    def reconnects(self) -> int:
        """How often the worker lost its connection to the bus."""
        return self._broker.connection.stats["reconnects"]

    async def raw(self, subject: str, body: bytes, headers: dict[str, str] | None = None) -> dict[str, Any]:
        reply = await self._client.request(subject, body, timeout=30, headers=headers)
        answer: dict[str, Any] = orjson.loads(reply.data)
        return answer

    async def __call__(self, name: str, tenant: str = "a", /, **fields: Any) -> dict[str, Any]:
        answer = await self.raw(f"query.{name}.{tenant}", orjson.dumps(fields))
        if answer["success"]:
            fits(name, answer)
        return answer

    async def data(self, name: str, tenant: str = "a", /, **fields: Any) -> Any:
        answer = await self(name, tenant, **fields)
        assert answer["success"], answer
        return answer["data"]

    async def error(self, name: str, tenant: str = "a", /, **fields: Any) -> dict[str, Any]:
        answer = await self(name, tenant, **fields)
        assert not answer["success"], answer
        assert set(answer) == {"success", "error"}
        error: dict[str, Any] = answer["error"]
        assert set(error) == {"code", "message", "details"}
        return error

    async def code(self, name: str, tenant: str = "a", /, **fields: Any) -> str:
        return str((await self.error(name, tenant, **fields))["code"])


@asynccontextmanager
async def asking(postgres_dsn: str, nats_url: str, **settings: Any) -> AsyncIterator[Asker]:
    """A running worker and its asker."""
    made = Settings(postgres_dsn=postgres_dsn, nats_url=nats_url, **settings)
    broker = Broker(nats_url)
    await broker.connect()
    service = build(Runtime("queries", made, broker))
    running = asyncio.create_task(service.run())
    client = await nats.connect(nats_url)
    try:
        await _until_subscribed(client, running)
        yield Asker(client, service, broker)
    finally:
        await service.stop()
        await running
        await client.close()
        await broker.stop()


async def _until_subscribed(client: Client, running: asyncio.Task[None]) -> None:
    """Without anybody in the queue group the broker answers "no responders" at once."""
    while not running.done():
        try:
            await client.request(f"query.is.{QUEUE}.up", b"", timeout=30)
        except nats.errors.NoRespondersError:
            await asyncio.sleep(0.01)
        else:
            return
    running.result()
