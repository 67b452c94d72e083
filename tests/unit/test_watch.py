"""What ``rollcall up`` prints for people."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from ops.watch import watch
from tests.eventually import eventually


async def printed(given: SimpleNamespace, page: str | None = None) -> str:
    rest = {
        "settings": SimpleNamespace(jwt_secret=None),
        "jwt_secret": "a secret",
        "kept_secret": Path("/data/jwt_secret"),
        "url": "http://127.0.0.1:8",
        "instances": {"realtime/0": SimpleNamespace(url="http://127.0.0.1:9")},
    }
    fleet: Any = SimpleNamespace(**{**rest, **vars(given)})
    written = io.StringIO()
    watching = asyncio.create_task(watch(fleet, page, Console(file=written, width=40)))
    await eventually(lambda: "ready" in written.getvalue(), what="the addresses")
    watching.cancel()
    return written.getvalue()


def on_given_servers() -> SimpleNamespace:
    return SimpleNamespace(
        nats_url="nats://a:4222",
        postgres_dsn="postgresql://db:5432/rollcall",
        elasticsearch_url=None,
        stack=SimpleNamespace(data_dir=Path("/data"), nats=None, postgres=None, elasticsearch=None),
    )


async def test_addresses_of_embedded_servers_can_be_copied() -> None:
    fleet = SimpleNamespace(
        nats_url="nats://127.0.0.1:1",
        nats_monitor_url="http://127.0.0.1:2",
        postgres_dsn="postgresql://rollcall@127.0.0.1:3/rollcall",
        elasticsearch_url="http://127.0.0.1:4",
        stack=SimpleNamespace(
            data_dir=Path("/data"), nats=object(), postgres=object(), elasticsearch=object()
        ),
    )
    assert (await printed(fleet)).splitlines()[:4] == [
        "export ROLLCALL_NATS_URL=nats://127.0.0.1:1",
        "export ROLLCALL_NATS_MONITOR_URL=http://127.0.0.1:2",
        "export ROLLCALL_POSTGRES_DSN=postgresql://rollcall@127.0.0.1:3/rollcall",
        "export ELASTICSEARCH_URL=http://127.0.0.1:4",
    ]


async def test_what_signs_tokens_is_named_where_it_is_kept() -> None:
    fleet = on_given_servers()
    said = (await printed(fleet)).splitlines()
    assert "export ROLLCALL_JWT_SECRET=$(cat '/data/jwt_secret')" in said
    assert "sockets ws://127.0.0.1:9/ws" in said
    fleet.settings = SimpleNamespace(jwt_secret="a secret")  # of the environment
    assert "secret" not in await printed(fleet)


async def test_addresses_are_printed_without_credentials() -> None:
    fleet = SimpleNamespace(
        nats_url="nats://u:secret@a:4222, nats://secret@b:4222",
        postgres_dsn="postgresql://owner:secret@db:5432/rollcall?password=secret",
        elasticsearch_url="https://u:secret@c:9200,http://d:9200",
        settings=SimpleNamespace(jwt_secret="a secret"),
        stack=SimpleNamespace(data_dir=Path("/data"), nats=None, postgres=None, elasticsearch=None),
    )
    said = await printed(fleet)
    assert "secret" not in said
    assert all(
        place in said for place in ("a:4222", "b:4222", "db:5432/rollcall", "c:9200", "d:9200", "/data/logs")
    )


async def test_who_answers_searches_and_where_the_console_is() -> None:
    fleet = on_given_servers()
    said = await printed(fleet, "http://127.0.0.1:5/#ticket=of-this-fleet-and-longer-than-the-terminal")
    assert "PostgreSQL answers searches" in said
    assert "console http://127.0.0.1:5/#ticket=of-this-fleet-and-longer-than-the-terminal\n" in said
    assert "console" not in await printed(fleet)
