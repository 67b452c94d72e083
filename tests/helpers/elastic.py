"""Indexes of a test's own on a real Elasticsearch, and a door before it that can be held shut."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import asyncpg
from aiohttp import ClientSession, web

from storage.search.elastic import bulk, documents, mapping
from storage.search.elastic.connection import connect

LOOK = b'"tenant_id":"-"'  # in the body of a search that only sees how the server is

Mode = Literal["open", "hang", "unavailable", "cut", "old", "slow", "nonsense"]


class Index:
    """An index behind an alias. ``fill`` takes what Postgres holds (of a tenant), ``put`` only these contacts."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.alias = f"test-{uuid.uuid4().hex[:12]}"
        self.name = f"{self.alias}-1"
        self._client = connect(url).options(request_timeout=60)

    async def make(self) -> None:
        aliases: dict[str, dict[str, str]] = {self.alias: {}, bulk.write_alias(self.name): {}}
        made = mapping.body(shards=2)
        await self._client.indices.create(
            index=self.name, settings=made["settings"], mappings=made["mappings"], aliases=aliases
        )

    async def drop(self) -> None:
        await self._client.indices.delete(index=self.name, ignore_unavailable=True)

    async def close(self) -> None:
        await self.drop()
        await self._client.close()

    async def fill(self, writer: asyncpg.Connection, tenant: str | None = None) -> None:
        after = None
        while found := await documents.scan(writer, tenant, after, 2000):
            await self._write(found)
            after = (found[-1].tenant_id, found[-1].id)
        await self.refresh()

    async def put(
        self, writer: asyncpg.Connection, *keys: tuple[str, uuid.UUID], refresh: bool = True
    ) -> None:
        await self._write(list((await documents.load(writer, keys)).values()))
        if refresh:
            await self.refresh()

    async def refresh(self) -> None:
        await self._client.indices.refresh(index=self.name)

    async def _write(self, found: list[documents.Document]) -> None:
        written = await bulk.write(self._client, [self.name], found, again=True)
        assert not written.refused
        assert not written.gone


@asynccontextmanager
async def indexed(url: str) -> AsyncIterator[Index]:
    index = Index(url)
    try:
        await index.make()
        yield index
    finally:
        await index.close()


class Door:
    """An HTTP server before Elasticsearch. ``mode``: pass on, take and never answer, answer 503, cut, be of version 7, be
    slow, answer nonsense.
    """

    def __init__(self, url: str) -> None:
        self._to = url
        self._bodies: list[bytes] = []
        self.mode: Mode = "open"
        self.passes: int | None = None  # searches that still get through; None: all
        self.slowness = 1.3  # seconds
        self.looks = 0  # requests of a worker that only sees how the server is
        self.url = ""

    def asked(self, tenant: str) -> int:
        """How many searches of the tenant have come."""
        return sum(b'"tenant_id":"%b"' % tenant.encode() in body for body in self._bodies)

    async def let(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self._bodies.append(body)
        self.looks += request.path == "/" or LOOK in body
        ours = {"X-Elastic-Product": "Elasticsearch"}
        if self.mode == "hang":
            await asyncio.sleep(3600)
        if self.passes is not None and LOOK not in body:
            self.passes -= 1
        if self.mode == "nonsense":
            return web.json_response({}, headers=ours)
        if self.mode == "slow":
            await asyncio.sleep(self.slowness)
        if self.mode == "unavailable" or (self.passes or 0) < 0:
            return web.json_response({"error": {"type": "unavailable"}}, status=503, headers=ours)
        if self.mode == "old" and request.path == "/":
            return web.json_response({"version": {"number": "7.17.0"}}, headers=ours)
        if self.mode == "cut":
            assert request.transport is not None
            request.transport.abort()
        asked = {k: v for k, v in request.headers.items() if k.lower() not in {"host", "content-length"}}
        async with (
            ClientSession(auto_decompress=False) as session,
            session.request(request.method, self._to + request.path_qs, data=body, headers=asked) as answer,
        ):
            kept = {k: v for k, v in answer.headers.items() if k.lower() != "transfer-encoding"}
            return web.Response(body=await answer.read(), status=answer.status, headers=kept)


@asynccontextmanager
async def door(url: str) -> AsyncIterator[Door]:
    made = Door(url.rstrip("/"))
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.let)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()
