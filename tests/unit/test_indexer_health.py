"""What an indexer says of itself: without Elasticsearch it is degraded, for the queries do without it; else it is down."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from ops.health import Health
from ops.settings import Settings
from storage.search.elastic.bulk import Retry
from storage.search.elastic.connection import Unavailable, UnsupportedServer
from tests.eventually import eventually
from workers.indexer import service
from workers.indexer.service import Indexer
from workers.jetstream import NoAnswer

NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Its one item is the time."""
    now = [1000.0]
    monkeypatch.setattr(service, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


@pytest.fixture
async def indexer() -> Indexer:
    settings = Settings(
        postgres_dsn="postgresql://x@127.0.0.1:1/x", nats_url="nats://127.0.0.1:1", elasticsearch_url=NOWHERE
    )
    return Indexer(settings)


async def status(indexer: Indexer) -> str:
    health = Health()
    health.watch("indexer", indexer.problems)
    return (await health.ready()).status


async def test_an_elasticsearch_that_was_never_reached(indexer: Indexer, clock: list[float]) -> None:
    assert await status(indexer) == "unready"  # nobody knows yet
    working = asyncio.create_task(indexer.run())
    await eventually(lambda: "cannot be reached" in str(indexer.problems()), what="it tells")
    clock[0] += 1000
    assert await status(indexer) == "degraded"
    await indexer.stop()
    await working


@pytest.mark.parametrize(
    ("error", "at_once", "later"),
    [
        (Unavailable("away"), "degraded", "degraded"),
        (UnsupportedServer("too old"), "degraded", "degraded"),
        (Retry("it answers 429"), "degraded", "unready"),
        (NoAnswer("the broker"), "degraded", "unready"),
    ],
    ids=["away", "too old", "answering 429", "broker"],
)
async def test_what_stops_it(
    indexer: Indexer, clock: list[float], error: Exception, at_once: str, later: str
) -> None:
    indexer._well()
    indexer._failed(error)
    assert await status(indexer) == at_once
    clock[0] += 31
    assert await status(indexer) == later


async def test_one_that_comes_back_is_given_the_time_to_take_what_has_waited(
    indexer: Indexer, clock: list[float]
) -> None:
    indexer._failed(Unavailable("away"))
    clock[0] += 3600
    indexer._failed(Unavailable("away"))
    indexer._failed(Retry("it answers 429"))
    assert await status(indexer) == "degraded"
    clock[0] += 31
    assert await status(indexer) == "unready"
