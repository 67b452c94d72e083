"""Who answers, and whether we can work with it; nothing that is said or written holds what was sent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from elasticsearch import AsyncElasticsearch

from storage.search import text
from storage.search.criteria import Criteria
from storage.search.elastic import connection
from storage.search.elastic.connection import Unavailable, UnsupportedServer, check, connect
from storage.search.elastic.query import TenantIndex
from tests.conftest import Elasticsearch

PRODUCT = {"X-Elastic-Product": "Elasticsearch"}


@asynccontextmanager
async def server(
    status: int,
    body: Any,
    headers: dict[str, str],
    *,
    seconds: float = 0,
    seen: list[str | None] | None = None,
) -> AsyncIterator[str]:
    """Something that answers everything alike, after a time; its URL, which holds a password.

    ``seen`` gets the credentials that came.
    """

    async def answer(request: web.Request) -> web.Response:
        if seen is not None:
            seen.append(request.headers.get("authorization"))
        await asyncio.sleep(seconds)
        return web.json_response(body, status=status, headers=headers)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://elastic:secret@127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def client_of(url: str) -> AsyncIterator[AsyncElasticsearch]:
    client = connect(url)
    yield client
    await client.close()


def version(number: str) -> dict[str, Any]:
    return {"version": {"number": number}, "tagline": "You Know, for Search"}


async def test_a_server_that_runs(elasticsearch: Elasticsearch) -> None:
    async with client_of(elasticsearch.url) as client:
        assert (await check(client)).split(".")[0] in {"8", "9"}


@pytest.mark.parametrize("number", ["8.0.0", "8.19.3", "9.5.3", "9.0.0-SNAPSHOT"])
async def test_what_we_can_work_with(number: str) -> None:
    async with server(200, version(number), PRODUCT) as url, client_of(url) as client:
        assert await check(client) == number


@pytest.mark.parametrize(
    ("status", "body", "headers", "said"),
    [
        (200, version("7.17.20"), PRODUCT, "the server is Elasticsearch 7.17.20; 8 or 9 is needed"),
        (200, version("10.0.0"), PRODUCT, "the server is Elasticsearch 10.0.0; 8 or 9 is needed"),
        (200, version("80.1.0"), PRODUCT, "the server is Elasticsearch 80.1.0; 8 or 9 is needed"),
        (200, version("2.11.0"), {}, "what answers there is no Elasticsearch; version 8 or 9 is needed"),
        (200, {}, {}, "what answers there is no Elasticsearch; version 8 or 9 is needed"),
        (200, {}, PRODUCT, "what answers there is no Elasticsearch; version 8 or 9 is needed"),
        (406, {"error": "Content-Type is not supported"}, {}, "older than Elasticsearch 8; 8 or 9 is needed"),
        (
            400,
            {"error": {"type": "media_type_header_exception"}},
            {},
            "older than Elasticsearch 8; 8 or 9 is needed",
        ),
    ],
)
async def test_what_we_cannot_work_with(status: int, body: Any, headers: dict[str, str], said: str) -> None:
    async with server(status, body, headers) as url, client_of(url) as client:
        with pytest.raises(UnsupportedServer, match=said):
            await check(client)


@pytest.mark.parametrize(
    ("status", "said"), [(401, "401 security_exception"), (429, "429"), (503, "503"), (500, "500")]
)
async def test_what_may_pass(status: int, said: str) -> None:
    error = {"error": {"type": "security_exception", "reason": "unable to authenticate user [elastic]"}}
    async with server(status, error, PRODUCT) as url, client_of(url) as client:
        with pytest.raises(Unavailable, match=said) as raised:
            await check(client)
        assert "elastic]" not in str(raised.value)


async def test_nobody_there() -> None:
    async with client_of("http://elastic:secret@127.0.0.1:1") as client:
        with pytest.raises(Unavailable, match="cannot be reached: ConnectionError"):
            await check(client)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "here",
        "http://",
        "http://elastic:secret@",
        "ftp://elastic:secret@here",
        "http://elastic:secret@here:port",
    ],
)
def test_a_url_that_cannot_be_read(url: str) -> None:
    with pytest.raises(ValueError, match="not a URL of the form") as raised:
        connect(url)
    assert "secret" not in str(raised.value)


async def test_credentials_are_those_of_the_url() -> None:
    seen: list[str | None] = []
    async with (
        server(200, version("9.5.3"), PRODUCT, seen=seen) as url,
        client_of(url.replace("secret", "p%40ss%3Aword")) as client,
    ):
        await check(client)
    assert seen == ["Basic ZWxhc3RpYzpwQHNzOndvcmQ="]  # elastic:p@ss:word


async def test_who_is_silent_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "TIMEOUT", 0.1)
    async with server(200, version("9.5.3"), PRODUCT, seconds=5) as url, client_of(url) as client:
        with pytest.raises(Unavailable, match="ConnectionTimeout"):
            await check(client)


@pytest.mark.parametrize("status", [404, 429, 500, 503])
async def test_nothing_that_is_asked_is_logged(status: int, caplog: pytest.LogCaptureFixture) -> None:
    """Nor said by the error, whatever the server repeats of it."""
    error = {
        "error": {
            "type": "some_exception",
            "reason": "cannot search [whisper]",
            "root_cause": [{"reason": "whisper"}],
        }
    }
    caplog.set_level(logging.DEBUG, logger="elasticsearch")
    caplog.set_level(logging.INFO)
    async with server(status, error, PRODUCT) as url, client_of(url) as client:
        with pytest.raises(Unavailable, match=f"{status} some_exception") as raised:
            await TenantIndex(client, "any", "acme").search(Criteria(text=text.parse("whisper")))
    written = f"{caplog.text} {raised.value!r} {raised.value.__cause__!r}"
    assert "whisper" not in written
    assert "secret" not in written


async def test_a_request_that_goes_well_leaves_no_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with server(200, version("9.5.3"), PRODUCT) as url, client_of(url) as client:
        await check(client)
    assert [record for record in caplog.records if record.name.startswith("elastic")] == []
