"""``rollcall search rebuild`` as a process: killed at every step, interrupted, two at once. Searches and writes go on."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from ops.supervisor import command
from storage.search import rebuild as module
from storage.search import state
from tests.conftest import Elasticsearch
from tests.eventually import eventually
from tests.helpers.beside import beside
from tests.helpers.forked import CLEAN, Ran, rollcall
from tests.helpers.front import Front, Gate
from tests.helpers.shelf import Shelf

POINTS = [
    "rebuild_made:1",
    "rebuild_begun:1",
    "rebuild_chunk_written:2",
    "rebuild_chunk_saved:2",
    "rebuild_filled:1",
    "rebuild_checked:1",
    "rebuild_alias_moved:1",
    "rebuild_live:1",
    "rebuild_dropped:1",
]
OF_TENANT = ["rebuild_chunk_written:2", "rebuild_chunk_saved:2", "rebuild_filled:1", "rebuild_checked:1"]

CONTACTS = 2_500  # three chunks


def environment(shelf: Shelf, url: str, **variables: str) -> dict[str, str]:
    return {
        **CLEAN,
        "ROLLCALL_POSTGRES_DSN": shelf.dsn,
        "ELASTICSEARCH_URL": url,
        "ROLLCALL_SEARCH_INDEX": shelf.alias,
        "ROLLCALL_SEARCH_SHARDS": str(shelf.shards),
        **variables,
    }


def told(ran: Ran) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in ran.stdout.splitlines()]


def events(ran: Ran) -> list[str]:
    """What was said, without the progress."""
    return [line["event"] for line in told(ran) if line["event"] != "progress"]


async def expire(shelf: Shelf) -> None:
    """As if the dead process' lease had ended; waiting for it is a test of its own."""
    await shelf.other.execute("update search_rebuilds set lease_until = '-infinity' where status = 'running'")


class Traffic:
    """Searches and writes. A search that fails or misses fails the test."""

    def __init__(self, shelf: Shelf, tenant: str) -> None:
        self._shelf = shelf
        self._tenant = tenant
        self.searches = 0
        self.changes = 0

    @contextlib.asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        async with self._shelf.apart() as desk:
            still = await desk.contact(self._tenant, "Still")
            moving = await desk.contacts(self._tenant, 20)
            await desk.follow(still, *moving)
            known = await state.read(desk.other)
            await desk.search.indices.refresh(index=known.live)
            async with beside(lambda: self._search(still[1])), beside(lambda: self._change(desk, moving)):
                yield

    async def _search(self, wanted: uuid.UUID) -> None:
        assert await self._shelf.finds(self._tenant, "still") == [wanted]
        self.searches += 1

    async def _change(self, desk: Shelf, moving: list[tuple[str, uuid.UUID]]) -> None:
        one, another = moving[self.changes % 20], moving[(self.changes * 7 + 1) % 20]
        await desk.change(one, status="blocked")
        await desk.change(another, deleted_at=datetime.now(UTC) if self.changes % 2 else None)
        await desk.follow(one, another, await desk.contact(self._tenant))
        self.changes += 1


@pytest.fixture
async def traffic(shelf: Shelf) -> Traffic:
    """On top of a crowd that is in the live index."""
    tenant = f"t-{uuid.uuid4().hex[:12]}"
    await shelf.crowd(tenant, CONTACTS)
    live = await shelf.live()
    await shelf.audit(live, repair=True, moment=0)
    return Traffic(shelf, tenant)


def test_every_failpoint_is_tried():
    there = re.findall(r'failpoint\.hit\("(\w+)"\)', Path(module.__file__).read_text())
    assert {point.partition(":")[0] for point in POINTS} == set(there)


