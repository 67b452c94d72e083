"""The server that is made by our recipe: it keeps what it answered for, and never outlives who started it."""

from __future__ import annotations

import asyncio
import sys

import pytest

from ops.devstack.elasticsearch import ElasticsearchServer, NotInstalled, prepare, recipe
from ops.devstack.process import running
from storage.search.elastic import connection
from storage.search.elastic.connection import check, connect
from tests.eventually import eventually

PARENT = """
import pathlib, sys, time
from ops.devstack import ElasticsearchServer
server = ElasticsearchServer(pathlib.Path(sys.argv[1]))
server.launch()
print(server.pid, flush=True)
time.sleep(600)
"""


async def test_what_a_bulk_request_answered_for_survives_a_kill(own_elasticsearch, monkeypatch):
    monkeypatch.setattr(connection, "TIMEOUT", 60)  # it has only just begun
    async with connect(own_elasticsearch.url) as client:
        assert await check(client) == recipe.VERSION
        await client.indices.create(index="kept", settings={"number_of_replicas": 0})
        answer = await client.bulk(operations=[{"index": {"_id": "1"}}, {"n": 1}], index="kept")
        assert not answer["errors"]
    url = own_elasticsearch.url
    own_elasticsearch.kill()
    assert not own_elasticsearch.alive()
    own_elasticsearch.start()
    assert own_elasticsearch.url == url
    async with connect(url) as client:
        assert (await client.get(index="kept", id="1"))["_source"] == {"n": 1}
    own_elasticsearch.restart()
    async with connect(url) as client:
        assert (await client.count(index="kept"))["count"] == 1


async def test_it_cuts_trigrams_as_every_elasticsearch_does(own_elasticsearch):
    tokenizer = {"type": "ngram", "min_gram": 3, "max_gram": 3}
    async with connect(own_elasticsearch.url) as client:
        answer = await client.indices.analyze(tokenizer=tokenizer, text="a müller")
    assert [token["token"] for token in answer["tokens"]] == ["a m", " mü", "mül", "üll", "lle", "ler"]
    assert [token["position"] for token in answer["tokens"]] == [0, 1, 2, 3, 4, 5]


@pytest.mark.usefixtures("own_elasticsearch")
async def test_it_ends_with_who_started_it(tmp_path):
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    assert running(child)
    parent.kill()
    await parent.wait()
    await eventually(lambda: not running(child), what="the end of the server")


@pytest.mark.usefixtures("own_elasticsearch")
def test_a_server_that_cannot_start_says_why(tmp_path):
    (tmp_path / "data").write_text("where a directory should be")
    with pytest.raises(RuntimeError, match="Elasticsearch did not start:\n"):
        ElasticsearchServer(tmp_path).start()


def test_what_is_missing_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(NotInstalled, match=r"no mvn: install it, or set ELASTICSEARCH_URL"):
        prepare()
    monkeypatch.setattr(recipe, "_installed", lambda: iter([tmp_path]))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.delenv("JAVA21_HOME", raising=False)
    with pytest.raises(NotInstalled, match=r"a JDK of at least version 21.* or set ELASTICSEARCH_URL"):
        prepare()
