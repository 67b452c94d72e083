"""A reverse proxy in front of an Elasticsearch, which answers some bulk requests in its place."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

# Answers a bulk request, given its body and how to have it answered by the server.
Forward = Callable[[bytes], Awaitable[web.Response]]
Rule = Callable[[web.Request, bytes, Forward], Awaitable[web.Response]]

TYPE = {"content-type": "application/json"}
JSON = {
    "content-type": "application/vnd.elasticsearch+json; compatible-with=8",
    "x-elastic-product": "Elasticsearch",
}


class Front:
    """``rules`` are for the next bulk requests, one each; ``bulks`` counts those that came. All else is forwarded."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._session: aiohttp.ClientSession | None = None
        self.rules: deque[Rule] = deque()
        self.always: Rule | None = None  # for the bulk requests that no rule is left for
        self.version: str | None = None  # that the server is said to have, in place of its own
        self.bulks = 0
        self.url = ""

    @classmethod
    @asynccontextmanager
    async def open(cls, server: str) -> AsyncIterator[Front]:
        front = cls(server)
        application = web.Application(client_max_size=1 << 28)
        application.router.add_route("*", "/{path:.*}", front._answer)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        front.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
        async with aiohttp.ClientSession() as session:
            front._session = session
            try:
                yield front
            finally:
                await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.read()

        async def forward(given: bytes) -> web.Response:
            assert self._session is not None
            headers = {n: v for n, v in request.headers.items() if n.lower() in ("content-type", "accept")}
            url = f"{self._server}{request.rel_url}"
            async with self._session.request(request.method, url, data=given, headers=headers) as answer:
                return web.Response(
                    status=answer.status, body=await answer.read(), headers=JSON | _type(answer.headers)
                )

        if request.path == "/" and self.version is not None:
            told = json.dumps({"version": {"number": self.version}}).encode()
            return web.Response(body=told, headers=JSON if "." in self.version else TYPE)
        try:
            if request.path.endswith("/_bulk"):
                self.bulks += 1
                rule = self.rules.popleft() if self.rules else self.always
                if rule is not None:
                    return await rule(request, body, forward)
            return await forward(body)
        except aiohttp.ClientError:  # the server is away: so are we
            return await cut(request, body, forward)


def _type(headers: object) -> dict[str, str]:
    found = headers.get("content-type")  # type: ignore[attr-defined]
    return {"content-type": found} if found else {}


def status(code: int) -> Rule:
    """Refuse the request as a whole."""

    async def rule(_request: web.Request, _body: bytes, _forward: Forward) -> web.Response:
        error = {"error": {"type": "es_rejected_execution_exception", "reason": "full"}, "status": code}
        return web.json_response(error, status=code, headers={"x-elastic-product": "Elasticsearch"})

    return rule


def half(code: int) -> Rule:
    """Let every second document pass, and answer for the others that there is no room."""

    async def rule(_request: web.Request, body: bytes, forward: Forward) -> web.Response:
        lines = body.rstrip(b"\n").split(b"\n")
        pairs = [lines[n : n + 2] for n in range(0, len(lines), 2)]
        passing = b"".join(line + b"\n" for pair in pairs[::2] for line in pair)
        answer = json.loads(bytes((await forward(passing)).body or b"{}"))
        passed = iter(answer.get("items") or [{"index": {"status": 201}}] * len(pairs[::2]))
        error = {"type": "es_rejected_execution_exception", "reason": "full"}
        full = {"index": {"status": code, "error": error}}
        items = [full if n % 2 else next(passed) for n in range(len(pairs))]
        return web.Response(body=json.dumps({"errors": True, "items": items}).encode(), headers=JSON)

    return rule


async def cut(request: web.Request, _body: bytes, _forward: Forward) -> web.Response:
    """Break the connection off before the server has seen the request."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def cut_answer(request: web.Request, body: bytes, forward: Forward) -> web.Response:
    """Break the connection off when the server has done it."""
    await forward(body)
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


class Gate:
    """A rule that holds a request back until ``open``."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._open = asyncio.Event()

    def open(self) -> None:
        self._open.set()

    async def __call__(self, _request: web.Request, body: bytes, forward: Forward) -> web.Response:
        self.reached.set()
        await self._open.wait()
        return await forward(body)
