"""Who answers a search: Elasticsearch while it can, Postgres at once when it cannot; and reading what one has written."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from nats.aio.client import Client

from ops.devstack import NatsServer
from storage.postgres import WRITER, connect
from storage.search import state
from storage.search.elastic import connection, query
from tests.conftest import Elasticsearch
from tests.eventually import eventually
from tests.helpers.applier import Applier
from tests.helpers.asker import Asker, asking
from tests.helpers.elastic import Door, Index, door, indexed
from tests.helpers.searching import lagless
from workers.queries import elastic

NOWHERE = "http://127.0.0.1:1"
TWO = elastic.TIMEOUT  # seconds that Elasticsearch has


@pytest.fixture(scope="module")
async def writer(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(database, WRITER)
    yield connection
    await connection.close()


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker looks more often how Elasticsearch is, for less waiting; and has patience, so that it is not away for being slow."""
    monkeypatch.setattr(elastic, "LOOK", 0.2)
    monkeypatch.setattr(elastic, "PAUSE", 0.3)
    monkeypatch.setattr(connection, "TIMEOUT", 60)
    monkeypatch.setattr(query, "TIMEOUT", 60)
    monkeypatch.setattr(elastic, "TIMEOUT", 60)


@pytest.fixture
async def applier(writer: asyncpg.Connection) -> Applier:
    """Of a fresh tenant with three contacts: Ann one, Ann two, Ann three."""
    applier = Applier(writer, tenant=f"t-{uuid.uuid4().hex[:8]}")
    for name in ("one", "two", "three"):
        await applier.send("contact.create", {"external_id": name, "first_name": "Ann", "last_name": name})
    return applier


@dataclass
class Stage:
    """A worker that asks an Elasticsearch behind a door, about one tenant."""

    ask: Asker
    door: Door
    index: Index
    applier: Applier

    async def search(self, **fields: Any) -> dict[str, Any]:
        answer = await self.ask("contact.search", self.applier.tenant, **{"q": "ann", **fields})
        assert answer["success"], answer
        return answer

    async def engine(self, **fields: Any) -> str:
        return (await self.search(**fields))["meta"]["engine"]

    async def answers(self, engine: str) -> None:
        async def does() -> bool:
            assert await self.engine() == engine, self.ask.problems
            return True

        await eventually(does)

    @property
    def asked(self) -> int:
        return self.door.asked(self.applier.tenant)

    async def looked(self) -> None:
        """Until the worker has looked again whether Elasticsearch can be asked."""
        before = self.door.looks
        await eventually(lambda: self.door.looks >= before + 2)


Begin = Callable[..., Awaitable[Stage]]


@pytest.fixture(scope="module")
async def index(elasticsearch: Elasticsearch) -> AsyncIterator[Index]:
    async with indexed(elasticsearch.url) as index:
        yield index


@pytest.fixture
async def begin(
    index: Index, database: str, bus: NatsServer, writer: asyncpg.Connection, applier: Applier
) -> AsyncIterator[Begin]:
    """Call it when the contacts are made: they are indexed, and the worker begins."""
    await lagless(bus.url)
    await writer.execute(
        "update search_state set caught_up_at = null, caught_up_sequence = null, incomplete_since = null"
    )
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Stage:
            await index.fill(writer, applier.tenant)
            shut = await stack.enter_async_context(door(index.url))
            given = {"elasticsearch_url": shut.url, "search_index": index.alias, **settings}
            ask = await stack.enter_async_context(asking(database, bus.url, **given))
            return Stage(ask, shut, index, applier)

        yield start


def names(answer: dict[str, Any]) -> list[str]:
    return [hit["external_id"] for hit in answer["data"]]


EVERYBODY = ["three", "two", "one"]


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


# -- read your write


