"""search.status over the real bus: who answers, and what a tenant may see of rebuilds."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from ops.devstack import NatsServer
from storage.postgres import WRITER, connect
from tests.helpers import seed
from tests.helpers.asker import Asker, asking


@pytest.fixture(scope="module")
async def ask(database: str, bus: NatsServer) -> AsyncIterator[Asker]:
    async with asking(database, bus.url, elasticsearch_url=None) as asker:
        yield asker


@pytest.fixture
async def writer(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(database, WRITER)
    await connection.execute("delete from search_rebuilds")
    yield connection
    await connection.close()


async def rebuild(writer: asyncpg.Connection, tenant: str | None, **columns: Any) -> str:
    job = uuid.uuid4()
    fresh = {
        "status": "running",
        "created_at": seed.at(0),
        "started_at": seed.at(1),
        "updated_at": seed.at(2),
    }
    await seed.insert(writer, "search_rebuilds", id=job, tenant_id=tenant, **{**fresh, **columns})
    return str(job)


NOTHING = {
    "engine": "postgres",
    "reasons": ["ELASTICSEARCH_URL is not set"],
    "lag_s": None,
    "rebuild": None,
    "jobs": [],
}


async def test_without_elasticsearch_and_rebuilds(ask: Asker, writer: asyncpg.Connection) -> None:
    answer = await ask("search.status")
    assert answer == {"success": True, "data": NOTHING, "meta": {}}
    assert ask.problems == ["search: ELASTICSEARCH_URL is not set; Postgres answers"]


async def test_a_tenant_sees_its_own_jobs_newest_first(ask: Asker, writer: asyncpg.Connection) -> None:
    done = await rebuild(writer, "a", status="done", done=600, total=600, finished_at=seed.at(2), error=None)
    failed = await rebuild(writer, "a", status="failed", error="it broke", created_at=seed.at(3))
    waiting = await rebuild(writer, "a", status="waiting", started_at=None, created_at=seed.at(4))
    await rebuild(writer, "b", done=7, total=9)
    jobs = (await ask.data("search.status"))["jobs"]
    assert [job["id"] for job in jobs] == [waiting, failed, done]
    assert jobs[2] == {
        "id": done,
        "status": "done",
        "done": 600,
        "total": 600,
        "rate": 10.0,
        "error": None,
        "created_at": "2026-01-01T00:00:00Z",
        "started_at": "2026-01-01T00:01:00Z",
        "finished_at": "2026-01-01T00:02:00Z",
    }
    assert (jobs[1]["status"], jobs[1]["error"]) == ("failed", "it broke")
    assert (jobs[0]["status"], jobs[0]["rate"], jobs[0]["total"]) == ("waiting", None, None)
    (job,) = (await ask.data("search.status", "b"))["jobs"]
    assert (job["done"], job["total"]) == (7, 9)
    assert (await ask.data("search.status", "nobody")) == NOTHING


async def test_of_a_rebuild_of_everything_only_a_fraction_is_told(
    ask: Asker, writer: asyncpg.Connection
) -> None:
    await rebuild(writer, None, status="done", done=5, total=5)
    assert (await ask.data("search.status"))["rebuild"] is None
    await rebuild(writer, None, done=250, total=1000, error="what went wrong elsewhere")
    told = await ask.data("search.status")
    assert told["rebuild"] == {"status": "running", "progress": 0.25, "started_at": "2026-01-01T00:01:00Z"}
    assert told["jobs"] == []


async def test_a_rebuild_that_has_not_begun_has_no_progress(ask: Asker, writer: asyncpg.Connection) -> None:
    await rebuild(writer, None, status="waiting", started_at=None)
    rebuilding = (await ask.data("search.status"))["rebuild"]
    assert rebuilding == {"status": "waiting", "progress": None, "started_at": None}


async def test_only_the_newest_jobs_are_shown(ask: Asker, writer: asyncpg.Connection) -> None:
    ids = [await rebuild(writer, "a", status="done", created_at=seed.at(n)) for n in range(25)]
    jobs = (await ask.data("search.status"))["jobs"]
    assert [job["id"] for job in jobs] == ids[:4:-1]


async def test_it_takes_no_fields(ask: Asker) -> None:
    error = await ask.error("search.status", tenant_id="b")
    assert [e["field"] for e in error["details"]["errors"]] == ["tenant_id"]
