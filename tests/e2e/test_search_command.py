"""``rollcall search``: what it prints, its exit codes, and what it says when it cannot work."""

from __future__ import annotations

import asyncio
import itertools
import os
import pty
import re
from dataclasses import dataclass

import asyncpg
import orjson
import pytest
from uuid_utils.compat import uuid7

from ops.devstack import NatsServer
from ops.supervisor import command
from storage.search.elastic import bulk
from storage.search.elastic.connection import connect as connect_search
from storage.search.elastic.documents import Document
from tests.conftest import Elasticsearch
from tests.helpers import seed
from tests.helpers.forked import CLEAN, Ran, rollcall
from tests.helpers.front import Front

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Desk:
    """``owner`` is a connection to the database that the commands work on."""

    owner: asyncpg.Connection
    environment: dict[str, str]
    alias: str

    async def rollcall(self, *arguments: str, **variables: str) -> Ran:
        return await rollcall("search", *arguments, environment={**self.environment, **variables})

    async def contacts(self, tenant: str, count: int) -> None:
        for n in range(count):
            await seed.contact(self.owner, tenant, display_name=f"Maria {n}", search_text=f"\n maria {n} \n")


@pytest.fixture
async def desk(
    database: str, owner: asyncpg.Connection, elasticsearch: Elasticsearch, search_index: str
) -> Desk:
    """No contacts, no index."""
    await owner.execute("truncate contacts, search_rebuilds")
    await owner.execute("update search_state set live_index = null, next_index = null")
    alias = f"{search_index}-{next(_numbers)}"
    environment = {
        **CLEAN,
        "ROLLCALL_POSTGRES_DSN": database,
        "ELASTICSEARCH_URL": elasticsearch.url,
        "ROLLCALL_SEARCH_INDEX": alias,
        "ROLLCALL_SEARCH_SHARDS": "1",
    }
    return Desk(owner, environment, alias)


def lines(ran: Ran) -> list[dict]:
    return [orjson.loads(line) for line in ran.stdout.splitlines()]


async def test_from_nothing_to_a_mended_index(desk: Desk, elasticsearch: Elasticsearch):
    await desk.contacts("acme", 3)
    await desk.contacts("globex", 2)
    status = await desk.rollcall("status")
    assert status.code == 0, status
    assert f"Elasticsearch {elasticsearch.version}" in status.stdout
    assert f"there is no {desk.alias}" in status.stdout
    early = await desk.rollcall("audit")
    assert (early.code, "run `rollcall search rebuild`" in early.stderr) == (1, True), early

    built = await desk.rollcall("rebuild")
    assert (built.code, built.stderr) == (0, ""), built
    first, last = built.stdout.splitlines()
    assert first == "rebuilding the search index of all tenants"
    assert re.fullmatch(rf"5 contacts in [\d.]+ s \([\d,]+/s\): {desk.alias}-\d{{14}}-\w{{4}} serves", last)
    status = await desk.rollcall("status")
    assert f"{desk.alias} is {desk.alias}-" in status.stdout
    assert "5 documents" in status.stdout
    assert "done     all tenants, 5 of 5 contacts" in status.stdout

    clean = await desk.rollcall("audit")
    assert (clean.code, "5 contacts compared" in clean.stdout, "nothing differs" in clean.stdout) == (
        0,
        True,
        True,
    )
    await desk.owner.execute("update contacts set version = 2 where tenant_id = 'acme'")
    await desk.contacts("globex", 1)
    found = await desk.rollcall("audit")
    assert found.code == 1
    assert "1 missing, 0 extra, 3 stale, 0 ahead; 0 mended" in found.stdout
    assert re.search(r"stale +acme [0-9a-f-]{36}: version 2, version 1 in the index", found.stdout)
    assert re.search(r"missing +globex [0-9a-f-]{36}: version 1, no document", found.stdout)
    assert "`rollcall search audit --repair` mends" in found.stdout
    mended = await desk.rollcall("audit", "--repair", "--tenant", "acme")
    assert (mended.code, "3 stale, 0 ahead; 3 mended" in mended.stdout) == (0, True), mended
    assert (await desk.rollcall("audit", "--tenant", "acme")).code == 0
    assert (await desk.rollcall("audit")).code == 1
    one = await desk.rollcall("rebuild", "--tenant", "globex")
    assert (one.code, one.stdout.splitlines()[0]) == (0, "rebuilding the search index of tenant globex"), one
    assert (await desk.rollcall("audit")).code == 0
    status = await desk.rollcall("status", "--tenant", "globex")
    assert "tenant globex, 3 of 3 contacts" in status.stdout