async def test_an_answer_waits_for_the_version(begin: Begin, writer: asyncpg.Connection) -> None:
    stage = await begin()
    tenant = stage.applier.tenant
    outcome = await stage.applier.send("contact.create", {"external_id": "four", "first_name": "Ann"})
    assert names(await stage.search()) == EVERYBODY
    wait_for = {"contact_id": str(outcome.contact_id), "version": outcome.version}
    asked = stage.asked
    waiting = asyncio.create_task(stage.search(wait_for=wait_for))
    await eventually(lambda: stage.asked >= asked + 3)  # it asks, and asks again
    assert not waiting.done()
    await stage.index.put(writer, (tenant, outcome.contact_id))
    answer = await waiting
    assert (names(answer), answer["meta"]["engine"]) == (["four", *EVERYBODY], "elasticsearch")
    assert await stage.engine(wait_for=wait_for) == "elasticsearch"


async def test_a_version_that_does_not_come_is_read_from_postgres(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = await begin()
    outcome = await stage.applier.send("contact.create", {"external_id": "four", "first_name": "Ann"})
    began = time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(elastic, "TIMEOUT", TWO)
        answer = await stage.search(wait_for={"contact_id": str(outcome.contact_id), "version": 1})
    assert time.monotonic() - began >= 2
    assert (names(answer), answer["meta"]["engine"]) == (["four", *EVERYBODY], "postgres")
    assert stage.ask.problems == []  # nothing is wrong with Elasticsearch
    assert await stage.engine() == "elasticsearch"


async def test_a_deletion_is_waited_for_as_well(begin: Begin, writer: asyncpg.Connection) -> None:
    stage = await begin()
    outcome = await stage.applier.send("contact.delete", {"contact": {"external_id": "two"}})
    await stage.index.put(writer, (stage.applier.tenant, outcome.contact_id))
    for version in (1, 2):
        answer = await stage.search(wait_for={"contact_id": str(outcome.contact_id), "version": version})
        assert (names(answer), answer["meta"]["engine"]) == (["three", "one"], "elasticsearch")


async def test_what_is_not_there_or_not_the_tenants_is_waited_for_in_vain(
    begin: Begin, writer: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = await begin()
    monkeypatch.setattr(elastic, "TIMEOUT", TWO)
    other = Applier(writer, tenant=f"o-{uuid.uuid4().hex[:8]}")
    outcome = await other.send("contact.create", {"first_name": "Ann"})
    await stage.index.put(writer, (other.tenant, outcome.contact_id))
    began = time.monotonic()
    answers = await asyncio.gather(
        *(
            stage.search(wait_for={"contact_id": str(contact_id), "version": 1})
            for contact_id in (outcome.contact_id, uuid.uuid4())
        )
    )
    assert time.monotonic() - began >= 2
    for answer in answers:
        assert (names(answer), answer["meta"]["engine"]) == (EVERYBODY, "postgres")


async def test_those_who_wait_hold_up_nobody(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of eight queries in hand four may wait for a version; one more is answered by Postgres at once."""
    stage = await begin(query_connections=1)
    monkeypatch.setattr(elastic, "TIMEOUT", 5)
    wait_for = {"contact_id": str(uuid.uuid4()), "version": 1}
    waiting = [asyncio.create_task(stage.search(wait_for=wait_for)) for _ in range(4)]
    await eventually(lambda: stage.asked >= 4)
    assert await stage.engine(wait_for=wait_for) == "postgres"
    assert await stage.engine() == "elasticsearch"
    assert not any(task.done() for task in waiting)
    await asyncio.gather(*waiting)


async def test_postgres_has_every_version(begin: Begin) -> None:
    stage = await begin(elasticsearch_url=None)
    outcome = await stage.applier.send("contact.create", {"external_id": "four", "first_name": "Ann"})
    answer = await stage.search(wait_for={"contact_id": str(outcome.contact_id), "version": 1})
    assert names(answer) == ["four", *EVERYBODY]


# -- a cursor goes on where it is, whoever answers


@pytest.mark.parametrize("first", ["elasticsearch", "postgres"])
@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("by", ["relevance", "created_at", "updated_at", "display_name"])
async def test_a_cursor_of_one_engine_goes_on_with_the_other(
    begin: Begin, applier: Applier, by: str, order: str, first: str
) -> None:
    for name in ("Änne Ann", "ann", "Annika", "Joanna", "Ann Ann", "Zoë Ann-Sofie", "Annb", None):
        fields = (
            {"first_name": name} if name else {"identifiers": [{"channel": "push", "identifier": "ann-1"}]}
        )
        await applier.send("contact.create", {"external_id": f"x-{name}", **fields})
    stage = await begin()
    whole = names(await stage.search(sort_by=by, sort_order=order, page_size=100))
    assert len(whole) == 11
    walked: list[str] = []
    cursor, engine = None, first
    while True:
        stage.door.mode = "open" if engine == "elasticsearch" else "unavailable"
        await stage.answers(engine)
        fields = {"cursor": cursor} if cursor else {}
        answer = await stage.search(sort_by=by, sort_order=order, page_size=4, **fields)
        assert answer["meta"]["engine"] == engine
        walked += names(answer)
        cursor = answer["meta"]["next_cursor"]
        if cursor is None:
            break
        engine = "postgres" if engine == "elasticsearch" else "elasticsearch"
    assert walked == whole


async def test_a_cursor_goes_on_past_ten_thousand_whoever_answers(
    begin: Begin, writer: asyncpg.Connection, applier: Applier
) -> None:
    await writer.execute(
        "insert into contacts (tenant_id, id, search_text, created_at, updated_at, version, timeline_sequence, status) "
        "select $1, gen_random_uuid(), case when n % 2 = 0 then e'\n crowd \n' else e'\n crowded \n' end, now(), now(), "
        "1, 0, 'active' from generate_series(1, 10300) n",
        applier.tenant,
    )
    stage = await begin()
    walked: list[str] = []
    fields: dict[str, Any] = {"page": 100}
    for engine in ("elasticsearch", "postgres", "elasticsearch", "postgres"):
        stage.door.mode = "open" if engine == "elasticsearch" else "unavailable"
        await stage.answers(engine)
        answer = await stage.search(q="crowd", page_size=100, **fields)
        assert answer["meta"]["engine"] == engine
        walked += [hit["id"] for hit in answer["data"]]
        fields = {"cursor": answer["meta"]["next_cursor"]}
    assert fields == {"cursor": None}
    rows = await writer.fetch(
        "select id::text from contacts where tenant_id = $1 and search_text like '% crowd%' "
        "order by length(search_text), id desc offset 9900",
        applier.tenant,
    )
    assert walked == [row["id"] for row in rows]


async def test_hits_that_postgres_has_not_ranked_are_gone_on_with_there(
    begin: Begin, writer: asyncpg.Connection, applier: Applier
) -> None:
    await writer.execute(
        "insert into contacts (tenant_id, id, search_text, created_at, updated_at, version, timeline_sequence, status) "
        "select $1, gen_random_uuid(), e'\n crowd \n', now(), now(), 1, 0, 'active' from generate_series(1, 10020) n",
        applier.tenant,
    )
    stage = await begin()
    stage.door.mode = "unavailable"
    await stage.answers("postgres")
    first = await stage.search(q="crowd", page=100, page_size=100)
    stage.door.mode = "open"
    await stage.answers("elasticsearch")
    asked = stage.asked
    rest = await stage.search(q="crowd", page_size=100, cursor=first["meta"]["next_cursor"])
    assert (len(rest["data"]), rest["meta"]["engine"]) == (20, "postgres")
    assert stage.asked == asked
    assert not {hit["id"] for hit in first["data"]} & {hit["id"] for hit in rest["data"]}


# -- without Elasticsearch


def test_without_elasticsearch_its_client_is_not_loaded() -> None:
    code = """
import asyncio, sys
from faststream.nats import NatsBroker
from ops.settings import Settings
from workers.queries.service import build
from workers.service import Runtime

async def main():
    settings = Settings(postgres_dsn="postgresql://x@localhost:1/x", nats_url="nats://localhost:1", elasticsearch_url=None)
    service = build(Runtime("queries", settings, NatsBroker("nats://localhost:1")))
    await service._search.start()
    await service._search.close()
    print(sorted(name for name in sys.modules if name.startswith(("elastic", "storage.search.elastic"))))

asyncio.run(main())
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stdout.strip() == "[]", ran.stderr
