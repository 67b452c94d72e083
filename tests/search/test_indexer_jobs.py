"""Rebuilds beside the indexing: taken, kept, let go of, and what is told of those that fail."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from ops.health import Degraded
from storage.search import rebuild, state
from storage.search.elastic.bulk import Retry
from tests.eventually import eventually
from tests.helpers.indexing import Ground

Run = Any


class Stub:
    """Stands in for a rebuild: ``begun`` are those that were begun, ``outcomes`` what becomes of them, one after the other."""

    def __init__(self, *outcomes: Run) -> None:
        self.begun: list[state.Job] = []
        self.cancelled = 0
        self._outcomes = list(outcomes)

    async def __call__(self, job: state.Job, connection: Any, *_: Any, **__: Any) -> None:
        self.begun.append(job)
        outcome = self._outcomes.pop(0) if self._outcomes else None
        if isinstance(outcome, Exception):
            raise outcome
        if isinstance(outcome, asyncio.Event):
            await outcome.wait()
        if outcome == "for ever":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        await state.finish(connection, job)


async def test_a_tenants_contacts_are_indexed_anew(ground: Ground):
    """Asked for by a command; nobody told the indexer of these contacts."""
    live = await ground.live()
    contact_id = await ground.make(first_name="Maria")
    ground.untold()
    async with ground.indexing():
        asked = await ground.send("search.rebuild", {})
        assert asked.details
        job = uuid.UUID(asked.details["job_id"])

        async def done() -> bool:
            (shown,) = await state.rebuilds(ground.connection, ground.tenant)
            return (shown.id, shown.status) == (job, "done")

        await eventually(done, timeout=60, what="it is done")
        assert await ground.document(contact_id)
        await ground.agrees()
    assert (await ground.state()).live == live


async def test_a_rebuild_that_is_somebody_elses_now_is_left_alone(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
):
    stub = Stub("for ever")
    monkeypatch.setattr(rebuild, "run", stub)
    await ground.live()
    job = await state.request(ground.connection, None)
    async with ground.indexing() as indexer:
        await eventually(lambda: stub.begun, what="it is begun")
        await ground.connection.execute(
            "update search_rebuilds set owner = 'other', lease_until = now() + interval '1 hour' where id = $1",
            job,
        )
        await eventually(lambda: stub.cancelled, what="it is left alone")
        contact_id = await ground.make(first_name="Maria")
        await ground.tell()
        await ground.rest()
        assert await ground.document(contact_id)
        assert indexer.problems() == []
    (row,) = await ground.connection.fetch("select owner, status from search_rebuilds")
    assert tuple(row) == ("other", "running")


async def test_a_long_rebuild_is_held_on_to(ground: Ground, monkeypatch: pytest.MonkeyPatch):
    stub = Stub("for ever")
    monkeypatch.setattr(rebuild, "run", stub)
    await ground.live()
    await state.request(ground.connection, None)
    lease = 3.0  # seconds, of which a machine that is busy elsewhere may let two pass
    async with ground.indexing(lease_seconds=lease):
        await eventually(lambda: stub.begun, what="it is begun")

        first = await ground.connection.fetchval("select lease_until from search_rebuilds")

        async def longer_than_a_lease() -> bool:
            taken = await state.claim(ground.connection, "other", 10)
            if taken is not None:
                raise RuntimeError(f"it was let go of: {taken}")
            return bool(await ground.connection.fetchval("select clock_timestamp() > $1::timestamptz", first))

        await eventually(longer_than_a_lease, what="the lease that it was begun with has passed")
        assert stub.cancelled == 0


async def test_what_may_pass_is_tried_again(ground: Ground, monkeypatch: pytest.MonkeyPatch):
    again = asyncio.Event()
    stub = Stub(Retry("Elasticsearch answers 429"), again)
    monkeypatch.setattr(rebuild, "run", stub)
    await ground.live()
    await state.request(ground.connection, None)
    async with ground.indexing() as indexer:

        def told() -> bool:
            problems = indexer.problems()
            return problems == ["a rebuild of the search index: Elasticsearch answers 429"] and all(
                isinstance(problem, Degraded) for problem in problems
            )

        await eventually(told, what="it tells")
        (waiting,) = await ground.jobs()
        assert (waiting.status, waiting.error) == ("running", "Elasticsearch answers 429")
        again.set()
        await eventually(lambda: ground.done(1), what="it is done")
        await eventually(lambda: not indexer.problems(), what="it has nothing to tell")
    assert len(stub.begun) == 2


async def test_what_fails_for_good_is_told(ground: Ground, monkeypatch: pytest.MonkeyPatch):
    stub = Stub(rebuild.Unmendable("nothing helps"))
    monkeypatch.setattr(rebuild, "run", stub)
    await ground.live()
    await state.request(ground.connection, None)
    async with ground.indexing() as indexer:
        await eventually(
            lambda: indexer.problems() == ["a rebuild of the search index: Unmendable: nothing helps"],
            what="it tells",
        )
        (failed,) = await ground.jobs()
        assert (failed.status, failed.error) == ("failed", "Unmendable: nothing helps")
        contact_id = await ground.make(first_name="Maria")
        await ground.tell()
        await ground.rest()
        assert await ground.document(contact_id)
        await state.request(ground.connection, None)
        await eventually(lambda: not indexer.problems(), what="another one has gone well")


async def test_at_its_end_an_indexer_lets_go(ground: Ground, monkeypatch: pytest.MonkeyPatch):
    stub = Stub("for ever")
    monkeypatch.setattr(rebuild, "run", stub)
    await ground.live()
    job = await state.request(ground.connection, None)
    async with ground.indexing(lease_seconds=300):
        await eventually(lambda: stub.begun, what="it is begun")
    assert stub.cancelled == 1
    taken = await state.claim(ground.connection, "other", 10)
    assert taken
    assert taken.id == job