async def test_as_json(desk: Desk, elasticsearch: Elasticsearch):
    await desk.contacts("acme", 3)
    empty = await desk.rollcall("status", "--json")
    assert (empty.json["serves"], empty.json["documents"], empty.json["rebuilds"]) == (None, None, [])
    assert empty.json["lag_s"] is None  # no NATS

    built = await desk.rollcall("rebuild", "--json")
    begun, *progress, done = lines(built)
    assert (built.code, begun["event"], done["event"]) == (0, "begun", "done"), built
    assert begun["job_id"] == done["job_id"]
    assert (done["contacts"], done["mended"], done["refused"]) == (3, 0, 0)
    assert {(line["event"], line["step"]) for line in progress} == {
        ("progress", "filling"),
        ("progress", "checking"),
    }
    assert set(progress[0]) == {"event", "step", "done", "total", "rate", "seconds_left"}
    assert progress[-1]["done"] == progress[-1]["total"] == 3

    status = (await desk.rollcall("status", "--json")).json
    assert (status["elasticsearch"], status["alias"]) == (elasticsearch.version, desk.alias)
    assert (status["serves"], status["documents"], status["next"]) == (done["index"], 3, None)
    assert [(job["status"], job["done"]) for job in status["rebuilds"]] == [("done", 3)]

    clean = await desk.rollcall("audit", "--json")
    assert (clean.code, clean.json["index"], clean.json["checked"]) == (0, done["index"], 3)
    await desk.contacts("acme", 1)
    for repair, code in (((), 1), (("--repair",), 0)):
        found = await desk.rollcall("audit", "--json", *repair)
        assert (found.code, found.json["missing"], found.json["mended"]) == (code, 1, 1 - code), found
    (example,) = found.json["examples"]
    assert (example["kind"], example["tenant_id"], example["version"], example["indexed"]) == (
        "missing",
        "acme",
        1,
        None,
    )


async def test_documents_that_are_ahead(desk: Desk, elasticsearch: Elasticsearch):
    await desk.contacts("acme", 1)
    built = lines(await desk.rollcall("rebuild", "--json"))[-1]
    contact_id = await desk.owner.fetchval("select id from contacts")
    newer = {"tenant_id": "acme", "contact_id": str(contact_id), "version": 9, "deleted": False}
    client = connect_search(elasticsearch.url)
    await bulk.write(client, [built["index"]], [Document("acme", contact_id, 9, newer)])
    await client.close()
    found = await desk.rollcall("audit", "--repair")
    assert (found.code, "0 stale, 1 ahead; 0 mended" in found.stdout) == (1, True), found
    assert "PostgreSQL was restored to an earlier time. `rollcall search rebuild` mends that" in found.stdout
    failed = await desk.rollcall("rebuild", "--tenant", "acme")
    assert (failed.code, "1 documents are newer" in failed.stderr, "Traceback" in failed.stderr) == (
        1,
        True,
        False,
    )
    assert (await desk.rollcall("rebuild")).code == 0
    assert (await desk.rollcall("audit")).code == 0


