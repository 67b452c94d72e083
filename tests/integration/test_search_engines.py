"""Who answers a search: Elasticsearch while it can, Postgres at once when it cannot."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
import uuid
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from nats.aio.client import Client

from ops.devstack import NatsServer
from storage.search import state
from tests.eventually import eventually
from tests.helpers.engines import EVERYBODY, Begin, names
from workers.queries import elastic

NOWHERE = "http://127.0.0.1:1"
TWO = elastic.TIMEOUT  # seconds that Elasticsearch has


async def test_elasticsearch_answers_while_it_can(begin: Begin) -> None:
    stage = await begin()
    answer = await stage.search()
    assert (names(answer), answer["meta"]["engine"]) == (EVERYBODY, "elasticsearch")
    assert stage.asked == 1
    assert stage.ask.problems == []


@pytest.mark.parametrize("mode", ["hang", "unavailable", "cut", "nonsense"])
async def test_postgres_answers_the_query_that_elasticsearch_fails(
    begin: Begin, mode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = await begin()
    assert await stage.engine() == "elasticsearch"
    if mode == "hang":
        monkeypatch.setattr(elastic, "TIMEOUT", TWO)
    stage.door.mode = mode
    answer = await stage.search()
    assert (names(answer), answer["meta"]["engine"]) == (EVERYBODY, "postgres")
    (problem,) = stage.ask.problems
    assert problem.startswith("search: ")
    assert "Elasticsearch" in problem
    assert problem.endswith("; Postgres answers")
    assert type(problem).__name__ == "Degraded"
    # From here on it costs a query nothing, for as long as it lasts.
    await stage.looked()
    asked = stage.asked
    for _ in range(10):
        assert await stage.engine() == "postgres"
    assert stage.asked == asked
    monkeypatch.setattr(elastic, "TIMEOUT", 60)
    stage.door.mode = "open"
    await stage.answers("elasticsearch")
    assert stage.ask.problems == []


async def test_a_forgiving_step_that_fails_is_answered_by_postgres_as_a_whole(begin: Begin) -> None:
    stage = await begin()
    stage.door.passes = 1
    answer = await stage.search(q="annx")
    assert (names(answer), answer["meta"]["engine"], answer["meta"]["forgiving"]) == (
        EVERYBODY,
        "postgres",
        True,
    )
    assert stage.asked == 2


async def test_elasticsearch_has_two_seconds_for_all_of_a_search(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five of them here, so that a slow machine is not what takes them up."""
    assert TWO == 2
    stage = await begin()
    monkeypatch.setattr(elastic, "TIMEOUT", 5)
    stage.door.slowness = 2.6
    stage.door.mode = "slow"
    assert await stage.engine() == "elasticsearch"
    began = time.monotonic()
    assert await stage.engine(q="annx") == "postgres"  # which takes a second step, as slow as the first
    assert time.monotonic() - began >= 5


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"elasticsearch_url": NOWHERE}, "Elasticsearch cannot be reached"),
        ({"search_index": "nobody-made-it"}, "404"),
        ({"elasticsearch_url": None}, "ELASTICSEARCH_URL is not set"),
    ],
)
async def test_without_an_index_postgres_answers(begin: Begin, settings: dict[str, Any], why: str) -> None:
    stage = await begin(**settings)
    answer = await stage.search()
    assert (names(answer), answer["meta"]["engine"]) == (EVERYBODY, "postgres")
    (problem,) = stage.ask.problems
    assert why in problem
    (reason,) = (await stage.ask.data("search.status"))["reasons"]
    assert problem == f"search: {reason}; Postgres answers"


async def test_a_server_of_another_age_is_not_asked(begin: Begin) -> None:
    stage = await begin()
    stage.door.mode = "unavailable"
    await stage.answers("postgres")
    stage.door.mode = "old"  # who was not there for a while may come back as another
    await eventually(lambda: "7.17.0" in str(stage.ask.problems))
    assert await stage.engine() == "postgres"


# -- lag


async def test_an_index_that_is_too_far_behind_is_not_asked(
    begin: Begin, bus: NatsServer, nats: Client
) -> None:
    stage = await begin(search_max_lag_s=1.5)
    assert await stage.engine() == "elasticsearch"
    js = nats.jetstream()
    await js.publish(f"contact.updated.{stage.applier.tenant}.{uuid.uuid4()}", b"{}")
    await eventually(lambda: "behind, more than 1.5 s" in str(stage.ask.problems))
    assert await stage.engine() == "postgres"
    status = await stage.ask.data("search.status", stage.applier.tenant)
    assert status["engine"] == "postgres"
    assert status["lag_s"] > 1.5
    subscription = await js.pull_subscribe_bind("indexer", stream="EVENTS")
    (message,) = await subscription.fetch(1, timeout=30)
    await message.ack()
    await stage.answers("elasticsearch")
    assert (await stage.ask.data("search.status"))["lag_s"] < 1.5