@pytest.mark.parametrize("point", POINTS)
async def test_killed_and_resumed(shelf: Shelf, traffic: Traffic, elasticsearch: Elasticsearch, point: str):
    async with traffic.flowing():
        killed = await rollcall(
            "search",
            "rebuild",
            "--json",
            environment=environment(shelf, elasticsearch.url, ROLLCALL_FAILPOINT=point),
        )
        assert killed.code == -signal.SIGKILL, killed
        await eventually(lambda: min(traffic.searches, traffic.changes) > 5, what="searches and writes go on")
        searches, changes = traffic.searches, traffic.changes
        await expire(shelf)
        resumed = await rollcall(
            "search", "rebuild", "--json", environment=environment(shelf, elasticsearch.url)
        )
        assert (resumed.code, events(resumed)) == (0, ["resumed", "done"]), resumed
        await eventually(
            lambda: traffic.searches > searches and traffic.changes > changes, what="they still do"
        )
    filled = [line["done"] for line in told(resumed) if line.get("step") == "filling"]
    if point.startswith("rebuild_chunk"):
        assert filled[0] == (2_000 if "saved" in point else 1_000)  # it does not begin again
    assert len(await state.rebuilds(shelf.other, None)) == 1
    await shelf.agrees()


@pytest.mark.parametrize("point", OF_TENANT)
async def test_one_tenant_killed_and_resumed(
    shelf: Shelf, traffic: Traffic, elasticsearch: Elasticsearch, point: str
):
    arguments = ("search", "rebuild", "--tenant", traffic._tenant, "--json")
    async with traffic.flowing():
        killed = await rollcall(
            *arguments, environment=environment(shelf, elasticsearch.url, ROLLCALL_FAILPOINT=point)
        )
        assert killed.code == -signal.SIGKILL, killed
        await expire(shelf)
        resumed = await rollcall(*arguments, environment=environment(shelf, elasticsearch.url))
        assert (resumed.code, events(resumed)) == (0, ["resumed", "done"]), resumed
    await shelf.agrees()


async def test_another_takes_over_when_the_lease_ends(
    shelf: Shelf, traffic: Traffic, elasticsearch: Elasticsearch
):
    given = environment(shelf, elasticsearch.url, ROLLCALL_FAILPOINT="rebuild_chunk_saved:1")
    killed = await rollcall("search", "rebuild", environment=given)
    assert killed.code == -signal.SIGKILL
    ran = await rollcall("search", "rebuild", "--json", environment=environment(shelf, elasticsearch.url))
    assert (ran.code, events(ran)) == (0, ["following", "resumed", "done"]), ran
    await shelf.agrees()


async def test_two_at_once(shelf: Shelf, traffic: Traffic, elasticsearch: Elasticsearch):
    """One works, and the other shows how far that is."""
    async with Front.open(elasticsearch.url) as front, traffic.flowing():
        gate = Gate()
        front.always = gate
        given = environment(shelf, front.url)
        first = asyncio.create_task(rollcall("search", "rebuild", "--json", environment=given))
        await asyncio.wait_for(gate.reached.wait(), 60)
        second = await asyncio.create_subprocess_exec(
            *command("search", "rebuild", "--json"), env=given, stdout=asyncio.subprocess.PIPE
        )
        assert second.stdout is not None
        following = orjson.loads(await asyncio.wait_for(second.stdout.readline(), 60))
        gate.open()
        ran = await first
        *_, done = (await asyncio.wait_for(second.communicate(), 60))[0].splitlines()
    assert (ran.code, second.returncode) == (0, 0), ran
    assert events(ran) == ["begun", "done"]
    assert (following["event"], orjson.loads(done)["event"]) == ("following", "done")
    assert following["job_id"] == told(ran)[0]["job_id"]
    await shelf.agrees()


async def test_interrupted_it_lets_go_at_once(shelf: Shelf, traffic: Traffic, elasticsearch: Elasticsearch):
    async with Front.open(elasticsearch.url) as front:
        gate = Gate()
        front.always = gate
        process = await asyncio.create_subprocess_exec(
            *command("search", "rebuild"),
            env=environment(shelf, front.url),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        await asyncio.wait_for(gate.reached.wait(), 60)
        process.send_signal(signal.SIGINT)
        out, err = await asyncio.wait_for(process.communicate(), 60)
        assert (process.returncode, err) == (130, b""), (out, err)
        assert b"interrupted" in out
        gate.open()
    ran = await rollcall("search", "rebuild", "--json", environment=environment(shelf, elasticsearch.url))
    assert (ran.code, events(ran)) == (0, ["resumed", "done"]), ran
    await shelf.agrees()
