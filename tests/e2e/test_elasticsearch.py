"""``rollcall up`` with an Elasticsearch: started by it, given to it, or missing where it is asked for."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator

import orjson
import psutil
import pytest
from aiohttp import web

from ops.devstack.process import free_port
from ops.probe import get
from tests.e2e.fleet import Running, up
from tests.eventually import eventually
from tests.helpers.forked import CLEAN, rollcall

ADA = orjson.dumps({"first_name": "Ada", "last_name": "Müller"}).decode()


async def searched(fleet: Running, engine: str) -> list[str]:
    """The display names that a search finds; the engine that answered must be this one."""
    ran = await fleet.rollcall("query", "contact.search", "--tenant", "acme", "--data", '{"q": "muller"}')
    assert ran.code == 0, ran
    assert ran.json["meta"]["engine"] == engine
    return [contact["display_name"] for contact in ran.json["data"]]


def server_of(fleet: Running) -> psutil.Process:
    (found,) = [
        child
        for child in psutil.Process(fleet.process.pid).children()
        if "rollcall.Server" in child.cmdline()
    ]
    return found


@pytest.mark.usefixtures("elasticsearch")  # where it cannot be built, these are skipped
async def test_a_fleet_with_an_elasticsearch_of_its_own():
    fleet = await up("--ephemeral", "--elasticsearch", "--scale", "indexer=2")
    try:
        assert {"indexer/0", "indexer/1"} <= fleet.line["pids"].keys()
        sent = await fleet.rollcall("send", "contact.create", "--tenant", "acme", "--data", ADA)
        assert sent.code == 0, sent
        assert await eventually(lambda: searched(fleet, "elasticsearch"), 90) == ["Ada Müller"]
        url = fleet.line["elasticsearch_url"]
        seen = await fleet.rollcall("doctor", "--json", ELASTICSEARCH_URL=url)
        assert seen.code == 0, seen
        found = {found["name"]: found["detail"] for found in seen.json["findings"]}
        assert found["Elasticsearch"].startswith("version ")
        assert found["search index"].startswith("rollcall-contacts is rollcall-contacts-")

        os.kill(server_of(fleet).pid, signal.SIGKILL)
        assert await eventually(lambda: searched(fleet, "postgres")) == ["Ada Müller"]
        status, body = await get(f"{fleet.line['http']['queries/0']}/readyz")
        assert (status, orjson.loads(body)["status"]) == (200, "degraded")
        assert await eventually(lambda: searched(fleet, "elasticsearch"), 120) == ["Ada Müller"]
        server = server_of(fleet)
    finally:
        assert await fleet.end() == 0
    assert not server.is_running()


async def test_a_given_elasticsearch_is_used_and_left_running(elasticsearch, search_index):
    given = {"ELASTICSEARCH_URL": elasticsearch.url, "ROLLCALL_SEARCH_INDEX": search_index}
    fleet = await up("--ephemeral", **given)
    try:
        assert fleet.line["elasticsearch_url"] == elasticsearch.url
        sent = await fleet.rollcall("send", "contact.create", "--tenant", "acme", "--data", ADA)
        assert sent.code == 0, sent
        assert await eventually(lambda: searched(fleet, "elasticsearch"), 90) == ["Ada Müller"]
    finally:
        assert await fleet.end() == 0
    status, _ = await get(elasticsearch.url)
    assert status == 200


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        (["up", "--scale", "indexer=2"], {}, "set ELASTICSEARCH_URL, or give --elasticsearch"),
        (["up", "--elasticsearch"], {"ELASTICSEARCH_URL": "http://127.0.0.1:1"}, "ELASTICSEARCH_URL is set"),
        (
            ["worker", "indexer"],
            {
                "ROLLCALL_NATS_URL": "nats://127.0.0.1:1",
                "ROLLCALL_POSTGRES_DSN": "postgresql://u@127.0.0.1:1/x",
            },
            "ELASTICSEARCH_URL: is not set",
        ),
    ],
)
async def test_what_cannot_be_run_is_refused(arguments, variables, said):
    ran = await rollcall(*arguments, environment={**CLEAN, **variables})
    assert (ran.code, said in ran.stderr, len(ran.stderr.splitlines())) == (64, True, 1), ran


async def test_an_elasticsearch_that_cannot_be_built_is_an_error_with_its_fix(tmp_path):
    environment = {**CLEAN, "PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    ran = await rollcall("up", "--ephemeral", "--elasticsearch", environment=environment)
    assert (ran.code, "or set ELASTICSEARCH_URL" in ran.stderr, "Traceback" in ran.stderr) == (
        1,
        True,
        False,
    ), ran


@pytest.fixture
async def old_server() -> AsyncIterator[str]:
    """The URL of what says that it is Elasticsearch 7."""

    async def root(_request: web.Request) -> web.Response:
        body = {
            "version": {"number": "7.17.29", "build_flavor": "default"},
            "tagline": "You Know, for Search",
        }
        return web.json_response(body, headers={"X-Elastic-Product": "Elasticsearch"})

    application = web.Application()
    application.router.add_get("/", root)
    runner = web.AppRunner(application)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield f"http://127.0.0.1:{port}"
    await runner.cleanup()


async def test_the_doctor_looks_at_elasticsearch(elasticsearch, search_index, old_server):
    away = {
        "ROLLCALL_NATS_URL": "nats://127.0.0.1:1",
        "ROLLCALL_POSTGRES_DSN": "postgresql://u@127.0.0.1:1/x",
    }

    async def finding(name: str, url: str) -> tuple[bool, str]:
        variables = {**away, "ELASTICSEARCH_URL": url, "ROLLCALL_SEARCH_INDEX": f"{search_index}-none"}
        ran = await rollcall("doctor", "--json", environment={**CLEAN, **variables})
        (found,) = [found for found in ran.json["findings"] if found["name"] == name]
        return found["ok"], found["mend"]

    assert await finding("Elasticsearch", "") == (True, "")
    assert await finding("Elasticsearch", elasticsearch.url) == (True, "")
    ok, mend = await finding("Elasticsearch", "http://u:secret@127.0.0.1:1")
    assert (ok, "ELASTICSEARCH_URL" in mend, "secret" in mend) == (False, True, False)
    ok, mend = await finding("Elasticsearch", old_server)
    assert (ok, "8 or 9" in mend) == (False, True)
    ok, mend = await finding("search index", elasticsearch.url)
    assert (ok, "`rollcall search rebuild`" in mend) == (False, True)