async def test_an_index_of_which_nobody_knows_how_far_it_is_behind_is_not_asked(
    begin: Begin, nats: Client
) -> None:
    await nats.jetstream().delete_consumer("EVENTS", "indexer")
    stage = await begin()
    answer = await stage.search()
    assert (names(answer), answer["meta"]["engine"]) == (EVERYBODY, "postgres")
    status = await stage.ask.data("search.status")
    assert (status["lag_s"], status["reasons"]) == (None, ["how far the index is behind cannot be known"])


async def test_a_lag_grows_no_faster_than_time_goes(begin: Begin, nats: Client) -> None:
    began = time.monotonic()
    stage = await begin(search_max_lag_s=6)
    await nats.jetstream().delete_consumer("EVENTS", "indexer")

    async def unknown() -> bool:
        status = await stage.ask.data("search.status")
        assert status["engine"] == "elasticsearch"
        return status["lag_s"] is None

    await eventually(unknown)
    assert await stage.engine() == "elasticsearch"
    await stage.answers("postgres")
    assert time.monotonic() - began > 5


async def test_an_index_that_lacks_lost_events_is_not_asked_until_it_is_built_anew(
    begin: Begin, writer: asyncpg.Connection, nats: Client
) -> None:
    stage = await begin()
    js = nats.jetstream()
    last = (await js.stream_info("EVENTS")).state.last_seq
    await state.caught_up(writer, datetime.now(UTC), last)
    assert await stage.engine() == "elasticsearch"
    await js.publish(f"contact.updated.{stage.applier.tenant}.{uuid.uuid4()}", b"{}")
    await js.purge_stream("EVENTS")  # nobody has read it, and nobody will
    await stage.answers("postgres")
    status = await stage.ask.data("search.status")
    assert status["reasons"] == ["the index lacks changes whose events are gone, until it is built anew"]
    assert status["lag_s"] < 1

    await state.lost(writer, await state.read(writer), datetime.now(UTC), last + 1)  # an indexer has noticed
    await state.request(writer, None)
    job = await state.claim(writer, "me", 600)
    assert job
    await state.begin_index(writer, job, stage.index.name)
    await stage.looked()
    assert await stage.engine() == "postgres"
    await state.go_live(writer, job)
    await state.finish(writer, job)
    await stage.answers("elasticsearch")
    assert stage.ask.problems == []


# -- what is shown is what is committed


async def test_a_hit_is_shown_as_it_is_now(begin: Begin) -> None:
    stage = await begin()
    await stage.applier.send("contact.update", {"contact": {"external_id": "two"}, "set": {"last_name": "2"}})
    await stage.applier.send("contact.delete", {"contact": {"external_id": "one"}})
    answer = await stage.search()
    assert answer["meta"]["engine"] == "elasticsearch"
    assert names(answer) == ["three", "two"]
    assert answer["data"][1]["last_name"] == "2"


async def test_no_connection_is_held_while_elasticsearch_is_asked(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = await begin(query_connections=1)
    monkeypatch.setattr(elastic, "TIMEOUT", 5)
    stage.door.mode = "hang"
    searches = [asyncio.create_task(stage.search()) for _ in range(3)]
    await eventually(lambda: stage.asked == 3)
    await stage.ask.data("contact.find", stage.applier.tenant, external_id="one")
    assert not any(search.done() for search in searches)
    assert {answer["meta"]["engine"] for answer in await asyncio.gather(*searches)} == {"postgres"}


# -- without Elasticsearch


def test_without_elasticsearch_its_client_is_not_loaded() -> None:
    code = """
import asyncio, sys
from ops.settings import Settings
from workers.broker import Broker
from workers.queries.service import build
from workers.service import Runtime

async def main():
    settings = Settings(postgres_dsn="postgresql://x@localhost:1/x", nats_url="nats://localhost:1", elasticsearch_url=None)
    service = build(Runtime("queries", settings, Broker("nats://localhost:1")))
    await service._search.start()
    await service._search.close()
    print(sorted(name for name in sys.modules if name.startswith(("elastic", "storage.search.elastic"))))

asyncio.run(main())
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stdout.strip() == "[]", ran.stderr