async def test_a_person_sees_a_bar_with_rate_and_time_left(desk: Desk):
    await desk.owner.execute(
        "insert into contacts (tenant_id, id, created_at, updated_at, version, timeline_sequence) "
        "select 'acme', gen_random_uuid(), now(), now(), 1, 0 from generate_series(1, 30000)"
    )
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    environment = {**desk.environment, "TERM": "xterm", "COLUMNS": "120"}
    process = await asyncio.create_subprocess_exec(
        *command("search", "rebuild"), stdout=theirs, stderr=asyncio.subprocess.PIPE, env=environment
    )
    os.close(theirs)
    seen = b""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def read() -> None:
        nonlocal seen
        try:
            piece = os.read(ours, 65536)
        except OSError:
            piece = b""
        seen += piece
        if not piece:
            loop.remove_reader(ours)
            ended.set()

    loop.add_reader(ours, read)
    await asyncio.wait_for(ended.wait(), 120)
    assert await process.wait() == 0
    os.close(ours)
    shown = seen.decode()
    assert re.search(r"filling .*[\d,]+ of 30,000.*[\d,]+/s.*\d:\d\d:\d\d", shown), shown
    assert "30,000 contacts in" in shown


# -- what cannot work


@pytest.mark.parametrize("action", ["rebuild", "audit", "status"])
async def test_without_a_url(desk: Desk, action: str):
    ran = await desk.rollcall(action, ELASTICSEARCH_URL="")
    assert (ran.code, ran.stdout) == (64, "")
    assert ran.stderr.startswith("rollcall: ELASTICSEARCH_URL: is not set; set it to http://")


@pytest.mark.parametrize("action", ["rebuild", "audit", "status"])
async def test_a_server_out_of_reach(desk: Desk, action: str):
    url = "http://somebody:secret@127.0.0.1:1"
    ran = await desk.rollcall(action, ELASTICSEARCH_URL=url)
    assert (ran.code, ran.stdout, len(ran.stderr.splitlines())) == (1, "", 1), ran
    assert "Elasticsearch cannot be reached" in ran.stderr
    assert "set ELASTICSEARCH_URL to where it is" in ran.stderr
    assert "secret" not in ran.stderr


async def test_a_server_that_is_neither_8_nor_9(desk: Desk, elasticsearch: Elasticsearch):
    async with Front.open(elasticsearch.url) as front:
        front.version = "7.17.29"
        ran = await desk.rollcall("rebuild", ELASTICSEARCH_URL=front.url)
    assert (ran.code, len(ran.stderr.splitlines())) == (1, 1), ran
    assert "7.17.29; 8 or 9 is needed" in ran.stderr


async def test_what_is_no_elasticsearch(desk: Desk, bus: NatsServer):
    ran = await desk.rollcall("status", ELASTICSEARCH_URL=bus.monitor_url)
    assert (ran.code, len(ran.stderr.splitlines())) == (1, 1), ran
    assert "8 or 9 is needed" in ran.stderr


async def test_a_database_out_of_reach(desk: Desk):
    ran = await desk.rollcall("audit", ROLLCALL_POSTGRES_DSN="postgresql://u@127.0.0.1:1/x")
    assert (ran.code, "PostgreSQL is out of reach" in ran.stderr) == (1, True), ran


async def test_a_tenant_without_an_index(desk: Desk):
    ran = await desk.rollcall("rebuild", "--tenant", "acme")
    assert (ran.code, "there is no index to rebuild a tenant in" in ran.stderr) == (1, True), ran


async def test_what_is_no_tenant(desk: Desk):
    ran = await desk.rollcall("audit", "--tenant", "a b")
    assert (ran.code, "--tenant" in ran.stderr) == (64, True), ran


async def test_an_index_that_elasticsearch_has_lost(desk: Desk):
    await desk.owner.execute("update search_state set live_index = $1", f"{desk.alias}-{uuid7()}")
    ran = await desk.rollcall("audit")
    assert (ran.code, "Elasticsearch has no index" in ran.stderr) == (1, True), ran
    assert "`rollcall search rebuild`" in ran.stderr
    await desk.contacts("acme", 1)
    assert (await desk.rollcall("rebuild")).code == 0
    assert (await desk.rollcall("audit")).code == 0
